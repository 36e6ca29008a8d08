//! The split virtqueue (virtio 1.3 §2.7), device side. The driver's index is acquired, and ours released, once a batch.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::BATCH;
use super::batch::Batch;
use super::fault::{Breach, Fault};
use super::indirect;
use crate::memory::{Area, Table, Translate};
use crate::worker::orders::QueueSetup;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAILABLE_NO_INTERRUPT: u16 = 1;
const USED_NO_NOTIFY: u16 = 1;

/// Offsets in the available and in the used ring: flags, index, entries.
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

/// A descriptor, read once (§2.7.5).
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub iova: u64,
    pub len: u32,
    flags: u16,
    pub next: u16,
}

pub struct Split {
    queue: u16,
    size: u16,
    event_index: bool,
    indirect: bool,
    setup: [u64; 3],
    descriptors: Area,
    available: Area,
    used: Area,
    /// The entry of the available ring to be taken next, and where the driver's index stood when last read.
    next: u16,
    seen: u16,
    /// The entry of the used ring to be written next, and the index that the driver has been shown.
    filled: u16,
    published: u16,
    hint: usize,
}

impl Descriptor {
    pub fn new(low: u64, high: u64) -> Self {
        let (low, high) = (u64::from_le(low), u64::from_le(high));
        Descriptor { iova: low, len: high as u32, flags: (high >> 32) as u16, next: (high >> 48) as u16 }
    }

    pub fn writes(&self) -> bool {
        self.flags & WRITE != 0
    }

    pub fn continues(&self) -> bool {
        self.flags & NEXT != 0
    }

    pub fn indirect(&self) -> bool {
        self.flags & INDIRECT != 0
    }
}

impl Split {
    /// Checks the set-up and finds the ring's memory.
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Split, Fault> {
        if !setup.size.is_power_of_two() || setup.size > 32768 {
            return Err(Breach::Size(setup.size).of(setup.queue));
        }
        let mut ring = Split {
            queue: setup.queue,
            size: setup.size as u16,
            event_index: setup.event_index,
            indirect: setup.indirect,
            setup: [setup.descriptor, setup.driver, setup.device],
            descriptors: Area::default(),
            available: Area::default(),
            used: Area::default(),
            next: setup.position,
            seen: setup.position,
            filled: setup.position,
            published: setup.position,
            hint: 0,
        };
        ring.attach(table)?;
        Ok(ring)
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
        for (offset, head) in heads.iter_mut().enumerate() {
            let entry = self.entry(self.next.wrapping_add(offset as u16));
            *head = u16::from_le(self.available.u16(ENTRIES + 2 * entry).load(Relaxed));
            self.descriptors.prefetch(16 * usize::from(*head));
        }
        for &mut head in heads {
            batch.push(head, |pieces| self.chain(table, head, pieces))?;
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }

    /// Gives back the last `n` chains that were popped and not put.
    pub fn rewind(&mut self, n: usize) {
        self.next = self.next.wrapping_sub(n as u16);
    }

    /// Writes a used entry; the driver sees it after `flush`.
    #[inline(always)]
    pub fn put(&mut self, id: u16, written: u32) {
        let place = ENTRIES + 8 * self.entry(self.filled);
        self.used.u32(place).store(u32::from(id).to_le(), Relaxed);
        self.used.u32(place + 4).store(written.to_le(), Relaxed);
        self.filled = self.filled.wrapping_add(1);
    }

    /// Shows the driver what was put. How many that is, and whether it wants an interrupt (§2.7.7).
    #[inline]
    pub fn flush(&mut self) -> (u16, bool) {
        let (old, new) = (self.published, self.filled);
        if old == new {
            return (0, false);
        }
        self.used.u16(INDEX).store(new.to_le(), Release);
        self.published = new;
        // The index must be visible before the driver's wish is read, else both sides could wait for each other.
        fence(SeqCst);
        (new.wrapping_sub(old), self.wants_interrupt(old, new))
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
            self.used.u16(event).store(self.next.to_le(), Relaxed);
        } else {
            self.used.u16(FLAGS).store(0, Relaxed);
        }
        fence(SeqCst);
        self.waiting()
    }

    /// As `arm`, but for chains beyond those that are there already. True if there are such.
    pub fn arm_beyond(&mut self) -> bool {
        let next = std::mem::replace(&mut self.next, self.seen);
        let more = self.arm();
        self.next = next;
        more
    }

    /// How many chains are known to be there.
    pub fn outstanding(&self) -> u16 {
        self.seen.wrapping_sub(self.next)
    }

    /// The driver's index as it was last read.
    pub fn seen(&self) -> u16 {
        self.seen
    }

    /// Whether chains are there.
    pub fn waiting(&mut self) -> bool {
        if self.seen == self.next {
            self.seen = u16::from_le(self.available.u16(INDEX).load(Acquire));
        }
        self.seen != self.next
    }

    /// How many chains, up to `most`, the driver has made available; its index is read when those known do not suffice.
    #[inline(always)]
    fn ready(&mut self, most: usize) -> Result<usize, Fault> {
        let mut ready = self.seen.wrapping_sub(self.next);
        if usize::from(ready) < most {
            self.seen = u16::from_le(self.available.u16(INDEX).load(Acquire));
            ready = self.seen.wrapping_sub(self.next);
        }
        if ready > self.size {
            let breach = Breach::Jump { next: self.next, available: self.seen, size: self.size };
            return Err(breach.of(self.queue));
        }
        Ok(usize::from(ready).min(most))
    }

    /// Pushes the pieces of a chain; returns how many bytes they are.
    #[inline(always)]
    fn chain<'m, S: Translate<'m>>(&mut self, table: &'m Table, head: u16, pieces: &mut Vec<S>) -> Result<u64, Fault> {
        if head >= self.size {
            return Err(Breach::HeadOutside { size: self.size }.at(self.queue, head));
        }
        let only = self.descriptor(head);
        if only.flags & (NEXT | INDIRECT) == 0 && only.len > 0 && only.writes() == S::WRITES {
            S::translate(table, &mut self.hint, only.iova, u64::from(only.len), pieces)
                .map_err(|refusal| Breach::Address(refusal).at(self.queue, head))?;
            return Ok(u64::from(only.len));
        }
        let (mut len, mut hint) = (0, self.hint);
        self.walk(table, head, only, |descriptor| {
            if descriptor.writes() != S::WRITES {
                return Ok(());
            }
            len += u64::from(descriptor.len);
            S::translate(table, &mut hint, descriptor.iova, u64::from(descriptor.len), pieces).map_err(Breach::Address)
        })?;
        self.hint = hint;
        Ok(len)
    }

    /// Visits the buffers of the chain that begins with `descriptor` at `head`.
    #[inline(never)]
    fn walk(
        &self,
        table: &Table,
        head: u16,
        mut descriptor: Descriptor,
        visit: impl FnMut(Descriptor) -> Result<(), Breach>,
    ) -> Result<(), Fault> {
        let mut steps = indirect::Steps::new(self.size, visit);
        let mut index = head;
        loop {
            if descriptor.indirect() {
                let negotiated = self.indirect;
                return steps.enter(table, descriptor, negotiated).map_err(|breach| breach.at(self.queue, index));
            }
            steps.step(descriptor).map_err(|breach| breach.at(self.queue, index))?;
            if !descriptor.continues() {
                return Ok(());
            }
            if descriptor.next >= self.size {
                let breach = Breach::NextOutside { next: descriptor.next, size: self.size };
                return Err(breach.at(self.queue, index));
            }
            index = descriptor.next;
            descriptor = self.descriptor(index);
        }
    }

    #[inline(always)]
    fn descriptor(&self, index: u16) -> Descriptor {
        let place = 16 * usize::from(index);
        Descriptor::new(self.descriptors.u64(place).load(Relaxed), self.descriptors.u64(place + 8).load(Relaxed))
    }

    #[inline(always)]
    fn entry(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    #[inline(always)]
    fn wants_interrupt(&self, old: u16, new: u16) -> bool {
        if self.event_index {
            let place = ENTRIES + 2 * usize::from(self.size);
            let event = u16::from_le(self.available.u16(place).load(Relaxed));
            return new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old);
        }
        u16::from_le(self.available.u16(FLAGS).load(Relaxed)) & AVAILABLE_NO_INTERRUPT == 0
    }
}
