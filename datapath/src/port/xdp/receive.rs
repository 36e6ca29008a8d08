//! Frames that came in by an XDP socket. Each lies in chunks that the kernel filled; they go back to it afterwards.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Layout;
use super::ring::{Consumer, Piece, Producer};
use crate::memory::{Chunks, Exchange, Source, refilled};
use crate::offload::{LOOKED_AT, undone};
use crate::port::{Arrival, LONGEST};
use crate::ring::{BATCH, Payload};
use crate::switch::Loss;

pub struct Receiver {
    chunks: Arc<Chunks>,
    layout: Layout,
    came: Consumer,
    fill: Producer,
    /// Of the last burst: its pieces, and which of them are a frame.
    pieces: Vec<Piece>,
    frames: Vec<Range<usize>>,
}

impl Receiver {
    /// Gives the kernel all chunks of its half.
    pub fn new(chunks: Arc<Chunks>, layout: Layout, came: Exchange, fill: Exchange) -> Receiver {
        let (came, mut fill) = (Consumer::new(came, layout.count), Producer::new(fill, layout.count));
        (0..u64::from(fill.room())).for_each(|number| fill.address(number * layout.chunk));
        fill.publish();
        Receiver { chunks, layout, came, fill, pieces: Vec::new(), frames: Vec::new() }
    }

    pub fn waits(&self) -> bool {
        self.came.waiting() > 0
    }

    /// Takes a burst of whole frames; how many.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> usize {
        self.release(fd);
        let (waiting, mut begin) = (self.came.waiting(), 0);
        for ahead in 0..waiting {
            let piece = self.came.piece(ahead);
            self.pieces.push(piece);
            if !piece.more {
                self.frames.push(begin..self.pieces.len());
                begin = self.pieces.len();
                if self.frames.len() == BATCH {
                    break;
                }
            }
        }
        // The kernel shows frames whole; one that fills the ring and has no end is none.
        if begin > 0 || waiting < self.layout.count {
            self.pieces.truncate(begin);
        }
        self.came.advance(self.pieces.len() as u32);
        self.frames.len()
    }

    /// The frames of the last burst in order, their pieces added to those given.
    pub fn arrivals<'a>(&'a self, pieces: &mut Vec<Source<'a>>) -> Vec<Result<Arrival, Loss>> {
        self.frames.iter().map(|frame| self.arrival(&self.pieces[frame.clone()], pieces)).collect()
    }

    fn arrival<'a>(&'a self, frame: &[Piece], pieces: &mut Vec<Source<'a>>) -> Result<Arrival, Loss> {
        let begin = pieces.len();
        for piece in frame {
            let source = self.chunks.source(piece.address, piece.len as usize);
            pieces.push(source.ok_or(Loss::BadDescriptor)?);
        }
        let own = &pieces[begin..];
        let len = own.iter().map(Source::len).sum();
        if len > LONGEST {
            return Err(Loss::TooLong);
        }
        let mut bytes = [0; LOOKED_AT];
        let n = if self.layout.undone { Payload::new(own, len, 0).read(&mut bytes) } else { 0 };
        Ok(Arrival { header: undone(&bytes[..n]), pieces: begin..pieces.len(), len })
    }

    /// The last burst has been dealt with: its chunks are the kernel's again.
    pub fn release(&mut self, fd: BorrowedFd<'_>) {
        if self.pieces.is_empty() {
            return;
        }
        for piece in self.pieces.drain(..) {
            let chunk = piece.address & !(self.layout.chunk - 1);
            if chunk < self.layout.half() && self.fill.room() > 0 {
                self.fill.address(chunk);
            }
        }
        self.frames.clear();
        self.fill.publish();
        if self.fill.wants_wakeup() {
            refilled(fd);
        }
    }
}
