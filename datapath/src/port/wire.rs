//! The kernel's end of an uplink, of either kind.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use super::{Packets, Xdp};
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

    /// Receives a burst, which `arrivals` gives: how many frames, and whether more may wait.
    pub fn receive(&mut self) -> (usize, bool) {
        match self {
            Wire::Packets(packets) => {
                let count = packets.receive();
                (count, count == BATCH)
            }
            Wire::Xdp(xdp) => xdp.receive(),
        }
    }

    /// The frames of the last burst in order, their pieces added to those given.
    pub fn arrivals<'a>(&'a self, pieces: &mut Vec<Source<'a>>) -> Vec<Result<Arrival, Loss>> {
        match self {
            Wire::Packets(packets) => packets.arrivals(pieces),
            Wire::Xdp(xdp) => xdp.arrivals(pieces),
        }
    }

    /// The last burst has been dealt with: nothing of it is read any more.
    pub fn release(&mut self) {
        if let Wire::Xdp(xdp) = self {
            xdp.release();
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
