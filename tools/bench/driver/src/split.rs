//! The split virtqueue (virtio 1.3 §2.7).

use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::memory::Memory;
use crate::ring::{PART, Place, Ring, Way};

const WRITE: u16 = 2; // VIRTQ_DESC_F_WRITE
const NO_INTERRUPT: u16 = 1; // VIRTQ_AVAIL_F_NO_INTERRUPT
const NO_NOTIFY: u16 = 1; // VIRTQ_USED_F_NO_NOTIFY

pub struct Split {
    available: *const AtomicU16,
    used_flags: *const AtomicU16,
    used: *const AtomicU16,
    ids: *const u8,
    offered: u16,
    seen: u16,
    size: u16,
}

impl Ring for Split {
    const PACKED: bool = false;
    const BASE: u16 = 0;

    fn new(memory: &Memory, place: Place, way: Way, size: u16, length: u32) -> Split {
        let [descriptors, available, used] = [0, 1, 2].map(|part| place.parts + part * PART);
        for index in 0..size {
            let flags = if way == Way::Receive { WRITE } else { 0 };
            let mut descriptor = place.buffer(index).to_le_bytes().to_vec();
            descriptor.extend(length.to_le_bytes());
            descriptor.extend(flags.to_le_bytes());
            descriptor.extend([0; 2]);
            memory.write(descriptors + 16 * u64::from(index), &descriptor);
            memory.write(available + 4 + 2 * u64::from(index), &index.to_le_bytes());
        }
        memory.write(available, &NO_INTERRUPT.to_le_bytes());
        memory.write(available + 2, &[0; 2]);
        memory.write(used, &[0; 4]);
        Split {
            available: memory.at(available + 2, 2).cast(),
            used_flags: memory.at(used, 2).cast(),
            used: memory.at(used + 2, 2).cast(),
            ids: memory.at(used + 4, 8 * usize::from(size)),
            offered: 0,
            seen: 0,
            size,
        }
    }

    #[inline]
    fn offer(&mut self, count: u16) {
        self.offered = self.offered.wrapping_add(count);
        // SAFETY: in guest memory, which outlives the ring; aligned.
        unsafe { (*self.available).store(self.offered.to_le(), Ordering::Release) }
    }

    #[inline]
    fn used(&mut self) -> u16 {
        // SAFETY: as above.
        let used = u16::from_le(unsafe { (*self.used).load(Ordering::Acquire) });
        let count = used.wrapping_sub(self.seen);
        self.seen = used;
        count
    }

    #[inline]
    fn asks(&self) -> bool {
        // SAFETY: as above.
        u16::from_le(unsafe { (*self.used_flags).load(Ordering::Relaxed) }) & NO_NOTIFY == 0
    }

    fn disorder(&self) -> u64 {
        let last = self.seen.min(self.size);
        (0..last)
            .map(|back| self.seen.wrapping_sub(1 + back) % self.size)
            // SAFETY: `slot` is less than the ring's size.
            .map(|slot| (slot, unsafe { ptr::read_volatile(self.ids.add(8 * usize::from(slot)).cast::<u32>()) }))
            .filter(|(slot, id)| u32::from_le(*id) != u32::from(*slot))
            .count() as u64
    }
}
