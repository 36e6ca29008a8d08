//! Frames for everybody: to some members a turn, so that a broadcast to hundreds of guests keeps no queue waiting. What is
//! left for later turns is copied once, so that no memory of the sender is held; until it is done the sender's queues rest.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::deliver::deliver;
use super::doorbells::bits;
use super::fabric::Fabric;
use super::forward::Frames;
use super::function::Function;
use super::local::Scratch;
use super::orders::FunctionId;
use crate::counters::{Function as Counter, FunctionCounters, Queue};
use crate::memory::Source;
use crate::offload::Header;
use crate::ring::Payload;
use crate::switch::{Frame, Loss};

/// Members that a slice reaches at most, and at least.
const MOST: usize = 64;
const LEAST: usize = 4;
/// Frames delivered in a slice, and bytes, as far as `LEAST` allows.
const FRAMES: usize = 512;
const BYTES: usize = 256 * 1024;

/// Which members a flood reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    All,
    /// Those that an uplink serves.
    Behind(u8),
}

/// Where frames come from: a port, and the transmit queue if it was one.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    pub port: FunctionId,
    pub counters: &'a FunctionCounters,
    pub queue: Option<u16>,
    pub floods: &'a Underway,
}

/// How far frames (bits) have come: who was offered one has to account for it; who took one, it has reached.
#[derive(Clone, Copy, Default)]
pub struct Reach {
    pub offered: u64,
    pub taken: u64,
}

/// How many floods of one port are under way: several, when workers serve several of its queues.
#[derive(Clone, Default)]
pub struct Underway(Arc<AtomicU32>);

impl Underway {
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.0.load(Acquire) != 0
    }

    fn begin(&self) -> Counted {
        self.0.fetch_add(1, Relaxed);
        Counted(self.clone())
    }
}

/// A flood that counts for as long as it is there; whoever began it may be gone.
struct Counted(Underway);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Release);
    }
}

/// A flood under way.
pub struct Flood {
    run: Run,
    port: FunctionId,
    queue: Option<u16>,
    counters: FunctionCounters,
    counted: Counted,
    bytes: Vec<u8>,
    frames: Vec<(Range<usize>, Header)>,
    slice: usize,
}

struct Run {
    domain: Domain,
    /// The first member that it has not reached.
    next: FunctionId,
    group: u64,
    reach: Reach,
}

/// Begins to flood the frames of `group` (bits), which have come as far as `reach` already. It may go on in later turns
/// (`Local::floods`).
pub fn begin(
    origin: Origin<'_>,
    domain: Domain,
    frames: &Frames<'_, '_>,
    group: u64,
    reach: Reach,
    fabric: &Fabric,
    scratch: &mut Scratch,
) {
    let octets = bits(group).filter_map(|place| frames[place].as_ref()).map(Frame::len).sum();
    let slice = members_a_slice(group.count_ones() as usize, octets);
    let mut run = Run { domain, next: 0, group, reach };
    if !run.slice(slice, frames, origin, fabric, scratch) {
        scratch.floods.push(Flood::new(run, origin, frames, octets, slice));
    }
}

fn members_a_slice(frames: usize, octets: usize) -> usize {
    (FRAMES / frames.max(1)).min(BYTES / octets.max(1)).clamp(LEAST, MOST)
}

impl Run {
    /// Reaches the next `most` members. True when all have been reached.
    fn slice(
        &mut self,
        most: usize,
        frames: &Frames<'_, '_>,
        origin: Origin<'_>,
        fabric: &Fabric,
        scratch: &mut Scratch,
    ) -> bool {
        let start = fabric.members.partition_point(|id| *id < self.next);
        let end = fabric.members.len().min(start + most);
        for index in start..end {
            let id = fabric.members[index];
            self.next = id + 1;
            if let Some(to) = fabric.function(id).filter(|to| to.id != origin.port && self.reaches(to)) {
                self.offer(to, frames, origin.counters, scratch);
            }
        }
        let done = end == fabric.members.len();
        if done {
            origin.conclude(frames, self.group, self.reach, Loss::NoReceiver);
        }
        done
    }

    fn reaches(&self, to: &Function) -> bool {
        self.domain == Domain::All || self.domain == Domain::Behind(to.uplink)
    }

    fn offer(&mut self, to: &Function, frames: &Frames<'_, '_>, counters: &FunctionCounters, scratch: &mut Scratch) {
        let concerned = |place: &usize| frames[*place].as_ref().is_some_and(|frame| concerns(to, frame));
        let wanted = bits(self.group).filter(concerned).fold(0u64, |all, place| all | 1 << place);
        if wanted == 0 {
            return;
        }
        let count = u64::from(wanted.count_ones());
        counters.add(Counter::SwitchOutFrames, count);
        counters.add(Counter::FloodCopies, u64::from((wanted & self.reach.offered).count_ones()));
        to.counters.add(Counter::SwitchInFrames, count);
        self.reach.offered |= wanted;
        self.reach.taken |= wanted;
        let delivered = deliver(to, frames, wanted, scratch);
        switched(counters, frames, delivered);
    }
}

impl Origin<'_> {
    /// The frames of `group` (bits) go no further: nobody was there for those that nobody was offered.
    #[inline]
    pub fn conclude(&self, frames: &Frames<'_, '_>, group: u64, reach: Reach, loss: Loss) {
        loss.count(self.counters, u64::from((group & !reach.offered).count_ones()));
        if group & !reach.taken != 0 {
            self.unsent(frames, group & !reach.taken);
        }
    }

    /// None of the frames goes anywhere.
    pub fn lose_all(&self, frames: &Frames<'_, '_>, loss: Loss) {
        self.conclude(frames, frames.present(), Reach::default(), loss);
    }

    /// Frames that have reached nobody are counted at their queue.
    #[inline(never)]
    fn unsent(&self, frames: &Frames<'_, '_>, group: u64) {
        let Some(counters) = self.queue.map(|queue| self.counters.queue(queue)) else { return };
        for frame in bits(group).filter_map(|place| frames[place].as_ref()) {
            counters.add(Queue::UnsentFrames, 1);
            counters.add(Queue::UnsentOctets, frame.len() as u64);
            if frame.header.segmented() {
                counters.add(Queue::UnsentGsoFrames, 1);
                counters.add(Queue::UnsentGsoOctets, frame.len() as u64);
            }
        }
    }
}

impl Flood {
    fn new(run: Run, origin: Origin<'_>, frames: &Frames<'_, '_>, octets: usize, slice: usize) -> Flood {
        let (mut bytes, mut kept, mut at) = (vec![0; octets], Vec::new(), 0);
        for frame in bits(run.group).filter_map(|place| frames[place].as_ref()) {
            let end = at + frame.payload.read(&mut bytes[at..at + frame.len()]);
            kept.push((at..end, frame.header));
            at = end;
        }
        // The frames are numbered anew, without gaps.
        let places = |of: u64| bits(run.group).enumerate().filter(move |(_, place)| of & 1 << place != 0);
        let renumbered = |of: u64| places(of).fold(0u64, |all, (number, _)| all | 1 << number);
        let reach = Reach { offered: renumbered(run.reach.offered), taken: renumbered(run.reach.taken) };
        let run = Run { group: renumbered(run.group), reach, ..run };
        let Origin { port, counters, queue, floods } = origin;
        Flood { run, port, queue, counters: counters.clone(), counted: floods.begin(), bytes, frames: kept, slice }
    }

    /// One slice more. True when all members have been reached.
    pub fn go_on(&mut self, fabric: &Fabric, scratch: &mut Scratch) -> bool {
        let pieces: Vec<[Source<'_>; 1]> =
            self.frames.iter().map(|(range, _)| [Source::from(&self.bytes[range.clone()])]).collect();
        let mut frames = Frames::default();
        let payloads = pieces.iter().zip(&self.frames);
        frames
            .fill(payloads.map(|(pieces, (range, header))| Frame::new(Payload::new(pieces, range.len(), 0), *header)));
        let Flood { run, port, queue, counters, counted, slice, .. } = self;
        let origin = Origin { port: *port, counters, queue: *queue, floods: &counted.0 };
        run.slice(*slice, &frames, origin, fabric, scratch)
    }
}

/// Whether a flooded frame is this guest's concern: a group address always, another's unicast only if it wants that
/// address.
fn concerns(to: &Function, frame: &Frame<'_, '_>) -> bool {
    frame.destination().is_group() || to.rules.wants(frame.destination())
}

/// Counts what was delivered to another guest.
#[inline]
pub fn switched(counters: &FunctionCounters, frames: &Frames<'_, '_>, delivered: u64) {
    if delivered != 0 {
        counters.add(Counter::SwitchedFrames, u64::from(delivered.count_ones()));
        counters.add(Counter::SwitchedOctets, frames.octets(delivered));
    }
}
