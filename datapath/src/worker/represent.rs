//! From a function's representor to its guest, and to nobody else.

use std::mem::take;

use super::deliver::deliver;
use super::fabric::Scratch;
use super::function::{Function, Queue, Slot, conclude};
use crate::counters::{Function as Counter, FunctionCounters};
use crate::memory::{Sink, Source, Table};
use crate::port::{Outcome, Tap};
use crate::ring::{BATCH, Breach, Fault, Payload, Receive, Room, Split, pour};
use crate::switch::{Frame, Loss, Rules, Tally};

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
pub fn represent(to: &mut Function, scratch: &mut Scratch) -> Result<Next, Fault> {
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
fn drain(to: &mut Function, loss: Loss, scratch: &mut Scratch) -> Next {
    let Some(tap) = &mut to.tap else { return Next::Quiet };
    for _ in 0..BATCH {
        let Outcome::Frame { len, .. } = tap.receive(std::iter::empty(), &mut scratch.frame) else {
            return Next::Quiet;
        };
        arrived(&to.counters, 1, len as u64);
        loss.count(&to.counters, 1);
    }
    Next::Again
}

/// One receive queue: the kernel copies each frame into the driver's buffers.
fn direct(to: &mut Function, scratch: &mut Scratch) -> Result<Next, Fault> {
    let Function { counters, lines, memory, queues, tap, rules, frame_limit, .. } = to;
    let (Some(tap), Some(Slot::Running(Queue::Receive(ring)))) = (tap, queues.first_mut()) else {
        return Ok(Next::Quiet);
    };
    let mut room = take(&mut scratch.room).recycle();
    let mut reader = Reader { counters, memory, rules, limit: *frame_limit, tap, rest: &mut scratch.frame };
    let (mut tally, mut next, mut fault) = (Tally::default(), Next::Again, None);
    ring.reserve(memory, BATCH, &mut room);
    for _ in 0..BATCH {
        if room.free() == 0 && ring.reserve(memory, 1, &mut room) == 0 {
            next = Next::Starved;
            break;
        }
        match reader.read(ring, &mut room) {
            Read::Delivered(len) => tally.add(len),
            Read::Lost(loss) => loss.count(counters, 1),
            Read::Nothing => {
                next = Next::Quiet;
                break;
            }
            Read::BadMemory => {
                fault = Some(Breach::MemoryTaken.of(0));
                break;
            }
        }
    }
    tally.count(&counters.queue(0));
    let (count, interrupt, broken) = ring.flush(&mut room);
    conclude(lines, counters, 0, ring.vector, (count, interrupt));
    scratch.room = room.recycle();
    if let Some(fault) = broken.or(fault) {
        return Err(fault);
    }
    Ok(if next == Next::Starved && ring.ring().arm() { Next::Again } else { next })
}

enum Read {
    Delivered(usize),
    Lost(Loss),
    Nothing,
    BadMemory,
}

struct Reader<'a> {
    counters: &'a FunctionCounters,
    memory: &'a Table,
    rules: &'a Rules,
    limit: usize,
    tap: &'a mut Tap,
    rest: &'a mut [u8],
}

impl<'m> Reader<'m> {
    /// Reads a frame into the next buffer. What does not fit comes by way of `rest`, and so into further buffers.
    fn read(&mut self, ring: &mut Receive, room: &mut Room<'m>) -> Read {
        let (len, placed) = match self.tap.receive(beyond(room.pieces(1), ring.header()), self.rest) {
            Outcome::Frame { len, placed } => (len, placed),
            Outcome::Empty | Outcome::Gone => return Read::Nothing,
            Outcome::BadMemory => return Read::BadMemory,
        };
        arrived(self.counters, 1, len as u64);
        let rest = &self.rest[..len - placed];
        if let Some(loss) = self.refusal(room, ring.header(), len, rest) {
            return Read::Lost(loss);
        }
        let Some(count) = ring.enough(self.memory, room, ring.header() + len) else {
            return Read::Lost(Loss::NoBuffer);
        };
        pour([Source::from(rest)], beyond(room.pieces(count), ring.header() + placed));
        ring.write_header(room, count);
        ring.take(room, count, ring.header() + len);
        Read::Delivered(len)
    }

    /// Looks at the frame where it lies: the buffer is not the driver's until it is put on the used ring.
    fn refusal(&self, room: &Room<'m>, header: usize, len: usize, rest: &[u8]) -> Option<Loss> {
        let mut bytes = [0; 64];
        let placed = beyond(room.pieces(1), header).map(|sink| sink.source());
        let n = pour(placed.chain([Source::from(rest)]), [Sink::from(&mut bytes[..len.min(64)])]);
        let pieces = [Source::from(&bytes[..n])];
        match Frame::new(Payload::new(&pieces, n, 0)) {
            None => Some(Loss::TooShort),
            Some(_) if len > self.limit => Some(Loss::TooLong),
            Some(frame) => self.rules.refusal(&frame),
        }
    }
}

/// Several receive queues: which one is known only when the frame has been read, so it is copied once more.
fn spread(to: &mut Function, scratch: &mut Scratch) -> Result<Next, Fault> {
    for _ in 0..BATCH {
        if starved(to) {
            return Ok(Next::Starved);
        }
        let Some(tap) = &mut to.tap else { return Ok(Next::Quiet) };
        let mut bytes = take(&mut scratch.frame);
        let outcome = tap.receive(std::iter::empty(), &mut bytes);
        if let Outcome::Frame { len, .. } = outcome {
            arrived(&to.counters, 1, len as u64);
            offer(to, &bytes[..len], scratch);
        }
        scratch.frame = bytes;
        if !matches!(outcome, Outcome::Frame { .. }) {
            return Ok(Next::Quiet);
        }
    }
    Ok(Next::Again)
}

fn offer(to: &mut Function, bytes: &[u8], scratch: &mut Scratch) {
    let pieces = [Source::from(bytes)];
    let mut frames = [None; BATCH];
    frames[0] = Frame::new(Payload::new(&pieces, bytes.len(), 0));
    if frames[0].is_some() {
        deliver(to, &frames, 1, scratch);
    } else {
        Loss::TooShort.count(&to.counters, 1);
    }
}

/// Whether the queues in use have no buffer at all; they are armed then.
fn starved(to: &mut Function) -> bool {
    let mut some = |look: fn(&mut Split) -> bool| {
        (0..to.pairs).any(|pair| to.running(2 * pair).is_some_and(|queue| look(queue.ring())))
    };
    !some(Split::waiting) && !some(Split::arm)
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
