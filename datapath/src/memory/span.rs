//! Checked ranges of guest memory. A `Source` may be read, a `Sink` written; neither outlives the table that made it.
//! What lies there can change at any moment, so nothing of it is ever borrowed: it is copied, each value once.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most pieces that one system call takes (UIO_MAXIOV).
pub const MOST_PIECES: usize = 1024;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes that the device may read. Laid out as `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Source<'m> {
    start: *const u8,
    len: usize,
    memory: PhantomData<&'m [u8]>,
}

/// Bytes that the device may write. Laid out as `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sink<'m> {
    start: *mut u8,
    len: usize,
    memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: both only name memory that stays mapped for 'm, in every thread.
unsafe impl Send for Source<'_> {}
unsafe impl Send for Sink<'_> {}

/// A value at any address.
#[repr(C, packed)]
struct Packed<T>(T);

impl<'m> Source<'m> {
    /// # Safety
    /// `start..start + len` is mapped readable for `'m`.
    pub(super) const unsafe fn new(start: *const u8, len: usize) -> Self {
        Source { start, len, memory: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Without its first `n` bytes, or empty.
    #[inline(always)]
    pub fn after(self, n: usize) -> Self {
        let n = n.min(self.len);
        // SAFETY: n ≤ len, so the rest is part of the range.
        unsafe { Source::new(self.start.add(n), self.len - n) }
    }

    #[inline(always)]
    pub fn u16(&self, offset: usize) -> Option<u16> {
        self.load(offset).map(u16::from_le)
    }

    #[inline(always)]
    pub fn u64(&self, offset: usize) -> Option<u64> {
        self.load(offset).map(u64::from_le)
    }

    /// Copies the first bytes out, as many as there are and `buffer` holds.
    pub fn read(&self, buffer: &mut [u8]) -> usize {
        let n = self.len.min(buffer.len());
        // SAFETY: both ranges hold n bytes; guest memory and `buffer` are different memory.
        unsafe { self.start.copy_to_nonoverlapping(buffer.as_mut_ptr(), n) };
        n
    }

    #[inline(always)]
    pub(super) fn fetch(&self) {
        prefetch(self.start, self.len);
    }

    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len);
        // SAFETY: the value lies in the range, Packed asks for no alignment, and T is an integer (private callers).
        fits.then(|| unsafe { self.start.add(offset).cast::<Packed<T>>().read_volatile().0 })
    }
}

impl Default for Source<'_> {
    /// No bytes.
    fn default() -> Self {
        Source { start: std::ptr::dangling(), len: 0, memory: PhantomData }
    }
}

impl Default for Sink<'_> {
    /// No bytes.
    fn default() -> Self {
        Sink { start: std::ptr::dangling_mut(), len: 0, memory: PhantomData }
    }
}

impl<'m> From<&'m [u8]> for Source<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        // SAFETY: the slice is readable and stays borrowed for 'm.
        unsafe { Source::new(bytes.as_ptr(), bytes.len()) }
    }
}

impl<'m> Sink<'m> {
    /// # Safety
    /// `start..start + len` is mapped readable and writable for `'m`, and is no memory that Rust has references to.
    pub(super) const unsafe fn new(start: *mut u8, len: usize) -> Self {
        Sink { start, len, memory: PhantomData }
    }

    /// Where it begins, in this process.
    pub(super) fn address(&self) -> usize {
        self.start as usize
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Without its first `n` bytes, or empty.
    #[inline(always)]
    pub fn after(self, n: usize) -> Self {
        let n = n.min(self.len);
        // SAFETY: n ≤ len, so the rest is part of the range.
        unsafe { Sink::new(self.start.add(n), self.len - n) }
    }

    /// Copies all of `bytes`, or nothing where they do not fit.
    #[inline(always)]
    pub fn copy_array<const N: usize>(&self, bytes: &[u8; N]) {
        if self.len >= N {
            // SAFETY: both ranges hold N bytes; guest memory and `bytes` are different memory.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(self.start, N) };
        }
    }

    /// The same bytes, to be read back.
    pub fn source(&self) -> Source<'m> {
        // SAFETY: what is mapped writable is mapped readable too (`Mapping`).
        unsafe { Source::new(self.start, self.len) }
    }

    /// Copies as many bytes as both hold; returns how many.
    #[inline(always)]
    pub fn copy_from(&self, source: Source<'_>) -> usize {
        let n = self.len.min(source.len);
        // SAFETY: both ranges hold n bytes.
        unsafe { copy(source.start, self.start, n) };
        n
    }

    /// Has the cache lines of its first `n` bytes fetched.
    #[inline(always)]
    pub fn fetch_all(&self, n: usize) {
        (0..n.min(self.len)).step_by(LINE).for_each(|offset| fetch_line(self.start.wrapping_add(offset)));
    }

    #[inline(always)]
    pub(super) fn fetch(&self) {
        prefetch(self.start, self.len);
    }
}

impl<'m> From<&'m mut [u8]> for Sink<'m> {
    fn from(bytes: &'m mut [u8]) -> Self {
        // SAFETY: the slice is writable and stays mutably borrowed for 'm.
        unsafe { Sink::new(bytes.as_mut_ptr(), bytes.len()) }
    }
}

/// One `writev`; at most `MOST_PIECES` pieces.
pub fn gather(fd: BorrowedFd<'_>, pieces: &[Source<'_>]) -> io::Result<usize> {
    let count = pieces.len().min(MOST_PIECES) as libc::c_int;
    // SAFETY: Source is laid out as iovec and each names memory that may be read.
    let n = unsafe { libc::writev(fd.as_raw_fd(), pieces.as_ptr().cast(), count) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// One `readv`; at most `MOST_PIECES` pieces.
pub fn scatter(fd: BorrowedFd<'_>, pieces: &[Sink<'_>]) -> io::Result<usize> {
    let count = pieces.len().min(MOST_PIECES) as libc::c_int;
    // SAFETY: Sink is laid out as iovec and each names memory that may be written.
    let n = unsafe { libc::readv(fd.as_raw_fd(), pieces.as_ptr().cast(), count) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Copies a header, a frame or a part of one. It is the frames up to 64 bytes whose number hurts: no call for them.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes. They may overlap: the VMM chose the addresses.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: in each arm the pieces, which overlap in the middle, lie inside the n bytes. All of them are read before any
    // is written, so overlap of the ranges does no harm. The last arm is as the caller promised.
    unsafe {
        match n {
            8..=16 => ends::<u64>(from, to, n),
            17..=32 => ends::<u128>(from, to, n),
            33..=64 => {
                let last = n - 32;
                let low = (load::<u128>(from), load::<u128>(from.add(16)));
                let high = (load::<u128>(from.add(last)), load::<u128>(from.add(last + 16)));
                store(to, low.0);
                store(to.add(16), low.1);
                store(to.add(last), high.0);
                store(to.add(last + 16), high.1);
            }
            _ => std::ptr::copy(from, to, n),
        }
    }
}

/// Copies `n` bytes as their first and their last T, which overlap.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes, at least one T and at most two.
#[inline(always)]
unsafe fn ends<T: Copy>(from: *const u8, to: *mut u8, n: usize) {
    let last = n - size_of::<T>();
    // SAFETY: as the caller promised. Both are read before any is written.
    unsafe {
        let (low, high) = (load::<T>(from), load::<T>(from.add(last)));
        store(to, low);
        store(to.add(last), high);
    }
}

/// # Safety
/// A T can be read at `from`, whatever its alignment.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8) -> T {
    // SAFETY: as the caller promised.
    unsafe { from.cast::<Packed<T>>().read().0 }
}

/// # Safety
/// A T can be written at `to`, whatever its alignment.
#[inline(always)]
unsafe fn store<T: Copy>(to: *mut u8, value: T) {
    // SAFETY: as the caller promised.
    unsafe { to.cast::<Packed<T>>().write(Packed(value)) }
}

/// Fetches the first two cache lines; the processor's own prefetcher does the rest of a longer frame.
#[inline(always)]
fn prefetch(start: *const u8, len: usize) {
    fetch_line(start);
    if len > LINE {
        fetch_line(start.wrapping_add(LINE));
    }
}

#[inline(always)]
fn fetch_line(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
