//! A named port to the network outside: what guests send to it, and what comes from there.

use super::deliver::deliver;
use super::doorbells::bits;
use super::fabric::{Fabric, Scratch};
use super::flood::{self, Domain, Origin, Reach};
use super::forward::Frames;
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
    pub polled: bool,
    /// While the kernel has not taken all that was sent: how often it is told again before it is let be. It takes them then with
    /// what is sent next.
    pub backlog: u16,
    /// A flood that came from here is still under way: nothing more is read until then.
    pub flooding: bool,
}

impl Uplink {
    pub fn new(number: u8, wire: Wire, counters: FunctionCounters) -> Uplink {
        Uplink { number, counters, wire, up: true, limit: LONGEST, polled: false, backlog: 0, flooding: false }
    }

    /// What the switch knows it by: uplinks are numbered after the functions.
    pub fn port(&self) -> FunctionId {
        port(self.number)
    }

    /// Sends the frames of `group` (bits) that are offered to it; each that does not go is counted, once. False if one lay
    /// in what is no memory any more.
    pub fn transmit(&mut self, frames: &Frames<'_, '_>, group: u64) -> bool {
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
        *backlog = if left { PATIENCE } else { 0 };
        counters.add(Counter::UplinkOutFrames, sent);
        counters.add(Counter::UplinkOutOctets, octets);
        sound
    }

    /// Moves a burst from outside to the guests that it is for.
    pub fn arrive(&mut self, fabric: &mut Fabric, scratch: &mut Scratch) -> Next {
        let (count, more) = self.wire.receive();
        let (port, counters) = (self.port(), &self.counters);
        counters.add(Counter::UplinkInFrames, count as u64);
        let mut pieces: Vec<Source<'_>> = Vec::with_capacity(BATCH);
        let arrivals = self.wire.arrivals(&mut pieces);
        let (mut frames, mut octets) = (Frames::default(), 0);
        frames.fill(arrivals.into_iter().map(|came| {
            let came = came.and_then(|came| {
                octets += came.len as u64;
                arrival(Payload::new(&pieces[came.pieces], came.len, 0), came.header)
            });
            came.inspect_err(|loss| loss.count(counters, 1)).ok()
        }));
        counters.add(Counter::UplinkInOctets, octets);
        let inbound = Inbound { number: self.number, port, counters };
        self.flooding = inbound.switch(&frames, fabric, scratch);
        self.wire.release();
        self.backlog = if self.wire.flush() { self.backlog.saturating_sub(1) } else { 0 };
        if more || self.backlog > 0 { Next::Again } else { Next::Quiet }
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
}

impl Inbound<'_> {
    /// Frames for the same guest go together. True if a flood goes on beyond this call.
    fn switch(&self, frames: &Frames<'_, '_>, fabric: &mut Fabric, scratch: &mut Scratch) -> bool {
        let mut ways = [None; BATCH];
        bits(frames.present())
            .for_each(|place| ways[place] = frames[place].as_ref().map(|frame| self.way(frame, fabric)));
        let mut left = frames.present();
        let mut flooding = false;
        while left != 0 {
            let way = ways[left.trailing_zeros() as usize];
            let group = bits(left).filter(|place| ways[*place] == way).fold(0u64, |all, place| all | 1 << place);
            left &= !group;
            match way.flatten() {
                Some(id) => self.hand_over(id, frames, group, fabric, scratch),
                None => {
                    let domain = Domain::Behind(self.number);
                    let origin = Origin { port: self.port, counters: self.counters, queue: None };
                    flooding |= flood::begin(origin, domain, frames, group, Reach::default(), fabric, scratch);
                }
            }
        }
        flooding
    }

    /// The guest, or uplink, that a frame is for; None: unknown, or a group.
    fn way(&self, frame: &Frame<'_, '_>, fabric: &mut Fabric) -> Option<FunctionId> {
        let (from, to) = frame.stations();
        fabric.learning.learn(from, self.port, fabric.now);
        if frame.destination().is_group() { None } else { fabric.learning.find(to, fabric.now) }
    }

    fn hand_over(
        &self,
        id: FunctionId,
        frames: &Frames<'_, '_>,
        group: u64,
        fabric: &mut Fabric,
        scratch: &mut Scratch,
    ) {
        let count = u64::from(group.count_ones());
        match fabric.get(id).filter(|to| to.uplink == self.number) {
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
