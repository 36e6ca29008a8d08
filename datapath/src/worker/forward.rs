//! From a guest's transmit queue to wherever its frames go: other guests, by one copy from memory to memory, and the
//! function's representor.

use std::mem::take;

use super::deliver::deliver;
use super::doorbells::bits;
use super::fabric::Fabric;
use super::flood::{self, Domain, Origin, Reach};
use super::function::{Function, conclude};
use super::local::Scratch;
use super::straight::{Sent, straight};
use super::uplink;
use crate::counters::{FUNCTIONS, Function as Counter, FunctionCounters};
use crate::memory::Source;
use crate::offload::Offloads;
use crate::port::Tap;
use crate::ring::{BATCH, Batch, Breach, Chain, Fault, Transmit};
pub use crate::switch::Frames;
use crate::switch::{Behind, Frame, Left, Loss};
use crate::worker::orders::FunctionId;

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Guest(FunctionId),
    /// To every guest that wants it, the representor and the uplink.
    All,
    Uplink,
    /// To the representor and the uplink: flooding is off.
    Outside,
    Representor,
}

/// Sends a batch on its way. How many chains it was.
///
/// # Errors
/// The driver broke a rule, after the frames before were sent.
pub fn forward(from: &Function, queue: u16, fabric: &Fabric, scratch: &mut Scratch) -> Result<usize, Fault> {
    #[cfg(test)]
    assert!(!from.panics, "a test asked for it");
    let Function { id, lines, counters, dirty, .. } = from;
    let Some(taken) = from.transmit(queue) else { return Ok(0) };
    let mut taken = taken.take(from.company);
    let ring = &mut *taken;
    if !ring.ring.waiting() {
        return Ok(0);
    }
    let Sent { frames: sent, flushed, left } = straight(from, queue, ring, fabric, scratch);
    let rest = if left { sorted(from, queue, ring, BATCH - sent, fabric, scratch) } else { Ok(0) };
    let flushed = if left { both(flushed, ring.flush()) } else { flushed };
    let Transmit { ring: used, moderation, vector, .. } = ring;
    let flushed = scratch.clock.moderated((*id, queue), moderation, flushed, |n| used.still_wants(n));
    let vector = *vector;
    drop(taken);
    conclude(lines, counters, queue, vector, flushed);
    if let Some(dirty) = dirty.as_ref().filter(|_| flushed.0 > 0) {
        dirty.ring(queue);
    }
    rest.map(|count| sent + count)
}

/// What two flushes of a ring said, of which nothing was told the driver yet.
fn both((count, wanted): (u16, bool), (more, too): (u16, bool)) -> (u16, bool) {
    (count + more, wanted || too)
}

/// Takes up to `most` chains, and sends the frames in them wherever each of them goes. How many chains it was.
#[inline(never)]
fn sorted(
    from: &Function,
    queue: u16,
    ring: &mut Transmit,
    most: usize,
    fabric: &Fabric,
    scratch: &mut Scratch,
) -> Result<usize, Fault> {
    let Function {
        id,
        counters,
        memory,
        tap,
        behind,
        steering,
        pairs,
        link,
        fabric: member,
        frame_limit,
        offloads,
        uplink,
        floods,
        disabled,
        ..
    } = from;
    let mut batch = take(&mut scratch.sources).recycle();
    let mut outcome = ring.pop(memory, most, &mut batch);
    let count = batch.chains.len();
    if outcome.as_ref().is_err_and(|fault| fault.descriptor.is_some()) {
        counters.add(Counter::TransmittedFrames, 1);
        Loss::BadDescriptor.count_at(counters, queue, 1);
    }
    if count > 0 {
        counters.add(Counter::TransmittedFrames, count as u64);
        let mut frames = Frames::default();
        admit(ring, &batch, *offloads, counters, queue, &mut frames);
        if *pairs > 1 {
            bits(frames.present())
                .filter_map(|place| frames[place].as_ref())
                .for_each(|frame| steering.transmitted(frame, queue / 2));
        }
        let origin = Origin { port: *id, counters, queue: Some(queue), floods };
        let mut sender = Sender {
            origin,
            counters,
            tap: tap.as_ref(),
            behind,
            member: *member,
            limit: *frame_limit,
            uplink: *uplink,
            now: scratch.clock.second,
            bad_memory: false,
        };
        match (*link, *disabled >> queue & 1 == 0) {
            (true, true) => sender.send(&frames, fabric, scratch),
            (false, _) => origin.lose_all(&frames, Loss::LinkDown),
            (_, false) => origin.lose_all(&frames, Loss::QueueDisabled),
        }
        if sender.bad_memory && outcome.is_ok() {
            outcome = Err(Breach::MemoryTaken.of(queue));
        }
        ring.put(&batch);
    }
    scratch.sources = batch.recycle();
    outcome.map(|()| count)
}

/// Sends frames that the device made itself, in its guest's name.
pub fn send_own(from: &Function, frames: &Frames<'_, '_>, fabric: &Fabric, scratch: &mut Scratch) {
    let Function { id, counters, tap, behind, link, fabric: member, frame_limit, uplink, floods, .. } = from;
    if !*link {
        return;
    }
    let mut sender = Sender {
        origin: Origin { port: *id, counters, queue: None, floods },
        counters,
        tap: tap.as_ref(),
        behind,
        member: *member,
        limit: *frame_limit,
        uplink: *uplink,
        now: scratch.clock.second,
        bad_memory: false,
    };
    counters.add(Counter::TransmittedFrames, u64::from(frames.present().count_ones()));
    sender.send(frames, fabric, scratch);
}

/// Strips and checks headers; counts what the queue carries and what it does not.
#[inline(never)]
fn admit<'b, 'm>(
    ring: &Transmit,
    batch: &'b Batch<Source<'m>>,
    may: Offloads,
    counters: &FunctionCounters,
    queue: u16,
    frames: &mut Frames<'b, 'm>,
) {
    let mut left = Left::default();
    let mut other = |chain| {
        let frame = admitted(ring, batch, chain, may).inspect_err(|loss| loss.count_at(counters, queue, 1)).ok()?;
        left.add(frame.len(), &frame.header);
        Some(frame)
    };
    frames.fill_with(batch.chains.iter(), |chain| ring.plain(chain).and_then(Frame::plain), &mut other);
    let counters = counters.queue(queue);
    frames.count(frames.present(), &counters);
    left.count(&counters);
}

/// The way for frames that ask for something, are in pieces or very short.
#[inline(never)]
fn admitted<'b, 'm>(
    ring: &Transmit,
    batch: &'b Batch<Source<'m>>,
    chain: &'b Chain<Source<'m>>,
    may: Offloads,
) -> Result<Frame<'b, 'm>, Loss> {
    let payload = ring.payload(batch, chain).ok_or(Loss::BadHeader)?;
    let header = ring.header(batch, chain, may, &payload).ok_or(Loss::BadHeader)?;
    Frame::new(payload, header).ok_or(Loss::TooShort)
}

/// The function that the frames come from.
struct Sender<'a> {
    origin: Origin<'a>,
    counters: &'a FunctionCounters,
    tap: Option<&'a Tap>,
    behind: &'a Behind,
    member: bool,
    limit: usize,
    uplink: u8,
    /// In seconds.
    now: u32,
    bad_memory: bool,
}

impl Sender<'_> {
    /// Frames for the same receiver go together, in their order.
    fn send(&mut self, frames: &Frames<'_, '_>, fabric: &Fabric, scratch: &mut Scratch) {
        let mut ways = take(&mut scratch.ways);
        self.sort(frames, fabric, &mut ways);
        for (way, group) in ways.drain(..) {
            match way {
                Way::Guest(id) => self.switch(id, frames, group, fabric, scratch),
                Way::All => self.flood(frames, group, fabric, scratch),
                Way::Uplink => {
                    let reach = self.outside(frames, group, Reach::default(), fabric);
                    self.origin.conclude(frames, group, reach, Loss::NoReceiver);
                }
                Way::Outside => {
                    let reach = self.represent(frames, group);
                    let reach = self.outside(frames, group, reach, fabric);
                    self.origin.conclude(frames, group, reach, Loss::NoSuchMac);
                }
                Way::Representor => {
                    let reach = self.represent(frames, group);
                    self.origin.conclude(frames, group, reach, Loss::NoReceiver);
                }
            }
        }
        scratch.ways = ways;
    }

    /// The ways that the frames take, each with the places of those that take it.
    #[inline]
    fn sort(&mut self, frames: &Frames<'_, '_>, fabric: &Fabric, ways: &mut Vec<(Way, u64)>) {
        for (frame, places) in frames.runs(frames.present()) {
            let index = known(ways, self.way(frame, fabric));
            ways[index].1 |= places;
        }
    }

    fn way(&self, frame: &Frame<'_, '_>, fabric: &Fabric) -> Way {
        if !self.member {
            return Way::Representor;
        }
        let (from, to) = frame.stations();
        fabric.learning.learn(from, self.origin.port, self.now);
        if frame.destination().is_group() {
            return Way::All;
        }
        match fabric.learning.find(to, self.now) {
            Some(id) if (id as usize) < FUNCTIONS => Way::Guest(id),
            Some(id) if id == uplink::port(self.uplink) => Way::Uplink,
            _ if self.tap.is_some() && self.behind.knows(to, self.now) => Way::Representor,
            _ if fabric.flooding => Way::All,
            _ => Way::Outside,
        }
    }

    fn switch(&self, id: FunctionId, frames: &Frames<'_, '_>, group: u64, fabric: &Fabric, scratch: &mut Scratch) {
        match fabric.function(id).filter(|to| to.id != self.origin.port) {
            Some(to) => {
                let count = u64::from(group.count_ones());
                self.counters.add(Counter::SwitchOutFrames, count);
                to.counters.add(Counter::SwitchInFrames, count);
                let delivered = deliver(to, frames, group, scratch);
                flood::switched(self.counters, frames, delivered);
            }
            // Its own address: the frame would go back where it came from.
            None => self.origin.conclude(frames, group, Reach::default(), Loss::NoReceiver),
        }
    }

    fn flood(&mut self, frames: &Frames<'_, '_>, group: u64, fabric: &Fabric, scratch: &mut Scratch) {
        let reach = self.represent(frames, group);
        let reach = self.outside(frames, group, reach, fabric);
        flood::begin(self.origin, Domain::All, frames, group, reach, fabric, scratch);
    }

    /// Frames for the uplink, if there is one; `reach` is how far they have come, and how far they have come then.
    fn outside(&mut self, frames: &Frames<'_, '_>, group: u64, reach: Reach, fabric: &Fabric) -> Reach {
        let Some(uplink) = fabric.uplink(self.uplink) else { return reach };
        self.counters.add(Counter::SwitchOutFrames, u64::from(group.count_ones()));
        self.counters.add(Counter::FloodCopies, u64::from((group & reach.offered).count_ones()));
        self.bad_memory |= !uplink.transmit(frames, group);
        Reach { offered: group, taken: group }
    }

    /// Frames for the representor, if there is one: how far they came.
    fn represent(&mut self, frames: &Frames<'_, '_>, group: u64) -> Reach {
        let Some(tap) = self.tap else { return Reach::default() };
        let (mut sent, mut octets, mut taken) = (0, 0, 0);
        for place in bits(group) {
            let Some(frame) = &frames[place] else { continue };
            if frame.longest() > self.limit {
                Loss::TooLong.count(self.counters, 1);
                continue;
            }
            match tap.send(&frame.payload, &frame.header) {
                Ok(()) => {
                    sent += 1;
                    octets += frame.len() as u64;
                    taken |= 1 << place;
                }
                Err(Some(loss)) => loss.count(self.counters, 1),
                Err(None) => {
                    self.bad_memory = true;
                    Loss::BadDescriptor.count(self.counters, 1);
                }
            }
        }
        self.counters.add(Counter::RepresentorOutFrames, sent);
        self.counters.add(Counter::RepresentorOutOctets, octets);
        Reach { offered: group, taken }
    }
}

/// The place of a way among those known, of which it is one from now on.
fn known(ways: &mut Vec<(Way, u64)>, way: Way) -> usize {
    ways.iter().position(|(known, _)| *known == way).unwrap_or_else(|| {
        ways.push((way, 0));
        ways.len() - 1
    })
}
