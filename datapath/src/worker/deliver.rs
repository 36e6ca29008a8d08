//! Into a guest's receive queues: the frames of a batch that were found to be for it.

use std::mem::take;

use super::doorbells::bits;
use super::forward::Frames;
use super::function::{Function, conclude};
use super::local::Scratch;
use crate::counters::Function as Counter;
use crate::memory::Table;
use crate::offload::{Header, Report, finish};
use crate::ring::{BATCH, Payload, Receive, Room};
use crate::switch::{Frame, Loss, Tally};

/// What is said of the hashes of a batch's frames, and of which frames (bits) anything is.
struct Reports {
    of: [Report; BATCH],
    some: u64,
}

impl Reports {
    const NONE: &Reports = &Reports { of: [const { Report { value: 0, kind: 0 } }; BATCH], some: 0 };
}

/// Delivers the frames of `group` (bits) that the port and its filter let pass; the others are counted, each once. The
/// bits of those delivered.
#[inline]
pub fn deliver(to: &Function, frames: &Frames<'_, '_>, group: u64, scratch: &mut Scratch) -> u64 {
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
        return fill(to, 0, frames, passed, Reports::NONE, scratch);
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
fn steered(to: &Function, frames: &Frames<'_, '_>, group: u64) -> ([u16; BATCH], Reports) {
    let (mut queues, mut reports) = ([0; BATCH], Reports { of: [Report::default(); BATCH], some: 0 });
    for place in bits(group) {
        let Some(frame) = &frames[place] else { continue };
        let report = to.steering.report(frame);
        queues[place] = 2 * to.in_place_of(to.steering.choose(frame, report, to.pairs));
        reports.of[place] = report;
        reports.some |= u64::from(report.kind != 0) << place;
    }
    (queues, reports)
}

/// The frames that limit and filter let pass.
#[inline]
fn pass(to: &Function, frames: &Frames<'_, '_>, group: u64) -> u64 {
    let long = frames.longer(group, to.frame_limit);
    Loss::TooLong.count(&to.counters, u64::from(long.count_ones()));
    let mut passed = group & !long;
    for (frame, places) in frames.runs(passed) {
        if let Some(loss) = to.rules.refusal(frame) {
            loss.count(&to.counters, u64::from(places.count_ones()));
            passed &= !places;
        }
    }
    passed
}

#[inline]
fn fill(
    to: &Function,
    queue: u16,
    frames: &Frames<'_, '_>,
    group: u64,
    reports: &Reports,
    scratch: &mut Scratch,
) -> u64 {
    let Function { id, lines, counters, memory, offloads, dirty, .. } = to;
    let Some(taken) = to.receive(queue) else {
        Loss::NotReady.count_at(counters, queue, u64::from(group.count_ones()));
        return 0;
    };
    let mut taken = taken.take(to.company);
    let ring = &mut *taken;
    let mut room = take(&mut scratch.room).recycle();
    ring.reserve(memory, group.count_ones() as usize, &mut room);
    let (mut tally, mut plain, mut delivered, mut contradicted) = (Tally::default(), 0, 0, 0);
    let mut left = group & frames.present();
    loop {
        let filled = fill_plain(ring, &mut room, frames, left & !reports.some);
        plain |= filled;
        left &= !filled;
        // The next one is not plain, or there is no room for it.
        let place = left.trailing_zeros() as usize;
        let Some(frame) = (place < BATCH).then(|| frames[place].as_ref()).flatten() else { break };
        left &= left - 1;
        let report = reports.of[place];
        let outcome = match offloads.taken(frame.header) {
            Some(header) if put(ring, memory, &mut room, &frame.payload, &header, report, &mut tally) => Ok(()),
            Some(_) => Err(Loss::NoBuffer),
            None => unfinished(ring, memory, &mut room, frame, report, &mut scratch.unfinished, &mut tally),
        };
        delivered |= u64::from(outcome.is_ok()) << place;
        contradicted |= u64::from(outcome == Err(Loss::BadHeader)) << place;
    }
    delivered |= plain;
    Loss::BadHeader.count_at(counters, queue, u64::from(contradicted.count_ones()));
    frames.count(plain, &counters.queue(queue));
    tally.count(&counters.queue(queue));
    let (count, interrupt) = ring.flush(&mut room);
    let fault = room.fault();
    let lost = if fault.is_some() { Loss::BadDescriptor } else { Loss::NoBuffer };
    lost.count_at(counters, queue, u64::from((group & !delivered & !contradicted).count_ones()));
    counters.add(Counter::ReceivedFrames, u64::from(delivered.count_ones()));
    let Receive { ring: used, moderation, vector, .. } = ring;
    let flushed = scratch.clock.moderated((*id, queue), moderation, (count, interrupt), |n| used.still_wants(n));
    let vector = *vector;
    drop(taken);
    if let Some(dirty) = dirty.as_ref().filter(|_| count > 0) {
        dirty.filled(queue, memory, room.batch());
    }
    conclude(lines, counters, queue, vector, flushed);
    scratch.faults.extend(fault.map(|fault| (*id, fault)));
    scratch.room = room.recycle();
    delivered
}

/// The first frames of `group`, as far as each is plain and finds room for itself. Which.
#[inline(always)]
fn fill_plain(ring: &Receive, room: &mut Room<'_>, frames: &Frames<'_, '_>, group: u64) -> u64 {
    let others = group & !frames.plain();
    let plain = group & (others & others.wrapping_neg()).wrapping_sub(1);
    let payloads = bits(plain).filter_map(|place| frames[place].as_ref()).map(|frame| &frame.payload);
    let count = ring.fill_plain(room, payloads);
    if count == plain.count_ones() as usize {
        return plain;
    }
    bits(plain).take(count).fold(0, |all, place| all | 1 << place)
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
