//! The kernel's end of an uplink, of either kind.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use super::packet::Burst;
use super::xdp::Receivers;
use super::{Packets, Xdp};
use crate::locked::Taken;
use crate::memory::Source;
use crate::offload::Header;
use crate::ring::{BATCH, Payload};
use crate::switch::Loss;

pub enum Wire {
    Packets(Packets),
    Xdp(Xdp),
}

/// A frame that came. Its header has not been checked against it.
pub struct Arrival {
    pub header: Header,
    /// Which of the burst's pieces it consists of, and how many bytes they have.
    pub pieces: Range<usize>,
    pub len: usize,
}

/// What became of a frame to be sent; an inner None is a place that was not memory any more.
pub type Sent = Result<(), Option<Loss>>;

impl Wire {
    /// Sends frames; says what became of each, by its place. Whether the kernel has to be told again to take them.
    pub fn send<'b, 'm: 'b>(
        &self,
        frames: impl Iterator<Item = (usize, &'b Payload<'b, 'm>, &'b Header)>,
        said: impl FnMut(usize, Sent),
    ) -> bool {
        match self {
            Wire::Packets(packets) => {
                packets.send(frames, said);
                false
            }
            Wire::Xdp(xdp) => xdp.send(frames, said),
        }
    }

    /// Tells the kernel again to take what it has not; whether something is left.
    pub fn flush(&self) -> bool {
        matches!(self, Wire::Xdp(xdp) if xdp.flush())
    }

    /// For whoever receives, one at a time.
    pub fn reader(&self) -> Reader<'_> {
        match self {
            Wire::Packets(packets) => Reader::Packets(packets.as_fd(), packets.burst()),
            Wire::Xdp(xdp) => Reader::Xdp(xdp, xdp.receivers()),
        }
    }

    /// What tells when frames have come.
    pub fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Wire::Packets(packets) => vec![packets.as_fd()],
            Wire::Xdp(xdp) => xdp.sockets().collect(),
        }
    }
}

/// The receiving end, while it is taken.
pub enum Reader<'w> {
    Packets(BorrowedFd<'w>, Taken<'w, Burst>),
    Xdp(&'w Xdp, Taken<'w, Receivers>),
}

impl Reader<'_> {
    /// Receives a burst, which `arrivals` gives: how many frames, and whether more may wait.
    pub fn receive(&mut self) -> (usize, bool) {
        match self {
            Reader::Packets(fd, burst) => {
                let count = burst.receive(*fd);
                (count, count == BATCH)
            }
            Reader::Xdp(xdp, receivers) => receivers.receive(xdp),
        }
    }

    /// The frames of the last burst in order, their pieces added to those given.
    pub fn arrivals<'a>(&'a self, pieces: &mut Vec<Source<'a>>) -> Vec<Result<Arrival, Loss>> {
        match self {
            Reader::Packets(_, burst) => burst.arrivals(pieces),
            Reader::Xdp(_, receivers) => receivers.arrivals(pieces),
        }
    }

    /// The last burst has been dealt with: nothing of it is read any more.
    pub fn release(&mut self) {
        if let Reader::Xdp(xdp, receivers) = self {
            receivers.release(xdp);
        }
    }
}
