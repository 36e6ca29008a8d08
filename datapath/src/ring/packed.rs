//! The packed virtqueue (virtio 1.3 §2.8), device side. Descriptors are taken, and marked used, where they lie: the first
//! of a batch last, so that the driver sees all of it or nothing.

mod lane;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::BATCH;
use super::batch::{Batch, Chain};
use super::chain::{LONGEST, Steps, Tables};
use super::descriptor::Descriptor;
use super::fault::{Breach, Fault};
use super::record::{Record, Stood};
use crate::memory::{Area, Table, Translate, Window, barrier};
use crate::worker::orders::QueueSetup;

pub(super) use lane::PackedLane;

/// Flags of a descriptor.
const WRITE: u16 = 2;
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Event suppression (§2.8.14): flags above, offset and wrap counter below.
const EVENT_BYTES: usize = 4;
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_DESCRIPTOR: u16 = 2;
const EVENT_FLAGS: u16 = 3;
/// For the place that belongs to another wish: not zero, see `untouched`.
const NOWHERE: u16 = 0x7fff;

/// Where every ring begins: at its first descriptor, with the wrap counter 1 (§2.8.1).
const BEGINNING: u16 = 1 << 15;

/// Descriptors that share a cache line.
const TO_A_LINE: usize = 4;

/// A place in the ring, and the wrap counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    index: u16,
    wrap: bool,
}

pub struct Packed {
    queue: u16,
    size: u16,
    event_index: bool,
    indirect: bool,
    in_order: bool,
    setup: [u64; 3],
    descriptors: Area,
    driver: Area,
    device: Area,
    /// The descriptor to be taken next, how many were taken and not put, and how far the driver was seen to have come.
    next: Place,
    taken: u16,
    seen: Place,
    /// Where the next used descriptor goes, and what was put since the last flush: the first, kept back; chains; places.
    used: Place,
    first: Option<(u16, u64)>,
    count: u16,
    advanced: u16,
    hint: usize,
    /// What outlives this process: where it says that the ring stands, and how many words of the next batch are noted in it.
    record: Option<(Record, u16, u16)>,
}

impl Place {
    /// Index below, wrap counter in bit 15.
    fn new(position: u16) -> Place {
        Place { index: position & !(1 << 15), wrap: position >> 15 != 0 }
    }

    fn position(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }

    /// `n` places on in a ring of `size`; n ≤ size ≤ 32768.
    #[inline(always)]
    fn after(self, n: u16, size: u16) -> Place {
        let index = self.index + n;
        if index < size { Place { index, ..self } } else { Place { index: index - size, wrap: !self.wrap } }
    }

    #[inline(always)]
    fn before(self, n: u16, size: u16) -> Place {
        if n <= self.index {
            return Place { index: self.index - n, ..self };
        }
        Place { index: self.index + (size - n), wrap: !self.wrap }
    }

    /// Whether these are the flags of a descriptor that the driver made available in this round (§2.8.1).
    #[inline(always)]
    fn available(self, flags: u16) -> bool {
        flags & (AVAILABLE | USED) == if self.wrap { AVAILABLE } else { USED }
    }
}

impl Packed {
    /// Checks the set-up and finds the ring's memory.
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Packed, Fault> {
        let place = Place::new(setup.position);
        if !(1..=32768).contains(&setup.size) {
            return Err(Breach::Size { size: setup.size, packed: true }.of(setup.queue));
        }
        if u32::from(place.index) >= setup.size {
            return Err(Breach::Position { index: place.index, size: setup.size as u16 }.of(setup.queue));
        }
        let mut ring = Packed {
            queue: setup.queue,
            size: setup.size as u16,
            event_index: setup.event_index,
            indirect: setup.indirect,
            in_order: setup.in_order,
            setup: [setup.descriptor, setup.driver, setup.device],
            descriptors: Area::default(),
            driver: Area::default(),
            device: Area::default(),
            next: place,
            taken: 0,
            seen: place,
            used: place,
            first: None,
            count: 0,
            advanced: 0,
            hint: 0,
            record: None,
        };
        ring.attach(table)?;
        if let Some(place) = &setup.record {
            ring.go_on(Record::open(place, setup.queue, ring.size)?)?;
        }
        Ok(ring)
    }

    /// A process before this one ran the ring up to where the record says: unless the driver has begun anew since.
    fn go_on(&mut self, record: Record) -> Result<(), Fault> {
        let told = self.used.position();
        let position = match record.stood() {
            Stood::Nowhere => told,
            _ if told == BEGINNING && self.untouched() => told,
            Stood::At(position) => position,
            Stood::Either(old, new, noted) => {
                let place = self.checked(old)?;
                if place.available(self.flags(place)) {
                    record.write(noted, self.descriptors.cells(0, self.size.into()));
                }
                new
            }
        };
        let place = self.checked(position)?;
        (self.next, self.seen, self.used) = (place, place, place);
        self.arm_at(place);
        record.begin(position);
        self.record = Some((record, position, 0));
        Ok(())
    }

    /// Whether no device has run the ring since its driver made it. The descriptors alone cannot tell: after a chain across
    /// the end they may look as in the first round. But where this device writes its wishes, it never leaves zeros.
    fn untouched(&self) -> bool {
        self.device.u32(0).load(Relaxed) == 0
    }

    /// Whoever asked where the ring stands starts it again, there or elsewhere.
    pub fn hand_back(&mut self) -> u16 {
        self.record.take().iter().for_each(|(record, ..)| record.forget());
        self.position()
    }

    fn checked(&self, position: u16) -> Result<Place, Fault> {
        let place = Place::new(position);
        let breach = Breach::Position { index: place.index, size: self.size };
        if place.index < self.size { Ok(place) } else { Err(breach.of(self.queue)) }
    }

    /// Finds the ring's memory in a table: the first, or one that replaced it.
    pub fn attach(&mut self, table: &Table) -> Result<(), Fault> {
        let [descriptors, driver, device] = self.setup;
        let find = |what, iova, len, align, write| {
            table.area(iova, len, align, write).map_err(|refusal| Breach::Area(what, refusal).of(self.queue))
        };
        let areas = (
            find("descriptor ring", descriptors, 16 * usize::from(self.size), 16, true)?,
            find("driver event suppression", driver, EVENT_BYTES, 4, false)?,
            find("device event suppression", device, EVENT_BYTES, 4, true)?,
        );
        (self.descriptors, self.driver, self.device) = areas;
        Ok(())
    }

    /// Lets go of the ring's memory; nothing but `attach` may follow.
    pub fn detach(&mut self) {
        (self.descriptors, self.driver, self.device) = Default::default();
    }

    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Where to go on, given back as a set-up's position: available and used are the same once nothing is popped.
    pub fn position(&self) -> u16 {
        self.used.position()
    }

    /// Takes up to `most` (at most `BATCH`) chains, in order, with their pieces of the batch's direction. On a fault the
    /// batch holds those before it.
    #[inline]
    pub fn pop<'m, S: Translate<'m>>(
        &mut self,
        table: &'m Table,
        most: usize,
        batch: &mut Batch<S>,
    ) -> Result<(), Fault> {
        let (mut hint, mut next) = (self.hint, self.next);
        let mut free = self.size - self.taken;
        let outcome = self.chains(table, &mut hint, (&mut next, &mut free), most.min(BATCH), batch);
        (self.hint, self.next, self.taken) = (hint, next, self.size - free);
        outcome
    }

    /// Gives back chains that were popped last and not put.
    pub fn rewind<S>(&mut self, chains: &[Chain<S>]) {
        let slots = chains.iter().map(|chain| chain.slots).sum();
        self.next = self.next.before(slots, self.size);
        self.taken -= slots;
    }

    /// Writes used descriptors, for chains in the order in which they were popped; the driver sees them after `flush`.
    #[inline]
    pub fn put<S>(&mut self, chains: &[Chain<S>]) {
        if self.record.is_some() {
            return self.note(chains);
        }
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        let (mut used, mut slots, mut others) = (self.used, 0, chains);
        if self.first.is_none() {
            let Some((first, rest)) = chains.split_first() else { return };
            self.first = Some((used.index, used_word(first, used.wrap)));
            (used, slots, others) = (used.after(first.slots, self.size), first.slots, rest);
        }
        for chain in others {
            descriptors[usize::from(used.index)][1].store(used_word(chain, used.wrap), Relaxed);
            used = used.after(chain.slots, self.size);
            slots += chain.slots;
        }
        self.used = used;
        self.account(chains.len() as u16, slots);
    }

    /// The same into the record, from where `flush` takes them.
    fn note<S>(&mut self, chains: &[Chain<S>]) {
        let Some((record, _, noted)) = &mut self.record else { return };
        let mut slots = 0;
        for chain in chains {
            let word = used_word(chain, self.used.wrap);
            record.note(*noted, self.used.index, word);
            self.first.get_or_insert((self.used.index, word));
            *noted += 1;
            self.used = self.used.after(chain.slots, self.size);
            slots += chain.slots;
        }
        self.account(chains.len() as u16, slots);
    }

    /// The same for chains that were only read. Where they are used in order, the descriptor of the last speaks for all, and
    /// lies where that of the first would (§2.8.9).
    #[inline]
    pub fn put_read<S>(&mut self, chains: &[Chain<S>]) {
        let Some(last) = chains.last().filter(|_| self.in_order) else { return self.put(chains) };
        let others = &chains[..chains.len() - 1];
        let skipped = others.iter().map(|chain| chain.slots).sum();
        self.put(std::slice::from_ref(last));
        self.used = self.used.after(skipped, self.size);
        self.account(others.len() as u16, skipped);
    }

    /// Shows the driver what was put. How many chains that is.
    #[inline]
    pub fn publish(&mut self) -> u16 {
        let Some((index, word)) = self.first.take() else { return 0 };
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        match &mut self.record {
            Some((record, stands, noted)) => {
                let new = self.used.position();
                record.show(*stands, new, *noted, descriptors);
                (*stands, *noted) = (new, 0);
            }
            None => descriptors[usize::from(index)][1].store(word, Release),
        }
        std::mem::take(&mut self.count)
    }

    /// Whether the driver wants an interrupt for what was shown to it last, a `barrier` ago.
    #[inline]
    pub fn wanted(&mut self, _count: u16) -> bool {
        let wanted = self.wants_interrupt();
        self.advanced = 0;
        wanted
    }

    /// Whether the driver wants an interrupt for chains that were shown to it before: unless it wants none at all, since
    /// how many descriptors they had is no longer known.
    pub fn still_wants(&self, _count: u32) -> bool {
        barrier();
        (u32::from_le(self.driver.u32(0).load(Relaxed)) >> 16) as u16 & EVENT_FLAGS != DISABLE
    }

    /// Asks the driver for no notifications (§2.8.10).
    pub fn suppress(&mut self) {
        self.wish(0, DISABLE);
    }

    /// Asks for a notification of the next chain. True if chains are there already.
    pub fn arm(&mut self) -> bool {
        self.arm_at(self.next);
        self.waiting()
    }

    /// As `arm`, but for chains beyond those that are there already. True if there are such.
    pub fn arm_beyond(&mut self) -> bool {
        let known = self.scan(usize::MAX).1;
        self.arm_at(self.seen);
        self.scan(usize::MAX).1 > known
    }

    /// How many chains are there, if fewer than `most`.
    pub fn outstanding(&mut self, most: usize) -> usize {
        self.scan(most).0
    }

    /// How far the driver had come when that was last looked at.
    pub fn seen(&self) -> u16 {
        self.seen.position()
    }

    /// Whether chains are there.
    pub fn waiting(&mut self) -> bool {
        self.taken < self.size && self.next.available(self.flags(self.next))
    }

    /// Looks ahead over up to `most` chains: how many there are, and of how many descriptors.
    fn scan(&mut self, most: usize) -> (usize, u16) {
        let (mut chains, mut slots) = (0, 0);
        self.seen = self.next;
        while chains < most && slots < self.size - self.taken {
            let flags = self.flags(self.seen);
            if !self.seen.available(flags) {
                break;
            }
            chains += usize::from(!Descriptor::continued(flags));
            slots += 1;
            self.seen = self.seen.after(1, self.size);
        }
        (chains, slots)
    }

    #[inline(always)]
    fn chains<'m, S: Translate<'m>>(
        &self,
        table: &'m Table,
        hint: &mut usize,
        (next, free): (&mut Place, &mut u16),
        most: usize,
        batch: &mut Batch<S>,
    ) -> Result<(), Fault> {
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        (0..most).step_by(TO_A_LINE).for_each(|n| self.descriptors.prefetch(16 * (usize::from(next.index) + n)));
        let end = batch.chains.len() + most;
        loop {
            let room = (end - batch.chains.len()).min(usize::from(*free));
            let to_end = &descriptors[usize::from(next.index)..];
            let taken = plain(&to_end[..room.min(to_end.len())], *next, table.window(*hint), batch);
            *next = next.after(taken, self.size);
            *free -= taken;
            if usize::from(taken) == room {
                return Ok(());
            }
            if usize::from(taken) == to_end.len() {
                continue;
            }
            // The next one is not there, or not plain.
            let head = load(descriptors, *next);
            if !next.available(head.flags) {
                return Ok(());
            }
            let mut slots = 1;
            batch.push(|pieces| {
                let chain = self.walk(Steps::new(table, hint, pieces, *free), *next, head, *free)?;
                slots = chain.1;
                Ok(chain)
            })?;
            *next = next.after(slots, self.size);
            *free -= slots;
        }
    }

    /// Visits the buffers of the chain that begins with `descriptor` at `place`: at most `free` of them.
    #[inline(never)]
    fn walk<'m, S: Translate<'m>>(
        &self,
        mut steps: Steps<'_, 'm, S>,
        mut place: Place,
        mut descriptor: Descriptor,
        free: u16,
    ) -> Result<(u16, u16, u64), Fault> {
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        let mut slots = 1;
        loop {
            let at = |breach: Breach| breach.at(self.queue, place.index);
            if descriptor.indirect() {
                // A list is of direct descriptors, or it is one indirect one (§2.8.5).
                let alone = if slots == 1 { Ok(()) } else { Err(Breach::IndirectWithNext) };
                alone.and_then(|()| steps.enter(descriptor, self.indirect, Tables::Whole)).map_err(at)?;
                break;
            }
            steps.step(descriptor).map_err(at)?;
            if !descriptor.continues() {
                break;
            }
            if slots == free.min(LONGEST) {
                return Err(at(Breach::TooLong { most: slots }));
            }
            place = place.after(1, self.size);
            slots += 1;
            descriptor = load(descriptors, place);
            if !place.available(descriptor.flags) {
                return Err(Breach::Unfinished.at(self.queue, place.index));
            }
        }
        Ok((descriptor.link, slots, steps.len))
    }

    fn account(&mut self, chains: u16, slots: u16) {
        self.count += chains;
        self.advanced += slots;
        self.taken -= slots;
    }

    fn flags(&self, place: Place) -> u16 {
        let word = self.descriptors.u64(16 * usize::from(place.index) + 8).load(Acquire);
        (u64::from_le(word) >> 48) as u16
    }

    fn arm_at(&mut self, place: Place) {
        if self.event_index {
            self.wish(place.position(), AT_DESCRIPTOR)
        } else {
            self.wish(NOWHERE, ENABLE)
        }
        barrier();
    }

    fn wish(&mut self, position: u16, flags: u16) {
        let wish = u32::from(position) | u32::from(flags) << 16;
        self.device.u32(0).store(wish.to_le(), Relaxed);
    }

    #[inline(always)]
    fn wants_interrupt(&self) -> bool {
        let wish = u32::from_le(self.driver.u32(0).load(Relaxed));
        match (wish >> 16) as u16 & EVENT_FLAGS {
            DISABLE => false,
            AT_DESCRIPTOR if self.event_index => self.passed(Place::new(wish as u16)),
            _ => true,
        }
    }

    /// Whether the descriptor at `event` is among those used since the last flush.
    fn passed(&self, event: Place) -> bool {
        let round = if event.wrap == self.used.wrap { 0 } else { self.size };
        let ahead = self.used.index.wrapping_add(round).wrapping_sub(event.index);
        ahead.wrapping_sub(1) < self.advanced
    }
}

/// Takes chains in a row, without the ring's end between them, as long as each is there and a single piece of `window`.
/// How many.
#[inline(always)]
fn plain<'m, S: Translate<'m>>(
    descriptors: &[[AtomicU64; 2]],
    place: Place,
    window: Window<'m, S>,
    batch: &mut Batch<S>,
) -> u16 {
    let mut taken = 0;
    for cell in descriptors {
        let descriptor = read(cell);
        // An address beyond the window is for `walk`, which says what is wrong with it.
        let piece = window.piece(descriptor.iova, descriptor.len);
        let Some(piece) = piece.filter(|_| place.available(descriptor.flags) && descriptor.alone(S::WRITES)) else {
            break;
        };
        piece.prefetch();
        batch.chains.push(Chain::single(descriptor.link, piece, descriptor.len));
        taken += 1;
    }
    taken
}

/// A descriptor, read once: what says that it is there before the rest.
#[inline(always)]
fn load(descriptors: &[[AtomicU64; 2]], place: Place) -> Descriptor {
    read(&descriptors[usize::from(place.index)])
}

#[inline(always)]
fn read([address, rest]: &[AtomicU64; 2]) -> Descriptor {
    let rest = rest.load(Acquire);
    Descriptor::packed([address.load(Relaxed), rest])
}

/// The second half of a used descriptor: how much was written, whose buffer it is, and that it is used (§2.8.4).
#[inline(always)]
fn used_word<S>(chain: &Chain<S>, wrap: bool) -> u64 {
    let wrote = if chain.written > 0 { WRITE } else { 0 };
    let flags = wrote | if wrap { AVAILABLE | USED } else { 0 };
    (u64::from(chain.written) | u64::from(chain.id) << 32 | u64::from(flags) << 48).to_le()
}
