//! What other threads want of a worker, as bits: setting one costs an atomic or two, and a system call only when the
//! worker sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::event::{EventfdFlags, eventfd};

use super::orders::FunctionId;
use crate::counters::{FUNCTIONS, QUEUES, UPLINKS};
pub use crate::switch::bits;

/// Functions, then uplinks.
const PORTS: usize = FUNCTIONS + UPLINKS;
const WORDS: usize = PORTS.div_ceil(64);
/// Beside the bits of the words of functions.
const ORDERS: u64 = 1 << WORDS;
/// In place of a queue's number: the tap, or the uplink.
pub const PORT: u16 = QUEUES as u16;

pub struct Doorbells {
    /// Which words of `functions` have a bit set; and ORDERS.
    any: AtomicU64,
    functions: [AtomicU64; WORDS],
    queues: Vec<[AtomicU64; (QUEUES + 1).div_ceil(64)]>,
    asleep: AtomicBool,
    wake: OwnedFd,
}

impl Doorbells {
    pub fn new() -> io::Result<Doorbells> {
        Ok(Doorbells {
            any: AtomicU64::new(0),
            functions: Default::default(),
            queues: (0..PORTS).map(|_| Default::default()).collect(),
            asleep: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// A queue was notified. Numbers out of range are ignored: there is no such queue.
    pub fn ring(&self, function: FunctionId, queue: u16) {
        if (function as usize) < FUNCTIONS && queue < PORT {
            self.set(function, queue);
        }
    }

    /// Frames may be in a tap or an uplink. Numbers out of range are ignored.
    pub fn ring_port(&self, port: FunctionId) {
        self.set(port, PORT);
    }

    fn set(&self, port: FunctionId, queue: u16) {
        let (function, queue) = (port as usize, usize::from(queue));
        if function < PORTS {
            self.queues[function][queue / 64].fetch_or(1 << (queue % 64), SeqCst);
            self.functions[function / 64].fetch_or(1 << (function % 64), SeqCst);
            self.announce(1 << (function / 64));
        }
    }

    /// An order is in the channel.
    pub fn order(&self) {
        self.announce(ORDERS);
    }

    fn announce(&self, bits: u64) {
        self.any.fetch_or(bits, SeqCst);
        self.rouse();
    }

    /// Wakes the worker.
    pub fn rouse(&self) {
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            // An eventfd that cannot be written is full, so the worker wakes anyway.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// Takes all bits: calls `rung` for each queue, or `PORT`; returns whether orders wait.
    pub fn take(&self, mut rung: impl FnMut(FunctionId, u16)) -> bool {
        if self.any.load(Relaxed) == 0 {
            return false;
        }
        let any = self.any.swap(0, SeqCst);
        for word in bits(any & (ORDERS - 1)) {
            for bit in bits(self.functions[word].swap(0, SeqCst)) {
                self.take_function(word * 64 + bit, &mut rung);
            }
        }
        any & ORDERS != 0
    }

    fn take_function(&self, function: usize, rung: &mut impl FnMut(FunctionId, u16)) {
        for (word, queues) in self.queues[function].iter().enumerate() {
            for bit in bits(queues.swap(0, SeqCst)) {
                rung(function as FunctionId, (word * 64 + bit) as u16);
            }
        }
    }

    /// Whether the worker sleeps and nobody has woken it.
    pub fn asleep(&self) -> bool {
        self.asleep.load(SeqCst)
    }

    /// The worker is about to sleep. False if something has come; if true, `awake` must follow the sleep.
    pub fn lie_down(&self) -> bool {
        self.asleep.store(true, SeqCst);
        let quiet = self.any.load(SeqCst) == 0;
        if !quiet {
            self.asleep.store(false, SeqCst);
        }
        quiet
    }

    /// The worker sleeps no longer; if it was `woken` by `rouse`, that has been heard.
    pub fn awake(&self, woken: bool) {
        self.asleep.store(false, SeqCst);
        if !woken {
            return;
        }
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
    }
}

impl AsFd for Doorbells {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_of_every_function_has_its_own_bit() {
        let doorbells = Doorbells::new().unwrap();
        for (function, queue) in [(0, 0), (63, 64), (64, 63), (1023, 64)] {
            doorbells.ring(function, queue);
        }
        let mut rung = Vec::new();
        assert!(!doorbells.take(|function, queue| rung.push((function, queue))));
        assert_eq!(rung, [(0, 0), (63, 64), (64, 63), (1023, 64)]);
        assert!(!doorbells.take(|_, _| panic!("taken already")));
    }

    #[test]
    fn a_queue_that_cannot_exist_is_ignored() {
        let doorbells = Doorbells::new().unwrap();
        doorbells.ring(1024, 0);
        doorbells.ring(0, QUEUES as u16);
        doorbells.ring_port(1026);
        doorbells.take(|_, _| panic!("there is no such queue"));
    }

    #[test]
    fn taps_and_uplinks_have_bits_beside_those_of_queues() {
        let doorbells = Doorbells::new().unwrap();
        for port in [0, 1023, 1024, 1025] {
            doorbells.ring_port(port);
        }
        doorbells.ring(1023, 64);
        let mut rung = Vec::new();
        doorbells.take(|function, queue| rung.push((function, queue)));
        assert_eq!(rung, [(0, PORT), (1023, 64), (1023, PORT), (1024, PORT), (1025, PORT)]);
    }

    #[test]
    fn the_worker_does_not_sleep_over_what_has_come() {
        let doorbells = Doorbells::new().unwrap();
        assert!(doorbells.lie_down());
        doorbells.awake(false);
        doorbells.ring(5, 1);
        assert!(!doorbells.lie_down());
        doorbells.take(|_, _| ());
        doorbells.order();
        assert!(!doorbells.lie_down() && doorbells.take(|_, _| ()));
    }
}
