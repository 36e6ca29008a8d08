//! Many workers, each in turns of its own, and now and then one that must be alone: to stop a queue, to take memory away, to
//! carry out any order. A turn costs the one who works one fence; who wants to be alone waits for the others' turns to end,
//! which are as long as a batch for each queue, and for no one who sleeps.
//!
//! Why that suffices: a worker sets its own flag and then looks at `wanted`; who wants to be alone sets `wanted` and then
//! looks at the flags. All four are sequentially consistent, so at least one of two sees the other. A worker that goes in
//! has read the `false` that the last one alone wrote when it was done (Release), so it sees what that one did; and who is
//! alone has read the `false` that each worker wrote at the end of its turn.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Release, SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Looks at a worker's flag before it is taken to have lost its core.
const SPINS: u32 = 200;

pub struct Gate {
    inside: Box<[Flag]>,
    wanted: AtomicBool,
    alone: Mutex<()>,
}

/// On cache lines of its own: each worker writes its flag twice a turn.
#[derive(Default)]
#[repr(align(128))]
struct Flag(AtomicBool);

/// A worker in its turn.
pub struct Inside<'a>(&'a Flag);

/// Nobody is in a turn.
pub struct Alone<'a> {
    gate: &'a Gate,
    _lock: MutexGuard<'a, ()>,
}

impl Gate {
    pub fn new(workers: usize) -> Gate {
        let inside = (0..workers).map(|_| Flag::default()).collect();
        Gate { inside, wanted: AtomicBool::new(false), alone: Mutex::new(()) }
    }

    /// A worker's turn begins, once nobody is alone. Each worker is in one turn at a time.
    #[inline]
    pub fn enter(&self, worker: usize) -> Inside<'_> {
        let flag = &self.inside[worker];
        // The only one has nobody to wait for: it is alone itself, between its turns. Whoever stands in has its `Worker`.
        if self.inside.len() == 1 {
            return Inside(flag);
        }
        loop {
            flag.0.store(true, SeqCst);
            let inside = Inside(flag);
            if !self.wanted.load(SeqCst) {
                return inside;
            }
            drop(inside);
            drop(self.lock());
        }
    }

    /// Waits until all turns have ended. Not to be called by a worker in its turn, which would wait for itself.
    pub fn alone(&self) -> Alone<'_> {
        let alone = Alone { gate: self, _lock: self.lock() };
        self.wanted.store(true, SeqCst);
        for flag in &self.inside {
            let mut spins = 0;
            while flag.0.load(SeqCst) {
                spins += 1;
                if spins % SPINS == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
            }
        }
        alone
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.store(false, Release);
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // The lock goes after this, so whoever waits for it finds the gate open.
        self.gate.wanted.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    struct Plain(UnsafeCell<[u64; 2]>);
    // SAFETY: what the tests prove.
    unsafe impl Sync for Plain {}

    #[test]
    fn who_is_alone_meets_nobody_in_a_turn() {
        let (gate, shared, turns) = (Gate::new(3), Plain(UnsafeCell::new([0; 2])), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (gate, shared, turns) = (&gate, &shared, &turns);
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        if turn % 50 == worker * 10 {
                            let _alone = gate.alone();
                            // SAFETY: alone.
                            let shared = unsafe { &mut *shared.0.get() };
                            shared[0] += 1;
                            shared[1] += 1;
                        } else {
                            let _inside = gate.enter(worker);
                            // SAFETY: nobody writes while someone is in a turn.
                            let shared = unsafe { &*shared.0.get() };
                            assert_eq!(shared[0], shared[1]);
                            turns.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(shared.0.into_inner(), [3 * 20_000 / 50; 2]);
        assert_eq!(turns.into_inner(), 3 * (20_000 - 20_000 / 50));
    }

    #[test]
    fn a_panic_in_a_turn_or_alone_keeps_nobody_waiting() {
        let gate = Gate::new(2);
        for alone in [false, true] {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _held = (alone.then(|| gate.alone()), (!alone).then(|| gate.enter(0)));
                panic!("a test asked for it");
            }));
            assert!(panicked.is_err());
            drop(gate.alone());
            drop(gate.enter(1));
        }
    }
}
