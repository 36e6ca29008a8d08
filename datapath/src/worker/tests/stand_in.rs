//! Whoever brings a doorbell does a sleeping worker's work. The worker has no thread here, so nobody else can have done it.

use std::sync::Mutex;
use std::time::Instant;

use super::*;
use crate::worker::crew::Crew;
use crate::worker::doorbells::Doorbells;
use crate::worker::thread::{Shift, stand_in};
use crate::worker::world::employ;

/// A port, and the worker that serves it: awake, until it has been told to lie down.
struct Served {
    port: Port,
    place: Mutex<Shift>,
    crew: Arc<Crew>,
    notices: Notices,
}

impl Served {
    fn new() -> Served {
        let (outbox, notices) = notices().unwrap();
        let crew = Arc::new(Crew::new(1).unwrap());
        let engine = Engine::with_crew(outbox, crew.clone()).unwrap();
        let none = super::notices().unwrap().1;
        let mut rig = Rig { engine, notices: none, counters: Counters::new().unwrap(), now: Duration::ZERO };
        let port = rig.port(0, true);
        rig.settle();
        let worker = employ(rig.engine).remove(0);
        let place = Mutex::new(Shift::new(worker, crew.clone(), None, Instant::now()).unwrap());
        Served { port, place, crew, notices }
    }

    fn send(&mut self, frames: usize, len: usize) {
        (0..frames).for_each(|_| self.port.send(&frame(BROADCAST, mac(0), len)));
    }

    fn doorbells(&self) -> &Doorbells {
        &self.crew.desks[0].doorbells
    }

    /// Someone brings a doorbell. Whether he stood in.
    fn answered(&self) -> bool {
        stand_in(&self.place, self.doorbells(), 0, 1)
    }

    /// The worker lies down and someone brings a doorbell of so many frames, which he is to answer.
    fn answers(frames: usize, len: usize) -> Served {
        let mut served = Served::new();
        served.send(frames, len);
        assert!(served.doorbells().lie_down() && served.answered());
        served
    }

    /// Tried again if not `answered`: who is kept from his processor for longer than he may stand in, or sees that memory was
    /// taken away (another test's), leaves the rest to the worker.
    fn undisturbed(serve: impl Fn() -> Served, answered: impl Fn(&mut Served) -> bool) -> Served {
        let mut tries = (0..200).map(|_| serve());
        let served = tries.find_map(|mut served| answered(&mut served).then_some(served));
        served.expect("answered in one of many tries")
    }
}

#[test]
fn a_few_frames_are_sent_at_once_and_the_worker_sleeps_on() {
    let served = Served::undisturbed(|| Served::answers(3, 60), |served| served.doorbells().asleep());
    assert_eq!(served.port.emitted().len(), 3);
    assert_eq!(served.port.transmit.used_flags(), 0, "the next doorbell is asked for");
}

#[test]
fn many_frames_are_left_to_the_worker() {
    let mut served = Served::new();
    served.send(20, 60);
    assert!(served.doorbells().lie_down() && !served.answered());
    assert_eq!(served.port.emitted().len(), 0);
}

#[test]
fn a_timer_that_was_set_wakes_the_worker() {
    let served = Served::undisturbed(|| Served::answers(8, 1500), |served| served.port.emitted().len() == 8);
    assert!(!served.doorbells().asleep(), "it is to look at the queue again");
}

#[test]
fn a_fault_is_seen_to() {
    let offers_too_high = || {
        let mut served = Served::new();
        served.port.transmit.offer(RING as u16);
        assert!(served.doorbells().lie_down() && served.answered());
        served
    };
    let faulty =
        |served: &mut Served| matches!(served.notices.take()[..], [Notice::Fault { function: 0, queue: 1, .. }]);
    let mut served = Served::undisturbed(offers_too_high, faulty);
    served.send(1, 60);
    served.answered();
    assert_eq!(served.port.emitted().len(), 0, "the queue has stopped");
}

#[test]
fn nobody_stands_in_for_a_worker_that_was_woken() {
    let mut served = Served::new();
    served.send(1, 60);
    assert!(!served.answered(), "it is awake");
    assert!(served.doorbells().lie_down());
    served.doorbells().order();
    assert!(!served.answered(), "what was ordered comes first");
    assert_eq!(served.port.emitted().len(), 0);
}
