//! What both layouts of a virtqueue do for a driver whose descriptors are made beforehand: one descriptor a buffer, offered
//! and used in the order of the ring, again and again.

use std::sync::atomic::{Ordering, fence};

use vhost::VringConfigData;

use crate::memory::Memory;

/// Bytes of memory that a queue may take for its parts, and where each part is.
pub const PART: u64 = 1 << 17;
/// Bytes of virtio_net_hdr, with num_buffers.
pub const HEADER: usize = 12;
/// The longest frame of a segment's length.
pub const SHORT: usize = 1518;

/// Bytes of a receive buffer.
pub fn room(octets: usize) -> u32 {
    if octets <= SHORT { 2048 } else { 66 << 10 }
}

/// Bytes from buffer to buffer: they lie as DPDK's mbufs do, with headroom and descriptor between.
pub fn stride(octets: usize) -> u64 {
    u64::from(room(octets)) + 256
}

#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Transmit,
    Receive,
}

/// Where a queue is: three parts of `PART` bytes at `parts`, and its buffers at `buffers`. All guest-physical.
#[derive(Clone, Copy)]
pub struct Place {
    pub parts: u64,
    pub buffers: u64,
    pub stride: u64,
}

impl Place {
    /// Where the buffer of descriptor `index` is.
    pub fn buffer(&self, index: u16) -> u64 {
        self.buffers + u64::from(index) * self.stride
    }

    pub fn addresses(&self, memory: &Memory, size: u16) -> VringConfigData {
        let [descriptor, driver, device] = [0, 1, 2].map(|part| memory.at(self.parts + part * PART, 0) as u64);
        VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: 0,
            desc_table_addr: descriptor,
            used_ring_addr: device,
            avail_ring_addr: driver,
            log_addr: None,
        }
    }
}

pub trait Ring: Sized {
    const PACKED: bool;
    /// Where a queue starts, as vhost's vring base.
    const BASE: u16;

    /// Describes `size` buffers of `length` bytes; none is offered yet, and no interrupt wanted.
    fn new(memory: &Memory, place: Place, way: Way, size: u16, length: u32) -> Self;

    /// Offers the next `count` buffers, which must be the driver's.
    fn offer(&mut self, count: u16);

    /// How many buffers the device has used since the last call.
    fn used(&mut self) -> u16;

    /// Whether the device asks for a kick. Only said after a full barrier: see `must_kick`.
    fn asks(&self) -> bool;

    /// Frames that came out of order, which this driver cannot follow.
    fn disorder(&self) -> u64;

    /// Whether the device wants to be told of what was offered.
    fn must_kick(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asks()
    }
}
