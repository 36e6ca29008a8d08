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

    /// Panics where the ring's own arithmetic is wrong: sizes were checked when the area was made.
    #[inline(always)]
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        let start = self.start.expect("a ring without memory is not touched");
        let place = start.as_ptr().wrapping_add(offset);
        assert!(
            offset + size <= self.len && place as usize % size == 0,
            "offset {offset} of a ring's {} bytes",
            self.len
        );
        place
    }
}
