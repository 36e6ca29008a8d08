//! A guest's memory, seen from both ends: as the table that the datapath is given, and as bytes that are compared with a
//! copy after each turn, so that no write goes unnoticed.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use softdpu_datapath::memory::{Protection, Region, Table};

/// Guest addresses of the memory: two regions that touch, so that a buffer may lie in both.
pub const BASE: u64 = 0x4000_0000;
pub const BYTES: usize = 0x2_0000;
const SEAM: u64 = 0x1_4000;
/// Behind them, and seen by the datapath as read-only.
pub const READ_ONLY: u64 = BASE + 0x10_0000;
const READ_ONLY_BYTES: usize = 0x1000;

pub struct Memory {
    fd: OwnedFd,
    start: *mut u8,
    /// What is there, as far as the harness knows.
    copy: Vec<u8>,
    /// What the datapath may write.
    writable: Vec<Range<u64>>,
}

impl Memory {
    pub fn new() -> Memory {
        let fd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        let bytes = BYTES + READ_ONLY_BYTES;
        rustix::fs::ftruncate(&fd, bytes as u64).unwrap();
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a fresh mapping of a fresh file, used through raw pointers alone.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, flags, &fd, 0) }.unwrap();
        Memory { fd, start: start.cast(), copy: vec![0; BYTES], writable: Vec::new() }
    }

    /// The table for the datapath: all of it, or less.
    pub fn table(&self, parts: usize) -> Arc<Table> {
        let region = |offset: u64, iova: u64, len: u64, write| {
            Region::map(self.fd.as_fd(), offset, iova, len, Protection { read: true, write }).unwrap()
        };
        let all = [
            region(0, BASE, SEAM, true),
            region(SEAM, BASE + SEAM, BYTES as u64 - SEAM, true),
            region(BYTES as u64, READ_ONLY, READ_ONLY_BYTES as u64, false),
        ];
        Arc::new(Table::new(all.into_iter().take(parts).collect()))
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let offset = self.offset(at, bytes.len());
        self.copy[offset..offset + bytes.len()].copy_from_slice(bytes);
        // SAFETY: `offset` has checked the range; nobody has references to it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len()) };
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let offset = self.offset(at, len);
        let mut bytes = vec![0; len];
        // SAFETY: as for `write`; the worker runs in this thread, and is not running now.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(offset), bytes.as_mut_ptr(), len) };
        bytes
    }

    pub fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at, 2).try_into().unwrap())
    }

    pub fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    pub fn allow(&mut self, range: Range<u64>) {
        self.writable.push(range);
    }

    pub fn forbid(&mut self, range: &Range<u64>) {
        let index = self.writable.iter().position(|one| one == range).expect("it was allowed");
        self.writable.swap_remove(index);
    }

    /// Panics when a byte changed that the datapath had no business with. Everything else is taken note of.
    pub fn check(&mut self) {
        let now = self.read(BASE, BYTES);
        for range in &self.writable {
            let (start, end) = ((range.start - BASE) as usize, (range.end - BASE) as usize);
            self.copy[start..end].copy_from_slice(&now[start..end]);
        }
        if self.copy != now {
            let offset = (0..BYTES).find(|&offset| self.copy[offset] != now[offset]).expect("they differ");
            panic!("the datapath wrote to {:#x}, which is nobody's buffer", BASE + offset as u64);
        }
    }

    fn offset(&self, at: u64, len: usize) -> usize {
        let offset = (at - BASE) as usize;
        assert!(offset + len <= BYTES);
        offset
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and no pointer into it is left.
        unsafe { rustix::mm::munmap(self.start.cast(), BYTES + READ_ONLY_BYTES) }.unwrap();
    }
}
