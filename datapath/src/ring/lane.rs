//! The short way from one guest's ring into another's. Frames of which nothing is left undone, each in one buffer, are taken,
//! copied and given back in one pass: while one is copied, what the next ones need is fetched and looked at. Whatever is not
//! so plain stays in its ring, for `pop` and the verbs that follow it.

use super::batch::Payload;
use super::layout::Ring;
use super::packed::PackedLane;
use super::receive::{PLAIN, Receive};
use super::split::SplitLane;
use super::transmit::Transmit;
use crate::memory::{Sink, Source, Table, Translate};

/// Chains are looked at some at a time, and so far ahead of what is copied that their first cache lines have come by then.
const SOME: usize = 8;
const AHEAD: usize = 32;
/// Longer frames have more fetched ahead than that, but no more than `MOST` bytes.
const LONG: u32 = 256;
const MOST: u32 = 4096;

/// A buffer as its descriptor said when it was read.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub iova: u64,
    pub len: u32,
    /// What the driver knows it by.
    pub id: u16,
}

/// Memory to work with: the buffers that were looked at, of either ring.
#[derive(Default)]
pub struct Ahead {
    from: [Seen; AHEAD],
    to: [Seen; AHEAD],
}

/// A ring for the length of one pass, over chains that are one piece of the lane's kind each.
pub(super) trait Lane<S> {
    /// How many chains there are at most.
    fn left(&self) -> usize;
    /// The first chain, if it is there and as plain as that.
    fn first(&self) -> Option<S>;
    /// Looks at chains beyond those looked at before, as far as they are there and plain, and has their first lines fetched.
    /// How many.
    fn look(&mut self, seen: &mut [Seen]) -> usize;
    /// Where one that was looked at lies.
    fn piece(&self, seen: Seen) -> Option<S>;
    /// The next chains, which are these, are used; the driver sees it after `flush`. Of one that was written to, `len` is
    /// how much was.
    fn pass(&mut self, used: &[Seen]);
    /// The ring stands where the lane ends. Whether chains are there that were not passed.
    fn end(&mut self) -> bool;
}

/// The lane of a ring of either layout.
enum Either<'r, 'm, S> {
    Split(SplitLane<'r, 'm, S>),
    Packed(PackedLane<'r, 'm, S>),
}

/// A transmit queue's.
pub struct Outward<'r, 'm> {
    lane: Either<'r, 'm, Source<'m>>,
    header: usize,
}

/// A receive queue's.
pub struct Inward<'r, 'm> {
    lane: Either<'r, 'm, Sink<'m>>,
    header: usize,
}

impl Transmit {
    /// None where the ring cannot be passed like this now.
    #[inline(always)]
    pub fn lane<'r, 'm>(&'r mut self, table: &'m Table, most: usize) -> Option<Outward<'r, 'm>> {
        Some(Outward { lane: lane(&mut self.ring, table, most)?, header: self.header })
    }
}

impl Receive {
    /// None where the ring cannot be passed like this now.
    #[inline(always)]
    pub fn lane<'r, 'm>(&'r mut self, table: &'m Table, most: usize) -> Option<Inward<'r, 'm>> {
        let header = self.header;
        Some(Inward { lane: lane(&mut self.ring, table, most)?, header })
    }
}

#[inline(always)]
fn lane<'r, 'm, S: Translate<'m>>(ring: &'r mut Ring, table: &'m Table, most: usize) -> Option<Either<'r, 'm, S>> {
    match ring {
        Ring::Split(ring) => ring.lane(table, most).map(Either::Split),
        Ring::Packed(ring) => ring.lane(table, most).map(Either::Packed),
    }
}

impl<'m> Outward<'_, 'm> {
    /// How many frames there are at most.
    pub fn left(&self) -> usize {
        match &self.lane {
            Either::Split(lane) => lane.left(),
            Either::Packed(lane) => lane.left(),
        }
    }

    /// The first frame, if nothing is left undone of it and it lies in one buffer.
    #[inline(always)]
    pub fn first(&self) -> Option<Payload<'m, 'm>> {
        let piece = match &self.lane {
            Either::Split(lane) => lane.first()?,
            Either::Packed(lane) => lane.first()?,
        };
        Transmit::bare(self.header, piece)
    }

    /// Moves frames into the buffers of another guest as long as they are `alike` and there are buffers for them. `passed`
    /// is told the length of each. Whether frames are there that were not passed.
    #[inline(always)]
    pub fn run(
        &mut self,
        to: &mut Inward<'_, '_>,
        ahead: &mut Ahead,
        alike: impl Fn(Payload<'m, 'm>) -> bool,
        passed: impl FnMut(usize),
    ) -> bool {
        let headers = [self.header, to.header];
        match (&mut self.lane, &mut to.lane) {
            (Either::Split(from), Either::Split(to)) => run(from, to, ahead, headers, alike, passed),
            (Either::Split(from), Either::Packed(to)) => run(from, to, ahead, headers, alike, passed),
            (Either::Packed(from), Either::Split(to)) => run(from, to, ahead, headers, alike, passed),
            (Either::Packed(from), Either::Packed(to)) => run(from, to, ahead, headers, alike, passed),
        }
    }
}

#[inline(never)]
fn run<'s, 't>(
    from: &mut impl Lane<Source<'s>>,
    to: &mut impl Lane<Sink<'t>>,
    ahead: &mut Ahead,
    headers: [usize; 2],
    alike: impl Fn(Payload<'s, 's>) -> bool,
    mut passed: impl FnMut(usize),
) -> bool {
    let (mut looked, mut done, mut more) = (0, 0, true);
    loop {
        while more && looked - done <= AHEAD - SOME {
            let both = look(from, to, ahead, looked % AHEAD);
            looked += both;
            more = both == SOME;
        }
        let (at, there) = (done % AHEAD, looked - done);
        let moved = if ahead.from[at].len > LONG {
            copy_some::<true>(from, to, ahead, (at, there), headers, &alike, &mut passed)
        } else {
            copy_some::<false>(from, to, ahead, (at, there), headers, &alike, &mut passed)
        };
        from.pass(&ahead.from[at..][..moved]);
        to.pass(&ahead.to[at..][..moved]);
        done += moved;
        if moved < SOME {
            break;
        }
    }
    to.end();
    from.end()
}

/// Looks at some more frames and as many buffers. How many of both there are.
#[inline(always)]
fn look<'s, 't>(from: &mut impl Lane<Source<'s>>, to: &mut impl Lane<Sink<'t>>, ahead: &mut Ahead, at: usize) -> usize {
    let frames = from.look(&mut ahead.from[at..][..SOME]);
    to.look(&mut ahead.to[at..][..frames])
}

/// Copies some of the frames that are `there` from `at` on, as far as they are alike. How many.
///
/// While a long one is copied the place of the next is fetched, all of it: stores wait for each other. What is read is not,
/// as a processor reads ahead by itself as far as it can see, and sees less far behind more requests.
#[inline(always)]
fn copy_some<'s, 't, const LONG: bool>(
    from: &impl Lane<Source<'s>>,
    to: &impl Lane<Sink<'t>>,
    ahead: &mut Ahead,
    (at, there): (usize, usize),
    headers: [usize; 2],
    alike: impl Fn(Payload<'s, 's>) -> bool,
    mut passed: impl FnMut(usize),
) -> usize {
    let copied = (0..there.min(SOME)).map_while(|n| {
        let copied = copy(from, to, ahead.from[at..][n], &mut ahead.to[at..][n], headers, &alike);
        if LONG && n + 1 < there {
            let next = (at + n + 1) % AHEAD;
            fetch(to, ahead.to[next], ahead.from[next].len);
        }
        copied
    });
    copied.inspect(|octets| passed(*octets)).count()
}

/// Copies a frame, if it is alike and its buffer holds it. How many bytes it has.
#[inline(always)]
fn copy<'s, 't>(
    from: &impl Lane<Source<'s>>,
    to: &impl Lane<Sink<'t>>,
    frame: Seen,
    buffer: &mut Seen,
    [skipped, header]: [usize; 2],
    alike: impl Fn(Payload<'s, 's>) -> bool,
) -> Option<usize> {
    let (piece, place) = (from.piece(frame)?, to.piece(*buffer)?);
    let payload = Transmit::bare(skipped, piece).filter(|payload| alike(*payload))?;
    let need = header + payload.len;
    if place.len() < need {
        return None;
    }
    place.copy_from(Source::from(&PLAIN[..header]));
    place.after(header).copy_from(piece.after(skipped));
    buffer.len = need as u32;
    Some(payload.len)
}

/// Has the first `octets` of where a frame goes fetched.
#[inline(always)]
fn fetch<'t>(to: &impl Lane<Sink<'t>>, buffer: Seen, octets: u32) {
    if let Some(place) = to.piece(buffer) {
        place.fetch_all(octets.min(MOST) as usize);
    }
}
