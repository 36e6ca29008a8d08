//! The short way over a split ring.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use super::{ENTRIES, Split};
use crate::memory::{Table, Translate, Window};
use crate::ring::descriptor::Descriptor;
use crate::ring::index::Index;
use crate::ring::lane::{Lane, Seen};

pub struct SplitLane<'r, 'm, S> {
    window: Window<'m, S>,
    descriptors: &'r [[AtomicU64; 2]],
    available: &'r [AtomicU16],
    used: &'r [[AtomicU32; 2]],
    left: usize,
    next: u16,
    looked: u16,
    filled: u16,
    /// Of chains used in order that were only read, the last one's entry lies where the first one's would.
    entry: Option<u16>,
    ends: [&'r mut Index; 2],
}

impl Split {
    /// A lane of up to `most` chains. None when the driver broke a rule, of which `pop` tells.
    #[inline(always)]
    pub fn lane<'r, 'm, S: Translate<'m>>(&'r mut self, table: &'m Table, most: usize) -> Option<SplitLane<'r, 'm, S>> {
        let left = self.ready(most).ok()?;
        let Split { descriptors, available, used, next, filled, hint, in_order, size, .. } = self;
        let size = usize::from(*size);
        Some(SplitLane {
            window: table.window(*hint),
            descriptors: descriptors.cells(0, size),
            available: available.cells(ENTRIES, size),
            used: used.cells(ENTRIES, size),
            left,
            next: next.get(),
            looked: next.get(),
            filled: filled.get(),
            entry: (*in_order && !S::WRITES).then_some(filled.get()),
            ends: [next, filled],
        })
    }
}

impl<S> SplitLane<'_, '_, S> {
    /// The entry of the available ring at `index`, and the descriptor that it names.
    #[inline(always)]
    fn read(&self, index: u16) -> Option<(u16, Descriptor)> {
        let place = usize::from(index) & (self.available.len() - 1);
        let head = u16::from_le(self.available[place].load(Relaxed));
        let words = self.descriptors.get(usize::from(head))?;
        Some((head, Descriptor::split(words.each_ref().map(|word| word.load(Relaxed)))))
    }
}

impl<'m, S: Translate<'m>> Lane<S> for SplitLane<'_, 'm, S> {
    #[inline(always)]
    fn left(&self) -> usize {
        self.left
    }

    #[inline(always)]
    fn first(&self) -> Option<S> {
        let (_, descriptor) = (self.left > 0).then(|| self.read(self.looked))??;
        self.window.piece(descriptor.iova, descriptor.len).filter(|_| descriptor.alone(S::WRITES))
    }

    #[inline(always)]
    fn look(&mut self, seen: &mut [Seen]) -> usize {
        let most = seen.len().min(self.left);
        let mut count = 0;
        for place in &mut seen[..most] {
            let Some((id, descriptor)) = self.read(self.looked.wrapping_add(count)) else { break };
            let piece = self.window.piece(descriptor.iova, descriptor.len).filter(|_| descriptor.alone(S::WRITES));
            let Some(piece) = piece else { break };
            piece.prefetch();
            *place = Seen { iova: descriptor.iova, len: descriptor.len, id };
            count += 1;
        }
        self.looked = self.looked.wrapping_add(count);
        self.left -= usize::from(count);
        count.into()
    }

    #[inline(always)]
    fn piece(&self, seen: Seen) -> Option<S> {
        self.window.piece(seen.iova, seen.len)
    }

    #[inline(always)]
    fn pass(&mut self, used: &[Seen]) {
        let mask = self.used.len() - 1;
        for Seen { id, len, .. } in used {
            let place = usize::from(self.entry.unwrap_or(self.filled)) & mask;
            let [known, written] = &self.used[place];
            known.store(u32::from(*id).to_le(), Relaxed);
            written.store(if S::WRITES { len.to_le() } else { 0 }, Relaxed);
            self.filled = self.filled.wrapping_add(1);
        }
        self.next = self.next.wrapping_add(used.len() as u16);
    }

    #[inline(always)]
    fn end(&mut self) -> bool {
        let [next, filled] = &mut self.ends;
        (**next, **filled) = (Index::new(self.next), Index::new(self.filled));
        self.left > 0 || self.looked != self.next
    }
}
