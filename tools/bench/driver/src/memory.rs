//! A guest's memory: one file that the back end maps too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vhost::VhostUserMemoryRegionInfo;

pub struct Memory {
    file: File,
    start: *mut u8,
    octets: usize,
}

impl Memory {
    /// Zeroed memory, of huge pages unless `small`.
    pub fn new(octets: usize, small: bool) -> io::Result<Memory> {
        let flags = if small { MemfdFlags::empty() } else { MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB };
        let octets = octets.next_multiple_of(2 << 20);
        Memory::of(flags, octets).map_err(|error| {
            io::Error::other(format!(
                "a guest does not get its {octets} bytes ({error}): reserve huge pages of 2 MB, or use --small-pages"
            ))
        })
    }

    fn of(flags: MemfdFlags, octets: usize) -> io::Result<Memory> {
        let file = File::from(memfd_create("guest", flags | MemfdFlags::CLOEXEC)?);
        ftruncate(&file, octets as u64)?;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { mmap(ptr::null_mut(), octets, ProtFlags::READ | ProtFlags::WRITE, flags, file.as_fd(), 0)? };
        Ok(Memory { file, start: start.cast(), octets })
    }

    /// Where guest-physical `address` is in this process; guests' memory starts at 0. `octets` must lie within.
    pub fn at(&self, address: u64, octets: usize) -> *mut u8 {
        assert!(address as usize + octets <= self.octets, "{octets} bytes at {address:#x} are not memory");
        // SAFETY: within the mapping.
        unsafe { self.start.add(address as usize) }
    }

    pub fn write(&self, address: u64, data: &[u8]) {
        // SAFETY: `at` has checked the length; nobody holds a reference into guest memory.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.at(address, data.len()), data.len()) }
    }

    pub fn read(&self, address: u64, octets: usize) -> Vec<u8> {
        let mut data = vec![0; octets];
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(self.at(address, octets), data.as_mut_ptr(), octets) }
        data
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: self.octets as u64,
            userspace_addr: self.start as u64,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        let _ = unsafe { munmap(self.start.cast(), self.octets) };
    }
}
