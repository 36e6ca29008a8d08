//! What was taken from a ring at once, and what is copied from one to another.

use crate::memory::{Sink, Source};

/// A descriptor chain: a stream of bytes, however the driver cut it.
#[derive(Clone, Copy)]
pub struct Chain {
    /// What the used ring names it by.
    pub id: u16,
    first: u32,
    count: u32,
    /// Bytes of the direction that the batch is about.
    pub len: usize,
}

/// Chains with their pieces of one direction: all `Source` or all `Sink`.
pub struct Batch<S> {
    pub chains: Vec<Chain>,
    pieces: Vec<S>,
}

/// Bytes to be delivered: what remains of some pieces after the first `skip` bytes.
#[derive(Clone, Copy)]
pub struct Payload<'b, 'm> {
    pieces: &'b [Source<'m>],
    skip: usize,
    pub len: usize,
}

impl<S> Default for Batch<S> {
    fn default() -> Self {
        Batch { chains: Vec::new(), pieces: Vec::new() }
    }
}

impl<S> Batch<S> {
    pub fn pieces(&self, chain: &Chain) -> &[S] {
        &self.pieces[chain.first as usize..][..chain.count as usize]
    }

    /// Adds a chain whose pieces `fill` pushes and whose length it returns.
    #[inline(always)]
    pub(super) fn push<E>(&mut self, id: u16, fill: impl FnOnce(&mut Vec<S>) -> Result<u64, E>) -> Result<(), E> {
        let first = self.pieces.len();
        let len = fill(&mut self.pieces)? as usize;
        let count = (self.pieces.len() - first) as u32;
        self.chains.push(Chain { id, first: first as u32, count, len });
        Ok(())
    }

    /// Empties it for another life; the allocations stay (the collect is in place).
    pub fn recycle<T>(mut self) -> Batch<T> {
        self.chains.clear();
        self.pieces.clear();
        let pieces = self.pieces.into_iter().map(|_| unreachable!("cleared")).collect();
        Batch { chains: self.chains, pieces }
    }
}

impl<'b, 'm> Payload<'b, 'm> {
    /// The bytes of `pieces`, which hold `total`, after the first `skip`.
    #[inline(always)]
    pub fn new(pieces: &'b [Source<'m>], total: usize, skip: usize) -> Self {
        Payload { pieces, skip, len: total.saturating_sub(skip) }
    }

    /// The whole of it, when it lies in one piece.
    #[inline(always)]
    pub fn single(&self) -> Option<Source<'m>> {
        self.pieces.first().map(|piece| piece.after(self.skip)).filter(|rest| rest.len() >= self.len)
    }

    /// Its pieces in order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = Source<'m>> {
        let mut skip = self.skip;
        self.pieces.iter().filter_map(move |piece| {
            let rest = piece.after(skip);
            skip -= piece.len().min(skip);
            (rest.len() > 0).then_some(rest)
        })
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
