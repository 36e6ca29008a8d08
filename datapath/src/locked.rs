//! What several workers may touch, one at a time, for as long as a batch takes. Whoever finds it taken spins: the other one
//! is at work on another core and soon done; should that one have lost its core, the processor is given up meanwhile.
//!
//! A worker holds a transmit queue, a tap or an uplink, and beside it one receive queue at most; whoever has a receive
//! queue takes nothing more. So nobody waits in a circle.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Looks at a lock before its holder is taken to have lost its core.
const SPINS: u32 = 200;

/// On cache lines of its own: what lies beside it may be another worker's.
#[derive(Default)]
#[repr(align(64))]
pub struct Locked<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time: through the guard, of which there is one at a time, or by &mut.
unsafe impl<T: Send> Sync for Locked<T> {}

/// Who else may want what is taken. An atomic exchange for each batch is felt where there is one worker only.
#[derive(Clone, Copy)]
pub struct Company {
    several: bool,
}

impl Company {
    /// Any number of threads.
    pub const SEVERAL: Company = Company { several: true };

    /// Nobody.
    ///
    /// # Safety
    /// Everything that is taken in this company is used by one thread at a time as a whole, from when the first of it is
    /// taken until the last is given back.
    pub unsafe fn none() -> Company {
        Company { several: false }
    }

    pub fn several(self) -> bool {
        self.several
    }
}

/// Gives it back when it goes, in a panic too.
pub struct Taken<'a, T> {
    from: &'a Locked<T>,
}

// SAFETY: a shared guard gives shared access to the value, no more.
unsafe impl<T: Sync> Sync for Taken<'_, T> {}

impl<T> Locked<T> {
    pub fn new(value: T) -> Locked<T> {
        Locked { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Panics where a lone thread has taken it already.
    #[inline(always)]
    pub fn take(&self, company: Company) -> Taken<'_, T> {
        if company.several {
            if self.taken.swap(true, Acquire) {
                self.wait();
            }
        } else {
            assert!(!self.taken.load(Relaxed), "taken twice");
            self.taken.store(true, Relaxed);
        }
        Taken { from: self }
    }

    #[cold]
    fn wait(&self) {
        let mut spins = 0;
        while self.taken.load(Relaxed) || self.taken.swap(true, Acquire) {
            spins += 1;
            if spins % SPINS == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// Who has it to himself needs no lock.
    #[inline(always)]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `taken` is set by us, so nobody else reaches the value.
        unsafe { &*self.from.value.get() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `taken` is set by us, so nobody else reaches the value.
        unsafe { &mut *self.from.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.from.taken.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_never_have_it_at_once() {
        let locked = Locked::new((0u64, 0u64));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        let mut pair = locked.take(Company::SEVERAL);
                        assert_eq!(pair.0, pair.1);
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(locked.into_inner(), (200_000, 200_000));
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    fn a_lone_thread_does_not_have_it_twice() {
        let locked = Locked::new(1);
        // SAFETY: this thread alone knows it.
        let company = unsafe { Company::none() };
        let _taken = locked.take(company);
        locked.take(company);
    }

    #[test]
    fn a_panic_gives_it_back() {
        let locked = Locked::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _taken = locked.take(Company::SEVERAL);
            panic!("a test asked for it");
        }));
        assert!(panicked.is_err());
        assert_eq!(*locked.take(Company::SEVERAL), 1);
    }
}
