//! What is done while no worker is in a turn: orders are carried out, and faults are seen to. For tests and measurements it
//! is also a worker without a thread, by itself.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;

use super::assign::Moves;
use super::closer::Closer;
use super::crew::Crew;
use super::fabric::Fabric;
use super::function::{Queue, Slot};
use super::local::Local;
use super::notices::Outbox;
use super::orders::{FunctionId, Notice};
use super::turn::Turn;
use crate::counters::{Function as Counter, QUEUES};
use crate::locked::Company;
use crate::memory;
use crate::ring::{Breach, Fault};

/// One event each time frames come, for the port of that number.
pub(super) fn watch(epoll: &OwnedFd, port: FunctionId, fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(u64::from(port)), flags)?)
}

pub struct Engine {
    pub(super) fabric: Fabric,
    /// By worker.
    pub(super) locals: Box<[UnsafeCell<Local>]>,
    pub(super) crew: Arc<Crew>,
    /// The worker that acts.
    pub(super) me: usize,
    pub(super) moves: Moves,
    pub(super) closer: Closer,
    poisonings: u64,
}

impl Engine {
    /// With one worker.
    pub fn new(outbox: Outbox) -> io::Result<Engine> {
        Engine::with_crew(outbox, Arc::new(Crew::new(1)?))
    }

    pub(super) fn with_crew(outbox: Outbox, crew: Arc<Crew>) -> io::Result<Engine> {
        Ok(Engine {
            fabric: Fabric::new(outbox),
            locals: crew.desks.iter().map(|_| UnsafeCell::new(Local::new())).collect(),
            crew,
            me: 0,
            moves: Moves::default(),
            closer: Closer::spawn()?,
            poisonings: memory::poisonings(),
        })
    }

    /// Who else may want a queue that is taken in a turn.
    pub(super) fn company(&self) -> Company {
        // SAFETY: with one desk there is one `Worker`, or none and whoever owns the engine; both are used by one thread at
        // a time, and what they take they give back before they are moved.
        if self.crew.desks.len() > 1 { Company::SEVERAL } else { unsafe { Company::none() } }
    }

    /// Whether nothing is being polled.
    pub fn idle(&mut self) -> bool {
        self.local().idle()
    }

    /// How long a queue is polled after its last frame, from now on.
    pub fn be_patient(&mut self, patience: Duration) {
        self.local().patience = patience;
    }

    /// What its events are for: see `ready`.
    pub fn epoll(&self) -> BorrowedFd<'_> {
        self.crew.desks[self.me].epoll.as_fd()
    }

    /// To be called before a tap is closed: others may hold it open, and its events would go on.
    pub(super) fn unwatch(&self, port: FunctionId, tap: BorrowedFd<'_>) {
        let _ = epoll::delete(&*self.crew.desks[self.crew.home(port, None)].epoll, tap);
    }

    /// Watches a function's tap: one event each time frames come (edge-triggered), so that a tap which is not read, or
    /// which was deleted, is quiet.
    pub(super) fn watch(&self, function: FunctionId, tap: BorrowedFd<'_>) -> io::Result<()> {
        watch(&self.crew.desks[self.crew.home(function, None)].epoll, function, tap)
    }

    /// What is the acting worker's own.
    pub(super) fn local(&mut self) -> &mut Local {
        self.locals[self.me].get_mut()
    }

    /// What a worker does in a turn, beside what is done here.
    pub(super) fn in_turn(&mut self) -> Turn<'_> {
        Turn { fabric: &self.fabric, local: self.locals[self.me].get_mut(), crew: &self.crew, me: self.me }
    }

    /// The driver notified a queue.
    pub fn doorbell(&mut self, function: FunctionId, queue: u16) {
        self.in_turn().doorbell(function, queue);
        self.see_to();
    }

    /// Frames are in a function's tap, and may be read.
    pub fn readable(&mut self, function: FunctionId) {
        self.in_turn().readable(function);
    }

    /// One batch for everything that is being polled. `now` is the time since the start.
    pub fn turn(&mut self, now: Duration) {
        self.in_turn().begin(now);
        while !self.in_turn().work() {
            self.see_to();
        }
    }

    /// Sees to what came up in a turn.
    pub(super) fn see_to(&mut self) {
        for (function, fault) in std::mem::take(&mut self.local().scratch.faults) {
            // One that was met more than once is one fault.
            if self.fabric.function(function).is_some_and(|port| port.queue(fault.queue).is_some()) {
                self.fault(function, fault);
            }
        }
        for function in std::mem::take(&mut self.local().panicked) {
            self.fault_all(function, &Breach::Panic);
        }
    }

    pub(super) fn let_go(&mut self, function: FunctionId, which: impl Fn(Option<u16>) -> bool) {
        self.locals.iter_mut().for_each(|local| local.get_mut().let_go(function, &which));
    }

    /// The controller answered a command.
    pub(super) fn complete(&mut self, function: FunctionId, queue: u16, ticket: u64, reply: Vec<u8>) {
        let Some(port) = self.fabric.get(function) else { return };
        if let Some(Slot::Parked(Queue::Control(ring))) = port.queues.get_mut(usize::from(queue)) {
            return ring.get_mut().keep(ticket, reply);
        }
        self.in_turn().complete(function, queue, ticket, &reply);
        self.see_to();
    }

    /// Stops the queue whose driver broke a rule, counts it and says so.
    pub(super) fn fault(&mut self, function: FunctionId, fault: Fault) {
        let Some(port) = self.fabric.get(function) else { return };
        if let Some(slot) = port.queues.get_mut(usize::from(fault.queue)) {
            *slot = Slot::Stopped;
        }
        port.polled.set(fault.queue, false);
        port.counters.add(Counter::QueueFaults, 1);
        port.counters.queue(fault.queue).add(fault.breach.counter(), 1);
        log::debug!("function {function}: {fault}");
        self.fabric.outbox.send(Notice::Fault { function, queue: fault.queue, cause: fault.cause() });
        self.settle(function);
    }

    fn fault_all(&mut self, function: FunctionId, breach: &Breach) {
        for queue in 0..QUEUES as u16 {
            let stopped = self
                .fabric
                .function(function)
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
        if self.fabric.get(function).is_some_and(|port| *port.starved.get_mut()) {
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
            if self.fabric.function(function).is_some_and(|port| port.memory.poisoned()) {
                self.fault_all(function, &Breach::MemoryTaken);
            }
        }
    }
}
