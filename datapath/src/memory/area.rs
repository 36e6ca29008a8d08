//! The memory of a ring: indices and descriptors that guest and device both touch, so every access is atomic.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use super::mapping::Mapping;

/// A checked, aligned range in one mapping, which it keeps alive. The default one is empty.
#[derive(Default)]
pub struct Area {
    start: Option<NonNull<u8>>,
    len: usize,
    _mapping: Option<Arc<Mapping>>,
}

/// What a ring is made of.
///
/// # Safety
/// Made of atomics alone, without padding: any bytes are a value, and it may change at any moment.
pub unsafe trait Cell {}

// SAFETY: they are, or are arrays of, atomic integers.
unsafe impl Cell for AtomicU16 {}
unsafe impl Cell for [AtomicU32; 2] {}
unsafe impl Cell for [AtomicU64; 2] {}

// SAFETY: all that can be reached through it are atomics in a mapping that it keeps alive.
unsafe impl Send for Area {}

impl Area {
    /// # Safety
    /// `start..start + len` lies in `mapping`, which is mapped readable, and writable if anything is stored.
    pub(super) unsafe fn new(start: NonNull<u8>, len: usize, mapping: Arc<Mapping>) -> Area {
        Area { start: Some(start), len, _mapping: Some(mapping) }
    }

    #[inline(always)]
    pub fn u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: `at` has checked range and alignment.
        unsafe { AtomicU16::from_ptr(self.at(offset, 2).cast()) }
    }

    #[inline(always)]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `at` has checked range and alignment.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    #[inline(always)]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `at` has checked range and alignment.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    /// `count` cells in a row from `offset`: range and alignment are checked once for all of them.
    #[inline(always)]
    pub fn cells<T: Cell>(&self, offset: usize, count: usize) -> &[T] {
        let start = self.at_all(offset, size_of::<T>().saturating_mul(count), align_of::<T>());
        // SAFETY: `at_all` has checked range and alignment, and cells may be shared with whoever writes there.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    #[inline(always)]
    pub fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(start) = self.start {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch never faults, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.as_ptr().wrapping_add(offset).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    #[inline(always)]
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        self.at_all(offset, size, size)
    }

    /// Panics where the ring's own arithmetic is wrong: sizes were checked when the area was made.
    #[inline(always)]
    fn at_all(&self, offset: usize, size: usize, align: usize) -> *mut u8 {
        let start = self.start.expect("a ring without memory is not touched");
        let place = start.as_ptr().wrapping_add(offset);
        assert!(
            offset <= self.len && size <= self.len - offset && place as usize % align == 0,
            "offset {offset} of a ring's {} bytes",
            self.len
        );
        place
    }
}
