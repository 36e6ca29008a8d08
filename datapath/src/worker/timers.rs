//! Interrupts that are held back (virtio 1.3 §5.1.6.5.9), and the timers that see to it that none is forgotten.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::engine::Engine;
use super::function::{Function, Queue, Slot};
use super::orders::FunctionId;
use super::turn::Turn;
use crate::counters::{QUEUES, Queue as Counter};
use crate::locked::Company;
use crate::ring::{Hold, Moderation, Receive, Ring, Transmit};

/// When, for which function, for which of its queues.
type Timer = Reverse<(Duration, FunctionId, u16)>;

/// The timers that are set: at most a few a queue.
#[derive(Default)]
pub struct Timers {
    set: BinaryHeap<Timer>,
}

/// What those who serve queues know of time. Times are those since the start.
#[derive(Default)]
pub struct Clock {
    now: Duration,
    /// Seconds, for what ages slowly.
    pub second: u32,
    asked: Vec<Timer>,
}

impl Clock {
    pub fn set(&mut self, now: Duration) {
        (self.now, self.second) = (now, now.as_secs() as u32);
    }

    /// What of a flush is to be told the driver now. `wanted` is asked for what was held back: whether the driver still
    /// wants to know of that many buffers.
    #[inline(always)]
    pub fn moderated(
        &mut self,
        place: (FunctionId, u16),
        moderation: &mut Moderation,
        flushed: (u16, bool),
        wanted: impl FnOnce(u32) -> bool,
    ) -> (u16, bool) {
        if moderation.off() || flushed.0 == 0 { flushed } else { self.held(place, moderation, flushed, wanted) }
    }

    #[inline(never)]
    fn held(
        &mut self,
        (function, queue): (FunctionId, u16),
        moderation: &mut Moderation,
        (count, interrupt): (u16, bool),
        wanted: impl FnOnce(u32) -> bool,
    ) -> (u16, bool) {
        let due = moderation.flushed(count, interrupt, self.now);
        self.asked.extend(moderation.timer().map(|at| Reverse((at, function, queue))));
        (count, due.is_some_and(wanted))
    }
}

impl Timers {
    #[inline]
    pub fn take(&mut self, clock: &mut Clock) {
        if !clock.asked.is_empty() {
            self.set.extend(clock.asked.drain(..));
        }
    }

    /// Sets one that will have the queue looked at.
    pub fn set(&mut self, at: Option<Duration>, function: FunctionId, queue: u16) {
        self.set.extend(at.map(|at| Reverse((at, function, queue))));
    }

    /// When the next one goes off.
    pub fn next(&self) -> Option<Duration> {
        self.set.peek().map(|Reverse((at, ..))| *at)
    }

    fn rung(&mut self, now: Duration) -> Option<(Duration, FunctionId, u16)> {
        self.next().filter(|at| *at <= now)?;
        self.set.pop().map(|Reverse(timer)| timer)
    }
}

impl Turn<'_> {
    /// Sends the interrupts whose time has come. Whether any timer went off.
    pub fn expire(&mut self, now: Duration) -> bool {
        let mut some = false;
        while let Some((at, function, queue)) = self.local.timers.rung(now) {
            some = true;
            self.moderate(function, queue, now, |moderation| moderation.rang(at));
            self.look_again(function, queue);
        }
        some
    }

    /// Changes a queue's moderation, and sends what it holds back if that is now due.
    fn moderate(&mut self, function: FunctionId, queue: u16, now: Duration, change: impl FnOnce(&mut Moderation)) {
        let Some(port) = self.fabric.function(function) else { return };
        let company = port.company;
        let held = match port.queues.get(usize::from(queue)) {
            Some(Slot::Running(queue)) => queue.moderated(company, now, change, |ring, count| ring.still_wants(count)),
            // What a driver wants to know of is out of reach, so it is told.
            Some(Slot::Parked(queue)) => queue.moderated(company, now, change, |_, _| true),
            Some(Slot::Stopped) | None => return,
        };
        self.local.timers.set.extend(held.timer.map(|at| Reverse((at, function, queue))));
        if let Some((vector, wanted)) = held.due {
            let interrupted = wanted && port.lines.signal_queue(vector);
            port.counters
                .queue(queue)
                .add(if interrupted { Counter::Interrupts } else { Counter::SuppressedInterrupts }, 1);
        }
    }
}

impl Engine {
    /// Sends the interrupts whose time has come. Whether any timer went off.
    pub fn expire(&mut self, now: Duration) -> bool {
        self.in_turn().expire(now)
    }

    /// How a queue's interrupts are held back from now on, and whenever it starts anew.
    pub(super) fn set_coalescing(&mut self, function: FunctionId, queue: u16, hold: Hold) {
        let Some(port) = self.fabric.get(function).filter(|_| usize::from(queue) < QUEUES) else { return };
        port.coalescing.insert(queue, hold);
        let now = self.local().now;
        self.in_turn().moderate(function, queue, now, |moderation| moderation.set(hold));
    }

    /// Sends the interrupts of a function that are held back.
    pub(super) fn hold_nothing_back(&mut self, function: FunctionId) {
        for queue in 0..QUEUES as u16 {
            self.in_turn().moderate(function, queue, Duration::MAX, |_| {});
        }
    }
}

impl Function {
    /// A queue starts as its function was told to serve it.
    pub fn moderate(&self, number: u16, queue: &mut Queue) {
        let Some(hold) = self.coalescing.get(&number) else { return };
        match queue {
            Queue::Receive(queue) => queue.get_mut().moderation.set(*hold),
            Queue::Transmit(queue) => queue.get_mut().moderation.set(*hold),
            Queue::Control(_) => {}
        }
    }
}

/// What came of a look at a queue's moderation: when to look again, and the vector of an interrupt that is due, beside
/// whether the driver still wants it.
#[derive(Default)]
struct Held {
    timer: Option<Duration>,
    due: Option<(u16, bool)>,
}

impl Queue {
    fn moderated(
        &self,
        company: Company,
        now: Duration,
        change: impl FnOnce(&mut Moderation),
        wanted: impl FnOnce(&mut Ring, u32) -> bool,
    ) -> Held {
        let held = |moderation: &mut Moderation, ring: &mut Ring, vector: u16| {
            change(moderation);
            let due = moderation.due(now).map(|count| (vector, wanted(ring, count)));
            Held { timer: moderation.timer(), due }
        };
        match self {
            Queue::Receive(queue) => {
                let Receive { ring, moderation, vector, .. } = &mut *queue.take(company);
                held(moderation, ring, *vector)
            }
            Queue::Transmit(queue) => {
                let Transmit { ring, moderation, vector, .. } = &mut *queue.take(company);
                held(moderation, ring, *vector)
            }
            Queue::Control(_) => Held::default(),
        }
    }
}
