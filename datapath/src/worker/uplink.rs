//! A named port to the network outside: what guests send to it, and what comes from there.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU16};

use super::deliver::deliver;
use super::doorbells::bits;
use super::fabric::Fabric;
use super::flood::{self, Domain, Origin, Reach, Underway};
use super::forward::Frames;
use super::local::Scratch;
use super::orders::FunctionId;
use super::represent::{Next, arrival};
use crate::counters::{FUNCTIONS, Function as Counter, FunctionCounters};
use crate::memory::Source;
use crate::port::{LONGEST, Wire};
use crate::ring::{BATCH, Payload};
use crate::switch::{Frame, Loss};

const PATIENCE: u16 = 1000;

pub struct Uplink {
    pub number: u8,
    pub counters: FunctionCounters,
    pub wire: Wire,
    /// As the interface is; and its longest frame.
    pub up: bool,
    pub limit: usize,
    pub polled: AtomicBool,
    /// While the kernel has not taken all that was sent: how often it is told again before it is let be. It takes them then with
    /// what is sent next.
    pub backlog: AtomicU16,
    /// While a flood that came from here is under way nothing more is read.
    pub floods: Underway,
}

impl Uplink {
    pub fn new(number: u8, wire: Wire, counters: FunctionCounters) -> Uplink {
        let (polled, backlog, floods) = (AtomicBool::new(false), AtomicU16::new(0), Underway::default());
        Uplink { number, counters, wire, up: true, limit: LONGEST, polled, backlog, floods }
    }

    /// What the switch knows it by: uplinks are numbered after the functions.
    pub fn port(&self) -> FunctionId {
        port(self.number)
    }

    /// Sends the frames of `group` (bits) that are offered to it; each that does not go is counted, once. False if one lay
    /// in what is no memory any more.
    pub fn transmit(&self, frames: &Frames<'_, '_>, group: u64) -> bool {
        let Uplink { counters, wire, up, limit, backlog, .. } = self;
        counters.add(Counter::SwitchInFrames, u64::from(group.count_ones()));
        if !*up {
            Loss::LinkDown.count(counters, u64::from(group.count_ones()));
            return true;
        }
        let long = bits(group).filter(|place| frames[*place].as_ref().is_none_or(|frame| frame.longest() > *limit));
        let long = long.fold(0u64, |all, place| all | 1 << place);
        Loss::TooLong.count(counters, u64::from(long.count_ones()));
        let fitting = bits(group & !long).filter_map(|place| {
            let frame = frames[place].as_ref()?;
            Some((place, &frame.payload, &frame.header))
        });
        let (mut sent, mut octets, mut sound) = (0, 0, true);
        let left = wire.send(fitting, |place, outcome| match outcome {
            Ok(()) => {
                sent += 1;
                octets += frames[place].as_ref().map_or(0, |frame| frame.len() as u64);
            }
            Err(loss) => {
                sound &= loss.is_some();
                loss.unwrap_or(Loss::BadDescriptor).count(counters, 1);
            }
        });
        backlog.store(if left { PATIENCE } else { 0 }, Relaxed);
        counters.add(Counter::UplinkOutFrames, sent);
        counters.add(Counter::UplinkOutOctets, octets);
        sound
    }

    /// Moves a burst from outside to the guests that it is for.
    pub fn arrive(&self, fabric: &Fabric, scratch: &mut Scratch) -> Next {
        let mut reader = self.wire.reader();
        let (count, more) = reader.receive();
        let (port, counters) = (self.port(), &self.counters);
        counters.add(Counter::UplinkInFrames, count as u64);
        scratch.came += count;
        let mut pieces: Vec<Source<'_>> = Vec::with_capacity(BATCH);
        let arrivals = reader.arrivals(&mut pieces);
        let (mut frames, mut octets) = (Frames::default(), 0);
        frames.fill(arrivals.into_iter().map(|came| {
            let came = came.and_then(|came| {
                octets += came.len as u64;
                arrival(Payload::new(&pieces[came.pieces], came.len, 0), came.header)
            });
            came.inspect_err(|loss| loss.count(counters, 1)).ok()
        }));
        counters.add(Counter::UplinkInOctets, octets);
        let inbound = Inbound { number: self.number, port, counters, floods: &self.floods, now: scratch.clock.second };
        inbound.switch(&frames, fabric, scratch);
        reader.release();
        drop(reader);
        let backlog = if self.wire.flush() { self.backlog.load(Relaxed).saturating_sub(1) } else { 0 };
        self.backlog.store(backlog, Relaxed);
        if more || backlog > 0 { Next::Again } else { Next::Quiet }
    }
}

pub fn port(number: u8) -> FunctionId {
    FUNCTIONS as FunctionId + FunctionId::from(number)
}

/// Where a burst came from.
struct Inbound<'a> {
    number: u8,
    port: FunctionId,
    counters: &'a FunctionCounters,
    floods: &'a Underway,
    /// In seconds.
    now: u32,
}

impl Inbound<'_> {
    /// Frames for the same guest go together.
    fn switch(&self, frames: &Frames<'_, '_>, fabric: &Fabric, scratch: &mut Scratch) {
        let mut ways = [None; BATCH];
        bits(frames.present())
            .for_each(|place| ways[place] = frames[place].as_ref().map(|frame| self.way(frame, fabric)));
        let mut left = frames.present();
        while left != 0 {
            let way = ways[left.trailing_zeros() as usize];
            let group = bits(left).filter(|place| ways[*place] == way).fold(0u64, |all, place| all | 1 << place);
            left &= !group;
            match way.flatten() {
                Some(id) => self.hand_over(id, frames, group, fabric, scratch),
                None => {
                    let domain = Domain::Behind(self.number);
                    let Inbound { port, counters, floods, .. } = *self;
                    let origin = Origin { port, counters, queue: None, floods };
                    flood::begin(origin, domain, frames, group, Reach::default(), fabric, scratch);
                }
            }
        }
    }

    /// The guest, or uplink, that a frame is for; None: unknown, or a group.
    fn way(&self, frame: &Frame<'_, '_>, fabric: &Fabric) -> Option<FunctionId> {
        let (from, to) = frame.stations();
        fabric.learning.learn(from, self.port, self.now);
        if frame.destination().is_group() { None } else { fabric.learning.find(to, self.now) }
    }

    fn hand_over(&self, id: FunctionId, frames: &Frames<'_, '_>, group: u64, fabric: &Fabric, scratch: &mut Scratch) {
        let count = u64::from(group.count_ones());
        match fabric.function(id).filter(|to| to.uplink == self.number) {
            Some(to) => {
                self.counters.add(Counter::SwitchOutFrames, count);
                to.counters.add(Counter::SwitchInFrames, count);
                deliver(to, frames, group, scratch);
            }
            // Someone outside, or behind the other uplink: uplinks are not bridged.
            None => Loss::NoReceiver.count(self.counters, count),
        }
    }
}
