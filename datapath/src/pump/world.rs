//! What all functions share: the worker, the controller, the poller.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::dma::Pool;
use super::poll::{Flags, Poller, READ, Token};
use crate::control::Control;
use crate::guard::Guard;
use crate::worker::orders::{FunctionId, Notice, Order, Receipt};
use crate::worker::{Notices, WorkerHandle};

pub struct World {
    pub worker: WorkerHandle,
    pub control: Control,
    pub poller: Poller,
    /// What VMMs may still map beyond what each has of its own.
    pub mappings: Pool,
    /// Sees to it that nobody waits on a VMM's eventfd.
    pub guard: Guard,
    notices: Notices,
    /// Taken from the worker, but not yet dealt with.
    waiting: VecDeque<Notice>,
    /// Whether the poller watches for room in the controller's socket.
    wants_room: bool,
    /// Functions that could take no VMM because the process had no descriptor left, and since when.
    pub resting: Vec<(FunctionId, Instant)>,
    /// Requests for which a VMM waits, and until when, the oldest first. Those answered since are passed over.
    pub deadlines: VecDeque<(Instant, FunctionId, u64)>,
    /// Whether nobody else waits for the pump: it may answer one doorbell itself then.
    pub leisure: bool,
}

impl World {
    pub fn new(worker: WorkerHandle, notices: Notices, control: Control) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(control.listener(), Token::Control, READ)?;
        poller.add(&notices, Token::Notices, READ)?;
        let (waiting, resting) = (VecDeque::new(), Vec::new());
        let deadlines = VecDeque::new();
        let guard = Guard::spawn()?;
        let mappings = Pool::default();
        let world = Self {
            worker,
            control,
            poller,
            mappings,
            guard,
            notices,
            waiting,
            wants_room: false,
            resting,
            deadlines,
            leisure: false,
        };
        // A thread that starts makes system calls that the sandbox does not allow: wait until it takes orders.
        world.settle(|done| Order::StopAll { function: 0, done });
        Ok(world)
    }

    /// Gives an order and waits until it is carried out.
    pub fn settle(&self, order: impl FnOnce(Receipt) -> Order) {
        let (done, settled) = sync_channel(1);
        self.worker.send(order(done));
        // A dropped receipt settles as well: the worker does not know the function.
        let _ = settled.recv();
    }

    /// A driver notified a queue.
    pub fn doorbell(&mut self, function: FunctionId, queue: u16) {
        if std::mem::take(&mut self.leisure) {
            self.worker.stand_in(function, queue);
        } else {
            self.worker.doorbell(function, queue);
        }
    }

    /// How long until the oldest deadline, a little more than exactly, so that it has passed then.
    pub fn next_deadline(&self) -> Option<Duration> {
        let (deadline, ..) = self.deadlines.front()?;
        Some(deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    pub fn collect_notices(&mut self) {
        self.waiting.extend(self.notices.take());
    }

    pub fn next_notice(&mut self) -> Option<Notice> {
        self.waiting.pop_front()
    }

    /// Queues were stopped (all of a function, or one): what they had to say before concerns nobody any more.
    pub fn forget_notices(&mut self, function: FunctionId, queue: Option<u16>) {
        self.collect_notices();
        self.waiting.retain(|notice| {
            let (of, about) = match notice {
                Notice::Command { function, queue, .. } | Notice::Fault { function, queue, .. } => (*function, *queue),
            };
            of != function || queue.is_some_and(|queue| queue != about)
        });
    }

    /// Takes the newest controller.
    pub fn accept_controller(&mut self) -> io::Result<()> {
        self.control.accept()?;
        self.wants_room = false;
        let socket = self.control.controller().expect("a controller was just accepted");
        self.poller.add(socket, Token::Controller, READ)
    }

    /// Watches for room in the controller's socket exactly while something waits for it.
    pub fn watch_controller(&mut self) {
        let blocked = self.control.blocked();
        if let Some(socket) = self.control.controller().filter(|_| blocked != self.wants_room) {
            let flags = if blocked { READ | Flags::OUT } else { READ };
            self.poller.change(socket, Token::Controller, flags);
            self.wants_room = blocked;
        }
    }
}
