//! One VMM's connection: bytes into messages, replies into bytes. It never waits and never trusts a length.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::access::Job;
use super::descriptors::may_be_held;
use super::wire::{HEADER, Header};
use crate::control::socket;

/// Bytes of replies that a VMM may leave unread beyond what its socket holds.
const MAX_UNREAD: usize = 256 * 1024;

/// A message from the VMM, with the descriptors that came with it.
pub struct Message {
    pub header: Header,
    pub body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    /// It had more descriptors than are taken, or others than memory and eventfds.
    pub fds_lost: bool,
}

pub enum Incoming {
    Message(Message),
    Nothing,
    Gone,
    /// The VMM broke the framing: what follows cannot be understood.
    Fault(String),
}

pub struct Connection {
    socket: OwnedFd,
    reader: Reader,
    unsent: VecDeque<Vec<u8>>,
    /// How much of the first unsent message has gone.
    sent: usize,
    /// VERSION has been agreed upon.
    pub agreed: bool,
    /// The command that waits for the controller's answer; nothing more is read until then.
    pub job: Option<Job>,
    /// Signalled by the VMM when INTx may fire again.
    pub resample: Option<OwnedFd>,
}

#[derive(Default)]
struct Reader {
    head: [u8; HEADER],
    /// Bytes of the header that are there.
    have: usize,
    /// Present once the header is complete.
    header: Option<Header>,
    body: Vec<u8>,
    filled: usize,
    fds: Vec<OwnedFd>,
    fds_lost: bool,
}

impl Connection {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            reader: Reader::default(),
            unsent: VecDeque::new(),
            sent: 0,
            agreed: false,
            job: None,
            resample: None,
        }
    }

    pub fn receive(&mut self) -> Incoming {
        self.reader.advance(&self.socket).unwrap_or_else(|error| match error {
            error if socket::would_block(&error) => Incoming::Nothing,
            _ => Incoming::Gone,
        })
    }

    /// Sends a reply, or keeps it until the VMM reads. The error is a sentence: the VMM reads nothing.
    pub fn send(&mut self, message: Vec<u8>) -> Result<(), String> {
        self.unsent.push_back(message);
        self.flush();
        let unread = self.unsent.iter().map(Vec::len).sum::<usize>();
        if unread > MAX_UNREAD { Err(format!("it left {unread} bytes of replies unread")) } else { Ok(()) }
    }

    /// Each call of sendmsg begins a message, so that a header is never split: QEMU takes a split one for an error.
    pub fn flush(&mut self) {
        while let Some(message) = self.unsent.front() {
            match socket::send(&self.socket, &message[self.sent..], None) {
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

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Reader {
    /// Reads on; an error of kind `WouldBlock` leaves what is there for the next call.
    fn advance(&mut self, socket: &OwnedFd) -> io::Result<Incoming> {
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
    fn read_head(&mut self, socket: &OwnedFd) -> io::Result<Option<Incoming>> {
        let received = socket::receive(socket, &mut self.head[self.have..])?;
        if received.bytes == 0 {
            return Ok(Some(Incoming::Gone));
        }
        self.have += received.bytes;
        let came = self.fds.len() + received.fds.len();
        self.fds.extend(received.fds.into_iter().filter(may_be_held));
        self.fds.truncate(socket::MAX_FDS);
        self.fds_lost |= received.fds_lost || self.fds.len() < came;
        if self.have < HEADER {
            return Ok(None);
        }
        match Header::parse(&self.head) {
            Ok(header) => {
                self.body = vec![0; header.size as usize - HEADER];
                self.header = Some(header);
                Ok(None)
            }
            Err(why) => Ok(Some(Incoming::Fault(why))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::pump::wire::MAX_MESSAGE;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours.into()), theirs)
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
    }

    #[test]
    fn unread_replies_are_kept_up_to_a_bound() {
        let (mut connection, _vmm) = pair();
        let replies = (0..100).map_while(|_| connection.send(vec![0; 65536]).ok()).count();
        assert!((4..100).contains(&replies), "{replies}");
    }
}
