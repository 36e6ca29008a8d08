//! The worker without its thread, between guests whose drivers are played here. The representor is one end of a
//! packet socket, which keeps frames apart as a tap does; real taps are in `port`.

mod coalescing;
mod commands;
mod faults;
mod floods;
mod forwarding;
mod freezing;
mod later;
mod losses;
mod memory;
mod queues;
mod receiving;
mod representor;
mod stand_in;
mod steering;
mod straight;
mod thread;
mod uplinks;
mod workers;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::orders::{Filter, FunctionId, Notice, Order, QueueSetup, Receipt, Role, Stand};
use super::{Engine, Notices, notices};
use crate::counters::{CAME_IN, COPIES, Counters, DROPS, FUNCTIONS, QUEUE_DROPS, QUEUES, UPLINKS, WENT_OUT};
use crate::counters::{Function as Counter, Queue};
use crate::interrupt::{Irq, Lines};
use crate::ring::testing::{Driver, Guest, WRITE};

pub const RING: u32 = 128;
pub const LENGTH: u32 = 2048;
pub const BROADCAST: [u8; 6] = [0xff; 6];

pub struct Rig {
    pub engine: Engine,
    pub notices: Notices,
    pub counters: Counters,
    pub now: Duration,
}

/// A guest with a receive and a transmit queue, and the far end of its representor.
pub struct Port {
    pub id: FunctionId,
    pub guest: Guest,
    pub receive: Driver,
    pub transmit: Driver,
    pub lines: Arc<Lines>,
    pub wire: Option<OwnedFd>,
    sent: u16,
    posted: u16,
}

pub fn mac(id: FunctionId) -> [u8; 6] {
    [2, 0, 0, 0, 0, id as u8]
}

pub fn frame(to: [u8; 6], from: [u8; 6], len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

pub fn filter(id: FunctionId) -> Filter {
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

/// A receipt for an order that is carried out before the call returns.
pub fn done() -> Receipt {
    sync_channel(1).0
}

impl Rig {
    pub fn new() -> Rig {
        let (outbox, notices) = notices().unwrap();
        Rig { engine: Engine::new(outbox).unwrap(), notices, counters: Counters::new().unwrap(), now: Duration::ZERO }
    }

    /// A function on the fabric, with a driver that has posted no buffers, and a representor or none.
    pub fn port(&mut self, id: FunctionId, representor: bool) -> Port {
        let port = self.idle_port(id, representor);
        self.start(id, &port.receive.setup);
        self.start(id, &port.transmit.setup);
        port
    }

    /// A function whose driver has set up no queue yet.
    pub fn idle_port(&mut self, id: FunctionId, representor: bool) -> Port {
        let guest = Guest::new();
        let counters = self.counters.function(id);
        let lines = Arc::new(Lines::new(8, counters.clone()));
        lines.set_interrupts(true, false);
        let (near, wire) =
            if representor { wire().map_or((None, None), |(a, b)| (Some(a), Some(b))) } else { (None, None) };
        self.engine.obey(Order::AddFunction { function: id, representor: near, lines: lines.clone(), counters });
        self.engine.obey(Order::SetMemory { function: id, table: guest.table.clone(), done: done() });
        self.engine.obey(Order::SetFilter { function: id, filter: filter(id) });
        let (receive, transmit) = (guest.queue(0, Role::Receive, RING), guest.queue(1, Role::Transmit, RING));
        Port { id, guest, receive, transmit, lines, wire, sent: 0, posted: 0 }
    }

    pub fn start(&mut self, function: FunctionId, setup: &QueueSetup) {
        self.engine.obey(Order::StartQueue { function, setup: setup.clone() });
    }

    /// Rings the transmit queue's doorbell and lets everything that follows happen.
    pub fn kick(&mut self, port: &Port) {
        self.engine.doorbell(port.id, port.transmit.setup.queue);
        self.settle();
    }

    /// Frames have been written to representors.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.poll();
            if self.engine.idle() {
                return self.assert_closed();
            }
            self.engine.turn(self.now);
        }
        panic!("the engine does not come to rest");
    }

    fn poll(&mut self) {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 16];
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = rustix::event::epoll::wait(self.engine.epoll(), &mut events, Some(&timeout)).unwrap();
        let ready: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
        ready.into_iter().for_each(|function| self.engine.readable(function as FunctionId));
    }

    pub fn count(&self, id: FunctionId, counter: Counter) -> u64 {
        self.counters.function(id).get(counter)
    }

    pub fn queue_count(&self, id: FunctionId, queue: u16, counter: Queue) -> u64 {
        self.counters.function(id).queue(queue).get(counter)
    }

    /// The causes of the faults since the last call.
    pub fn faults(&mut self) -> Vec<String> {
        let fault = |notice| {
            let Notice::Fault { queue, cause, .. } = notice else { return None };
            let comma = if cause.starts_with("descriptor ") { "," } else { ":" };
            Some(format!("queue {queue}{comma} {cause}"))
        };
        self.notices.take().into_iter().filter_map(fault).collect()
    }

    /// All the frames that were dropped at a function, by cause.
    pub fn losses(&self, id: FunctionId) -> Vec<(Counter, u64)> {
        DROPS.into_iter().map(|counter| (counter, self.count(id, counter))).filter(|(_, n)| *n > 0).collect()
    }

    /// Every frame that came in went out or was dropped for a cause, at each port; and what ports hand to each other
    /// leaves one and enters another.
    pub fn assert_closed(&self) {
        let sum = |id, counters: &[Counter]| counters.iter().map(|counter| self.count(id, *counter)).sum::<u64>();
        for id in (0..FUNCTIONS + UPLINKS).map(|id| id as FunctionId) {
            let (left, right) = ([&CAME_IN[..], &COPIES[..]].concat(), [&WENT_OUT[..], &DROPS[..]].concat());
            assert_eq!(sum(id, &left), sum(id, &right), "port {id}: {:?}", self.losses(id));
        }
        let all = |counter| (0..FUNCTIONS + UPLINKS).map(|id| self.count(id as FunctionId, counter)).sum::<u64>();
        assert_eq!(all(Counter::SwitchInFrames), all(Counter::SwitchOutFrames));
        let busy = |id: &FunctionId| self.count(*id, Counter::TransmittedFrames) > 0 || !self.losses(*id).is_empty();
        (0..FUNCTIONS as FunctionId).filter(busy).for_each(|id| self.assert_queues_agree(id));
    }

    /// What queues lost is a part of what their port lost, and for want of buffers all of it; each frame that a port was
    /// given by its driver is counted on one of its transmit queues, as are those of them that reached nobody.
    fn assert_queues_agree(&self, id: FunctionId) {
        let counters = self.counters.function(id);
        let queues = |counter, parity| {
            let of_kind = (parity..QUEUES as u16).step_by(2);
            of_kind.map(|queue| counters.queue(queue).get(counter)).collect::<Vec<u64>>()
        };
        let sum = |counter| [0, 1].map(|parity| queues(counter, parity).iter().sum::<u64>()).iter().sum::<u64>();
        let lost: Vec<u64> = QUEUE_DROPS.iter().map(|(_, counter)| sum(*counter)).collect();
        assert!(QUEUE_DROPS.iter().zip(&lost).all(|((port, _), lost)| *lost <= self.count(id, *port)), "port {id}");
        assert_eq!(sum(Queue::DropNoBuffer), self.count(id, Counter::DropNoBuffer));
        let refused: u64 = QUEUE_DROPS.iter().flat_map(|(_, drop)| queues(*drop, 1)).sum();
        let frames = queues(Queue::Frames, 1);
        assert_eq!(refused + frames.iter().sum::<u64>(), self.count(id, Counter::TransmittedFrames));
        assert!(queues(Queue::UnsentFrames, 1).iter().zip(&frames).all(|(unsent, all)| unsent <= all));
    }
}

impl Port {
    /// Makes a frame available: header and frame in one descriptor. No doorbell.
    pub fn send(&mut self, frame: &[u8]) {
        let head = self.sent % RING as u16;
        let place = self.guest.buffer(u64::from(head));
        self.guest.write(place, &[&[0; 12], frame].concat());
        self.transmit.describe(head, place, 12 + frame.len() as u32, 0, 0);
        self.transmit.offer(head);
        self.sent += 1;
    }

    /// Posts receive buffers of `LENGTH` bytes.
    pub fn post(&mut self, n: u16) {
        for _ in 0..n {
            let head = self.posted % RING as u16;
            self.receive.describe(head, self.place(head), LENGTH, WRITE, 0);
            self.receive.offer(head);
            self.posted += 1;
        }
    }

    fn place(&self, head: u16) -> u64 {
        self.guest.buffer(RING.into()) + u64::from(head) * u64::from(LENGTH)
    }

    /// Frames received since the last call, having checked their headers. Buffers were posted by `post`.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let mut used = self.receive.collect().into_iter();
        let mut frames = Vec::new();
        while let Some((head, len)) = used.next() {
            let mut bytes = self.guest.read(self.place(head), len as usize);
            assert_eq!(bytes[..10], [0; 10]);
            for _ in 1..u16::from_le_bytes([bytes[10], bytes[11]]) {
                let (head, len) = used.next().expect("as many buffers as the header says");
                bytes.extend(self.guest.read(self.place(head), len as usize));
            }
            frames.push(bytes.split_off(12));
        }
        frames
    }

    /// Puts a frame into the representor.
    pub fn inject(&self, frame: &[u8]) -> bool {
        rustix::io::write(self.wire.as_ref().unwrap(), &[&[0; 12], frame].concat()).is_ok()
    }

    /// Frames that came out of the representor, having checked their headers.
    pub fn emitted(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut bytes = vec![0; 70000];
        while let Ok(n) = rustix::io::read(self.wire.as_ref().unwrap(), &mut bytes) {
            assert_eq!(bytes[..12], [0; 12]);
            frames.push(bytes[12..n].to_vec());
        }
        frames
    }

    /// Assigns an eventfd to a vector and returns the VMM's end.
    pub fn vector(&self, vector: usize) -> OwnedFd {
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let eventfd = rustix::event::eventfd(0, flags).unwrap();
        self.lines.assign(Irq::Msix, vector, vec![eventfd.try_clone().unwrap()]);
        eventfd
    }
}

/// How often an eventfd was written since the last call.
pub fn fired(eventfd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    rustix::io::read(eventfd, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
}

fn wire() -> Option<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()
}
