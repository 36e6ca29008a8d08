//! The short way over a packed ring.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::{AVAILABLE, Packed, Place, USED, WRITE, read};
use crate::memory::{Table, Translate, Window};
use crate::ring::descriptor::Descriptor;
use crate::ring::lane::{Lane, Seen};

pub struct PackedLane<'r, 'm, S> {
    window: Window<'m, S>,
    descriptors: &'r [[AtomicU64; 2]],
    left: usize,
    /// A chain is there that is not plain.
    odd: bool,
    place: Place,
    looked: Place,
    first: Option<(u16, u64)>,
    /// Of chains used in order that were only read, the last one's word lies where the first one's would.
    only_last: Option<Place>,
    count: u16,
    ends: Ends<'r>,
}

struct Ends<'r> {
    places: [&'r mut Place; 2],
    first: &'r mut Option<(u16, u64)>,
    counts: [&'r mut u16; 2],
}

impl Packed {
    /// A lane of up to `most` chains. None for a ring whose words are noted elsewhere, or of which chains are out.
    #[inline(always)]
    pub fn lane<'r, 'm, S: Translate<'m>>(
        &'r mut self,
        table: &'m Table,
        most: usize,
    ) -> Option<PackedLane<'r, 'm, S>> {
        if self.taken > 0 || self.first.is_some() || self.record.is_some() {
            return None;
        }
        let Packed { descriptors, next, used, first, count, advanced, hint, in_order, size, .. } = self;
        Some(PackedLane {
            window: table.window(*hint),
            descriptors: descriptors.cells(0, (*size).into()),
            left: most.min((*size).into()),
            odd: false,
            place: *next,
            looked: *next,
            first: None,
            only_last: (*in_order && !S::WRITES).then_some(*next),
            count: 0,
            ends: Ends { places: [next, used], first, counts: [count, advanced] },
        })
    }
}

impl<'m, S: Translate<'m>> PackedLane<'_, 'm, S> {
    #[inline(always)]
    fn read(&self, place: Place) -> Option<(Descriptor, Option<S>)> {
        let descriptor = read(self.descriptors.get(usize::from(place.index))?);
        let piece = self.window.piece(descriptor.iova, descriptor.len).filter(|_| descriptor.alone(S::WRITES));
        place.available(descriptor.flags).then_some((descriptor, piece))
    }
}

impl<'m, S: Translate<'m>> Lane<S> for PackedLane<'_, 'm, S> {
    #[inline(always)]
    fn left(&self) -> usize {
        self.left
    }

    #[inline(always)]
    fn first(&self) -> Option<S> {
        self.read(self.place)?.1
    }

    #[inline(always)]
    fn look(&mut self, seen: &mut [Seen]) -> usize {
        let (most, size) = (seen.len().min(self.left), self.descriptors.len() as u16);
        let (mut count, mut at) = (0, self.looked);
        for place in &mut seen[..most] {
            let Some((descriptor, piece)) = self.read(at) else { break };
            let Some(piece) = piece else {
                self.odd = true;
                break;
            };
            piece.prefetch();
            *place = Seen { iova: descriptor.iova, len: descriptor.len, id: descriptor.link };
            count += 1;
            at = at.after(1, size);
        }
        self.looked = at;
        self.left -= count;
        count
    }

    #[inline(always)]
    fn piece(&self, seen: Seen) -> Option<S> {
        self.window.piece(seen.iova, seen.len)
    }

    #[inline(always)]
    fn pass(&mut self, used: &[Seen]) {
        for Seen { id, len, .. } in used {
            let Place { index, wrap } = self.only_last.unwrap_or(self.place);
            let (written, wrote) = if S::WRITES { (*len, WRITE) } else { (0, 0) };
            let flags = wrote | if wrap { AVAILABLE | USED } else { 0 };
            let word = (u64::from(written) | u64::from(*id) << 32 | u64::from(flags) << 48).to_le();
            if self.count == 0 || self.only_last.is_some() {
                self.first = Some((index, word));
            } else {
                self.descriptors[usize::from(index)][1].store(word, Relaxed);
            }
            self.place = self.place.after(1, self.descriptors.len() as u16);
            self.count += 1;
        }
    }

    #[inline(always)]
    fn end(&mut self) -> bool {
        let Ends { places, first, counts } = &mut self.ends;
        places.iter_mut().for_each(|place| **place = self.place);
        **first = self.first;
        counts.iter_mut().for_each(|count| **count += self.count);
        self.odd || self.looked != self.place
    }
}
