//! Counters in memory that the controller maps: written here with plain stores, read there without a lock. Where each one
//! lies is generated from `softdpu/datapath/counters.py`. Where there is one worker every counter has one writer at a time,
//! so adding needs no locked instruction; where there are several it takes one.

#[path = "counters/layout.rs"] // also where an example takes this file in
mod layout;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

#[cfg(test)]
pub use layout::{CAME_IN, COPIES, DROPS, QUEUE_DROPS, WENT_OUT};
pub use layout::{FUNCTIONS, Function, QUEUES, Queue, UPLINKS, WORKERS, Worker};
use layout::{ISR, ROW, SLOT_BYTES, SLOT_ROWS};

/// Functions, then uplinks.
const SLOTS: usize = FUNCTIONS + UPLINKS;
/// Where the rows of workers begin.
const FIRST_WORKER: usize = SLOTS * SLOT_ROWS * ROW;
const BYTES: usize = (FIRST_WORKER + WORKERS * ROW) * size_of::<AtomicU64>();

/// The counters of all ports. Pages nobody counted on take no memory.
pub struct Counters {
    fd: OwnedFd,
    memory: Arc<Memory>,
}

/// The counters of one port: a function, or an uplink.
#[derive(Clone)]
pub struct FunctionCounters {
    memory: Arc<Memory>,
    slot: usize,
}

/// What one worker shows of itself: it alone writes that.
pub struct WorkerFigures {
    memory: Arc<Memory>,
    number: usize,
}

/// The counters of one queue of one function.
#[derive(Clone, Copy)]
pub struct QueueCounters<'a> {
    row: &'a [AtomicU64],
    several: bool,
}

struct Memory {
    start: NonNull<AtomicU64>,
    /// Whether a counter may have several writers at a time.
    several: bool,
}

// SAFETY: the mapping is made of atomics and lives as long as `Memory`.
unsafe impl Send for Memory {}
unsafe impl Sync for Memory {}

impl Counters {
    /// For one worker.
    pub fn new() -> io::Result<Self> {
        Self::for_workers(1)
    }

    pub fn for_workers(count: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("softdpu-counters", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, BYTES as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Arc::new(Memory::map(fd.as_fd(), count > 1)?);
        Ok(Self { fd, memory })
    }

    /// The memory, to be mapped by the controller.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The counters of a function number below `FUNCTIONS`, or of an uplink's after those, as they stand.
    pub fn function(&self, function: u32) -> FunctionCounters {
        assert!((function as usize) < SLOTS);
        FunctionCounters { memory: self.memory.clone(), slot: function as usize }
    }

    /// The counters of a function return to zero: its number now means another one. Its pages are given back.
    pub fn clear(&self, function: u32) -> io::Result<()> {
        let (start, flags) = (function as usize * SLOT_BYTES, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE);
        Ok(rustix::fs::fallocate(&self.fd, flags, start as u64, SLOT_BYTES as u64)?)
    }
}

impl Counters {
    /// What a worker of a number below `WORKERS` shows.
    pub fn worker(&self, number: usize) -> WorkerFigures {
        assert!(number < WORKERS);
        WorkerFigures { memory: self.memory.clone(), number }
    }
}

impl WorkerFigures {
    pub fn show(&self, figure: Worker, value: u64) {
        self.memory.all()[FIRST_WORKER + self.number * ROW + figure as usize].store(value, Ordering::Relaxed);
    }
}

impl FunctionCounters {
    /// The number of the function, as the log has it.
    pub fn number(&self) -> usize {
        self.slot
    }

    #[inline]
    pub fn add(&self, counter: Function, n: u64) {
        add(self.row(0), counter as usize, n, self.memory.several);
    }

    /// Shows the controller the ISR bits.
    pub fn show_isr(&self, isr: u8) {
        self.row(0)[ISR].store(isr.into(), Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "for tests and measurements: the controller reads the memory itself")]
    pub fn isr(&self) -> u64 {
        self.row(0)[ISR].load(Ordering::Relaxed)
    }

    #[allow(dead_code, reason = "for tests and measurements: the controller reads the memory itself")]
    pub fn get(&self, counter: Function) -> u64 {
        self.row(0)[counter as usize].load(Ordering::Relaxed)
    }

    /// The counters of queue 0..`QUEUES`; a higher number shares the last row.
    #[inline]
    pub fn queue(&self, queue: u16) -> QueueCounters<'_> {
        QueueCounters { row: self.row(1 + usize::from(queue).min(QUEUES - 1)), several: self.memory.several }
    }

    #[inline]
    fn row(&self, row: usize) -> &[AtomicU64] {
        let first = (self.slot * SLOT_ROWS + row) * ROW;
        &self.memory.all()[first..first + ROW]
    }
}

impl QueueCounters<'_> {
    #[inline]
    pub fn add(&self, counter: Queue, n: u64) {
        add(self.row, counter as usize, n, self.several);
    }

    pub fn get(&self, counter: Queue) -> u64 {
        self.row[counter as usize].load(Ordering::Relaxed)
    }
}

#[inline]
fn add(row: &[AtomicU64], index: usize, n: u64, several: bool) {
    let counter = &row[index];
    if several {
        counter.fetch_add(n, Ordering::Relaxed);
    } else {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

impl Memory {
    fn map(fd: BorrowedFd<'_>, several: bool) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the sealed memfd is as long as the mapping.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), BYTES, protection, MapFlags::SHARED, fd, 0)? };
        NonNull::new(start.cast()).map(|start| Self { start, several }).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is BYTES long, page-aligned, and is unmapped only when `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), BYTES / size_of::<AtomicU64>()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; no borrow outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_lies_where_the_controller_reads_it() {
        let counters = Counters::new().unwrap();
        counters.function(3).add(Function::DropFiltered, 2);
        counters.function(3).queue(1).add(Queue::Batches, 5);
        let mut value = [0; 8];
        rustix::io::pread(counters.fd(), &mut value, (3 * SLOT_BYTES + Function::DropFiltered as usize * 8) as u64)
            .unwrap();
        assert_eq!(u64::from_le_bytes(value), 2);
        rustix::io::pread(counters.fd(), &mut value, (3 * SLOT_BYTES + (2 * ROW + 1) * 8) as u64).unwrap();
        assert_eq!(u64::from_le_bytes(value), 5);
    }

    #[test]
    fn what_a_worker_shows_lies_after_the_ports() {
        let counters = Counters::new().unwrap();
        counters.worker(2).show(Worker::Queues, 7);
        let mut value = [0; 8];
        let place = SLOTS * SLOT_BYTES + (2 * ROW + Worker::Queues as usize) * 8;
        rustix::io::pread(counters.fd(), &mut value, place as u64).unwrap();
        assert_eq!(u64::from_le_bytes(value), 7);
    }

    #[test]
    fn clearing_touches_one_function_only() {
        let counters = Counters::new().unwrap();
        counters.function(0).add(Function::DmaMaps, 1);
        counters.function(1).queue(64).add(Queue::Frames, 1);
        counters.clear(1).unwrap();
        assert_eq!(counters.function(0).get(Function::DmaMaps), 1);
        assert_eq!(counters.function(1).queue(64).get(Queue::Frames), 0);
    }
}
