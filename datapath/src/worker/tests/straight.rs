//! The short way makes no difference but in speed: the same frames take it and the long one, side by side.

use super::super::function::{Queue as Served, Slot};
use super::*;

const PORTS: usize = 3;
const SWITCHED: [Counter; 2] = [Counter::SwitchedFrames, Counter::SwitchedOctets];
const OF_QUEUES: [Queue; 10] = [
    Queue::Frames,
    Queue::Octets,
    Queue::CompletedDesc,
    Queue::DropNoBuffer,
    Queue::Size64OrLess,
    Queue::Size65To127,
    Queue::Size128To255,
    Queue::Size256To511,
    Queue::Size512To1023,
    Queue::Size1024To1522,
];

/// Three guests, all of whose frames take the long way, or take whichever there is.
struct Side {
    rig: Rig,
    ports: Vec<Port>,
    long: bool,
}

impl Side {
    fn new(long: bool) -> Side {
        let mut rig = Rig::new();
        let ports = (1..=PORTS as FunctionId).map(|id| rig.port(id, false)).collect();
        Side { rig, ports, long }
    }

    fn kick(&mut self, from: usize) {
        let port = self.rig.engine.fabric.get(self.ports[from].id).unwrap();
        if let Some(Slot::Running(Served::Transmit(ring))) = port.queues.get_mut(1) {
            ring.get_mut().mixed = if self.long { u8::MAX } else { 0 };
        }
        self.rig.kick(&self.ports[from]);
    }

    /// The ledger and the queues' sizes: not how batches were cut.
    fn counted(&self) -> Vec<u64> {
        let of_port = |id: FunctionId| {
            let ledger = CAME_IN.iter().chain(&WENT_OUT).chain(&DROPS).chain(&SWITCHED);
            let counters = self.rig.counters.function(id);
            let queues = [0, 1].map(|queue| OF_QUEUES.map(|counter| counters.queue(queue).get(counter)));
            ledger.map(|counter| counters.get(*counter)).chain(queues.into_iter().flatten()).collect::<Vec<u64>>()
        };
        (1..=PORTS as FunctionId).flat_map(of_port).collect()
    }
}

/// The next of a sequence that looks random and is the same each time (Knuth's MMIX).
fn next(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) % below
}

/// Some frames of one guest: a conversation, and perhaps frames for others, for all and for nobody between them.
fn batch(state: &mut u64, from: FunctionId, others: bool) -> Vec<Vec<u8>> {
    let peer = 1 + (from + next(state, 2) as FunctionId) % PORTS as FunctionId;
    let one = |state: &mut u64| {
        let to = match next(state, 24) {
            0 if others => BROADCAST,
            1 if others => mac(9),
            2 => mac(1 + next(state, PORTS as u64) as FunctionId),
            _ => mac(peer),
        };
        frame(to, mac(from), [60, 60, 64, 100, 300, 700, 1500, 1514, 2000][next(state, 9) as usize])
    };
    (0..1 + next(state, 70)).map(|_| one(state)).collect()
}

/// Sends the same from both, time and again: what each guest receives, and what is counted, is the same.
fn compare(others: bool, posted: impl Fn(&mut u64) -> u16) {
    let (mut sides, mut state) = ([false, true].map(Side::new), 1);
    for side in &mut sides {
        side.rig.engine.obey(Order::SetFrameLimit { function: 2, octets: 1514 });
    }
    for _ in 0..400 {
        let from = next(&mut state, PORTS as u64) as usize;
        let frames = batch(&mut state, from as FunctionId + 1, others);
        let posts = posted(&mut state);
        let seen = sides.each_mut().map(|side| {
            for port in &mut side.ports {
                let there = port.posted.wrapping_sub(port.receive.used_index());
                port.post(posts.min(RING as u16 - there));
            }
            frames.iter().for_each(|frame| side.ports[from].send(frame));
            side.kick(from);
            side.ports[from].transmit.collect();
            side.ports.iter_mut().map(|port| by_destination(port.received())).collect::<Vec<_>>()
        });
        assert!(seen[0] == seen[1]);
        assert_eq!(sides[0].counted(), sides[1].counted());
    }
    assert!(sides[0].rig.count(1, Counter::SwitchedFrames) > 1000, "frames went at all");
}

/// Frames to one station are in order; those to all are sent beside them.
fn by_destination(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort_by(|one, other| one[..6].cmp(&other[..6]));
    frames
}

#[test]
fn the_short_way_delivers_and_counts_what_the_long_one_does() {
    compare(true, |_| RING as u16);
}

#[test]
fn the_short_way_loses_what_the_long_one_does_where_buffers_are_few() {
    compare(false, |state| next(state, 30) as u16);
}
