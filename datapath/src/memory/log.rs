//! The log of a migration: a bit for each page of the guest that the device has written, in memory that the VMM shares.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::SeqCst;

use super::{Area, Marks, Protection, Region, Table};

/// Bytes of guest memory to a bit, and bits to a word.
const PAGE: u64 = 4096;
const BITS: u64 = 64;
const WORD: u64 = BITS / 8;

pub struct Log {
    words: Area,
    count: u64,
}

// SAFETY: all that can be reached through it are atomics in a mapping that it keeps alive.
unsafe impl Sync for Log {}

impl Log {
    /// Maps a log of `size` bytes: whole 64-bit words.
    ///
    /// # Errors
    /// `InvalidInput` with a sentence when it cannot serve, else what mmap said.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<Log> {
        let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let len = usize::try_from(size).ok().filter(|_| size > 0 && size % WORD == 0);
        let len = len.ok_or_else(|| refused(format!("a log of {size} bytes is not one of whole words")))?;
        let region = Region::map(fd, offset, 0, size, Protection { read: true, write: true })?;
        let words = Table::new(vec![region]).area(0, len, WORD as usize, true);
        Ok(Log { words: words.map_err(|refusal| refused(refusal.to_string()))?, count: size / WORD })
    }
}

impl Marks for Log {
    /// The bits are set even where they are set already: the VMM takes them at any moment, and one that it takes must not
    /// have been seen before the write was to be seen.
    fn mark(&self, guest: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (first, last) = (guest / PAGE, guest.saturating_add(len - 1) / PAGE);
        for page in first..=last.min(self.count * BITS - 1) {
            let bit = 1u64 << (page % BITS);
            self.words.u64((WORD * (page / BITS)) as usize).fetch_or(bit.to_le(), SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn each_page_has_its_bit_lowest_first() {
        let fd = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        let log = Log::map(fd.as_fd(), 8, 16).unwrap();
        log.mark(0, 1);
        log.mark(3 * PAGE - 1, 2);
        log.mark(9 * PAGE, 0);
        log.mark(127 * PAGE, u64::MAX);
        log.mark(128 * PAGE, 1);
        let mut bytes = [0; 32];
        rustix::io::pread(&fd, &mut bytes, 0).unwrap();
        assert_eq!((bytes[8], bytes[23]), (0b1101, 0x80));
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 4);
    }

    #[test]
    fn a_log_is_of_whole_words_that_are_there() {
        let fd = memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        for (offset, size) in [(0, 0), (0, 9), (4, 8), (4096, 8), (u64::MAX - 7, 8)] {
            assert!(Log::map(fd.as_fd(), offset, size).is_err(), "{offset} {size}");
        }
    }
}
