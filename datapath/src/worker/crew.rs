//! The workers as all threads see them: each one's doorbells and what it watches, how busy it is, and which of them serves
//! what.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::epoll;

use super::doorbells::Doorbells;
use super::local::Thing;
use super::orders::FunctionId;
use crate::counters::{Counters, FUNCTIONS, QUEUES, UPLINKS, WORKERS, Worker, WorkerFigures};

/// As many as there are rows for to show what they do, and more than one machine's guests need.
pub const MOST_WORKERS: usize = WORKERS;

/// Transmit queues have odd numbers; those of even ones are served where the tap is.
const PLACES: usize = QUEUES / 2 + 1;
const PORT: usize = PLACES - 1;

pub struct Crew {
    pub desks: Box<[Desk]>,
    homes: Vec<[AtomicU8; PLACES]>,
    /// No more orders come.
    pub ended: AtomicBool,
    /// Something came, went or moved since the workers last showed what they serve.
    pub changed: AtomicBool,
}

/// What of a worker others need.
pub struct Desk {
    pub doorbells: Doorbells,
    pub epoll: Arc<OwnedFd>,
    pub load: Load,
    /// Where it shows what it does, if anyone is to see that.
    pub figures: OnceLock<WorkerFigures>,
}

/// How busy a worker was, lately: thousandths of its time, and until when that was measured.
#[derive(Default)]
pub struct Load(AtomicU64);

const SHARE_BITS: u32 = 10;

impl Load {
    pub fn set(&self, share: f64, now: Duration) {
        let share = (share * 1000.0).clamp(0.0, 1000.0) as u64;
        self.0.store((now.as_millis() as u64) << SHARE_BITS | share, Relaxed);
    }

    /// When it was said.
    pub fn at(&self) -> Duration {
        Duration::from_millis(self.0.load(Relaxed) >> SHARE_BITS)
    }

    /// 0..=1. A worker that has not said anything for `fresh` sleeps.
    pub fn share(&self, now: Duration, fresh: Duration) -> f64 {
        let word = self.0.load(Relaxed);
        let at = Duration::from_millis(word >> SHARE_BITS);
        if now.saturating_sub(at) > fresh { 0.0 } else { (word & ((1 << SHARE_BITS) - 1)) as f64 / 1000.0 }
    }
}

impl Crew {
    pub fn new(workers: usize) -> io::Result<Crew> {
        let desk = |_| {
            let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
            Ok(Desk { doorbells: Doorbells::new()?, epoll, load: Load::default(), figures: OnceLock::new() })
        };
        let desks = (0..workers.clamp(1, MOST_WORKERS)).map(desk).collect::<io::Result<_>>()?;
        let homes = (0..FUNCTIONS + UPLINKS).map(|_| [const { AtomicU8::new(0) }; PLACES]).collect();
        Ok(Crew { desks, homes, ended: AtomicBool::new(false), changed: AtomicBool::new(true) })
    }

    /// No more orders come: the first worker ends when it has carried out those that came, the others at once.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
        self.desks.iter().for_each(|desk| desk.doorbells.order());
    }

    /// The workers show what they do from now on. `cores` are those given to them.
    pub fn show(&self, counters: &Counters, cores: &[Option<usize>]) {
        for (number, (desk, core)) in self.desks.iter().zip(cores).enumerate() {
            let figures = desk.figures.get_or_init(|| counters.worker(number));
            figures.show(Worker::Core, core.map_or(0, |core| core as u64 + 1));
            figures.show(Worker::Serves, 1);
        }
    }

    /// Which worker serves a queue, or (None) a tap or an uplink.
    #[inline]
    pub fn home(&self, function: FunctionId, queue: Option<u16>) -> usize {
        self.place(function, queue).map_or(0, |home| home.load(Relaxed).into())
    }

    pub fn home_of(&self, thing: Thing) -> usize {
        self.home(thing.function, thing.queue)
    }

    /// To be changed while no worker is in a turn. Notifications on their way to the former one are passed on.
    pub fn settle(&self, function: FunctionId, queue: Option<u16>, home: usize) {
        if let Some(place) = self.place(function, queue) {
            place.store(home as u8, Relaxed);
        }
    }

    fn place(&self, function: FunctionId, queue: Option<u16>) -> Option<&AtomicU8> {
        let place = queue.filter(|queue| queue % 2 == 1).map_or(PORT, |queue| usize::from(queue / 2));
        self.homes.get(function as usize)?.get(place)
    }

    /// The driver notified a queue: its worker is told.
    pub fn ring(&self, function: FunctionId, queue: u16) {
        self.desks[self.home(function, Some(queue))].doorbells.ring(function, queue);
    }

    /// Frames may be in a tap or an uplink: its worker is told.
    pub fn ring_port(&self, port: FunctionId) {
        self.desks[self.home(port, None)].doorbells.ring_port(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmit_queues_have_homes_of_their_own_and_all_others_that_of_the_tap() {
        let crew = Crew::new(4).unwrap();
        crew.settle(5, None, 1);
        crew.settle(5, Some(1), 2);
        crew.settle(5, Some(63), 3);
        let homes = [None, Some(0), Some(1), Some(2), Some(3), Some(63), Some(64)].map(|queue| crew.home(5, queue));
        assert_eq!(homes, [1, 1, 2, 1, 0, 3, 1]);
        assert_eq!(crew.home(6, Some(1)), 0);
        assert_eq!(crew.home(u32::MAX, Some(1)), 0, "what cannot be is nobody's");
    }

    #[test]
    fn a_worker_that_says_nothing_sleeps() {
        let (load, second) = (Load::default(), Duration::from_secs(1));
        load.set(0.75, 5 * second);
        assert_eq!(load.share(5 * second, second), 0.75);
        assert_eq!(load.share(6 * second, second), 0.75);
        assert_eq!(load.share(7 * second, second), 0.0);
    }
}
