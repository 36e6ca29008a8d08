//! XDP sockets, one for each queue of a network interface: an uplink whose frames pass the kernel's network stack by. There
//! is no virtio-net header on this way, so what drivers left undone is finished here, and every frame that comes is complete.

mod receive;
mod ring;
#[cfg(test)]
mod tests;
mod transmit;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Arrival, Sent};
use crate::locked::{Company, Locked, Taken};
use crate::memory::{Chunks, Exchanges, Source};
use crate::offload::Header;
use crate::ring::Payload;
use crate::switch::Loss;
use receive::Receiver;
use transmit::Sender;

/// How the memory of a socket is divided: a half for frames that come, a half for those that leave, in chunks.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Entries of each ring, and chunks of each half: a power of two.
    pub count: u32,
    /// Bytes of a chunk: a power of two.
    pub chunk: u64,
    /// A frame may take several chunks.
    pub several: bool,
    /// The interface is a virtual one: what comes may lack its checksum, and nothing says so.
    pub undone: bool,
}

pub struct Xdp {
    queues: Vec<Queue>,
    receivers: Locked<Receivers>,
    /// What keeps the interface's program, and its promiscuous mode, in place.
    _kept: Vec<OwnedFd>,
}

struct Queue {
    fd: OwnedFd,
    sender: Mutex<Sender>,
}

/// The receiving ends of all queues.
pub struct Receivers {
    queues: Vec<Receiver>,
    /// Which queue the last burst came from.
    turn: usize,
}

impl Layout {
    fn half(&self) -> u64 {
        u64::from(self.count) * self.chunk
    }

    fn valid(&self) -> bool {
        (64..=1 << 16).contains(&self.count)
            && self.count.is_power_of_two()
            && (2048..=1 << 16).contains(&self.chunk)
            && self.chunk.is_power_of_two()
    }
}

impl Xdp {
    /// `memory` is the UMEM of all sockets, one after the other.
    ///
    /// # Errors
    /// A layout that cannot be, or what the kernel said.
    pub fn new(layout: Layout, memory: &OwnedFd, sockets: Vec<OwnedFd>, kept: Vec<OwnedFd>) -> io::Result<Xdp> {
        if !layout.valid() || sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{layout:?} cannot be")));
        }
        let queues = sockets.into_iter().enumerate();
        let queues = queues.map(|(number, socket)| Queue::new(layout, memory, number as u64, socket));
        let (queues, receivers) = queues.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Xdp { queues, receivers: Locked::new(Receivers { queues: receivers, turn: 0 }), _kept: kept })
    }

    /// Sends frames, in their order; says what became of each, by its place. Whether the kernel has not taken all.
    pub fn send<'b, 'm: 'b>(
        &self,
        frames: impl Iterator<Item = (usize, &'b Payload<'b, 'm>, &'b Header)>,
        mut said: impl FnMut(usize, Sent),
    ) -> bool {
        let queue = &self.queues[0];
        let mut sender = queue.sender.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, payload, header) in frames {
            said(place, sender.put(queue.fd.as_fd(), payload, header));
        }
        sender.flush(queue.fd.as_fd());
        sender.waits()
    }

    /// Tells the kernel again to take what it has not; whether something is left.
    pub fn flush(&self) -> bool {
        let left = self.queues.iter().map(|queue| {
            let mut sender = queue.sender.lock().unwrap_or_else(PoisonError::into_inner);
            if sender.waits() {
                sender.flush(queue.fd.as_fd());
            }
            sender.waits()
        });
        left.fold(false, |all, one| all | one)
    }

    /// For whoever receives, one at a time.
    pub fn receivers(&self) -> Taken<'_, Receivers> {
        self.receivers.take(Company::SEVERAL)
    }

    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queues.iter().map(|queue| queue.fd.as_fd())
    }
}

impl Queue {
    fn new(layout: Layout, memory: &OwnedFd, number: u64, fd: OwnedFd) -> io::Result<(Queue, Receiver)> {
        let len = 2 * layout.half();
        let chunks = Arc::new(Chunks::map(memory.as_fd(), number * len, len as usize)?);
        let rings = Exchanges::map(fd.as_fd(), layout.count)?;
        let receiver = Receiver::new(chunks.clone(), layout, rings.receive, rings.fill);
        let sender = Mutex::new(Sender::new(chunks, layout, rings.transmit, rings.completion));
        Ok((Queue { fd, sender }, receiver))
    }
}

impl Receivers {
    /// Receives a burst, from the queues in turn: how many frames, and whether more may wait.
    pub fn receive(&mut self, xdp: &Xdp) -> (usize, bool) {
        for _ in 0..self.queues.len() {
            self.turn = (self.turn + 1) % self.queues.len();
            let count = self.queues[self.turn].receive(xdp.queues[self.turn].fd.as_fd());
            if count > 0 {
                return (count, self.queues.iter().any(Receiver::waits));
            }
        }
        (0, false)
    }

    /// The frames of the last burst, in order.
    pub fn arrivals<'a>(&'a self, pieces: &mut Vec<Source<'a>>) -> Vec<Result<Arrival, Loss>> {
        self.queues[self.turn].arrivals(pieces)
    }

    /// The last burst has been dealt with.
    pub fn release(&mut self, xdp: &Xdp) {
        self.queues[self.turn].release(xdp.queues[self.turn].fd.as_fd());
    }
}
