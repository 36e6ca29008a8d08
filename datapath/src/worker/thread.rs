//! The worker's loop.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::doorbells::Doorbells;
use super::engine::Engine;
use super::orders::Order;
use super::pace::Pace;

/// Beyond every function's number.
const WAKE: u64 = u64::MAX;
/// How often taps are asked while queues are being polled.
const GLANCE: Duration = Duration::from_micros(10);
/// Turns without a frame between looks at the clock.
const CLOCK: u32 = 8;

pub struct Thread {
    engine: Engine,
    orders: Receiver<Order>,
    doorbells: Arc<Doorbells>,
    pace: Pace,
    start: Instant,
    glanced: Duration,
}

impl Thread {
    pub fn new(engine: Engine, orders: Receiver<Order>, doorbells: Arc<Doorbells>) -> io::Result<Thread> {
        epoll::add(engine.epoll(), &*doorbells, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Thread { engine, orders, doorbells, pace: Pace::default(), start: Instant::now(), glanced: Duration::ZERO })
    }

    /// Works until the orders' channel is closed.
    pub fn run(&mut self) {
        let mut now = self.start.elapsed();
        let mut since = 0;
        while self.attend() {
            if self.engine.idle() {
                self.sleep();
                now = self.engine.now;
                continue;
            }
            if now.saturating_sub(self.glanced) >= GLANCE {
                self.glanced = now;
                self.ports(Some(Duration::ZERO));
            }
            self.engine.turn(now);
            since += 1;
            // The clock takes as long as a look at a quiet queue.
            if self.engine.sent > 0 || since == CLOCK {
                since = 0;
                now = self.start.elapsed();
            }
            let gap = self.pace.turned(self.engine.sent);
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
        let Thread { engine, doorbells, orders, .. } = self;
        engine.check_memory();
        let mut rung = Vec::new();
        let ordered = doorbells.take(|function, queue| rung.push((function, queue)));
        let alive = !ordered || obey_all(engine, orders);
        rung.into_iter().for_each(|(function, queue)| engine.doorbell(function, queue));
        alive
    }

    fn sleep(&mut self) {
        if !self.doorbells.asleep() {
            return;
        }
        let before = self.start.elapsed();
        self.ports(self.engine.timers.next().map(|at| at.saturating_sub(before)));
        self.doorbells.awake();
        let now = self.start.elapsed();
        self.engine.now = now;
        if !self.engine.expire(now) {
            self.engine.patience = self.pace.slept(now.saturating_sub(before));
        }
    }

    /// Looks, or waits, for events of taps and for a wake.
    fn ports(&mut self, timeout: Option<Duration>) {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 64];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let Ok((events, _)) = epoll::wait(self.engine.epoll(), &mut events, timeout.as_ref()) else { return };
        let ready: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
        ready.into_iter().filter(|number| *number != WAKE).for_each(|number| self.engine.ready(number));
    }
}

fn obey_all(engine: &mut Engine, orders: &Receiver<Order>) -> bool {
    loop {
        match orders.try_recv() {
            Ok(order) => engine.obey(order),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}
