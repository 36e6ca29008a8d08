//! From a function's representor to its guest, and to nobody else.

use std::mem::take;

use super::deliver::{deliver, finished};
use super::function::{Function, conclude};
use super::local::Scratch;
use crate::counters::{Function as Counter, FunctionCounters};
use crate::memory::{Sink, Source, Table};
use crate::offload::{Header, Offloads, Report};
use crate::port::{Outcome, Tap};
use crate::ring::{BATCH, Breach, Fault, Payload, Receive, Room, pour};
use crate::switch::{Behind, Frame, Frames, Loss, Rules, Station, Steering, Tally};

/// What is to be done about the tap next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// More frames may wait in it.
    Again,
    /// It is empty: it will say when it is not.
    Quiet,
    /// Frames wait in it, but the driver has to post buffers first; its queue has been armed for that.
    Starved,
}

/// Moves up to a batch of frames.
///
/// # Errors
/// The driver broke a rule.
pub fn represent(to: &Function, scratch: &mut Scratch) -> Result<Next, Fault> {
    if !to.link || !(to.ready() || to.parked()) {
        let loss = if to.link { Loss::NotReady } else { Loss::LinkDown };
        return Ok(drain(to, loss, scratch));
    }
    if to.parked() {
        return Ok(Next::Starved);
    }
    if to.pairs > 1 { spread(to, scratch) } else { direct(to, scratch) }
}

/// There is no driver to wait for: frames are lost, as on a cable that nothing is plugged to.
fn drain(to: &Function, loss: Loss, scratch: &mut Scratch) -> Next {
    let Some(tap) = &to.tap else { return Next::Quiet };
    for _ in 0..BATCH {
        let Outcome::Frame { len, .. } = tap.receive(std::iter::empty(), &mut scratch.frame) else {
            return Next::Quiet;
        };
        arrived(&to.counters, 1, len as u64);
        scratch.came += 1;
        loss.count(&to.counters, 1);
    }
    Next::Again
}

/// One receive queue: the kernel copies each frame into the driver's buffers.
fn direct(to: &Function, scratch: &mut Scratch) -> Result<Next, Fault> {
    let Function { id, counters, lines, memory, tap, behind, rules, steering, frame_limit, offloads, dirty, .. } = to;
    let (Some(tap), Some(taken)) = (tap, to.receive(0)) else {
        return Ok(Next::Quiet);
    };
    let mut taken = taken.take(to.company);
    let ring = &mut *taken;
    let mut room = take(&mut scratch.room).recycle();
    let mut reader = Reader {
        counters,
        memory,
        rules,
        steering,
        offloads: *offloads,
        limit: *frame_limit,
        tap,
        behind,
        now: scratch.clock.second,
        rest: &mut scratch.frame,
        unfinished: &mut scratch.unfinished,
        tally: Tally::default(),
    };
    let (mut next, mut fault, mut delivered) = (Next::Again, None, 0);
    let enough = ring.enough_for_any(offloads.takes_segments());
    ring.reserve(memory, BATCH, &mut room);
    for _ in 0..BATCH {
        if room.free() < enough && ring.reserve(memory, enough, &mut room) < enough {
            next = Next::Starved;
            break;
        }
        scratch.came += 1;
        match reader.read(ring, &mut room) {
            Read::Delivered => delivered += 1,
            Read::Lost(loss) => loss.count_at(counters, 0, 1),
            Read::Nothing => {
                scratch.came -= 1;
                next = Next::Quiet;
                break;
            }
            Read::BadMemory => {
                fault = Some(Breach::MemoryTaken.of(0));
                break;
            }
        }
    }
    reader.tally.count(&counters.queue(0));
    counters.add(Counter::ReceivedFrames, delivered);
    let (count, interrupt) = ring.flush(&mut room);
    let broken = room.fault();
    if next == Next::Starved && broken.is_none() && ring.starve() {
        next = Next::Again;
    }
    let Receive { ring: used, moderation, vector, .. } = ring;
    let flushed = scratch.clock.moderated((*id, 0), moderation, (count, interrupt), |n| used.still_wants(n));
    let vector = *vector;
    drop(taken);
    if let Some(dirty) = dirty.as_ref().filter(|_| count > 0) {
        dirty.filled(0, memory, room.batch());
    }
    conclude(lines, counters, 0, vector, flushed);
    scratch.room = room.recycle();
    broken.or(fault).map_or(Ok(next), Err)
}

enum Read {
    Delivered,
    Lost(Loss),
    Nothing,
    BadMemory,
}

struct Reader<'a> {
    counters: &'a FunctionCounters,
    memory: &'a Table,
    rules: &'a Rules,
    steering: &'a Steering,
    offloads: Offloads,
    limit: usize,
    tap: &'a Tap,
    behind: &'a Behind,
    now: u32,
    rest: &'a mut [u8],
    unfinished: &'a mut [u8],
    tally: Tally,
}

impl<'m> Reader<'m> {
    /// Reads a frame into the next buffer. What does not fit comes by way of `rest`, and so into further buffers.
    fn read(&mut self, ring: &mut Receive, room: &mut Room<'m>) -> Read {
        let (header, len, placed) = match self.tap.receive(beyond(room.pieces(1), ring.header()), self.rest) {
            Outcome::Frame { header, len, placed } => (header, len, placed),
            Outcome::Empty | Outcome::Gone => return Read::Nothing,
            Outcome::BadMemory => {
                // The kernel lets go of a frame that it could not copy.
                arrived(self.counters, 1, 0);
                Loss::BadDescriptor.count_at(self.counters, 0, 1);
                return Read::BadMemory;
            }
        };
        arrived(self.counters, 1, len as u64);
        let rest = &self.rest[..len - placed];
        let (header, report, station) = match self.admitted(room, ring.header(), header, len, rest) {
            Ok(admitted) => admitted,
            Err(loss) => return Read::Lost(loss),
        };
        self.behind.heard(station, self.now);
        let Some(header) = self.offloads.taken(header) else {
            return self.finish(ring, room, (header, report), len, placed);
        };
        let Some(count) = ring.enough(self.memory, room, ring.header() + len) else {
            return Read::Lost(Loss::NoBuffer);
        };
        pour([Source::from(rest)], beyond(room.pieces(count), ring.header() + placed));
        ring.write_header(room, count, &header, report);
        ring.take(room, count, ring.header() + len);
        self.tally.add_with(len, &header);
        Read::Delivered
    }

    /// The kernel left undone what the driver cannot take: it could when the kernel put the frame into its queue.
    fn finish(
        &mut self,
        ring: &mut Receive,
        room: &mut Room<'m>,
        (header, report): (Header, Report),
        len: usize,
        placed: usize,
    ) -> Read {
        let rest = Source::from(&self.rest[..len - placed]);
        let begin = beyond(room.pieces(1), ring.header()).map(|sink| sink.source());
        let copy = &mut self.unfinished[..len];
        let n = pour(begin, [Sink::from(&mut copy[..placed])]);
        pour([rest], [Sink::from(&mut copy[n..])]);
        match finished(ring, self.memory, room, copy, &header, report, &mut self.tally) {
            Ok(()) => Read::Delivered,
            Err(loss) => Read::Lost(loss),
        }
    }

    /// Looks at the frame where it lies: the buffer is not the driver's until it is put on the used ring.
    fn admitted(
        &self,
        room: &Room<'m>,
        skip: usize,
        header: Header,
        len: usize,
        rest: &[u8],
    ) -> Result<(Header, Report, Station), Loss> {
        let mut bytes = [0; 256];
        let looked_at = len.min(if header.plain() && !self.steering.hashes() { 64 } else { bytes.len() });
        let placed = beyond(room.pieces(1), skip).map(|sink| sink.source());
        let n = pour(placed.chain([Source::from(rest)]), [Sink::from(&mut bytes[..looked_at])]);
        let pieces = [Source::from(&bytes[..n])];
        let frame = arrival(Payload::new(&pieces, len, 0), header)?;
        match self.rules.refusal(&frame) {
            _ if frame.longest() > self.limit => Err(Loss::TooLong),
            Some(loss) => Err(loss),
            None => Ok((frame.header, self.steering.report(&frame), frame.stations().0)),
        }
    }
}

/// Several receive queues: which one is known only when the frame has been read, so it is copied once more.
fn spread(to: &Function, scratch: &mut Scratch) -> Result<Next, Fault> {
    for _ in 0..BATCH {
        if starved(to) {
            return Ok(Next::Starved);
        }
        let Some(tap) = &to.tap else { return Ok(Next::Quiet) };
        let mut bytes = take(&mut scratch.frame);
        let outcome = tap.receive(std::iter::empty(), &mut bytes);
        if let Outcome::Frame { header, len, .. } = outcome {
            arrived(&to.counters, 1, len as u64);
            scratch.came += 1;
            offer(to, &bytes[..len], header, scratch);
        }
        scratch.frame = bytes;
        if !matches!(outcome, Outcome::Frame { .. }) {
            return Ok(Next::Quiet);
        }
    }
    Ok(Next::Again)
}

fn offer(to: &Function, bytes: &[u8], header: Header, scratch: &mut Scratch) {
    let pieces = [Source::from(bytes)];
    match arrival(Payload::new(&pieces, bytes.len(), 0), header) {
        Ok(frame) => {
            to.behind.heard(frame.stations().0, scratch.clock.second);
            deliver(to, &Frames::one(Some(frame)), 1, scratch);
        }
        Err(loss) => loss.count(&to.counters, 1),
    }
}

/// A frame from the kernel, with what its header comes to.
pub fn arrival<'b, 'm>(payload: Payload<'b, 'm>, header: Header) -> Result<Frame<'b, 'm>, Loss> {
    let header = header.represented(&payload).ok_or(Loss::BadHeader)?;
    Frame::new(payload, header).ok_or(Loss::TooShort)
}

/// Whether no queue in use has buffers for any frame that may come; they are armed then.
fn starved(to: &Function) -> bool {
    let segments = to.offloads.takes_segments();
    let some = |look: &dyn Fn(&mut Receive) -> bool| {
        (0..to.pairs).any(|pair| to.receive(2 * pair).is_some_and(|ring| look(&mut ring.take(to.company))))
    };
    let roomy = |ring: &mut Receive| ring.outstanding() >= ring.enough_for_any(segments);
    !some(&roomy) && !some(&Receive::starve)
}

/// What of the places lies after the first `skip` bytes.
fn beyond<'m>(places: impl Iterator<Item = Sink<'m>>, mut skip: usize) -> impl Iterator<Item = Sink<'m>> {
    places.filter_map(move |place| {
        let rest = place.after(skip);
        skip -= skip.min(place.len());
        (rest.len() > 0).then_some(rest)
    })
}

fn arrived(counters: &FunctionCounters, frames: u64, octets: u64) {
    counters.add(Counter::RepresentorInFrames, frames);
    counters.add(Counter::RepresentorInOctets, octets);
}
