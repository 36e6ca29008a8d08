//! A driver for tests and measurements: a guest's memory, its rings, and the verbs a driver has. It plays by the rules
//! unless it is told not to: every ring structure can be written by hand.

mod packed;

pub use packed::PackedDriver;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(test)]
use super::batch::Chain;
use crate::memory::{Area, Protection, Region, Sink, Source, Table, Translate};
use crate::worker::orders::{QueueSetup, Role};

/// Bytes of memory that a guest has, at address `BASE`.
pub const MEMORY: u64 = 16 << 20;
pub const BASE: u64 = 0x1000_0000;
const RING_STRIDE: u64 = 0x10_0000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;
pub const NO_INTERRUPT: u16 = 1;
pub const NO_NOTIFY: u16 = 1;

pub const ALL: Protection = Protection { read: true, write: true };

pub struct Guest {
    pub fd: std::os::fd::OwnedFd,
    pub table: Arc<Table>,
}

/// The driver's side of one virtqueue.
pub struct Driver {
    pub setup: QueueSetup,
    table: Arc<Table>,
    descriptors: Area,
    available: Area,
    used: Area,
    pub offered: u16,
    pub collected: u16,
}

impl Guest {
    pub fn new() -> Guest {
        let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, MEMORY).unwrap();
        let region = Region::map(fd.as_fd(), 0, BASE, MEMORY, ALL).unwrap();
        Guest { fd, table: Arc::new(Table::new(vec![region])) }
    }

    /// The queue's rings are in a place of their own; header 12, mergeable, no event index, no indirect descriptors.
    pub fn queue(&self, queue: u16, role: Role, size: u32) -> Driver {
        Driver::new(self.setup(queue, role, size), self.table.clone())
    }

    /// The same with a packed ring.
    pub fn packed(&self, queue: u16, role: Role, size: u32) -> PackedDriver {
        let setup = QueueSetup { packed: true, position: 1 << 15, ..self.setup(queue, role, size) };
        PackedDriver::new(setup, self.table.clone())
    }

    fn setup(&self, queue: u16, role: Role, size: u32) -> QueueSetup {
        let start = BASE + u64::from(queue) * RING_STRIDE;
        QueueSetup {
            queue,
            role,
            size,
            descriptor: start,
            driver: start + 0x8_0000,
            device: start + 0xa_0000,
            header: 12,
            mergeable: true,
            event_index: false,
            indirect: false,
            packed: false,
            in_order: false,
            vector: queue,
            position: 0,
            record: None,
            resume: false,
            answer: None,
        }
    }

    /// The address of a buffer of up to 4096 bytes, beyond all rings of the first eight queues.
    pub fn buffer(&self, index: u64) -> u64 {
        BASE + 8 * RING_STRIDE + index * 4096
    }

    pub fn write(&self, iova: u64, bytes: &[u8]) {
        write(&self.table, iova, bytes);
    }

    pub fn read(&self, iova: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.table.read(&mut 0, iova, &mut bytes).unwrap();
        bytes
    }
}

/// A chain that nobody popped, of one place in the ring.
#[cfg(test)]
pub fn chain(id: u16, written: u32) -> Chain<Source<'static>> {
    let mut chain = Chain::single(id, Source::default(), 0);
    chain.written = written;
    chain
}

fn write(table: &Table, iova: u64, bytes: &[u8]) {
    let mut sinks = Vec::<Sink>::new();
    Sink::translate(table, &mut 0, iova, bytes.len() as u64, &mut sinks).unwrap();
    crate::ring::pour([Source::from(bytes)], sinks);
}

impl Driver {
    fn new(setup: QueueSetup, table: Arc<Table>) -> Driver {
        let size = setup.size as usize;
        Driver {
            descriptors: table.area(setup.descriptor, 16 * size, 16, true).unwrap(),
            available: table.area(setup.driver, 6 + 2 * size, 2, true).unwrap(),
            used: table.area(setup.device, 6 + 8 * size, 4, true).unwrap(),
            setup,
            table,
            offered: 0,
            collected: 0,
        }
    }

    pub fn describe(&self, index: u16, iova: u64, len: u32, flags: u16, next: u16) {
        let high = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        let place = 16 * usize::from(index);
        self.descriptors.u64(place).store(iova.to_le(), Relaxed);
        self.descriptors.u64(place + 8).store(high.to_le(), Relaxed);
    }

    /// Writes an indirect table of (address, length, flags, next) to `iova`.
    pub fn describe_indirect(&self, iova: u64, entries: &[(u64, u32, u16, u16)]) {
        for (place, (address, len, flags, next)) in (iova..).step_by(16).zip(entries) {
            write(&self.table, place, &address.to_le_bytes());
            write(&self.table, place + 8, &len.to_le_bytes());
            write(&self.table, place + 12, &flags.to_le_bytes());
            write(&self.table, place + 14, &next.to_le_bytes());
        }
    }

    /// Makes a chain available without a notification.
    pub fn offer(&mut self, head: u16) {
        self.place(head);
        self.publish();
    }

    /// Writes an entry of the available ring; `publish` shows it.
    pub fn place(&mut self, head: u16) {
        let entry = usize::from(self.offered) % self.setup.size as usize;
        self.available.u16(4 + 2 * entry).store(head.to_le(), Relaxed);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Makes the chains of the next `n` heads available, counted round the table: what a driver does at least.
    #[inline]
    pub fn again(&mut self, n: u16) {
        let mask = self.setup.size as u16 - 1;
        let entries: &[AtomicU16] = self.available.cells(4, self.setup.size as usize);
        for _ in 0..n {
            let head = self.offered & mask;
            entries[usize::from(head)].store(head.to_le(), Relaxed);
            self.offered = self.offered.wrapping_add(1);
        }
        self.publish();
    }

    pub fn publish(&self) {
        self.set_available(self.offered);
    }

    pub fn set_available(&self, index: u16) {
        self.available.u16(2).store(index.to_le(), Release);
    }

    pub fn set_flags(&self, flags: u16) {
        self.available.u16(0).store(flags.to_le(), Relaxed);
    }

    pub fn set_used_event(&self, event: u16) {
        self.available.u16(4 + 2 * self.setup.size as usize).store(event.to_le(), Relaxed);
    }

    pub fn used_flags(&self) -> u16 {
        u16::from_le(self.used.u16(0).load(Relaxed))
    }

    pub fn available_event(&self) -> u16 {
        u16::from_le(self.used.u16(4 + 8 * self.setup.size as usize).load(Relaxed))
    }

    pub fn used_index(&self) -> u16 {
        u16::from_le(self.used.u16(2).load(Acquire))
    }

    /// Writes a used entry (head, length) in the device's stead.
    pub fn write_used(&self, entry: usize, (id, len): (u32, u32)) {
        self.used.u32(4 + 8 * entry).store(id.to_le(), Relaxed);
        self.used.u32(8 + 8 * entry).store(len.to_le(), Relaxed);
    }

    /// The used entries not seen yet: (head, bytes written).
    pub fn collect(&mut self) -> Vec<(u16, u32)> {
        let mut entries = Vec::new();
        while self.collected != self.used_index() {
            let place = 4 + 8 * (usize::from(self.collected) % self.setup.size as usize);
            let id = u32::from_le(self.used.u32(place).load(Relaxed));
            entries.push((id as u16, u32::from_le(self.used.u32(place + 4).load(Relaxed))));
            self.collected = self.collected.wrapping_add(1);
        }
        entries
    }
}
