//! From a guest's transmit queue to wherever its frames go: other guests, by one copy from memory to memory, and the
//! function's representor.

use std::mem::take;

use super::deliver::deliver;
use super::doorbells::bits;
use super::fabric::{Fabric, Scratch};
use super::function::{Function, Queue, Slot, conclude};
use crate::counters::{Function as Counter, FunctionCounters};
use crate::memory::Source;
use crate::offload::Offloads;
use crate::port::Tap;
use crate::ring::{BATCH, Batch, Breach, Chain, Fault, Transmit};
use crate::switch::{Frame, Loss, Station, Tally};
use crate::worker::orders::FunctionId;

/// The frames of one batch, by the place of their chains.
pub type Frames<'b, 'm> = [Option<Frame<'b, 'm>>; BATCH];

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Guest(FunctionId),
    /// To every guest whose filter takes it, and to the representor.
    All,
    Representor,
}

/// Sends a batch on its way. How many chains it was.
///
/// # Errors
/// The driver broke a rule, after the frames before were sent.
pub fn forward(from: &mut Function, queue: u16, fabric: &mut Fabric, scratch: &mut Scratch) -> Result<usize, Fault> {
    #[cfg(test)]
    assert!(!from.panics, "a test asked for it");
    let Function {
        id,
        lines,
        counters,
        memory,
        queues,
        tap,
        steering,
        pairs,
        link,
        fabric: member,
        frame_limit,
        offloads,
        ..
    } = from;
    let Some(Slot::Running(Queue::Transmit(ring))) = queues.get_mut(usize::from(queue)) else { return Ok(0) };
    let mut batch = take(&mut scratch.sources).recycle();
    let mut outcome = ring.pop(memory, BATCH, &mut batch);
    let count = batch.chains.len();
    if count > 0 {
        let frames = admit(ring, &batch, *offloads, counters, queue);
        if *pairs > 1 {
            frames.iter().flatten().for_each(|frame| steering.transmitted(frame, queue / 2));
        }
        let mut sender =
            Sender { id: *id, counters, tap: tap.as_mut(), member: *member, limit: *frame_limit, bad_memory: false };
        if *link {
            sender.send(&frames, fabric, scratch);
        } else {
            Loss::LinkDown.count(counters, frames.iter().flatten().count() as u64);
        }
        if sender.bad_memory && outcome.is_ok() {
            outcome = Err(Breach::MemoryTaken.of(queue));
        }
        ring.put(&batch);
        conclude(lines, counters, queue, ring.vector, ring.flush());
    }
    scratch.sources = batch.recycle();
    outcome.map(|()| count)
}

/// Strips and checks headers; counts what the queue carries and what it does not.
#[inline]
fn admit<'b, 'm>(
    ring: &Transmit,
    batch: &'b Batch<Source<'m>>,
    may: Offloads,
    counters: &FunctionCounters,
    queue: u16,
) -> Frames<'b, 'm> {
    let mut frames = [None; BATCH];
    let mut tally = Tally::default();
    for (place, chain) in frames.iter_mut().zip(&batch.chains) {
        match admitted(ring, batch, chain, may) {
            Ok(frame) => {
                tally.add(frame.len());
                *place = Some(frame);
            }
            Err(loss) => loss.count(counters, 1),
        }
    }
    tally.count(&counters.queue(queue));
    frames
}

#[inline(always)]
fn admitted<'b, 'm>(
    ring: &Transmit,
    batch: &'b Batch<Source<'m>>,
    chain: &'b Chain<Source<'m>>,
    may: Offloads,
) -> Result<Frame<'b, 'm>, Loss> {
    let (payload, header) = ring.payload(batch, chain, may).ok_or(Loss::BadHeader)?;
    Frame::new(payload, header).ok_or(Loss::TooShort)
}

/// The function that the frames come from.
struct Sender<'a> {
    id: FunctionId,
    counters: &'a FunctionCounters,
    tap: Option<&'a mut Tap>,
    member: bool,
    limit: usize,
    bad_memory: bool,
}

impl Sender<'_> {
    /// Frames for the same receiver go together, in their order.
    fn send(&mut self, frames: &Frames<'_, '_>, fabric: &mut Fabric, scratch: &mut Scratch) {
        let (ways, mut left) = self.ways(frames, fabric);
        while left != 0 {
            let way = ways[left.trailing_zeros() as usize];
            let group = (0..BATCH).fold(0, |group, place| group | u64::from(ways[place] == way) << place) & left;
            left &= !group;
            match way {
                Way::Guest(id) => self.switch(id, frames, group, fabric, scratch),
                Way::All => self.flood(frames, group, fabric, scratch),
                Way::Representor => self.represent(frames, group, 0),
            }
        }
    }

    /// The way of each frame, and the places that have one. Frames of one conversation come in a row, so the answer for
    /// the one before is asked first.
    #[inline]
    fn ways(&self, frames: &Frames<'_, '_>, fabric: &mut Fabric) -> ([Way; BATCH], u64) {
        let mut ways = [Way::Representor; BATCH];
        let mut present = 0;
        let mut last = None;
        for (place, frame) in frames.iter().enumerate() {
            let Some(frame) = frame else { continue };
            let stations = frame.stations();
            let way = match last {
                Some((known, way)) if known == stations => way,
                _ => self.way(frame, stations, fabric),
            };
            last = Some((stations, way));
            ways[place] = way;
            present |= 1 << place;
        }
        (ways, present)
    }

    fn way(&self, frame: &Frame<'_, '_>, (from, to): (Station, Station), fabric: &mut Fabric) -> Way {
        if !self.member {
            return Way::Representor;
        }
        fabric.learning.learn(from, self.id, fabric.now);
        if frame.destination.is_group() {
            return Way::All;
        }
        fabric.learning.find(to, fabric.now).map_or(Way::All, Way::Guest)
    }

    fn switch(&self, id: FunctionId, frames: &Frames<'_, '_>, group: u64, fabric: &mut Fabric, scratch: &mut Scratch) {
        match fabric.functions[id as usize].as_deref_mut() {
            Some(to) => {
                let delivered = deliver(to, frames, group, scratch);
                self.switched(frames, delivered);
            }
            // Its own address: the frame would go back where it came from.
            None => Loss::NoReceiver.count(self.counters, u64::from(group.count_ones())),
        }
    }

    fn flood(&mut self, frames: &Frames<'_, '_>, group: u64, fabric: &mut Fabric, scratch: &mut Scratch) {
        let mut offered = 0;
        for index in 0..fabric.members.len() {
            let Some(to) = fabric.functions[fabric.members[index] as usize].as_deref_mut() else { continue };
            let wanted =
                bits(group).filter(|place| offer(to, frames[*place].as_ref())).fold(0, |all, place| all | 1 << place);
            offered |= wanted;
            let delivered = deliver(to, frames, wanted, scratch);
            self.switched(frames, delivered);
        }
        self.represent(frames, group, offered);
    }

    /// Frames for the representor; those that were `offered` to a guest have a receiver even when it is not there.
    fn represent(&mut self, frames: &Frames<'_, '_>, group: u64, offered: u64) {
        let Some(tap) = self.tap.as_deref_mut() else {
            return Loss::NoReceiver.count(self.counters, u64::from((group & !offered).count_ones()));
        };
        let (mut sent, mut octets) = (0, 0);
        for frame in bits(group).filter_map(|place| frames[place].as_ref()) {
            if frame.longest() > self.limit {
                Loss::TooLong.count(self.counters, 1);
                continue;
            }
            match tap.send(&frame.payload, &frame.header) {
                Ok(()) => {
                    sent += 1;
                    octets += frame.len() as u64;
                }
                Err(Some(loss)) => loss.count(self.counters, 1),
                Err(None) => self.bad_memory = true,
            }
        }
        self.counters.add(Counter::RepresentorOutFrames, sent);
        self.counters.add(Counter::RepresentorOutOctets, octets);
    }

    #[inline]
    fn switched(&self, frames: &Frames<'_, '_>, delivered: u64) {
        if delivered != 0 {
            let octets =
                bits(delivered).filter_map(|place| frames[place].as_ref()).map(|frame| frame.len() as u64).sum();
            self.counters.add(Counter::SwitchedFrames, u64::from(delivered.count_ones()));
            self.counters.add(Counter::SwitchedOctets, octets);
        }
    }
}

/// Whether a flooded frame is this guest's concern: a group address always, another's unicast only if it wants that address.
fn offer(to: &Function, frame: Option<&Frame<'_, '_>>) -> bool {
    frame.is_some_and(|frame| frame.destination.is_group() || to.rules.wants(frame.destination))
}
