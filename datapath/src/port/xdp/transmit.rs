//! Frames that leave by an XDP socket: complete ones, since the kernel finishes nothing here. Each is copied into chunks of
//! our half, which come back by the completion ring.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Layout;
use super::ring::{Consumer, Piece, Producer};
use crate::memory::{Chunks, Exchange, kick};
use crate::offload::{Header, finish};
use crate::port::{LONGEST, Sent};
use crate::ring::{Payload, pour};
use crate::switch::Loss;

/// Chunks that the kernel takes for one frame: MAX_SKB_FRAGS.
const MOST_CHUNKS: usize = 17;
/// Most calls for one burst: the kernel takes 32 frames with each.
const MOST_KICKS: usize = 128;

pub struct Sender {
    chunks: Arc<Chunks>,
    layout: Layout,
    leaves: Producer,
    done: Consumer,
    free: Vec<u64>,
    /// A frame that is finished here.
    copy: Vec<u8>,
}

impl Sender {
    pub fn new(chunks: Arc<Chunks>, layout: Layout, leaves: Exchange, done: Exchange) -> Sender {
        let (leaves, done) = (Producer::new(leaves, layout.count), Consumer::new(done, layout.count));
        let free = (0..u64::from(layout.count)).map(|number| layout.half() + number * layout.chunk).collect();
        Sender { chunks, layout, leaves, done, free, copy: vec![0; LONGEST] }
    }

    /// Puts a frame into the ring, with what its driver left undone done.
    pub fn put(&mut self, fd: BorrowedFd<'_>, frame: &Payload<'_, '_>, header: &Header) -> Sent {
        if !header.partial() && !header.segmented() {
            return self.complete(fd, frame);
        }
        let mut copy = std::mem::take(&mut self.copy);
        let mut outcome = Err(Some(Loss::TooLong));
        if let Some(own) = copy.get_mut(..frame.len) {
            frame.read(own);
            let cut = finish(header, own, |part| {
                outcome = self.complete(fd, part);
                outcome.is_ok()
            });
            outcome = if cut.is_some() { outcome } else { Err(Some(Loss::BadHeader)) };
        }
        self.copy = copy;
        outcome
    }

    fn complete(&mut self, fd: BorrowedFd<'_>, frame: &Payload<'_, '_>) -> Sent {
        let size = self.layout.chunk as usize;
        let count = frame.len.div_ceil(size);
        if count > if self.layout.several { MOST_CHUNKS } else { 1 } {
            return Err(Some(Loss::TooLong));
        }
        if !self.room(count) {
            self.flush(fd);
        }
        if !self.room(count) {
            return Err(Some(Loss::UplinkBusy));
        }
        let own = self.free.split_off(self.free.len() - count);
        let lens = (0..count).map(|number| size.min(frame.len - number * size));
        pour(frame.pieces(), own.iter().zip(lens.clone()).filter_map(|(at, len)| self.chunks.sink(*at, len)));
        for (number, (address, len)) in own.iter().zip(lens).enumerate() {
            self.leaves.piece(Piece { address: *address, len: len as u32, more: number + 1 < count });
        }
        Ok(())
    }

    fn room(&mut self, count: usize) -> bool {
        if self.free.len() < count {
            self.reclaim();
        }
        self.free.len() >= count && self.leaves.room() as usize >= count
    }

    /// Chunks of frames that have left are free again.
    fn reclaim(&mut self) {
        let waiting = self.done.waiting();
        for ahead in 0..waiting {
            let chunk = self.done.address(ahead) & !(self.layout.chunk - 1);
            if (self.layout.half()..2 * self.layout.half()).contains(&chunk) {
                self.free.push(chunk);
            }
        }
        self.done.advance(waiting);
    }

    /// Has the kernel take what is in the ring. An error is that of the interface, and nothing is lost by it: it takes them
    /// later, or goes away.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) {
        self.leaves.publish();
        for _ in 0..MOST_KICKS {
            let before = self.leaves.outstanding();
            if before == 0 || !self.leaves.wants_wakeup() {
                break;
            }
            if kick(fd).is_ok() || self.leaves.outstanding() == before {
                break;
            }
        }
        self.reclaim();
    }

    /// Whether the kernel has not taken everything, and has to be told again.
    pub fn waits(&self) -> bool {
        self.leaves.outstanding() > 0 && self.leaves.wants_wakeup()
    }
}
