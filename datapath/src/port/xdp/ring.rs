//! The two ends of a ring that is shared with the kernel. Only one side moves an index; the kernel's is not taken at its word:
//! one that claims more than the ring holds claims nothing.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::memory::{ADDRESS, DESCRIPTOR, Exchange};

/// XDP_RING_NEED_WAKEUP
const NEEDS_WAKEUP: u32 = 1;
/// XDP_PKT_CONTD: the frame goes on in the next entry.
const CONTINUED: u32 = 1;

/// A frame, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub address: u64,
    pub len: u32,
    pub more: bool,
}

/// The end that puts entries in.
pub struct Producer {
    ring: Exchange,
    count: u32,
    next: u32,
}

/// The end that takes entries out.
pub struct Consumer {
    ring: Exchange,
    count: u32,
    next: u32,
}

impl Producer {
    /// `count` is a power of two: how many entries the ring has.
    pub fn new(ring: Exchange, count: u32) -> Producer {
        let next = ring.area.u32(ring.producer).load(Relaxed);
        Producer { ring, count, next }
    }

    /// How many entries may be put in.
    pub fn room(&self) -> u32 {
        self.count.saturating_sub(self.outstanding())
    }

    /// How many the kernel has not taken yet.
    pub fn outstanding(&self) -> u32 {
        self.next.wrapping_sub(self.ring.area.u32(self.ring.consumer).load(Acquire))
    }

    pub fn address(&mut self, address: u64) {
        self.ring.area.u64(self.place(ADDRESS)).store(address, Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    pub fn piece(&mut self, piece: Piece) {
        let place = self.place(DESCRIPTOR);
        self.ring.area.u64(place).store(piece.address, Relaxed);
        self.ring.area.u32(place + 8).store(piece.len, Relaxed);
        self.ring.area.u32(place + 12).store(if piece.more { CONTINUED } else { 0 }, Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    /// The kernel sees what was put in.
    pub fn publish(&mut self) {
        self.ring.area.u32(self.ring.producer).store(self.next, Release);
    }

    /// Whether the kernel has to be told that there is something new.
    pub fn wants_wakeup(&self) -> bool {
        self.ring.area.u32(self.ring.flags).load(Relaxed) & NEEDS_WAKEUP != 0
    }

    fn place(&self, size: usize) -> usize {
        self.ring.entries + (self.next & (self.count - 1)) as usize * size
    }
}

impl Consumer {
    /// `count` is a power of two: how many entries the ring has.
    pub fn new(ring: Exchange, count: u32) -> Consumer {
        let next = ring.area.u32(ring.consumer).load(Relaxed);
        Consumer { ring, count, next }
    }

    /// How many entries there are to be taken.
    pub fn waiting(&self) -> u32 {
        let claimed = self.ring.area.u32(self.ring.producer).load(Acquire).wrapping_sub(self.next);
        if claimed > self.count { 0 } else { claimed }
    }

    /// The entry after `ahead` others.
    pub fn address(&self, ahead: u32) -> u64 {
        self.ring.area.u64(self.place(ahead, ADDRESS)).load(Relaxed)
    }

    /// The entry after `ahead` others.
    pub fn piece(&self, ahead: u32) -> Piece {
        let place = self.place(ahead, DESCRIPTOR);
        let word = |at: usize| self.ring.area.u32(place + at).load(Relaxed);
        let address = self.ring.area.u64(place).load(Relaxed);
        Piece { address, len: word(8), more: word(12) & CONTINUED != 0 }
    }

    /// Gives the places of `count` entries back.
    pub fn advance(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
        self.ring.area.u32(self.ring.consumer).store(self.next, Release);
    }

    fn place(&self, ahead: u32, size: usize) -> usize {
        self.ring.entries + (self.next.wrapping_add(ahead) & (self.count - 1)) as usize * size
    }
}
