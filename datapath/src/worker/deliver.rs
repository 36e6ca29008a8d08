//! Into a guest's receive queues: the frames of a batch that were found to be for it.

use std::mem::take;

use super::doorbells::bits;
use super::fabric::Scratch;
use super::forward::Frames;
use super::function::{Function, Queue, Slot, conclude};
use crate::counters::Function as Counter;
use crate::memory::Table;
use crate::offload::{Header, Report, finish};
use crate::ring::{BATCH, Payload, Receive, Room};
use crate::switch::{Frame, Loss, Tally};

/// Delivers the frames of `group` (bits) that the port and its filter let pass; the others are counted, each once. The
/// bits of those delivered.
#[inline]
pub fn deliver(to: &mut Function, frames: &Frames<'_, '_>, group: u64, scratch: &mut Scratch) -> u64 {
    if group == 0 {
        return 0;
    }
    if !to.link || !to.ready() {
        let loss = if to.link { Loss::NotReady } else { Loss::LinkDown };
        loss.count(&to.counters, u64::from(group.count_ones()));
        return 0;
    }
    let passed = pass(to, frames, group);
    if to.pairs <= 1 && !to.steering.hashes() {
        return fill(to, 0, frames, passed, &[const { Report { value: 0, kind: 0 } }; BATCH], scratch);
    }
    let (queues, reports) = steered(to, frames, passed);
    let mut left = passed;
    let mut delivered = 0;
    while left != 0 {
        let queue = queues[left.trailing_zeros() as usize];
        let same = bits(left).filter(|place| queues[*place] == queue).fold(0, |same, place| same | 1 << place);
        left &= !same;
        delivered |= fill(to, queue, frames, same, &reports, scratch);
    }
    delivered
}

/// The receive queue of each frame, and its hash.
fn steered(to: &Function, frames: &Frames<'_, '_>, group: u64) -> ([u16; BATCH], [Report; BATCH]) {
    let (mut queues, mut reports) = ([0; BATCH], [Report::default(); BATCH]);
    for place in bits(group) {
        let Some(frame) = &frames[place] else { continue };
        reports[place] = to.steering.report(frame);
        queues[place] = 2 * to.in_place_of(to.steering.choose(frame, reports[place], to.pairs));
    }
    (queues, reports)
}

/// The frames that limit and filter let pass.
#[inline]
fn pass(to: &Function, frames: &Frames<'_, '_>, group: u64) -> u64 {
    let mut passed = group;
    let mut last: Option<(&Frame<'_, '_>, Option<Loss>)> = None;
    for place in bits(group) {
        let Some(frame) = &frames[place] else { continue };
        let refusal = match last {
            Some((before, refusal)) if frame.like(before) => refusal,
            _ => to.rules.refusal(frame),
        };
        last = Some((frame, refusal));
        let refusal = if frame.longest() > to.frame_limit { Some(Loss::TooLong) } else { refusal };
        if let Some(loss) = refusal {
            loss.count(&to.counters, 1);
            passed &= !(1 << place);
        }
    }
    passed
}

#[inline]
fn fill(
    to: &mut Function,
    queue: u16,
    frames: &Frames<'_, '_>,
    group: u64,
    reports: &[Report; BATCH],
    scratch: &mut Scratch,
) -> u64 {
    let Function { id, lines, counters, memory, queues, offloads, dirty, .. } = to;
    let Some(Slot::Running(Queue::Receive(ring))) = queues.get_mut(usize::from(queue)) else {
        Loss::NotReady.count_at(counters, queue, u64::from(group.count_ones()));
        return 0;
    };
    let mut room = take(&mut scratch.room).recycle();
    ring.reserve(memory, group.count_ones() as usize, &mut room);
    let mut tally = Tally::default();
    let (mut delivered, mut contradicted) = (0, 0);
    for place in bits(group) {
        let Some(frame) = &frames[place] else { continue };
        let report = reports[place];
        if frame.header.plain() && report.kind == 0 && ring.fill_plain(&mut room, &frame.payload) {
            tally.add(frame.len());
            delivered |= 1 << place;
            continue;
        }
        let outcome = match offloads.taken(frame.header) {
            Some(header) if put(ring, memory, &mut room, &frame.payload, &header, report, &mut tally) => Ok(()),
            Some(_) => Err(Loss::NoBuffer),
            None => unfinished(ring, memory, &mut room, frame, report, &mut scratch.unfinished, &mut tally),
        };
        delivered |= u64::from(outcome.is_ok()) << place;
        contradicted |= u64::from(outcome == Err(Loss::BadHeader)) << place;
    }
    Loss::BadHeader.count_at(counters, queue, u64::from(contradicted.count_ones()));
    tally.count(&counters.queue(queue));
    let (count, interrupt, fault) = ring.flush(&mut room);
    let lost = if fault.is_some() { Loss::BadDescriptor } else { Loss::NoBuffer };
    lost.count_at(counters, queue, u64::from((group & !delivered & !contradicted).count_ones()));
    counters.add(Counter::ReceivedFrames, u64::from(delivered.count_ones()));
    if let Some(dirty) = dirty.as_ref().filter(|_| count > 0) {
        dirty.received(queue, memory, &room);
    }
    let Receive { ring: used, moderation, vector, .. } = ring;
    let flushed = scratch.clock.moderated((*id, queue), moderation, (count, interrupt), |n| used.still_wants(n));
    conclude(lines, counters, queue, *vector, flushed);
    scratch.faults.extend(fault.map(|fault| (*id, fault)));
    scratch.room = room.recycle();
    delivered
}

fn put<'m>(
    ring: &mut Receive,
    memory: &'m Table,
    room: &mut Room<'m>,
    payload: &Payload<'_, '_>,
    header: &Header,
    report: Report,
    tally: &mut Tally,
) -> bool {
    let filled = ring.fill(memory, room, payload, header, report);
    if filled {
        tally.add_with(payload.len, header);
    }
    filled
}

/// A frame that its receiver cannot take as it is, is finished in a copy.
#[inline(never)]
fn unfinished<'m>(
    ring: &mut Receive,
    memory: &'m Table,
    room: &mut Room<'m>,
    frame: &Frame<'_, '_>,
    report: Report,
    copy: &mut [u8],
    tally: &mut Tally,
) -> Result<(), Loss> {
    let n = frame.payload.read(copy);
    finished(ring, memory, room, &mut copy[..n], &frame.header, report, tally)
}

/// Finishes a frame for a receiver who cannot. Each segment counts as a frame of its queue; the frame is delivered when all
/// of them are.
#[inline(never)]
pub fn finished<'m>(
    ring: &mut Receive,
    memory: &'m Table,
    room: &mut Room<'m>,
    copy: &mut [u8],
    header: &Header,
    report: Report,
    tally: &mut Tally,
) -> Result<(), Loss> {
    match finish(header, copy, |payload| put(ring, memory, room, payload, &Header::default(), report, tally)) {
        Some(true) => Ok(()),
        Some(false) => Err(Loss::NoBuffer),
        None => Err(Loss::BadHeader),
    }
}
