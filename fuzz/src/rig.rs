//! Two guests on one worker, without its thread: what the datapath does happens while `turn` runs, and at no other time.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use softdpu_datapath::counters::{Counters, Function as Counter};
use softdpu_datapath::interrupt::Lines;
use softdpu_datapath::memory::Table;
use softdpu_datapath::offload::Offloads;
use softdpu_datapath::worker::orders::{Filter, Notice, Order, Role};
use softdpu_datapath::worker::{self, Engine, Notices};

use crate::driver::{Agreed, Piece, Ring, STRIDE};
use crate::memory::{BASE, Memory};

pub const HEADER: usize = 12;
/// Where buffers are.
pub const BUFFERS: u64 = BASE + 2 * STRIDE;
const DROPS: [Counter; 16] = [
    Counter::DropNoBuffer,
    Counter::DropFiltered,
    Counter::DropVlan,
    Counter::DropLinkDown,
    Counter::DropTooLong,
    Counter::DropTooShort,
    Counter::DropBadHeader,
    Counter::DropNoReceiver,
    Counter::DropRepresentorBusy,
    Counter::DropRepresentorDown,
    Counter::DropNotReady,
    Counter::DropBadDescriptor,
    Counter::DropUplinkBusy,
    Counter::DropUplinkDown,
    Counter::DropNoSuchMac,
    Counter::DropQueueDisabled,
];

pub struct Rig {
    pub engine: Engine,
    pub notices: Notices,
    pub counters: Counters,
    pub guests: [Guest; 2],
}

pub struct Guest {
    id: u32,
    pub memory: Memory,
    pub receive: Ring,
    pub transmit: Ring,
    /// Bytes of buffers given out: each is used once.
    taken: u64,
}

pub fn mac(id: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, id as u8]
}

impl Rig {
    pub fn new(agreed: [Agreed; 2]) -> Rig {
        let (outbox, notices) = worker::notices().unwrap();
        let guests = [Guest::new(0, agreed[0]), Guest::new(1, agreed[1])];
        let mut rig = Rig { engine: Engine::new(outbox).unwrap(), notices, counters: Counters::new().unwrap(), guests };
        for id in [0, 1] {
            rig.add(id);
        }
        rig
    }

    fn add(&mut self, id: u32) {
        let counters = self.counters.function(id);
        let lines = Arc::new(Lines::new(4, counters.clone()));
        self.engine.obey(Order::AddFunction { function: id, representor: None, lines, counters });
        self.engine.obey(Order::SetFilter { function: id, filter: filter(id) });
        self.share(id, usize::MAX);
        let guest = &self.guests[id as usize];
        for setup in [guest.receive.setup.clone(), guest.transmit.setup.clone()] {
            self.engine.obey(Order::StartQueue { function: id, setup });
        }
    }

    /// Shares the first `parts` of a guest's memory and takes the rest away.
    pub fn share(&mut self, id: u32, parts: usize) {
        let table: Arc<Table> = self.guests[id as usize].memory.table(parts);
        self.engine.obey(Order::SetMemory { function: id, table, done: sync_channel(1).0 });
    }

    pub fn offload(&mut self, id: u32, features: u64) {
        self.engine.obey(Order::SetOffloads { function: id, offloads: Offloads(features) });
    }

    /// Starts a queue anew where the driver's ring is now.
    pub fn restart(&mut self, id: u32, role: Role) {
        let guest = &self.guests[id as usize];
        let setup = if role == Role::Receive { &guest.receive.setup } else { &guest.transmit.setup };
        let setup = setup.clone();
        self.engine.obey(Order::StopQueue { function: id, queue: setup.queue, done: sync_channel(1).0 });
        self.engine.obey(Order::StartQueue { function: id, setup });
    }

    pub fn doorbell(&mut self, id: u32, queue: u16) {
        self.engine.doorbell(id, queue);
    }

    /// Lets everything happen that the doorbells so far ask for, then looks for bytes that nobody should have touched.
    pub fn turn(&mut self) {
        for round in 0.. {
            if self.engine.idle() {
                break;
            }
            assert!(round < 10_000, "the engine does not come to rest");
            self.engine.turn(Duration::ZERO);
        }
        self.guests.iter_mut().for_each(|guest| guest.memory.check());
    }

    /// The faults since the last call: whose.
    pub fn faults(&mut self) -> Vec<(u32, String)> {
        let fault = |notice| match notice {
            Notice::Fault { function, cause, .. } => Some((function, cause)),
            Notice::Command { .. } => None,
        };
        self.notices.take().into_iter().filter_map(fault).collect()
    }

    /// What a function counted of each of these.
    pub fn sum(&self, id: u32, which: &[Counter]) -> u64 {
        let counters = self.counters.function(id);
        which.iter().map(|&counter| counters.get(counter)).sum()
    }

    /// Frames that were dropped, wherever that was counted.
    pub fn dropped(&self) -> u64 {
        [0, 1].iter().map(|&id| self.sum(id, &DROPS)).sum()
    }

    /// Every frame that a function has to do with came from somewhere, and went somewhere or was dropped for a cause.
    pub fn check_ledgers(&self) {
        for id in [0, 1] {
            let came = self.sum(id, &[Counter::TransmittedFrames, Counter::SwitchInFrames, Counter::FloodCopies]);
            let went = self.sum(id, &[Counter::ReceivedFrames, Counter::SwitchOutFrames]);
            assert_eq!(came, went + self.sum(id, &DROPS), "the ledger of guest {id} does not close");
        }
    }
}

fn filter(id: u32) -> Filter {
    Filter {
        promiscuous: false,
        all_multicast: false,
        all_unicast: false,
        no_multicast: false,
        no_unicast: false,
        no_broadcast: false,
        addresses: vec![mac(id)],
        vlans: None,
    }
}

impl Guest {
    fn new(id: u32, agreed: Agreed) -> Guest {
        let mut memory = Memory::new();
        let receive = Ring::new(agreed, 0, Role::Receive, BASE, &mut memory);
        let transmit = Ring::new(agreed, 1, Role::Transmit, BASE + STRIDE, &mut memory);
        Guest { id, memory, receive, transmit, taken: 0 }
    }

    /// A fresh piece of memory for a buffer; None when all is used up.
    pub fn buffer(&mut self, len: usize) -> Option<u64> {
        let at = BUFFERS + self.taken;
        // A byte between any two buffers is nobody's, and is looked after.
        self.taken += len as u64 + 1;
        (self.taken <= crate::memory::BYTES as u64 - 2 * STRIDE).then_some(at)
    }

    /// Sends a frame behind `header`, cut into pieces of these lengths and the rest.
    pub fn send(&mut self, header: [u8; HEADER], frame: &[u8], cuts: &[usize], indirect: bool) -> bool {
        let bytes = [&header[..], frame].concat();
        let Some(at) = self.buffer(bytes.len()) else { return false };
        self.memory.write(at, &bytes);
        self.transmit.offer(&cut(at, bytes.len(), cuts, false), indirect, &mut self.memory)
    }

    /// Posts a receive buffer.
    pub fn post(&mut self, len: usize, cuts: &[usize], indirect: bool) -> bool {
        let Some(at) = self.buffer(len) else { return false };
        self.receive.offer(&cut(at, len, cuts, true), indirect, &mut self.memory)
    }

    /// The transmit chains that came back.
    pub fn reap(&mut self) -> usize {
        let used = self.transmit.collect(&mut self.memory);
        assert!(used.iter().all(|(_, written)| written.unwrap_or(0) == 0), "nothing is written to what is sent");
        used.len()
    }

    /// The frames that came, with their headers.
    pub fn received(&mut self) -> Vec<([u8; HEADER], Vec<u8>)> {
        let mut used = self.receive.collect(&mut self.memory).into_iter();
        let mut frames = Vec::new();
        while let Some(first) = used.next() {
            let mut bytes = self.gather(&first);
            assert!(bytes.len() >= HEADER, "a received frame has a header");
            let count = u16::from_le_bytes([bytes[10], bytes[11]]);
            assert!(count == 1 || self.receive.setup.mergeable && count > 0, "guest {}: {count} buffers", self.id);
            for _ in 1..count {
                bytes.extend(self.gather(&used.next().expect("as many buffers as the header says")));
            }
            let frame = bytes.split_off(HEADER);
            frames.push((bytes.try_into().expect("the length of a header"), frame));
        }
        frames
    }

    fn gather(&self, (pieces, written): &(Vec<Piece>, Option<u32>)) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            pieces.iter().flat_map(|(address, len, _)| self.memory.read(*address, *len as usize)).collect();
        bytes.truncate(written.map_or(usize::MAX, |written| written as usize));
        bytes
    }
}

/// Pieces of these lengths, and a last one of the rest.
fn cut(at: u64, len: usize, cuts: &[usize], writes: bool) -> Vec<Piece> {
    let (mut pieces, mut done) = (Vec::new(), 0);
    for &piece in cuts.iter().chain([&len]) {
        let piece = piece.min(len - done);
        if piece > 0 {
            pieces.push((at + done as u64, piece as u32, writes));
            done += piece;
        }
    }
    pieces
}
