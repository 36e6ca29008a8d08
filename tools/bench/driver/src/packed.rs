//! The packed virtqueue (virtio 1.3 §2.8).

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::memory::Memory;
use crate::ring::{PART, Place, Ring, Way};

const WRITE: u16 = 2; // VIRTQ_DESC_F_WRITE
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
const DISABLE: u16 = 1; // RING_EVENT_FLAGS_DISABLE

pub struct Packed {
    /// The later half of descriptor 0: length, id and flags, which are written at once.
    descriptors: *const [AtomicU64; 2],
    device_flags: *const AtomicU16,
    /// What a descriptor says beside its id, offered in rounds with wrap counter 0 and 1.
    offers: [u64; 2],
    offered: u16,
    seen: u16,
    offer_wrap: bool,
    seen_wrap: bool,
    outstanding: u16,
    disorder: u64,
    size: u16,
}

impl Ring for Packed {
    const PACKED: bool = true;
    const BASE: u16 = 1 << 15;

    fn new(memory: &Memory, place: Place, way: Way, size: u16, length: u32) -> Packed {
        let [descriptors, driver, device] = [0, 1, 2].map(|part| place.parts + part * PART);
        for index in 0..size {
            let mut descriptor = place.buffer(index).to_le_bytes().to_vec();
            descriptor.extend([0; 8]);
            memory.write(descriptors + 16 * u64::from(index), &descriptor);
        }
        memory.write(driver, &[0, 0, DISABLE as u8, 0]);
        memory.write(device, &[0; 4]);
        let flags = if way == Way::Receive { WRITE } else { 0 };
        let offer = |bit: u16| u64::from(length) | u64::from(flags | bit) << 48;
        Packed {
            descriptors: memory.at(descriptors, 16 * usize::from(size)).cast(),
            device_flags: memory.at(device + 2, 2).cast(),
            offers: [offer(USED), offer(AVAILABLE)],
            offered: 0,
            seen: 0,
            offer_wrap: true,
            seen_wrap: true,
            outstanding: 0,
            disorder: 0,
            size,
        }
    }

    /// The first of them last, so that the device sees all or none.
    #[inline]
    fn offer(&mut self, count: u16) {
        if count == 0 {
            return;
        }
        let (first, wrap) = (self.offered, self.offer_wrap);
        for _ in 1..count {
            self.step();
            self.describe(self.offered, self.offer_wrap, Ordering::Relaxed);
        }
        self.step();
        self.describe(first, wrap, Ordering::Release);
        self.outstanding += count;
    }

    #[inline]
    fn used(&mut self) -> u16 {
        let mut count = 0;
        while count < self.outstanding {
            let descriptor = u64::from_le(self.half(self.seen).load(Ordering::Acquire));
            let flags = (descriptor >> 48) as u16;
            let bits = if self.seen_wrap { AVAILABLE | USED } else { 0 };
            if flags & (AVAILABLE | USED) != bits {
                break;
            }
            self.disorder += u64::from((descriptor >> 32) as u16 != self.seen);
            self.seen += 1;
            if self.seen == self.size {
                self.seen = 0;
                self.seen_wrap = !self.seen_wrap;
            }
            count += 1;
        }
        self.outstanding -= count;
        count
    }

    #[inline]
    fn asks(&self) -> bool {
        // SAFETY: in guest memory, which outlives the ring; aligned.
        u16::from_le(unsafe { (*self.device_flags).load(Ordering::Relaxed) }) & 3 != DISABLE
    }

    fn disorder(&self) -> u64 {
        self.disorder
    }
}

impl Packed {
    #[inline]
    fn half(&self, index: u16) -> &AtomicU64 {
        // SAFETY: `index` is less than the ring's size; in guest memory, which outlives the ring.
        unsafe { &(*self.descriptors.add(usize::from(index)))[1] }
    }

    #[inline]
    fn describe(&self, index: u16, wrap: bool, ordering: Ordering) {
        let value = self.offers[usize::from(wrap)] | u64::from(index) << 32;
        self.half(index).store(value.to_le(), ordering);
    }

    #[inline]
    fn step(&mut self) {
        self.offered += 1;
        if self.offered == self.size {
            self.offered = 0;
            self.offer_wrap = !self.offer_wrap;
        }
    }
}
