//! The rules of a descriptor chain, and of the indirect table that may end it (virtio 1.3 §2.7.5). The same for both
//! layouts of virtqueue, but for how an indirect table is followed.

use super::fault::Breach;
use super::split::Descriptor;
use crate::memory::Table;

const DESCRIPTOR: u32 = 16;
/// Longest chain served, whatever the queue's size: no guest may keep the worker for longer than that.
const LONGEST: u16 = 1024;

/// Counts and checks the buffers of one chain, and hands each to `visit`.
pub struct Steps<V> {
    size: u16,
    taken: u16,
    writable: bool,
    visit: V,
}

impl<V: FnMut(Descriptor) -> Result<(), Breach>> Steps<V> {
    /// For a chain of at most `size` buffers (§2.7.5.2: no loops, no longer than the queue), or `LONGEST`.
    pub fn new(size: u16, visit: V) -> Self {
        Steps { size: size.min(LONGEST), taken: 0, writable: false, visit }
    }

    /// The next buffer.
    pub fn step(&mut self, descriptor: Descriptor) -> Result<(), Breach> {
        if self.taken == self.size {
            return Err(Breach::TooLong { size: self.size });
        }
        if descriptor.len == 0 {
            return Err(Breach::Empty);
        }
        if self.writable && !descriptor.writes() {
            return Err(Breach::ReadableAfterWritable);
        }
        self.taken += 1;
        self.writable = descriptor.writes();
        (self.visit)(descriptor)
    }

    /// The rest of the chain is in the table that `descriptor` refers to (§2.7.5.3). Its WRITE flag is ignored.
    pub fn enter(&mut self, table: &Table, descriptor: Descriptor, negotiated: bool) -> Result<(), Breach> {
        if !negotiated {
            return Err(Breach::IndirectNotNegotiated);
        }
        if descriptor.continues() {
            return Err(Breach::IndirectWithNext);
        }
        if descriptor.len == 0 || descriptor.len % DESCRIPTOR != 0 {
            return Err(Breach::IndirectLength(descriptor.len));
        }
        self.follow(table, descriptor.iova, descriptor.len / DESCRIPTOR)
    }

    fn follow(&mut self, table: &Table, iova: u64, count: u32) -> Result<(), Breach> {
        let (mut index, mut hint) = (0, 0);
        loop {
            let descriptor = fetch(table, &mut hint, iova, index)?;
            if descriptor.indirect() {
                return Err(Breach::IndirectNested);
            }
            self.step(descriptor)?;
            if !descriptor.continues() {
                return Ok(());
            }
            if u32::from(descriptor.next) >= count {
                return Err(Breach::NextOutside { next: descriptor.next, size: count.min(0xffff) as u16 });
            }
            index = descriptor.next;
        }
    }
}

fn fetch(table: &Table, hint: &mut usize, iova: u64, index: u16) -> Result<Descriptor, Breach> {
    let mut bytes = [0; DESCRIPTOR as usize];
    let place = iova.wrapping_add(u64::from(index) * u64::from(DESCRIPTOR));
    table.read(hint, place, &mut bytes).map_err(Breach::Address)?;
    let [low, high] = [0, 8].map(|at| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes")));
    Ok(Descriptor::new(low, high))
}
