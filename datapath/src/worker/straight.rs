//! The usual case: the frames at the head of a transmit queue are plain and all go the same way, into the buffers of one
//! other guest. What holds for the first of them is found out once, the others are compared with it, and one pass over both
//! rings takes, copies and gives back. A frame that is not like the first stays in its ring, for `forward`.

use super::fabric::Fabric;
use super::function::{Function, conclude};
use super::local::Scratch;
use crate::counters::{FUNCTIONS, Function as Counter};
use crate::ring::{BATCH, Receive, Transmit};
use crate::switch::{Frame, Handful};

/// A run shorter than this, with other frames behind it, does not pay for a flush of its own: for so many batches no other is
/// looked for then.
const SHORT: usize = 8;
const MIXED: u8 = 32;

/// What came of it.
pub struct Sent {
    pub frames: usize,
    /// What the flush of the transmit queue said.
    pub flushed: (u16, bool),
    /// Frames are there that are not like those.
    pub left: bool,
}

impl Sent {
    const NONE: Sent = Sent { frames: 0, flushed: (0, false), left: true };
}

/// Sends frames from the head of a queue as long as they are like the first one.
#[inline]
pub fn straight(from: &Function, queue: u16, ring: &mut Transmit, fabric: &Fabric, scratch: &mut Scratch) -> Sent {
    if ring.mixed > 0 {
        ring.mixed -= 1;
        return Sent::NONE;
    }
    let sent = run(from, queue, ring, fabric, scratch).unwrap_or(Sent::NONE);
    if sent.left && sent.frames < SHORT {
        ring.mixed = MIXED;
    }
    sent
}

/// Whether a queue's frames go out at all, and nothing of them is noted one by one.
fn open(from: &Function, queue: u16) -> bool {
    from.link && from.fabric && from.pairs <= 1 && from.disabled >> queue & 1 == 0
}

/// None where frames cannot go this way, whatever they are.
#[inline(always)]
fn run(from: &Function, queue: u16, ring: &mut Transmit, fabric: &Fabric, scratch: &mut Scratch) -> Option<Sent> {
    let mut lane = if open(from, queue) { ring.lane(&from.memory, BATCH)? } else { return None };
    let first = lane.first().and_then(Frame::plain)?;
    let to = receiver(from, &first, fabric, scratch.clock.second)?;
    let mut taken = to.receive(0)?.take(to.company);
    let places = &mut *taken;
    let (fields, longest, mut passed) = (first.fields(), to.frame_limit, Handful::default());
    let most = lane.left();
    let left = lane.run(
        &mut places.lane(&to.memory, most)?,
        &mut scratch.ahead,
        |payload| payload.len <= longest && Frame::plain(payload).is_some_and(|frame| frame.fields() == fields),
        |octets| passed.add(octets),
    );
    let Receive { ring: used, moderation, vector, .. } = places;
    let [sent, flushed] = ring.ring.flush_both(used);
    let flushed = scratch.clock.moderated((to.id, 0), moderation, flushed, |n| used.still_wants(n));
    let vector = *vector;
    drop(taken);
    conclude(&to.lines, &to.counters, 0, vector, flushed);
    count(from, queue, to, &passed);
    Some(Sent { frames: passed.frames() as usize, flushed: sent, left })
}

/// Who receives frames like this one, if that is one guest that nothing more is to be asked about.
#[inline(always)]
fn receiver<'f>(from: &Function, frame: &Frame<'_, '_>, fabric: &'f Fabric, now: u32) -> Option<&'f Function> {
    let (sender, station) = frame.stations();
    fabric.learning.learn(sender, from.id, now);
    if frame.destination().is_group() {
        return None;
    }
    let id = fabric.learning.find(station, now).filter(|id| (*id as usize) < FUNCTIONS && *id != from.id)?;
    let to = fabric.function(id)?;
    let ready = to.link && to.pairs <= 1 && to.disabled & 1 == 0 && !to.steering.hashes() && to.dirty.is_none();
    (ready && to.rules.refusal(frame).is_none()).then_some(to)
}

#[inline(always)]
fn count(from: &Function, queue: u16, to: &Function, passed: &Handful) {
    let frames = passed.frames();
    if frames == 0 {
        return;
    }
    from.counters.add(Counter::TransmittedFrames, frames);
    from.counters.add(Counter::SwitchOutFrames, frames);
    from.counters.add(Counter::SwitchedFrames, frames);
    from.counters.add(Counter::SwitchedOctets, passed.octets());
    passed.count(&from.counters.queue(queue));
    to.counters.add(Counter::SwitchInFrames, frames);
    to.counters.add(Counter::ReceivedFrames, frames);
    passed.count(&to.counters.queue(0));
}
