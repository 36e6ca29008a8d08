//! From the worker to the pump: a channel, and an eventfd that says when something is in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};

use super::orders::Notice;

/// What the worker has to tell; readable (epoll) through `as_fd` while something waits.
pub struct Notices {
    channel: Receiver<Notice>,
    event: Arc<OwnedFd>,
}

/// The worker's end.
pub struct Outbox {
    channel: Sender<Notice>,
    event: Arc<OwnedFd>,
}

pub fn notices() -> io::Result<(Outbox, Notices)> {
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = channel();
    Ok((Outbox { channel: sender, event: event.clone() }, Notices { channel: receiver, event }))
}

impl Outbox {
    pub fn send(&self, notice: Notice) {
        // If the pump is gone the process ends; an eventfd that cannot be written is full and wakes the pump anyway.
        let _ = self.channel.send(notice);
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }
}

impl Notices {
    /// Everything that waits now; also clears the descriptor's readiness.
    pub fn take(&mut self) -> Vec<Notice> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.event, &mut count);
        self.channel.try_iter().collect()
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
