//! A piece of a VMM's memory file, mapped.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

use super::Protection;
use super::sigbus::Slot;

const PAGE: u64 = 4096;
const HUGETLBFS: i64 = 0x9584_58f6;

/// File systems whose pages come without the help of another process. A page fault on FUSE or NFS could stop the worker
/// for as long as the VMM likes.
const FILE_SYSTEMS: [i64; 5] = [
    0x0102_1994, // tmpfs: memfd, /dev/shm
    HUGETLBFS,
    0xef53,      // ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
];

/// A shared mapping, undone when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    slot: &'static Slot,
}

// SAFETY: the mapping is plain shared memory; what may be done with it is decided by `Span` and `Area`.
unsafe impl Send for Mapping {}
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of the file from `offset`; also returns where the first of them lies.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: u64,
        protection: Protection,
    ) -> io::Result<(Mapping, NonNull<u8>)> {
        let page = page_size(fd, offset, len)?;
        let lead = offset % page;
        let whole = (lead + len).checked_next_multiple_of(page).ok_or_else(|| refusal("is too long"))?;
        let whole = usize::try_from(whole).map_err(|_| refusal("is too long"))?;
        let start = map(fd, offset - lead, whole, protection)?;
        let slot = Slot::take(start.as_ptr() as usize, whole).inspect_err(|_| unmap(start, whole))?;
        // SAFETY: lead < page ≤ whole, so the result is inside the mapping.
        let first = unsafe { start.add(lead as usize) };
        Ok((Mapping { start, len: whole, slot }, first))
    }

    /// Maps the first `len` bytes that a socket of the kernel's has at `offset`: they never go away.
    pub(super) fn of_kernel(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<(Mapping, NonNull<u8>)> {
        let whole = len.checked_next_multiple_of(PAGE as usize).ok_or_else(|| refusal("is too long"))?;
        let start = map(fd, offset, whole, Protection { read: true, write: true })?;
        let slot = Slot::take(start.as_ptr() as usize, whole).inspect_err(|_| unmap(start, whole))?;
        Ok((Mapping { start, len: whole, slot }, start))
    }

    /// Whether the VMM took the file's pages away: what is read is not the guest's any more.
    pub(super) fn poisoned(&self) -> bool {
        self.slot.poisoned()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.slot.release();
        unmap(self.start, self.len);
    }
}

fn map(fd: BorrowedFd<'_>, offset: u64, len: usize, protection: Protection) -> io::Result<NonNull<u8>> {
    let mut flags = ProtFlags::READ;
    flags.set(ProtFlags::WRITE, protection.write);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, flags, MapFlags::SHARED, fd, offset)? };
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: exactly the range that `map` returned; its owner is being dropped, so nobody can reach it.
    let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), len) };
}

/// Size of a page of the file, having checked that the file may serve and holds the range.
fn page_size(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<u64> {
    let kind = rustix::fs::fstatfs(fd)?.f_type as i64;
    if !FILE_SYSTEMS.contains(&kind) {
        return Err(refusal("is not a memfd nor a file of tmpfs, hugetlbfs or a local disk"));
    }
    let file = rustix::fs::fstat(fd)?;
    let end = offset.checked_add(len).ok_or_else(|| refusal("ends beyond 2^64"))?;
    if len == 0 || end > file.st_size as u64 {
        return Err(refusal("does not hold the range"));
    }
    Ok(if kind == HUGETLBFS { (file.st_blksize as u64).max(PAGE) } else { PAGE })
}

fn refusal(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the file shared as guest memory {why}"))
}
