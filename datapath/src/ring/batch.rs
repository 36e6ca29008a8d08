//! What was taken from a ring at once, and what is copied from one to another.

use crate::memory::{Sink, Source};

/// A descriptor chain: a stream of bytes of one direction, however the driver cut it.
#[derive(Clone, Copy)]
pub struct Chain<S> {
    /// What the driver knows it by.
    pub id: u16,
    /// Places of the ring that it takes up.
    pub slots: u16,
    /// What is to be said of it when it is put: how many bytes the device wrote.
    pub written: u32,
    /// Bytes of the direction that the batch is about.
    pub len: usize,
    /// Its piece, when it is one: the usual case costs no detour.
    only: S,
    /// Else its place in the batch's pieces, and how many it has there.
    first: u32,
    count: u32,
}

/// Chains with their pieces of one direction: all `Source` or all `Sink`.
pub struct Batch<S> {
    pub chains: Vec<Chain<S>>,
    pieces: Vec<S>,
}

/// Bytes to be delivered: some pieces, without what was skipped of them.
#[derive(Clone, Copy)]
pub struct Payload<'b, 'm> {
    /// What is left of the first piece that is not skipped wholly, and the pieces after it.
    start: Source<'m>,
    rest: &'b [Source<'m>],
    pub len: usize,
}

impl<S> Default for Batch<S> {
    fn default() -> Self {
        Batch { chains: Vec::new(), pieces: Vec::new() }
    }
}

impl<S: Copy> Chain<S> {
    /// Its piece, when it is one; else one of no bytes.
    #[inline(always)]
    pub fn only(&self) -> S {
        self.only
    }
}

impl<S: Default> Chain<S> {
    #[inline(always)]
    pub(super) fn single(id: u16, piece: S, len: u32) -> Self {
        Chain { id, slots: 1, written: 0, len: len as usize, only: piece, first: 0, count: 0 }
    }
}

impl<S: Default> Batch<S> {
    #[inline(always)]
    pub fn pieces<'b>(&'b self, chain: &'b Chain<S>) -> &'b [S] {
        if chain.count == 0 {
            return std::slice::from_ref(&chain.only);
        }
        &self.pieces[chain.first as usize..][..chain.count as usize]
    }

    /// Adds a chain in `slots` places of the ring, whose pieces `fill` pushes and whose length it returns.
    pub(super) fn push<E>(&mut self, fill: impl FnOnce(&mut Vec<S>) -> Result<(u16, u16, u64), E>) -> Result<(), E> {
        let first = self.pieces.len();
        let (id, slots, len) = fill(&mut self.pieces)?;
        let count = (self.pieces.len() - first) as u32;
        let chain = Chain { id, slots, written: 0, len: len as usize, only: S::default(), first: first as u32, count };
        self.chains.push(chain);
        Ok(())
    }

    /// Empties it for another life; the allocations stay (the collect is in place).
    pub fn recycle<T>(mut self) -> Batch<T> {
        self.chains.clear();
        self.pieces.clear();
        let chains = self.chains.into_iter().map(|_| unreachable!("cleared")).collect();
        let pieces = self.pieces.into_iter().map(|_| unreachable!("cleared")).collect();
        Batch { chains, pieces }
    }
}

impl<'m> Batch<Sink<'m>> {
    /// Each piece that the device wrote to, with how many bytes of it.
    pub fn written(&self, mut visit: impl FnMut(&Sink<'m>, usize)) {
        for chain in &self.chains {
            let mut left = chain.written as usize;
            for sink in self.pieces(chain) {
                let n = sink.len().min(left);
                visit(sink, n);
                left -= n;
            }
        }
    }
}

impl<'b, 'm> Payload<'b, 'm> {
    /// The bytes of `pieces`, which hold `total`, after the first `skip`.
    #[inline(always)]
    pub fn new(pieces: &'b [Source<'m>], total: usize, skip: usize) -> Self {
        let len = total.saturating_sub(skip);
        match pieces {
            [first, rest @ ..] if first.len() > skip => Payload { start: first.after(skip), rest, len },
            _ => Payload::beyond(pieces, skip, len),
        }
    }

    /// One piece.
    #[inline(always)]
    pub fn of(piece: Source<'m>) -> Self {
        Payload { start: piece, rest: &[], len: piece.len() }
    }

    #[inline(never)]
    fn beyond(pieces: &'b [Source<'m>], mut skip: usize, len: usize) -> Self {
        let mut rest = pieces.iter();
        while let Some(piece) = rest.next() {
            if piece.len() > skip {
                return Payload { start: piece.after(skip), rest: rest.as_slice(), len };
            }
            skip -= piece.len();
        }
        Payload { start: Source::default(), rest: &[], len }
    }

    /// The whole of it, when it lies in one piece.
    #[inline(always)]
    pub fn single(&self) -> Option<Source<'m>> {
        (self.start.len() >= self.len).then_some(self.start)
    }

    /// Its pieces in order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = Source<'m>> {
        [self.start].into_iter().chain(self.rest.iter().copied()).filter(|piece| piece.len() > 0)
    }

    /// Copies its beginning out: as much as there is and `buffer` holds.
    pub fn read(&self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        for piece in self.pieces() {
            done += piece.read(&mut buffer[done..]);
        }
        done
    }
}

/// Copies a stream into another until either ends; returns how many bytes.
pub fn pour<'s, 't>(from: impl IntoIterator<Item = Source<'s>>, to: impl IntoIterator<Item = Sink<'t>>) -> usize {
    let mut done = 0;
    let mut sinks = to.into_iter();
    let mut sink = sinks.next();
    for mut source in from {
        while source.len() > 0 {
            let Some(place) = sink else { return done };
            let n = place.copy_from(source);
            done += n;
            source = source.after(n);
            sink = if n < place.len() { Some(place.after(n)) } else { sinks.next() };
        }
    }
    done
}
