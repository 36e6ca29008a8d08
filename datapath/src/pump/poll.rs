//! The pump's epoll set. What an event belongs to is packed into its 64 bits: kind, function, and which VMM of that
//! function, so that an event of a closed connection is never taken for one of its successor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

pub use rustix::event::epoll::EventFlags as Flags;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A controller waits to be accepted.
    Control,
    /// The controller's socket.
    Controller,
    /// The worker has something to tell.
    Notices,
    /// A VMM waits to be accepted.
    Listener(u32),
    /// The VMM's socket.
    Vmm(u32, u32),
    /// The VMM's eventfd that unmasks INTx.
    Resample(u32, u32),
    /// The socket of a VMM that came while another was served.
    Stranger(u32, u32),
}

pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(64) })
    }

    pub fn add(&self, fd: impl AsFd, token: Token, flags: Flags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.pack()), flags)?)
    }

    pub fn change(&self, fd: impl AsFd, token: Token, flags: Flags) {
        let changed = epoll::modify(&self.epoll, fd, EventData::new_u64(token.pack()), flags);
        debug_assert!(changed.is_ok(), "{token:?}: {changed:?}");
    }

    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd); // it may never have been added
    }

    /// Waits for events; None when the time has passed without one.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(Token, Flags)>> {
        let timeout =
            timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().filter_map(|event| Some((Token::unpack(event.data.u64())?, event.flags))).collect())
    }
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, function, turn) = match self {
            Self::Control => (0, 0, 0),
            Self::Controller => (1, 0, 0),
            Self::Notices => (2, 0, 0),
            Self::Listener(function) => (3, function, 0),
            Self::Vmm(function, turn) => (4, function, turn),
            Self::Resample(function, turn) => (5, function, turn),
            Self::Stranger(function, turn) => (6, function, turn),
        };
        kind << 56 | u64::from(function) << 32 | u64::from(turn)
    }

    fn unpack(data: u64) -> Option<Self> {
        let (function, turn) = ((data >> 32) as u32 & 0x00ff_ffff, data as u32);
        Some(match data >> 56 {
            0 => Self::Control,
            1 => Self::Controller,
            2 => Self::Notices,
            3 => Self::Listener(function),
            4 => Self::Vmm(function, turn),
            5 => Self::Resample(function, turn),
            6 => Self::Stranger(function, turn),
            _ => return None,
        })
    }
}

pub const READ: EventFlags = EventFlags::IN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        for token in
            [Token::Control, Token::Notices, Token::Listener(1023), Token::Vmm(7, u32::MAX), Token::Resample(1, 2)]
        {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
    }
}
