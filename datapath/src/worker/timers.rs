//! Interrupts that are held back (virtio 1.3 §5.1.6.5.9), and the timers that see to it that none is forgotten.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::engine::Engine;
use super::function::{Function, Queue, Slot};
use super::orders::FunctionId;
use crate::counters::{QUEUES, Queue as Counter};
use crate::ring::Moderation;

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
    pub now: Duration,
    asked: Vec<Timer>,
}

impl Clock {
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
    pub fn take(&mut self, clock: &mut Clock) {
        self.set.extend(clock.asked.drain(..));
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

impl Engine {
    /// Sends the interrupts whose time has come. Whether any timer went off.
    pub fn expire(&mut self, now: Duration) -> bool {
        let mut some = false;
        while let Some((at, function, queue)) = self.timers.rung(now) {
            some = true;
            self.moderate(function, queue, now, |moderation| moderation.rang(at));
        }
        some
    }

    /// How a queue's interrupts are held back from now on, and whenever it starts anew.
    pub(super) fn set_coalescing(&mut self, function: FunctionId, queue: u16, packets: u32, period: Duration) {
        let Some(port) = self.fabric.get(function).filter(|_| usize::from(queue) < QUEUES) else { return };
        port.coalescing.insert(queue, (packets, period));
        let now = self.now;
        self.moderate(function, queue, now, |moderation| moderation.set(packets, period));
    }

    /// Sends the interrupts of a function that are held back.
    pub(super) fn hold_nothing_back(&mut self, function: FunctionId) {
        for queue in 0..QUEUES as u16 {
            self.moderate(function, queue, Duration::MAX, |_| {});
        }
    }

    /// Changes a queue's moderation, and sends what it holds back if that is now due.
    fn moderate(&mut self, function: FunctionId, queue: u16, now: Duration, change: impl FnOnce(&mut Moderation)) {
        let Some(port) = self.fabric.get(function) else { return };
        let Some((moderation, vector)) = port.moderation(queue) else { return };
        change(moderation);
        let due = moderation.due(now);
        self.timers.set.extend(moderation.timer().map(|at| Reverse((at, function, queue))));
        if let Some(count) = due {
            let interrupted = port.still_wants(queue, count) && port.lines.signal_queue(vector);
            port.counters
                .queue(queue)
                .add(if interrupted { Counter::Interrupts } else { Counter::SuppressedInterrupts }, 1);
        }
    }
}

impl Function {
    /// A queue's moderation and its vector, if it is one that moves frames.
    fn moderation(&mut self, queue: u16) -> Option<(&mut Moderation, u16)> {
        match self.queues.get_mut(usize::from(queue)) {
            Some(Slot::Running(queue) | Slot::Parked(queue)) => queue.moderation(),
            _ => None,
        }
    }

    /// Whether the driver wants to know of what it was shown; so it does while its wish is out of reach.
    fn still_wants(&mut self, queue: u16, count: u32) -> bool {
        self.running(queue).is_none_or(|queue| queue.ring().still_wants(count))
    }

    /// A queue starts as its function was told to serve it.
    pub fn moderate(&self, number: u16, queue: &mut Queue) {
        if let (Some((packets, period)), Some((moderation, _))) = (self.coalescing.get(&number), queue.moderation()) {
            moderation.set(*packets, *period);
        }
    }
}

impl Queue {
    fn moderation(&mut self) -> Option<(&mut Moderation, u16)> {
        match self {
            Queue::Receive(queue) => Some((&mut queue.moderation, queue.vector)),
            Queue::Transmit(queue) => Some((&mut queue.moderation, queue.vector)),
            Queue::Control(_) => None,
        }
    }
}
