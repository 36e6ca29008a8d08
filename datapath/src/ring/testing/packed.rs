//! The driver's side of a packed virtqueue (virtio 1.3 §2.8).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{NEXT, WRITE, write};
use crate::memory::{Area, Table};
use crate::worker::orders::QueueSetup;

pub const AVAILABLE: u16 = 1 << 7;
pub const USED: u16 = 1 << 15;

/// One that uses the index of a chain's first descriptor as its buffer id.
pub struct PackedDriver {
    pub setup: QueueSetup,
    table: Arc<Table>,
    descriptors: Area,
    events: Area,
    device_events: Area,
    /// Where the next descriptor goes, and where the next used one is awaited: index and wrap counter.
    pub next: (u16, bool),
    pub collected: (u16, bool),
    /// Descriptors of the chain of each buffer id.
    lengths: Vec<u16>,
}

impl PackedDriver {
    pub(super) fn new(setup: QueueSetup, table: Arc<Table>) -> PackedDriver {
        PackedDriver {
            descriptors: table.area(setup.descriptor, 16 * setup.size as usize, 16, true).unwrap(),
            events: table.area(setup.driver, 4, 4, true).unwrap(),
            device_events: table.area(setup.device, 4, 4, true).unwrap(),
            next: (0, true),
            collected: (0, true),
            lengths: vec![1; setup.size as usize],
            setup,
            table,
        }
    }

    /// Makes a chain of (address, length, flags) available; NEXT is added where it belongs. Its buffer id.
    pub fn offer(&mut self, buffers: &[(u64, u32, u16)]) -> u16 {
        let (id, wrap) = self.next;
        self.lengths[usize::from(id)] = buffers.len() as u16;
        for (number, (iova, len, flags)) in buffers.iter().enumerate() {
            let more = if number + 1 < buffers.len() { NEXT } else { 0 };
            let marks = marks(self.next.1);
            // The first one is shown when all others are there.
            let marks = if number == 0 { marks ^ (AVAILABLE | USED) } else { marks };
            self.describe(self.next.0, (*iova, *len, id, flags | more | marks));
            self.next = self.after(self.next, 1);
        }
        let more = if buffers.len() > 1 { NEXT } else { 0 };
        let (iova, len, flags) = buffers[0];
        self.describe(id, (iova, len, id, flags | more | marks(wrap)));
        id
    }

    /// Writes a descriptor: address, length, buffer id, flags.
    pub fn describe(&self, index: u16, (iova, len, id, flags): (u64, u32, u16, u16)) {
        let place = 16 * usize::from(index);
        self.descriptors.u64(place).store(iova.to_le(), Relaxed);
        let rest = u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48;
        self.descriptors.u64(place + 8).store(rest.to_le(), Release);
    }

    /// Makes the descriptors at the next `n` places available again as they are, but for length and direction: what a driver
    /// does at least.
    #[inline]
    pub fn again(&mut self, n: u16, len: u32, writes: bool) {
        let descriptors: &[[AtomicU64; 2]] = self.descriptors.cells(0, self.setup.size as usize);
        let (mut index, mut wrap) = self.next;
        let same = u64::from(len) | if writes { u64::from(WRITE) << 48 } else { 0 };
        for _ in 0..n {
            let rest = same | u64::from(index) << 32 | u64::from(marks(wrap)) << 48;
            descriptors[usize::from(index)][1].store(rest.to_le(), Release);
            index += 1;
            if usize::from(index) == descriptors.len() {
                (index, wrap) = (0, !wrap);
            }
        }
        self.next = (index, wrap);
    }

    /// Writes an indirect table of (address, length, flags) to `iova`.
    pub fn describe_indirect(&self, iova: u64, entries: &[(u64, u32, u16)]) {
        for (place, (address, len, flags)) in (iova..).step_by(16).zip(entries) {
            write(&self.table, place, &address.to_le_bytes());
            write(&self.table, place + 8, &len.to_le_bytes());
            write(&self.table, place + 14, &flags.to_le_bytes());
        }
    }

    /// The used descriptors not seen yet: (buffer id, bytes written).
    pub fn collect(&mut self) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| {
            let (index, wrap) = self.collected;
            let rest = u64::from_le(self.descriptors.u64(16 * usize::from(index) + 8).load(Acquire));
            let (flags, id) = ((rest >> 48) as u16, (rest >> 32) as u16);
            let both = if wrap { AVAILABLE | USED } else { 0 };
            if flags & (AVAILABLE | USED) != both {
                return None;
            }
            self.collected = self.after(self.collected, self.lengths[usize::from(id)]);
            Some((id, if flags & WRITE != 0 { rest as u32 } else { 0 }))
        })
        .collect()
    }

    /// Waits for used descriptors `n` places on, as a driver does that knows the batch's size.
    pub fn skip(&mut self, n: u16) {
        self.collected = self.after(self.collected, n);
    }

    /// What the driver asks for: offset and wrap counter below, flags above (§2.8.14).
    pub fn set_events(&self, place: (u16, bool), flags: u16) {
        self.events.u32(0).store((event(place) | u32::from(flags) << 16).to_le(), Relaxed);
    }

    /// What the device asks for: offset with wrap counter, and flags.
    pub fn device_events(&self) -> (u16, u16) {
        let events = u32::from_le(self.device_events.u32(0).load(Relaxed));
        (events as u16, (events >> 16) as u16)
    }

    fn after(&self, (index, wrap): (u16, bool), n: u16) -> (u16, bool) {
        let (index, size) = (u32::from(index) + u32::from(n), self.setup.size);
        if index < size { (index as u16, wrap) } else { ((index - size) as u16, !wrap) }
    }
}

/// Flags of an available descriptor in this round.
pub fn marks(wrap: bool) -> u16 {
    if wrap { AVAILABLE } else { USED }
}

fn event((index, wrap): (u16, bool)) -> u32 {
    u32::from(index) | u32::from(wrap) << 15
}
