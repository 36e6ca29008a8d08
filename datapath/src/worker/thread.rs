//! A worker's loop.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::assign::{FRESH, PERIOD, unequal};
use super::crew::Crew;
use super::doorbells::Doorbells;
use super::orders::{FunctionId, Order};
use super::pace::Pace;
use super::world::Worker;
use crate::counters::Worker as Figure;
use crate::memory;

/// Beyond every function's number.
const WAKE: u64 = u64::MAX;
/// How often taps are asked while queues are being polled.
const GLANCE: Duration = Duration::from_micros(10);
/// Turns without a frame between looks at the clock.
const CLOCK: u32 = 8;
/// How long someone stands in for a thread that sleeps, and a turn more.
const STAND_IN: Duration = Duration::from_micros(50);
/// Turns of which one is measured, where there are several workers.
const MEASURED: u32 = 8;

/// What a worker works with. Its thread has it for as long as it is awake; while that sleeps, someone else may take it and
/// stand in.
pub struct Shift {
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
    /// When there was last something to do.
    quiet: Duration,
    busy: Busy,
    poisonings: u64,
    turns: u32,
    /// Turns since the last look at the clock.
    since: u32,
}

/// Works until no more orders can come.
pub fn run(place: &Mutex<Shift>) {
    let mut shift = take(place);
    let mut now = shift.start.elapsed();
    while shift.attend() {
        if shift.has_work() {
            now = shift.work(now);
        } else {
            (shift, now) = sleep(shift, place);
            shift.balance(now);
        }
    }
}

/// Sleeps until something comes, or a timer goes off; meanwhile others may stand in. The time.
fn sleep<'a>(mut shift: MutexGuard<'a, Shift>, place: &'a Mutex<Shift>) -> (MutexGuard<'a, Shift>, Duration) {
    let Some(timeout) = shift.lie_down() else {
        let now = shift.quiet;
        return (shift, now);
    };
    let (crew, number) = (shift.crew.clone(), shift.worker.number());
    let mut ready = std::mem::take(&mut shift.ready);
    drop(shift);
    let woken = watch(&crew, number, timeout, &mut ready);
    // Before the lock: nobody begins to stand in any more.
    crew.desks[number].doorbells.awake(woken);
    let mut shift = take(place);
    shift.ready = ready;
    let now = shift.get_up();
    (shift, now)
}

/// Answers a doorbell in place of a worker that sleeps, which saves a wake-up. False: it is awake, or about to be; or there
/// is more to do than whoever stands in has time for.
pub fn stand_in(place: &Mutex<Shift>, doorbells: &Doorbells, function: FunctionId, queue: u16) -> bool {
    // Whoever has just ordered something has woken it, and comes before this.
    if !doorbells.asleep() {
        return false;
    }
    let mut shift = match place.try_lock() {
        Ok(shift) => shift,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    if !shift.worker.turn(|turn| turn.short(function, queue)) {
        return false;
    }
    if shift.answer(function, queue) {
        doorbells.rouse();
    }
    true
}

fn take(place: &Mutex<Shift>) -> MutexGuard<'_, Shift> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks, or waits, for events of taps and for a wake. Whether one came.
fn watch(crew: &Crew, number: usize, timeout: Option<Duration>, ready: &mut Vec<u64>) -> bool {
    let mut events = [const { MaybeUninit::uninit() }; 64];
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let Ok((events, _)) = epoll::wait(&*crew.desks[number].epoll, &mut events, timeout.as_ref()) else { return false };
    ready.extend(events.iter().map(|event| event.data.u64()).filter(|number| *number != WAKE));
    events.iter().any(|event| event.data.u64() == WAKE)
}

/// How much of its time the worker had something to do.
#[derive(Default)]
struct Busy {
    since: Duration,
    time: Duration,
    /// Before that.
    past: Duration,
}

impl Shift {
    /// `start` is the same for all.
    pub fn new(worker: Worker, crew: Arc<Crew>, orders: Option<Receiver<Order>>, start: Instant) -> io::Result<Shift> {
        let desk = &crew.desks[worker.number()];
        epoll::add(&*desk.epoll, &desk.doorbells, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Shift {
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
            quiet: Duration::ZERO,
            busy: Busy::default(),
            poisonings: memory::poisonings(),
            turns: 0,
            since: 0,
        })
    }

    fn has_work(&self) -> bool {
        !self.idle || !self.rung.is_empty() || !self.ready.is_empty()
    }

    /// One turn, begun at `now`, and what belongs to it. The time.
    #[inline]
    fn work(&mut self, mut now: Duration) -> Duration {
        if now.saturating_sub(self.glanced) >= GLANCE {
            self.glanced = now;
            self.glance();
        }
        let (sent, came) = self.turn(now);
        self.since += 1;
        // The clock takes as long as a look at a quiet queue.
        if sent + came > 0 || self.since == CLOCK {
            self.since = 0;
            let before = std::mem::replace(&mut now, self.start.elapsed());
            if sent + came > 0 {
                self.busy.time += now.saturating_sub(before);
            }
            self.balance(now);
        }
        let gap = self.pace.turned(sent);
        if gap.is_zero() { now } else { self.leave_alone(now + gap) }
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
        let Shift { crew, worker, rung, .. } = self;
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
        let Shift { worker, rung, ready, idle, next, .. } = self;
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

    /// Begins to sleep, unless something has come. Until when, as a time to wait.
    fn lie_down(&mut self) -> Option<Option<Duration>> {
        self.quiet = self.start.elapsed();
        self.show();
        let sleeps = self.crew.desks[self.worker.number()].doorbells.lie_down();
        sleeps.then(|| self.next.map(|at| at.saturating_sub(self.quiet)))
    }

    /// Something came, or a timer went off. The time.
    fn get_up(&mut self) -> Duration {
        let now = self.start.elapsed();
        self.glanced = now;
        let Shift { worker, pace, idle, next, quiet, .. } = self;
        worker.turn(|turn| {
            turn.local.now = now;
            if !turn.expire(now) {
                turn.local.patience = pace.slept(now.saturating_sub(*quiet));
            }
            (*idle, *next) = (turn.local.idle(), turn.local.timers.next());
        });
        now
    }

    /// Whoever stands in answers a doorbell. True if the thread has to wake and go on with it.
    fn answer(&mut self, function: FunctionId, queue: u16) -> bool {
        let (begun, timer) = (self.start.elapsed(), self.next);
        let patience = self.pace.slept(begun.saturating_sub(self.quiet));
        self.worker.turn(|turn| turn.local.patience = patience);
        self.rung.push((function, queue));
        let (mut now, mut over) = (begun, false);
        while self.has_work() && !self.poisoned() && !over {
            // One turn more, in which a queue that is empty is left: for that alone nobody need be woken.
            over = now.saturating_sub(begun) >= STAND_IN;
            self.turn(now);
            now = self.start.elapsed();
        }
        self.busy.time += now.saturating_sub(begun);
        self.quiet = now;
        self.has_work() || self.poisoned() || self.next != timer
    }

    /// Memory was taken away, which the thread sees to before anything else: what is read there now means nothing.
    fn poisoned(&self) -> bool {
        memory::poisonings() != self.poisonings
    }

    /// Looks for events of taps.
    fn glance(&mut self) {
        let Shift { crew, worker, ready, .. } = self;
        watch(crew, worker.number(), Some(Duration::ZERO), ready);
    }

    /// Shows the operator how busy the worker was, and what it serves.
    fn show(&mut self) {
        if self.crew.changed.load(Relaxed) && self.crew.changed.swap(false, Relaxed) {
            self.worker.alone(|engine| engine.survey());
        }
        let figures = self.crew.desks[self.worker.number()].figures.get();
        figures.inspect(|figures| figures.show(Figure::BusyNs, (self.busy.past + self.busy.time).as_nanos() as u64));
    }

    /// Says from time to time how busy this worker is. One that has much more to do than another gives it something.
    fn balance(&mut self, now: Duration) {
        let period = now.saturating_sub(self.busy.since);
        if period < PERIOD {
            return;
        }
        let share = self.busy.time.as_secs_f64() / period.as_secs_f64();
        self.busy = Busy { since: now, time: Duration::ZERO, past: self.busy.past + self.busy.time };
        self.show();
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
