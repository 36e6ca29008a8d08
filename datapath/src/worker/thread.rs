//! A worker's loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::assign::{FRESH, PERIOD, unequal};
use super::crew::Crew;
use super::orders::{FunctionId, Order};
use super::pace::Pace;
use super::world::Worker;
use crate::memory;

/// Beyond every function's number.
const WAKE: u64 = u64::MAX;
/// How often taps are asked while queues are being polled.
const GLANCE: Duration = Duration::from_micros(10);
/// Turns without a frame between looks at the clock.
const CLOCK: u32 = 8;
/// Turns of which one is measured, where there are several workers.
const MEASURED: u32 = 8;

pub struct Thread {
    worker: Worker,
    crew: Arc<Crew>,
    /// The first worker takes them.
    orders: Option<Receiver<Order>>,
    pace: Pace,
    start: Instant,
    glanced: Duration,
    /// Queues, and descriptors that are watched, that have something to be looked at.
    rung: Vec<(FunctionId, u16)>,
    ready: Vec<u64>,
    /// What is left to do, as of the last turn: nothing, and then until when.
    idle: bool,
    next: Option<Duration>,
    busy: Busy,
    poisonings: u64,
    turns: u32,
}

/// How much of its time the worker had something to do.
#[derive(Default)]
struct Busy {
    since: Duration,
    time: Duration,
}

impl Thread {
    /// `start` is the same for all.
    pub fn new(worker: Worker, crew: Arc<Crew>, orders: Option<Receiver<Order>>, start: Instant) -> io::Result<Thread> {
        let desk = &crew.desks[worker.number()];
        epoll::add(&*desk.epoll, &desk.doorbells, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Thread {
            worker,
            crew,
            orders,
            pace: Pace::default(),
            start,
            glanced: Duration::ZERO,
            rung: Vec::new(),
            ready: Vec::new(),
            idle: true,
            next: None,
            busy: Busy::default(),
            poisonings: memory::poisonings(),
            turns: 0,
        })
    }

    /// Works until no more orders can come.
    pub fn run(&mut self) {
        let mut now = self.start.elapsed();
        let mut since = 0;
        while self.attend() {
            if self.idle && self.rung.is_empty() && self.ready.is_empty() {
                now = self.sleep();
                self.balance(now);
                continue;
            }
            if now.saturating_sub(self.glanced) >= GLANCE {
                self.glanced = now;
                self.ports(Some(Duration::ZERO));
            }
            let (sent, came) = self.turn(now);
            since += 1;
            // The clock takes as long as a look at a quiet queue.
            if sent + came > 0 || since == CLOCK {
                since = 0;
                let before = std::mem::replace(&mut now, self.start.elapsed());
                if sent + came > 0 {
                    self.busy.time += now.saturating_sub(before);
                }
                self.balance(now);
            }
            let gap = self.pace.turned(sent);
            if !gap.is_zero() {
                now = self.leave_alone(now + gap);
            }
        }
    }

    /// Looks at no ring until `end`: each look takes a cache line away from a driver that is about to write it. The time.
    fn leave_alone(&self, end: Duration) -> Duration {
        loop {
            let now = self.start.elapsed();
            if now >= end {
                return now;
            }
            std::hint::spin_loop();
        }
    }

    /// Takes orders and doorbells. False when no more orders can come.
    fn attend(&mut self) -> bool {
        let poisonings = memory::poisonings();
        if std::mem::replace(&mut self.poisonings, poisonings) != poisonings {
            self.alone(super::Engine::check_memory);
        }
        let Thread { crew, worker, rung, .. } = self;
        let ordered = crew.desks[worker.number()].doorbells.take(|function, queue| rung.push((function, queue)));
        !ordered || self.obey_all()
    }

    /// Each order on its own, so that the others are kept from their turns for one at a time only.
    fn obey_all(&mut self) -> bool {
        loop {
            match self.orders.as_ref().map(Receiver::try_recv) {
                Some(Ok(order)) => self.alone(|engine| engine.obey(order)),
                Some(Err(TryRecvError::Disconnected)) => return false,
                Some(Err(TryRecvError::Empty)) => return true,
                None => return !self.crew.ended.load(Relaxed),
            }
        }
    }

    /// Something that takes everything; it may leave us with something to do.
    fn alone<R>(&mut self, work: impl FnOnce(&mut super::Engine) -> R) -> R {
        self.idle = false;
        self.worker.alone(work)
    }

    /// One turn for what was notified and what is polled: how many chains were sent, and what else came.
    fn turn(&mut self, now: Duration) -> (usize, usize) {
        self.turns = self.turns.wrapping_add(1);
        let measured = self.turns % MEASURED == 0 && self.crew.desks.len() > 1;
        let Thread { worker, rung, ready, idle, next, .. } = self;
        let mut begun = false;
        loop {
            let (done, moved) = worker.turn(|turn| {
                if !std::mem::replace(&mut begun, true) {
                    turn.local.now = now;
                    rung.drain(..).for_each(|(function, queue)| turn.doorbell(function, queue));
                    ready.drain(..).for_each(|number| turn.ready(number));
                    turn.local.measured = measured;
                    turn.begin(now);
                }
                let done = turn.work();
                (*idle, *next) = (turn.local.idle(), turn.local.timers.next());
                (done, (turn.local.sent, turn.local.came))
            });
            if done {
                return moved;
            }
            worker.alone(super::Engine::see_to);
        }
    }

    /// Sleeps until something comes, or a timer goes off. The time.
    fn sleep(&mut self) -> Duration {
        let crew = self.crew.clone();
        let doorbells = &crew.desks[self.worker.number()].doorbells;
        let before = self.start.elapsed();
        if !doorbells.asleep() {
            return before;
        }
        self.ports(self.next.map(|at| at.saturating_sub(before)));
        doorbells.awake();
        let now = self.start.elapsed();
        let Thread { worker, pace, next, .. } = self;
        worker.turn(|turn| {
            turn.local.now = now;
            if !turn.expire(now) {
                turn.local.patience = pace.slept(now.saturating_sub(before));
            }
            *next = turn.local.timers.next();
        });
        now
    }

    /// Looks, or waits, for events of taps and for a wake.
    fn ports(&mut self, timeout: Option<Duration>) {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 64];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let epoll = &*self.crew.desks[self.worker.number()].epoll;
        let Ok((events, _)) = epoll::wait(epoll, &mut events, timeout.as_ref()) else { return };
        self.ready.extend(events.iter().map(|event| event.data.u64()).filter(|number| *number != WAKE));
    }

    /// Says from time to time how busy this worker is. One that has much more to do than another gives it something.
    fn balance(&mut self, now: Duration) {
        let period = now.saturating_sub(self.busy.since);
        if period < PERIOD {
            return;
        }
        let share = self.busy.time.as_secs_f64() / period.as_secs_f64();
        self.busy = Busy { since: now, time: Duration::ZERO };
        let number = self.worker.number();
        self.crew.desks[number].load.set(share, now);
        if self.crew.desks.len() == 1 {
            return;
        }
        let shares = self.crew.desks.iter().map(|desk| desk.load.share(now, FRESH)).enumerate();
        let others = shares.filter(|(other, _)| *other != number);
        if let Some((other, least)) = others.min_by(|(_, one), (_, two)| one.total_cmp(two)) {
            if unequal(share, least) {
                self.alone(|engine| engine.relieve(other, share, share - least, now));
            }
        }
        self.worker.turn(|turn| turn.local.costs.clear());
    }
}
