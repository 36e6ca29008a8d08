//! The split virtqueue (virtio 1.3 §2.7), device side. The driver's index is acquired, and ours released, once a batch.

mod lane;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use super::BATCH;
use super::batch::{Batch, Chain};
use super::chain::{Steps, Tables};
use super::descriptor::Descriptor;
use super::fault::{Breach, Fault};
use super::index::Index;
use super::record::{Record, Stood};
use crate::memory::{Area, Table, Translate, barrier};
use crate::worker::orders::QueueSetup;

pub(super) use lane::SplitLane;

const AVAILABLE_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;

/// Offsets in the available and in the used ring: flags, index, entries.
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

pub struct Split {
    queue: u16,
    size: u16,
    event_index: bool,
    indirect: bool,
    in_order: bool,
    setup: [u64; 3],
    descriptors: Area,
    available: Area,
    used: Area,
    /// The entry of the available ring to be taken next, and where the driver's index stood when last read.
    next: Index,
    seen: Index,
    /// The entry of the used ring to be written next, and the index that the driver has been shown.
    filled: Index,
    published: Index,
    hint: usize,
    /// What outlives this process.
    record: Option<Record>,
}

impl Split {
    /// Checks the set-up and finds the ring's memory.
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Split, Fault> {
        if !setup.size.is_power_of_two() || setup.size > 32768 {
            return Err(Breach::Size { size: setup.size, packed: false }.of(setup.queue));
        }
        let position = Index::new(setup.position);
        let mut ring = Split {
            queue: setup.queue,
            size: setup.size as u16,
            event_index: setup.event_index,
            indirect: setup.indirect,
            in_order: setup.in_order,
            setup: [setup.descriptor, setup.driver, setup.device],
            descriptors: Area::default(),
            available: Area::default(),
            used: Area::default(),
            next: position,
            seen: position,
            filled: position,
            published: position,
            hint: 0,
            record: None,
        };
        ring.attach(table)?;
        if setup.resume {
            ring.go_on_as_shown();
        }
        if let Some(place) = &setup.record {
            ring.go_on(Record::open(place, setup.queue, 0)?);
        }
        Ok(ring)
    }

    /// A process before this one ran the ring as far as the driver was shown.
    fn go_on(&mut self, record: Record) {
        if !matches!(record.stood(), Stood::Nowhere) {
            self.go_on_as_shown();
        }
        record.begin(self.published.get() & 0x7fff);
        self.record = Some(record);
    }

    /// All that was taken before has been used.
    fn go_on_as_shown(&mut self) {
        let shown = Index::new(u16::from_le(self.used.u16(INDEX).load(Acquire)));
        (self.next, self.seen, self.filled, self.published) = (shown, shown, shown, shown);
    }

    /// Whoever asked where the ring stands starts it again, there or elsewhere.
    pub fn hand_back(&mut self) -> u16 {
        self.record.take().iter().for_each(Record::forget);
        self.position()
    }

    /// Finds the ring's memory in a table: the first, or one that replaced it.
    pub fn attach(&mut self, table: &Table) -> Result<(), Fault> {
        let [descriptors, available, used] = self.setup;
        let size = usize::from(self.size);
        let event = if self.event_index { 2 } else { 0 };
        let find = |what, iova, len, align, write| {
            table.area(iova, len, align, write).map_err(|refusal| Breach::Area(what, refusal).of(self.queue))
        };
        let areas = (
            find("descriptor table", descriptors, 16 * size, 16, false)?,
            find("available ring", available, ENTRIES + 2 * size + event, 2, false)?,
            find("used ring", used, ENTRIES + 8 * size + event, 4, true)?,
        );
        (self.descriptors, self.available, self.used) = areas;
        Ok(())
    }

    /// Lets go of the ring's memory; nothing but `attach` may follow.
    pub fn detach(&mut self) {
        (self.descriptors, self.available, self.used) = Default::default();
    }

    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Where to go on, given back as a set-up's position: available and used are the same once nothing is popped.
    pub fn position(&self) -> u16 {
        self.published.get()
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
        let mut heads = [0; BATCH];
        let heads = &mut heads[..self.ready(most.min(BATCH))?];
        self.read_heads(heads);
        let (mut hint, before) = (self.hint, batch.chains.len());
        let outcome = self.chains(table, &mut hint, heads, batch);
        self.hint = hint;
        self.next = self.next.after((batch.chains.len() - before) as u16);
        outcome
    }

    /// Gives back chains that were popped last and not put.
    pub fn rewind<S>(&mut self, chains: &[Chain<S>]) {
        self.next = Index::new(self.next.get().wrapping_sub(chains.len() as u16));
    }

    /// Writes used entries, for chains in the order in which they were popped; the driver sees them after `flush`.
    #[inline]
    pub fn put<S>(&mut self, chains: &[Chain<S>]) {
        let entries: &[[AtomicU32; 2]] = self.used.cells(ENTRIES, self.size.into());
        let mut filled = self.filled;
        for chain in chains {
            let [id, len] = &entries[self.entry(filled.get())];
            id.store(u32::from(chain.id).to_le(), Relaxed);
            len.store(chain.written.to_le(), Relaxed);
            filled = filled.after(1);
        }
        self.filled = filled;
    }

    /// The same for chains that were only read. Where they are used in order, the entry of the last speaks for all, and lies
    /// where that of the first would (§2.7.9).
    #[inline]
    pub fn put_read<S>(&mut self, chains: &[Chain<S>]) {
        let Some(last) = chains.last().filter(|_| self.in_order) else { return self.put(chains) };
        let filled = self.filled;
        self.put(std::slice::from_ref(last));
        self.filled = filled.after(chains.len() as u16);
    }

    /// Shows the driver what was put. How many chains that is.
    #[inline]
    pub fn publish(&mut self) -> u16 {
        let count = self.published.until(self.filled);
        if count > 0 {
            self.used.u16(INDEX).store(self.filled.get().to_le(), Release);
            self.published = self.filled;
        }
        count
    }

    /// Whether the driver wants an interrupt for the last `count` chains, which were shown to it, and a `barrier` ago
    /// (§2.7.7).
    #[inline]
    pub fn wanted(&mut self, count: u16) -> bool {
        self.wants_interrupt(count)
    }

    /// The same for chains that were shown to it at some time before.
    pub fn still_wants(&self, count: u32) -> bool {
        barrier();
        self.wants_interrupt(count.min(self.size.into()) as u16)
    }

    /// Asks the driver for no notifications (§2.7.10). With the event index the old event, left behind, does it.
    pub fn suppress(&mut self) {
        if !self.event_index {
            self.used.u16(FLAGS).store(USED_NO_NOTIFY.to_le(), Relaxed);
        }
    }

    /// Asks for a notification of the next chain. True if chains are there already.
    pub fn arm(&mut self) -> bool {
        if self.event_index {
            let event = ENTRIES + 8 * usize::from(self.size);
            self.used.u16(event).store(self.next.get().to_le(), Relaxed);
        } else {
            self.used.u16(FLAGS).store(0, Relaxed);
        }
        barrier();
        self.waiting()
    }

    /// As `arm`, but for chains beyond those that are there already. True if there are such.
    pub fn arm_beyond(&mut self) -> bool {
        let next = std::mem::replace(&mut self.next, self.seen);
        let more = self.arm();
        self.next = next;
        more
    }

    /// How many chains are there, if fewer than `most`.
    pub fn outstanding(&mut self, most: usize) -> usize {
        self.waiting();
        usize::from(self.next.until(self.seen)).min(most)
    }

    /// How far the driver had come when its index was last read.
    pub fn seen(&self) -> u16 {
        self.seen.get()
    }

    /// Whether chains are there.
    pub fn waiting(&mut self) -> bool {
        if self.seen == self.next {
            self.look();
        }
        self.seen != self.next
    }

    /// Reads the driver's index.
    #[inline(always)]
    fn look(&mut self) {
        self.seen = Index::new(u16::from_le(self.available.u16(INDEX).load(Acquire)));
    }

    /// How many chains, up to `most`, the driver has made available; its index is read when those known do not suffice.
    #[inline(always)]
    fn ready(&mut self, most: usize) -> Result<usize, Fault> {
        if usize::from(self.next.until(self.seen)) < most {
            self.look();
        }
        let ready = self.next.until(self.seen);
        if ready > self.size {
            let breach = Breach::Jump { next: self.next.get(), available: self.seen.get(), size: self.size };
            return Err(breach.of(self.queue));
        }
        Ok(usize::from(ready).min(most))
    }

    /// Reads the next entries of the available ring, and fetches the descriptors that they name.
    #[inline(always)]
    fn read_heads(&self, heads: &mut [u16]) {
        let entries: &[AtomicU16] = self.available.cells(ENTRIES, self.size.into());
        for (offset, head) in heads.iter_mut().enumerate() {
            *head = u16::from_le(entries[self.entry(self.next.after(offset as u16).get())].load(Relaxed));
            self.descriptors.prefetch(16 * usize::from(*head));
        }
    }

    #[inline(always)]
    fn chains<'m, S: Translate<'m>>(
        &self,
        table: &'m Table,
        hint: &mut usize,
        heads: &[u16],
        batch: &mut Batch<S>,
    ) -> Result<(), Fault> {
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        let mut window = table.window::<S>(*hint);
        for &head in heads {
            let Some(words) = descriptors.get(usize::from(head)) else {
                return Err(Breach::HeadOutside { size: self.size }.at(self.queue, head));
            };
            let only = Descriptor::split(words.each_ref().map(|word| word.load(Relaxed)));
            match window.piece(only.iova, only.len).filter(|_| only.alone(S::WRITES)) {
                Some(piece) => {
                    piece.prefetch();
                    batch.chains.push(Chain::single(head, piece, only.len));
                }
                None => {
                    batch.push(|pieces| self.walk(Steps::new(table, hint, pieces, self.size), head, only))?;
                    window = table.window(*hint);
                }
            }
        }
        Ok(())
    }

    /// Visits the buffers of the chain that begins with `descriptor` at `head`.
    #[inline(never)]
    fn walk<'m, S: Translate<'m>>(
        &self,
        mut steps: Steps<'_, 'm, S>,
        head: u16,
        mut descriptor: Descriptor,
    ) -> Result<(u16, u16, u64), Fault> {
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.size.into());
        let mut index = head;
        loop {
            let at = |breach: Breach| breach.at(self.queue, index);
            if descriptor.indirect() {
                steps.enter(descriptor, self.indirect, Tables::Linked).map_err(at)?;
                break;
            }
            steps.step(descriptor).map_err(at)?;
            if !descriptor.continues() {
                break;
            }
            let next = descriptor.link;
            let words = descriptors.get(usize::from(next));
            let words = words.ok_or_else(|| at(Breach::NextOutside { next, size: self.size }))?;
            descriptor = Descriptor::split(words.each_ref().map(|word| word.load(Relaxed)));
            index = next;
        }
        Ok((head, 1, steps.len))
    }

    #[inline(always)]
    fn entry(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    #[inline(always)]
    fn wants_interrupt(&self, count: u16) -> bool {
        if self.event_index {
            let place = ENTRIES + 2 * usize::from(self.size);
            let event = u16::from_le(self.available.u16(place).load(Relaxed));
            return self.published.get().wrapping_sub(event).wrapping_sub(1) < count;
        }
        u16::from_le(self.available.u16(FLAGS).load(Relaxed)) & AVAILABLE_NO_INTERRUPT == 0
    }
}
