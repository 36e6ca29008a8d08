//! The rules of a descriptor chain, and of the indirect table that may end it (virtio 1.3 §2.7.5, §2.8.5-7). The same for
//! both layouts, but for how an indirect table is followed.

use super::descriptor::Descriptor;
use super::fault::Breach;
use crate::memory::{Table, Translate};

const DESCRIPTOR: u32 = 16;
/// Longest chain served, whatever the queue's size: no guest may keep the worker for longer than that.
pub const LONGEST: u16 = 1024;

/// How the entries of an indirect table follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// By NEXT and number (§2.7.5.3).
    Linked,
    /// All of them, one after the other; flags other than WRITE mean nothing (§2.8.7).
    Whole,
}

/// Counts and checks the buffers of one chain, and collects those of the direction that is asked for.
pub struct Steps<'p, 'm, S> {
    table: &'m Table,
    hint: &'p mut usize,
    pieces: &'p mut Vec<S>,
    /// Bytes of that direction.
    pub len: u64,
    most: u16,
    taken: u16,
    writable: bool,
}

impl<'p, 'm, S: Translate<'m>> Steps<'p, 'm, S> {
    /// For a chain of at most `size` buffers in the ring itself (§2.7.5.2: no loops, no longer than the queue), or `LONGEST`.
    pub fn new(table: &'m Table, hint: &'p mut usize, pieces: &'p mut Vec<S>, size: u16) -> Self {
        Steps { table, hint, pieces, len: 0, most: size.min(LONGEST), taken: 0, writable: false }
    }

    /// The next buffer.
    pub fn step(&mut self, descriptor: Descriptor) -> Result<(), Breach> {
        if self.taken == self.most {
            return Err(Breach::TooLong { most: self.most });
        }
        if descriptor.len == 0 {
            return Err(Breach::Empty);
        }
        if self.writable && !descriptor.writes() {
            return Err(Breach::ReadableAfterWritable);
        }
        self.taken += 1;
        self.writable = descriptor.writes();
        if self.writable != S::WRITES {
            return Ok(());
        }
        let len = u64::from(descriptor.len);
        self.len += len;
        S::translate(self.table, self.hint, descriptor.iova, len, self.pieces).map_err(Breach::Address)
    }

    /// The rest of the chain is in the table that `descriptor` refers to. Its WRITE flag is ignored.
    ///
    /// Linux fills a table with more buffers than a small queue has descriptors, so what holds is `LONGEST`.
    pub fn enter(&mut self, descriptor: Descriptor, negotiated: bool, how: Tables) -> Result<(), Breach> {
        if !negotiated {
            return Err(Breach::IndirectNotNegotiated);
        }
        if descriptor.continues() {
            return Err(Breach::IndirectWithNext);
        }
        if descriptor.len == 0 || descriptor.len % DESCRIPTOR != 0 {
            return Err(Breach::IndirectLength(descriptor.len));
        }
        let count = descriptor.len / DESCRIPTOR;
        self.most = LONGEST;
        match how {
            Tables::Linked => self.follow(descriptor.iova, count),
            Tables::Whole => (0..count).try_for_each(|index| {
                let words = self.fetch(descriptor.iova, index)?;
                self.step(Descriptor::packed(words))
            }),
        }
    }

    fn follow(&mut self, iova: u64, count: u32) -> Result<(), Breach> {
        self.most = LONGEST.min(self.taken.saturating_add(count.min(0xffff) as u16));
        let mut index = 0;
        loop {
            let descriptor = Descriptor::split(self.fetch(iova, index)?);
            if descriptor.indirect() {
                return Err(Breach::IndirectNested);
            }
            self.step(descriptor)?;
            if !descriptor.continues() {
                return Ok(());
            }
            if u32::from(descriptor.link) >= count {
                return Err(Breach::NextOutside { next: descriptor.link, size: count.min(0xffff) as u16 });
            }
            index = descriptor.link.into();
        }
    }

    fn fetch(&mut self, iova: u64, index: u32) -> Result<[u64; 2], Breach> {
        let mut bytes = [0; DESCRIPTOR as usize];
        let place = iova.wrapping_add(u64::from(index) * u64::from(DESCRIPTOR));
        self.table.read(self.hint, place, &mut bytes).map_err(Breach::Address)?;
        Ok([0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes"))))
    }
}
