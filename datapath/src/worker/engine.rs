//! What the worker does, without its thread: carries out orders, answers doorbells, and gives each queue that has work a
//! batch at a time, in turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::event::epoll;

use super::closer::Closer;
use super::fabric::{Fabric, Scratch};
use super::forward::forward;
use super::function::{Function, Queue, Slot, conclude};
use super::notices::Outbox;
use super::orders::{FunctionId, Notice};
use super::represent::{Next, represent};
use super::timers::Timers;
use crate::counters::{Function as Counter, QUEUES, Queue as Counted};
use crate::memory;
use crate::ring::{Breach, Fault};

/// Something that is polled until it has no more to do.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Or an uplink's number after those.
    pub(super) function: FunctionId,
    /// A transmit queue; None is the tap.
    queue: Option<u16>,
    /// When it last had work.
    busy: Duration,
}

/// What an answer to a command begins with when it was carried out (virtio 1.3 §5.1.6.5).
const OK: u8 = 0;

/// One event each time frames come, for the port of that number.
pub(super) fn watch(epoll: &OwnedFd, port: FunctionId, fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(u64::from(port)), flags)?)
}

/// The receive queues, by bit.
const RECEIVE: u128 = u128::MAX / 3;

pub struct Engine {
    pub(super) fabric: Fabric,
    pub(super) scratch: Scratch,
    items: VecDeque<Item>,
    pub(super) closer: Closer,
    outbox: Outbox,
    pub(super) epoll: OwnedFd,
    /// How long a queue is polled after its last frame.
    pub patience: Duration,
    pub(super) now: Duration,
    pub(super) timers: Timers,
    /// Chains that guests sent in the last turn.
    pub(super) sent: usize,
    pub(super) tickets: u64,
    poisonings: u64,
}

impl Engine {
    pub fn new(outbox: Outbox) -> io::Result<Engine> {
        Ok(Engine {
            fabric: Fabric::new(),
            scratch: Scratch::new(),
            items: VecDeque::new(),
            closer: Closer::spawn()?,
            outbox,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            patience: Duration::ZERO,
            now: Duration::ZERO,
            timers: Timers::default(),
            sent: 0,
            tickets: 0,
            poisonings: memory::poisonings(),
        })
    }

    /// Whether nothing is being polled.
    pub fn idle(&self) -> bool {
        self.items.is_empty() && self.fabric.floods.is_empty()
    }

    /// What its events are for: see `ready`.
    pub fn epoll(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// To be called before a tap is closed: others may hold it open, and its events would go on.
    pub(super) fn unwatch(&self, tap: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, tap);
    }

    /// Watches a function's tap: one event each time frames come (edge-triggered), so that a tap which is not read, or
    /// which was deleted, is quiet.
    pub(super) fn watch(&self, function: FunctionId, tap: BorrowedFd<'_>) -> io::Result<()> {
        watch(&self.epoll, function, tap)
    }

    /// The driver notified a queue.
    pub fn doorbell(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.get(function) else { return };
        match port.queues.get(usize::from(queue)) {
            Some(Slot::Running(Queue::Transmit(_))) => self.poll_queue(function, queue),
            Some(Slot::Running(Queue::Receive(_))) if port.starved => self.readable(function),
            Some(Slot::Running(Queue::Control(_))) => self.command(function, queue),
            // A ring whose memory is unmapped is looked at when that comes back.
            _ => {}
        }
    }

    /// Frames are in a function's tap, and may be read.
    pub fn readable(&mut self, function: FunctionId) {
        if self.readable_outside(function) {
            return;
        }
        let Some(port) = self.fabric.get(function).filter(|port| port.tap.is_some() && !port.tap_polled) else {
            return;
        };
        if std::mem::take(&mut port.starved) {
            (0..port.pairs).for_each(|pair| {
                if let Some(queue) = port.running(2 * pair) {
                    queue.ring().suppress();
                }
            });
        }
        port.tap_polled = true;
        self.poll_port(function);
    }

    /// Polls a function's tap, or an uplink, from now on.
    pub(super) fn poll_port(&mut self, port: FunctionId) {
        self.items.push_back(Item { function: port, queue: None, busy: self.now });
    }

    /// Ends the polling of what `which` picks.
    pub(super) fn let_go(&mut self, function: FunctionId, which: impl Fn(Option<u16>) -> bool) {
        self.items.retain(|item| item.function != function || !which(item.queue));
    }

    /// Polls a transmit queue from now on, with its doorbell suppressed.
    pub(super) fn poll_queue(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.get(function) else { return };
        let bit = 1 << queue;
        if port.polled & bit != 0 {
            return;
        }
        if let Some(Queue::Transmit(ring)) = port.running(queue) {
            ring.ring().suppress();
            port.polled |= bit;
            self.items.push_back(Item { function, queue: Some(queue), busy: self.now });
        }
    }

    /// One batch for everything that is being polled. `now` is the time since the start.
    pub fn turn(&mut self, now: Duration) {
        self.now = now;
        self.fabric.now = now.as_secs() as u32;
        self.scratch.clock.now = now;
        self.expire(now);
        self.sent = 0;
        for _ in 0..self.items.len() {
            let Some(item) = self.items.pop_front() else { break };
            let kept = match item.queue {
                Some(queue) => self.turn_queue(item, queue),
                None => self.turn_outside(item).unwrap_or_else(|| self.turn_tap(item)),
            };
            self.items.extend(kept);
        }
        self.turn_floods();
        self.tend_uplinks();
    }

    fn turn_queue(&mut self, item: Item, queue: u16) -> Option<Item> {
        let port = self.fabric.get(item.function).filter(|port| port.polled & 1 << queue != 0)?;
        if port.flooding {
            return Some(item);
        }
        if let Some(Queue::Transmit(ring)) = port.running(queue)
            && !ring.ring().waiting()
        {
            return self.none_came(item, queue);
        }
        match self.with(item.function, |port, fabric, scratch| forward(port, queue, fabric, scratch)) {
            Some(Ok(0)) => self.none_came(item, queue),
            Some(Ok(sent)) => {
                self.sent += sent;
                Some(Item { busy: self.now, ..item })
            }
            Some(Err(fault)) => {
                self.fault(item.function, fault);
                None
            }
            None => None,
        }
    }

    fn none_came(&mut self, item: Item, queue: u16) -> Option<Item> {
        if self.now.saturating_sub(item.busy) < self.patience { Some(item) } else { self.rest(item, queue) }
    }

    /// Nothing came for a while: asks for the doorbell, and stays only if something came meanwhile.
    fn rest(&mut self, item: Item, queue: u16) -> Option<Item> {
        let port = self.fabric.get(item.function)?;
        let unkicked = port.unkicked & 1 << queue != 0;
        if let Some(Queue::Transmit(ring)) = port.running(queue) {
            if unkicked || ring.ring().arm() {
                ring.ring().suppress();
                return Some(item);
            }
        }
        port.polled &= !(1 << queue);
        None
    }

    fn turn_tap(&mut self, item: Item) -> Option<Item> {
        self.fabric.get(item.function).filter(|port| port.tap_polled)?;
        let outcome = self.with(item.function, |port, _, scratch| represent(port, scratch))?;
        let port = self.fabric.get(item.function)?;
        match outcome {
            Ok(Next::Again) => return Some(item),
            Ok(Next::Quiet) => port.tap_polled = false,
            Ok(Next::Starved) if port.unkicked & RECEIVE != 0 => return Some(item),
            Ok(Next::Starved) => {
                port.tap_polled = false;
                port.starved = true;
            }
            Err(fault) => {
                self.fault(item.function, fault);
                // The tap is drained from now on: its frames have no driver to wait for.
                return Some(item);
            }
        }
        None
    }

    /// Lets `work` have a function to itself, beside all others. If it panics, that function's queues are stopped: the
    /// others, and the worker, go on.
    pub(super) fn with<R>(
        &mut self,
        function: FunctionId,
        work: impl FnOnce(&mut Function, &mut Fabric, &mut Scratch) -> R,
    ) -> Option<R> {
        let mut port = self.fabric.functions[function as usize].take()?;
        let (fabric, scratch) = (&mut self.fabric, &mut self.scratch);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut port, fabric, scratch)));
        self.fabric.functions[function as usize] = Some(port);
        self.timers.take(&mut self.scratch.clock);
        for (receiver, fault) in std::mem::take(&mut self.scratch.faults) {
            self.fault(receiver, fault);
        }
        if outcome.is_err() {
            self.scratch = Scratch::new();
            self.fault_all(function, &Breach::Panic);
        }
        outcome.ok()
    }

    /// Passes commands of a control queue to the pump: the next one, unless one waits for its answer.
    pub(super) fn command(&mut self, function: FunctionId, queue: u16) {
        let Some(port) = self.fabric.get(function) else { return };
        let memory = port.memory.clone();
        let Some(Queue::Control(ring)) = port.running(queue) else { return };
        ring.ring().suppress();
        let next = loop {
            match ring.pop(&memory) {
                Ok(None) if !ring.waits() && ring.ring().arm() => ring.ring().suppress(),
                next => break next,
            }
        };
        match next {
            Ok(None) => {}
            Ok(Some(command)) => {
                self.tickets = self.tickets.max(command.ticket);
                port.counters.queue(queue).add(Counted::Commands, 1);
                let (ticket, data, room) = (command.ticket, command.data, command.room);
                self.outbox.send(Notice::Command { function, queue, ticket, data, room });
            }
            Err(fault) => self.fault(function, fault),
        }
    }

    /// The controller answered a command.
    pub(super) fn complete(&mut self, function: FunctionId, queue: u16, ticket: u64, reply: Vec<u8>) {
        let Some(port) = self.fabric.get(function) else { return };
        if let Some(Slot::Parked(Queue::Control(ring))) = port.queues.get_mut(usize::from(queue)) {
            return ring.keep(ticket, reply);
        }
        let (memory, lines, counters) = (port.memory.clone(), port.lines.clone(), port.counters.clone());
        let Some(Queue::Control(ring)) = port.running(queue) else { return };
        match ring.complete(&memory, ticket, &reply) {
            Ok(false) => {}
            Ok(true) => {
                counters.queue(queue).add(Counted::CommandsOk, u64::from(reply.first() == Some(&OK)));
                conclude(&lines, &counters, queue, ring.vector, ring.flush());
                self.command(function, queue);
            }
            Err(fault) => self.fault(function, fault),
        }
    }

    /// Stops the queue whose driver broke a rule, counts it and says so.
    pub(super) fn fault(&mut self, function: FunctionId, fault: Fault) {
        let Some(port) = self.fabric.get(function) else { return };
        if let Some(slot) = port.queues.get_mut(usize::from(fault.queue)) {
            *slot = Slot::Stopped;
        }
        port.polled &= !(1 << fault.queue);
        port.counters.add(Counter::QueueFaults, 1);
        port.counters.queue(fault.queue).add(fault.breach.counter(), 1);
        log::debug!("function {function}: {fault}");
        self.outbox.send(Notice::Fault { function, queue: fault.queue, cause: fault.cause() });
        self.settle(function);
    }

    fn fault_all(&mut self, function: FunctionId, breach: &Breach) {
        for queue in 0..QUEUES as u16 {
            let stopped = self
                .fabric
                .get(function)
                .and_then(|port| port.queues.get(usize::from(queue)))
                .is_none_or(|slot| matches!(slot, Slot::Stopped));
            if !stopped {
                self.fault(function, breach.clone().of(queue));
            }
        }
    }

    /// Queues of a function started or stopped: sees to its place in the switch, and to a tap that waited for them.
    pub(super) fn settle(&mut self, function: FunctionId) {
        self.fabric.review(function);
        if self.fabric.get(function).is_some_and(|port| port.starved) {
            self.readable(function);
        }
    }

    /// Stops the queues of functions whose VMM took shared memory away.
    pub fn check_memory(&mut self) {
        let poisonings = memory::poisonings();
        if std::mem::replace(&mut self.poisonings, poisonings) == poisonings {
            return;
        }
        for function in 0..self.fabric.functions.len() as FunctionId {
            if self.fabric.get(function).is_some_and(|port| port.memory.poisoned()) {
                self.fault_all(function, &Breach::MemoryTaken);
            }
        }
    }
}
