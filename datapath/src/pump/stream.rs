//! A peer's stream socket: bytes into messages with their descriptors, and back. It never waits and never trusts a length.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::control::socket;

/// Bytes of replies that a peer may leave unread beyond what its socket holds and the one that is under way.
const MAX_UNREAD: usize = 256 * 1024;

/// Longest header of a protocol.
const LONGEST_HEADER: usize = 16;

/// What one protocol puts before each message.
pub trait Framing: Sized + Copy {
    /// Bytes of the header.
    const BYTES: usize;

    /// The error is a sentence: after such a header nobody knows where the next message begins.
    fn parse(bytes: &[u8]) -> Result<Self, String>;

    /// Bytes of the body.
    fn body(&self) -> usize;

    /// Whether a descriptor may be kept, before it is known what it is for.
    fn may_hold(fd: &OwnedFd) -> bool;

    /// What is said to a header that `parse` refused, if anything: the last word on the connection.
    fn farewell(_bytes: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A message from the peer, with the descriptors that came with it.
pub struct Message<H> {
    pub header: H,
    pub body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    /// It had more descriptors than are taken, or others than may be held.
    pub fds_lost: bool,
}

pub enum Incoming<H> {
    Message(Message<H>),
    Nothing,
    Gone,
    /// The peer broke the framing: what follows cannot be understood.
    Fault(String),
}

pub struct Stream<H> {
    socket: OwnedFd,
    reader: Reader<H>,
    unsent: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// How much of the first unsent message has gone.
    sent: usize,
}

struct Reader<H> {
    head: [u8; LONGEST_HEADER],
    /// Bytes of the header that are there.
    have: usize,
    /// Present once the header is complete.
    header: Option<H>,
    body: Vec<u8>,
    filled: usize,
    fds: Vec<OwnedFd>,
    fds_lost: bool,
}

impl<H: Framing> Stream<H> {
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, reader: Reader::default(), unsent: VecDeque::new(), sent: 0 }
    }

    pub fn receive(&mut self) -> Incoming<H> {
        let incoming = self.reader.advance(&self.socket).unwrap_or_else(|error| match error {
            error if socket::would_block(&error) => Incoming::Nothing,
            _ => Incoming::Gone,
        });
        if let (Incoming::Fault(_), Some(farewell)) = (&incoming, H::farewell(&self.reader.head[..H::BYTES])) {
            let _ = self.send(farewell, None);
        }
        incoming
    }

    /// Sends a reply, or keeps it until the peer reads. The error is a sentence: the peer reads nothing.
    pub fn send(&mut self, message: Vec<u8>, fd: Option<OwnedFd>) -> Result<(), String> {
        self.unsent.push_back((message, fd));
        self.flush();
        let unread = self.unsent.iter().skip(1).map(|(message, _)| message.len()).sum::<usize>();
        if unread > MAX_UNREAD { Err(format!("it left {unread} bytes of replies unread")) } else { Ok(()) }
    }

    /// Each call of sendmsg begins a message, so that a header is never split: QEMU takes a split one for an error.
    pub fn flush(&mut self) {
        while let Some((message, fd)) = self.unsent.front() {
            let fd = fd.as_ref().filter(|_| self.sent == 0).map(OwnedFd::as_fd);
            match socket::send(&self.socket, &message[self.sent..], fd) {
                Ok(count) if self.sent + count < message.len() => self.sent += count,
                Ok(_) => {
                    self.unsent.pop_front();
                    self.sent = 0;
                }
                Err(error) if socket::would_block(&error) => return,
                Err(_) => return self.unsent.clear(), // it has gone: reading will tell
            }
        }
    }

    /// Whether replies wait for room in the socket.
    pub fn blocked(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl<H> AsFd for Stream<H> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<H> Default for Reader<H> {
    fn default() -> Self {
        let (head, body, fds) = ([0; LONGEST_HEADER], Vec::new(), Vec::new());
        Self { head, have: 0, header: None, body, filled: 0, fds, fds_lost: false }
    }
}

impl<H: Framing> Reader<H> {
    /// Reads on; an error of kind `WouldBlock` leaves what is there for the next call.
    fn advance(&mut self, socket: &OwnedFd) -> io::Result<Incoming<H>> {
        let header = loop {
            match self.header {
                Some(header) => break header,
                None => {
                    if let Some(end) = self.read_head(socket)? {
                        return Ok(end);
                    }
                }
            }
        };
        while self.filled < self.body.len() {
            let (count, _) =
                rustix::net::recv(socket, &mut self.body[self.filled..], rustix::net::RecvFlags::DONTWAIT)?;
            if count == 0 {
                return Ok(Incoming::Gone);
            }
            self.filled += count;
        }
        let done = std::mem::take(self);
        Ok(Incoming::Message(Message { header, body: done.body, fds: done.fds, fds_lost: done.fds_lost }))
    }

    /// Descriptors come with the header, so exactly the header is asked for. Returns how the stream ended, if it did.
    fn read_head(&mut self, socket: &OwnedFd) -> io::Result<Option<Incoming<H>>> {
        let received = socket::receive(socket, &mut self.head[self.have..H::BYTES])?;
        if received.bytes == 0 {
            return Ok(Some(Incoming::Gone));
        }
        self.have += received.bytes;
        let came = self.fds.len() + received.fds.len();
        self.fds.extend(received.fds.into_iter().filter(H::may_hold));
        self.fds.truncate(socket::MAX_FDS);
        self.fds_lost |= received.fds_lost || self.fds.len() < came;
        if self.have < H::BYTES {
            return Ok(None);
        }
        match H::parse(&self.head[..H::BYTES]) {
            Ok(header) => {
                self.body = vec![0; header.body()];
                self.header = Some(header);
                Ok(None)
            }
            Err(why) => Ok(Some(Incoming::Fault(why))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::pump::wire::{HEADER, Header, MAX_MESSAGE};

    fn pair() -> (Stream<Header>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::new(ours.into()), theirs)
    }

    fn command(size: usize) -> Vec<u8> {
        let mut bytes = vec![1, 0, 9, 0];
        bytes.extend((size as u32).to_le_bytes());
        bytes.resize(size, 0);
        bytes
    }

    #[test]
    fn a_message_may_come_byte_by_byte() {
        let (mut connection, mut vmm) = pair();
        let bytes = command(20);
        for byte in &bytes[..19] {
            vmm.write_all(&[*byte]).unwrap();
            assert!(matches!(connection.receive(), Incoming::Nothing));
        }
        vmm.write_all(&bytes[19..]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Message(message) if message.body == [0; 4]));
        assert!(matches!(connection.receive(), Incoming::Nothing));
    }

    #[test]
    fn messages_in_a_row_are_told_apart() {
        let (mut connection, mut vmm) = pair();
        vmm.write_all(&[command(16), command(24), command(17)].concat()).unwrap();
        for length in [0, 8, 1] {
            assert!(matches!(connection.receive(), Incoming::Message(message) if message.body.len() == length));
        }
    }

    #[test]
    fn a_vmm_that_leaves_in_the_middle_is_gone() {
        let (mut connection, mut vmm) = pair();
        vmm.write_all(&command(100)[..50]).unwrap();
        drop(vmm);
        assert!(matches!(connection.receive(), Incoming::Gone));
    }

    #[test]
    fn a_size_beyond_the_bound_is_a_fault() {
        let (mut connection, mut vmm) = pair();
        vmm.write_all(&command(MAX_MESSAGE + 1)[..HEADER]).unwrap();
        assert!(matches!(connection.receive(), Incoming::Fault(_)));
        let mut answer = [0; HEADER];
        vmm.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [1, 0, 9, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]);
    }

    #[test]
    fn unread_replies_are_kept_up_to_a_bound() {
        let (mut connection, _vmm) = pair();
        let replies = (0..100).map_while(|_| connection.send(vec![0; 65536], None).ok()).count();
        assert!((4..100).contains(&replies), "{replies}");
    }
}
