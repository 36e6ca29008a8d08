//! Which worker serves what. A thing that is new goes to the worker with least to do; a worker that has much more to do than
//! another gives it something. What is moved takes its turn in the queue of the other worker, with no batch of it under
//! way, so the frames of one queue stay in order.

use std::cmp::Ordering;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::event::epoll;

use super::engine::Engine;
use super::function::{Queue, Slot};
use super::kick;
use super::local::Thing;
use crate::counters::Worker;

/// How long work is measured before it is thought about.
pub const PERIOD: Duration = Duration::from_millis(50);
/// What a worker said of its load this long ago still holds.
pub const FRESH: Duration = Duration::from_millis(150);
/// After a move the next one waits until both workers' loads are known anew; and what was moved stays for a while.
const PAUSE: Duration = Duration::from_millis(150);
const STAY: Duration = Duration::from_secs(1);
/// A worker gives something away when it is this busy, and so much busier than the other one.
const BUSY: f64 = 0.5;
const DIFFERENCE: f64 = 0.2;
/// A move must bring the two nearer to each other, by some more than what is measured wrongly.
const MOST_OF_DIFFERENCE: f64 = 0.8;

/// What was moved lately.
#[derive(Default)]
pub struct Moves {
    lately: Vec<(Thing, Duration)>,
}

/// What a thing is to its worker: the share of a core that it takes.
pub type Burden = (Thing, f64);

/// Whether a worker with this `share` of its time taken might give something to one with `least`.
pub fn unequal(share: f64, least: f64) -> bool {
    share >= BUSY && share - least >= DIFFERENCE
}

impl Moves {
    /// Which of a worker's burdens is to go to another one that is less busy by `difference`: the one that makes them most
    /// alike, if any does.
    pub fn choose(&mut self, burdens: &[Burden], difference: f64, now: Duration) -> Option<Thing> {
        self.lately.retain(|(_, at)| now.saturating_sub(*at) < STAY);
        if self.lately.iter().any(|(_, at)| now.saturating_sub(*at) < PAUSE) {
            return None;
        }
        let stays = |thing: &Thing| self.lately.iter().any(|(other, _)| other == thing);
        let off = |burden: &f64| (difference / 2.0 - burden).abs();
        let best = burdens
            .iter()
            .filter(|(thing, burden)| *burden > 0.0 && *burden < MOST_OF_DIFFERENCE * difference && !stays(thing))
            .min_by(|(_, one), (_, other)| off(one).partial_cmp(&off(other)).unwrap_or(Ordering::Equal))?;
        self.lately.push((best.0, now));
        Some(best.0)
    }
}

impl Engine {
    /// Gives one of the acting worker's things to `other`, which is less busy by `difference`. `share` is how busy we are.
    pub(super) fn relieve(&mut self, other: usize, share: f64, difference: f64, now: Duration) {
        let local = self.local();
        let whole: Duration = local.costs.iter().map(|(_, cost)| *cost).sum();
        let of_all = |cost: &Duration| share * cost.as_secs_f64() / whole.as_secs_f64().max(1e-9);
        let burdens: Vec<Burden> = local.costs.iter().map(|(thing, cost)| (*thing, of_all(cost))).collect();
        let me = self.me;
        let burdens: Vec<Burden> = burdens.into_iter().filter(|(thing, _)| self.crew.home_of(*thing) == me).collect();
        if let Some(thing) = self.moves.choose(&burdens, difference, now) {
            log::debug!("{thing:?} goes from worker {me} to worker {other}");
            self.rehome(thing, other);
        }
    }

    /// The worker with least to do: the least busy one, and among equals the one with the fewest things.
    pub(super) fn least_loaded(&self) -> usize {
        let desks = &self.crew.desks;
        if desks.len() == 1 {
            return 0;
        }
        let now = desks.iter().map(|desk| desk.load.at()).max().unwrap_or_default();
        let mut things = vec![0u32; desks.len()];
        self.things().for_each(|thing| things[self.crew.home_of(thing)] += 1);
        let tenths = |desk: usize| (desks[desk].load.share(now, FRESH) * 10.0) as u32;
        (0..desks.len()).min_by_key(|desk| (tenths(*desk), things[*desk])).unwrap_or(0)
    }

    /// Shows what each worker serves.
    pub(super) fn survey(&mut self) {
        let mut served = vec![[0u64; 2]; self.crew.desks.len()];
        for port in self.fabric.functions.iter().flatten() {
            let there = port.queues.iter().enumerate().filter(|(_, slot)| !matches!(slot, Slot::Stopped));
            there.for_each(|(queue, _)| served[self.crew.home(port.id, Some(queue as u16))][0] += 1);
        }
        let ports = self.things().filter(|thing| thing.queue.is_none());
        ports.for_each(|port| served[self.crew.home_of(port)][1] += 1);
        for (desk, [queues, ports]) in self.crew.desks.iter().zip(served) {
            let figures = desk.figures.get();
            figures.inspect(|figures| figures.show(Worker::Queues, queues));
            figures.inspect(|figures| figures.show(Worker::Ports, ports));
        }
    }

    /// Everything that is or may be polled.
    fn things(&self) -> impl Iterator<Item = Thing> {
        let taps = self.fabric.functions.iter().flatten().filter(|port| port.tap.is_some());
        let queues = self.fabric.functions.iter().flatten().flat_map(|port| {
            let transmits =
                |slot: &Slot| matches!(slot, Slot::Running(Queue::Transmit(_)) | Slot::Parked(Queue::Transmit(_)));
            let numbers = port.queues.iter().enumerate().filter(move |(_, slot)| transmits(slot));
            numbers.map(|(queue, _)| Thing { function: port.id, queue: Some(queue as u16) })
        });
        let uplinks = self.fabric.uplinks.iter().flatten().map(|uplink| Thing { function: uplink.port(), queue: None });
        taps.map(|port| Thing { function: port.id, queue: None }).chain(queues).chain(uplinks)
    }

    /// Moves a thing to another worker: what is polled for it, and what watches it.
    pub(super) fn rehome(&mut self, thing: Thing, to: usize) {
        let from = self.crew.home_of(thing);
        // Queues of even numbers are served with the tap.
        if from == to || to >= self.crew.desks.len() || thing.queue.is_some_and(|queue| queue % 2 == 0) {
            return;
        }
        self.crew.settle(thing.function, thing.queue, to);
        self.crew.changed.store(true, Relaxed);
        self.rewatch(thing, from, to);
        let items = &mut self.locals[from].get_mut().items;
        let place = items.iter().position(|item| item.thing == thing);
        if let Some(item) = place.and_then(|place| items.remove(place)) {
            self.locals[to].get_mut().items.push_back(item);
        }
        // The other worker may sleep, and something may have come while nobody watched.
        match thing.queue {
            Some(queue) => self.crew.ring(thing.function, queue),
            None => self.crew.ring_port(thing.function),
        }
    }

    fn rewatch(&self, thing: Thing, from: usize, to: usize) {
        let move_one = |number: u64, fd: BorrowedFd<'_>| {
            let _ = epoll::delete(&*self.crew.desks[from].epoll, fd);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            let watched = epoll::add(&*self.crew.desks[to].epoll, fd, epoll::EventData::new_u64(number), flags);
            if let Err(error) = watched {
                log::error!("{thing:?} cannot be watched any more, so it stands still: {error}");
            }
        };
        let port = self.fabric.function(thing.function);
        if thing.queue.is_none() {
            let tap = port.and_then(|port| port.tap.as_ref()).map(AsFd::as_fd);
            let uplink = self.fabric.uplinks.iter().flatten().find(|uplink| uplink.port() == thing.function);
            let sockets = uplink.map(|uplink| uplink.wire.sockets()).unwrap_or_default();
            tap.into_iter().chain(sockets).for_each(|fd| move_one(u64::from(thing.function), fd));
        }
        let concerned = |queue: u16| match thing.queue {
            Some(own) => own == queue,
            None => queue % 2 == 0,
        };
        for (queue, fd) in port.into_iter().flat_map(|port| port.kicks.iter().enumerate()) {
            if let Some(fd) = fd.as_ref().filter(|_| concerned(queue as u16)) {
                move_one(kick::number(thing.function, queue as u16), fd.as_fd());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::orders::FunctionId;
    use super::*;

    fn thing(function: FunctionId) -> Thing {
        Thing { function, queue: Some(1) }
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_makes_two_workers_most_alike_is_moved() {
        let burdens = [(thing(0), 0.1), (thing(1), 0.35), (thing(2), 0.5)];
        assert_eq!(Moves::default().choose(&burdens, 0.8, second(5)), Some(thing(1)));
    }

    #[test]
    fn a_lone_burden_is_never_handed_to_and_fro() {
        assert_eq!(Moves::default().choose(&[(thing(0), 1.0)], 1.0, second(5)), None);
        assert_eq!(Moves::default().choose(&[(thing(0), 0.9), (thing(1), 0.0)], 0.9, second(5)), None);
    }

    #[test]
    fn after_a_move_both_are_measured_anew_and_what_was_moved_stays_longer() {
        let (mut moves, burdens) = (Moves::default(), [(thing(0), 0.4), (thing(1), 0.1)]);
        assert_eq!(moves.choose(&burdens, 0.8, second(5)), Some(thing(0)));
        assert_eq!(moves.choose(&burdens, 0.8, second(5) + PAUSE / 2), None);
        assert_eq!(moves.choose(&burdens, 0.8, second(5) + PAUSE), Some(thing(1)));
        assert_eq!(moves.choose(&burdens, 0.8, second(5) + 2 * PAUSE), None);
        assert_eq!(moves.choose(&burdens, 0.8, second(6) + PAUSE), Some(thing(0)));
    }

    #[test]
    fn workers_that_are_alike_or_at_leisure_give_nothing_away() {
        assert!(!unequal(1.0, 0.9) && !unequal(0.4, 0.0) && unequal(0.9, 0.1));
    }
}
