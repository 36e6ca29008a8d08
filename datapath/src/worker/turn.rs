//! What a worker does in its turns, in which it shares the fabric with others: answers doorbells, and gives each queue that
//! has work a batch at a time. What takes the whole fabric (a queue is stopped, say) is noted and left to the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::crew::Crew;
use super::doorbells::PORT;
use super::fabric::Fabric;
use super::forward::forward;
use super::function::{Function, Queue, conclude};
use super::local::{Item, Local, Polled, Scratch, Thing};
use super::orders::{FunctionId, Notice};
use super::represent::{Next, represent};
use crate::counters::Queue as Counter;
use crate::ring::Fault;

/// What an answer to a command begins with when it was carried out (virtio 1.3 §5.1.6.5).
const OK: u8 = 0;
/// Frames that take no longer than another thread's wake-up.
const FEW: usize = 8;
/// The receive queues, by bit.
const RECEIVE: u128 = u128::MAX / 3;

/// A worker's view of everything for the length of a turn.
pub struct Turn<'a> {
    pub fabric: &'a Fabric,
    pub local: &'a mut Local,
    pub crew: &'a Crew,
    /// The worker's number.
    pub me: usize,
}

impl Turn<'_> {
    /// The driver notified a queue. Another worker's, that one is told of: it has moved, or was set up just now.
    pub fn doorbell(&mut self, function: FunctionId, queue: u16) {
        if queue == PORT {
            return self.readable(function);
        }
        if self.crew.home(function, Some(queue)) != self.me {
            return self.crew.ring(function, queue);
        }
        let Some(port) = self.fabric.function(function) else { return };
        match port.queue(queue) {
            Some(Queue::Transmit(_)) => self.poll_queue(function, queue),
            Some(Queue::Receive(_)) if port.starved.load(Relaxed) => self.readable(function),
            Some(Queue::Control(_)) => self.command(function, queue),
            // A ring whose memory is unmapped is looked at when that comes back.
            _ => {}
        }
    }

    /// Whether what a doorbell is for is soon done: a few frames, or a command.
    pub fn short(&self, function: FunctionId, queue: u16) -> bool {
        let Some(port) = self.fabric.function(function) else { return true };
        match port.queue(queue) {
            Some(Queue::Transmit(ring)) => ring.take(port.company).ring.outstanding(FEW + 1) <= FEW,
            Some(Queue::Receive(_)) => false,
            Some(Queue::Control(_)) | None => true,
        }
    }

    /// Frames are in a function's tap, or in an uplink, and may be read.
    pub fn readable(&mut self, function: FunctionId) {
        if self.crew.home(function, None) != self.me {
            return self.crew.ring_port(function);
        }
        if self.readable_outside(function) {
            return;
        }
        let unread = |port: &&Function| port.tap.is_some() && !port.tap_polled.load(Relaxed);
        let Some(port) = self.fabric.function(function).filter(unread) else { return };
        if port.starved.swap(false, Relaxed) {
            let receiving = (0..port.pairs).filter_map(|pair| port.receive(2 * pair));
            receiving.for_each(|queue| queue.take(port.company).ring().suppress());
        }
        port.tap_polled.store(true, Relaxed);
        self.poll_port(function);
        // Since the worker is awake.
        (0..port.pairs).for_each(|pair| self.look_again(function, 2 * pair + 1));
    }

    /// Polls a function's tap, or an uplink, from now on.
    pub(super) fn poll_port(&mut self, port: FunctionId) {
        self.local.items.push_back(Item { thing: Thing { function: port, queue: None }, busy: self.local.now });
    }

    /// Polls a transmit queue from now on, with its doorbell suppressed.
    pub(super) fn poll_queue(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.function(function).filter(|port| !port.polled.get(queue)) else { return };
        if let Some(ring) = port.transmit(queue) {
            ring.take(port.company).ring().suppress();
            port.polled.set(queue, true);
            self.local.items.push_back(Item { thing: Thing { function, queue: Some(queue) }, busy: self.local.now });
        }
    }

    /// A turn begins: see `work`. `now` is the time since the start.
    pub fn begin(&mut self, now: Duration) {
        self.local.now = now;
        self.local.scratch.clock.set(now);
        self.expire(now);
        (self.local.sent, self.local.came, self.local.at) = (0, 0, 0);
        self.local.left = (self.local.items.len(), usize::MAX);
    }

    /// One batch for everything that is being polled. False if something that came up is to be seen to first
    /// (`Local::concerned`); then this is to be called again.
    pub fn work(&mut self) -> bool {
        while self.local.left.0 > 0 {
            self.local.left.0 -= 1;
            let Some(&Item { thing, busy }) = self.local.items.get(self.local.at) else { break };
            let next = if self.local.measured { self.measure(thing, busy) } else { self.turn_item(thing, busy) };
            self.local.moved_on(next);
            if self.local.concerned() {
                return false;
            }
        }
        self.turn_floods();
        self.tend_uplinks();
        !self.local.concerned()
    }

    #[inline]
    fn turn_item(&mut self, thing: Thing, busy: Duration) -> Polled {
        match thing.queue {
            Some(queue) => self.turn_queue(thing.function, queue, busy),
            None => self.turn_outside(thing.function).unwrap_or_else(|| self.turn_tap(thing.function)),
        }
    }

    fn measure(&mut self, thing: Thing, busy: Duration) -> Polled {
        let (start, before) = (Instant::now(), self.local.sent + self.local.came);
        let next = self.turn_item(thing, busy);
        if self.local.sent + self.local.came > before {
            self.local.cost(thing, start.elapsed());
        }
        next
    }

    fn turn_queue(&mut self, function: FunctionId, queue: u16, busy: Duration) -> Polled {
        let Some(port) = self.fabric.function(function).filter(|port| port.polled.get(queue)) else {
            return Polled::NoMore;
        };
        if port.floods.any() {
            return Polled::Still;
        }
        // A fault is noted in there: what is carried out of it is a number.
        let sent = self.with(function, |fabric, scratch| {
            forward(port, queue, fabric, scratch).map_err(|fault| scratch.faults.push((function, fault))).ok()
        });
        match sent.flatten() {
            Some(0) => self.none_came(port, queue, busy),
            Some(sent) => {
                self.local.sent += sent;
                Polled::Busy
            }
            None => Polled::NoMore,
        }
    }

    fn none_came(&mut self, port: &Function, queue: u16, busy: Duration) -> Polled {
        if self.local.now.saturating_sub(busy) < self.local.patience {
            return Polled::Still;
        }
        if self.look_later(port, queue) { Polled::NoMore } else { rest(port, queue) }
    }

    /// Leaves a queue without its doorbell, to be looked at again. False if its driver is to be asked for that.
    fn look_later(&mut self, port: &Function, queue: u16) -> bool {
        let Some(ring) = port.transmit(queue).filter(|_| port.unkicked & 1 << queue == 0) else { return false };
        let later = &mut ring.take(port.company).later;
        if !later.looks_again(port.carried(queue)) {
            return false;
        }
        self.local.timers.set(later.timer(self.local.now), port.id, queue);
        port.polled.set(queue, false);
        port.left.set(queue, true);
        true
    }

    /// Looks at a queue again that was left without its doorbell.
    pub(super) fn look_again(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.function(function).filter(|port| port.left.get(queue)) else { return };
        port.left.set(queue, false);
        self.doorbell(function, queue);
    }

    fn turn_tap(&mut self, function: FunctionId) -> Polled {
        let Some(port) = self.fabric.function(function).filter(|port| port.tap_polled.load(Relaxed)) else {
            return Polled::NoMore;
        };
        let Some(outcome) = self.with(function, |_, scratch| represent(port, scratch)) else {
            port.tap_polled.store(false, Relaxed);
            return Polled::NoMore;
        };
        match outcome {
            Ok(Next::Again) => return Polled::Still,
            Ok(Next::Quiet) => port.tap_polled.store(false, Relaxed),
            Ok(Next::Starved) if port.unkicked & RECEIVE != 0 => return Polled::Still,
            Ok(Next::Starved) => {
                port.tap_polled.store(false, Relaxed);
                port.starved.store(true, Relaxed);
            }
            Err(fault) => {
                self.fault(function, fault);
                // The tap is drained from now on: its frames have no driver to wait for.
                return Polled::Still;
            }
        }
        Polled::NoMore
    }

    /// Does something for a function. If it panics, that function's queues will be stopped: the others, and the worker, go
    /// on.
    pub(super) fn with<R>(&mut self, function: FunctionId, work: impl FnOnce(&Fabric, &mut Scratch) -> R) -> Option<R> {
        let outcome = self.guarded(work);
        if outcome.is_none() {
            self.local.panicked.push(function);
        }
        outcome
    }

    /// Does something for nobody's sake. A panic costs the frames that it was about, and nobody a queue.
    pub(super) fn guarded<R>(&mut self, work: impl FnOnce(&Fabric, &mut Scratch) -> R) -> Option<R> {
        let (fabric, scratch) = (self.fabric, &mut self.local.scratch);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(fabric, scratch)));
        self.local.collect(outcome.is_err());
        outcome.ok()
    }

    /// The driver broke a rule: what follows from it, the engine does.
    fn fault(&mut self, function: FunctionId, fault: Fault) {
        self.local.scratch.faults.push((function, fault));
    }

    /// Passes commands of a control queue to the pump: the next one, unless one waits for its answer.
    pub(super) fn command(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.function(function) else { return };
        let Some(Queue::Control(ring)) = port.queue(queue) else { return };
        let mut ring = ring.take(port.company);
        ring.ring().suppress();
        let next = loop {
            match ring.pop(&port.memory) {
                Ok(None) if !ring.waits() && ring.ring().arm() => ring.ring().suppress(),
                next => break next,
            }
        };
        match next {
            Ok(None) => {}
            Ok(Some(command)) => {
                self.fabric.tickets.fetch_max(command.ticket, Relaxed);
                port.counters.queue(queue).add(Counter::Commands, 1);
                let (ticket, data, room) = (command.ticket, command.data, command.room);
                self.fabric.outbox.send(Notice::Command { function, queue, ticket, data, room });
            }
            Err(fault) => self.fault(function, fault),
        }
    }

    /// The controller answered a command.
    pub(super) fn complete(&mut self, function: FunctionId, queue: u16, ticket: u64, reply: &[u8]) {
        let Some(port) = self.fabric.function(function) else { return };
        let Some(Queue::Control(ring)) = port.queue(queue) else { return };
        let mut ring = ring.take(port.company);
        match ring.complete(&port.memory, ticket, reply) {
            Ok(None) => {}
            Ok(Some(batch)) => {
                port.counters.queue(queue).add(Counter::CommandsOk, u64::from(reply.first() == Some(&OK)));
                let (vector, flushed) = (ring.vector, ring.flush());
                drop(ring);
                port.dirty.iter().for_each(|dirty| dirty.filled(queue, &port.memory, &batch));
                conclude(&port.lines, &port.counters, queue, vector, flushed);
                self.command(function, queue);
            }
            Err(fault) => self.fault(function, fault),
        }
    }
}

/// Nothing came for a while: asks for the doorbell, and stays only if something came meanwhile.
fn rest(port: &Function, queue: u16) -> Polled {
    let unkicked = port.unkicked & 1 << queue != 0;
    if let Some(ring) = port.transmit(queue) {
        let mut ring = ring.take(port.company);
        if unkicked || ring.ring.arm() {
            ring.ring.suppress();
            return Polled::Still;
        }
    }
    port.polled.set(queue, false);
    Polled::NoMore
}
