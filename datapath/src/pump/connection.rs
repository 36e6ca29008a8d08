//! One VMM's connection, and what is under way with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::access::Job;
use super::descriptors::may_be_held;
use super::stream::{self, Framing, Stream};
use super::wire::{HEADER, Header, MAX_TRANSFER};

pub type Message = stream::Message<Header>;
pub type Incoming = stream::Incoming<Header>;

pub struct Connection {
    stream: Stream<Header>,
    /// VERSION has been agreed upon.
    pub agreed: bool,
    /// Most bytes of migration data in one message.
    pub transfer: u32,
    /// The command that waits for the controller's answer; nothing more is read until then.
    pub job: Option<Job>,
    /// Signalled by the VMM when INTx may fire again.
    pub resample: Option<OwnedFd>,
}

impl Connection {
    pub fn new(socket: OwnedFd) -> Self {
        Self { stream: Stream::new(socket), agreed: false, transfer: MAX_TRANSFER, job: None, resample: None }
    }

    pub fn receive(&mut self) -> Incoming {
        self.stream.receive()
    }

    /// Sends a reply, or keeps it until the VMM reads. The error is a sentence: the VMM reads nothing.
    pub fn send(&mut self, message: Vec<u8>) -> Result<(), String> {
        self.stream.send(message, None)
    }

    pub fn flush(&mut self) {
        self.stream.flush();
    }

    /// Whether replies wait for room in the socket.
    pub fn blocked(&self) -> bool {
        self.stream.blocked()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Framing for Header {
    const BYTES: usize = HEADER;

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(bytes.first_chunk().expect("as many bytes as were asked for"))
    }

    fn body(&self) -> usize {
        self.size as usize - HEADER
    }

    fn may_hold(fd: &OwnedFd) -> bool {
        may_be_held(fd)
    }

    /// EINVAL, as other servers answer too: a client that waits for its reply learns that it was at fault.
    fn farewell(bytes: &[u8]) -> Option<Vec<u8>> {
        let header = Self::read(bytes.first_chunk()?);
        header.wants_reply().then(|| header.refusal(Errno::INVAL))
    }
}
