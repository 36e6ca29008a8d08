//! The socket to the controller: one message a packet. There is one controller at a time, the newest; when there is none,
//! whatever is sent is lost, and the pump sends open requests again to the next.

pub mod echo;
pub mod messages;
pub mod socket;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use messages::{FromController, FromDatapath};
use rustix::net::{SocketFlags, sockopt};
use serde::Deserialize;

/// Longest packet that is taken from a controller.
const LONGEST: usize = 1 << 20;

/// What the kernel wants of a socket's buffer beside a packet's bytes.
const OVERHEAD: usize = 64;

pub struct Control {
    listener: OwnedFd,
    controller: Option<Controller>,
    buffer: Vec<u8>,
}

struct Controller {
    socket: OwnedFd,
    longest: usize,
    waiting: VecDeque<Packet>,
}

struct Packet {
    bytes: Vec<u8>,
    fd: Option<OwnedFd>,
}

/// What a controller's socket had to give.
pub enum Incoming {
    Message(FromController, Vec<OwnedFd>),
    /// Not a message of this protocol. The ticket, where it can be made out, is owed an answer.
    Malformed {
        ticket: Option<u64>,
        reason: String,
    },
    Nothing,
    Gone,
}

/// A packet that can never be sent: longer than the socket takes.
#[derive(Debug)]
pub struct TooLong;

impl Control {
    /// `listener` is a listening SOCK_SEQPACKET socket.
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(&listener)? {
            return Err(io::Error::other("the control socket does not listen"));
        }
        rustix::io::ioctl_fionbio(&listener, true)?;
        Ok(Self { listener, controller: None, buffer: vec![0; LONGEST] })
    }

    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub fn controller(&self) -> Option<BorrowedFd<'_>> {
        self.controller.as_ref().map(|controller| controller.socket.as_fd())
    }

    /// Takes a controller that waits on the listener in place of the present one.
    pub fn accept(&mut self) -> io::Result<()> {
        let socket = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        // As much as the system allows: a function's state travels in one packet.
        sockopt::set_socket_send_buffer_size(&socket, LONGEST)?;
        let longest = sockopt::socket_send_buffer_size(&socket)?.saturating_sub(OVERHEAD);
        self.controller = Some(Controller { socket, longest, waiting: VecDeque::new() });
        Ok(())
    }

    pub fn detach(&mut self) {
        self.controller = None;
    }

    pub fn receive(&mut self) -> Incoming {
        let Some(controller) = &self.controller else { return Incoming::Nothing };
        match socket::receive(&controller.socket, &mut self.buffer) {
            Ok(received) if received.bytes == 0 => Incoming::Gone,
            Ok(received) if received.cut => malformed(&[], format!("it is longer than {LONGEST} bytes")),
            Ok(received) => decode(&self.buffer[..received.bytes], received.fds),
            Err(error) if socket::would_block(&error) => Incoming::Nothing,
            // Said once, before the packets that the controller sent when it was alive: they still count.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.receive(),
            Err(_) => Incoming::Gone,
        }
    }

    /// Sends now, or when the socket has room. Sending to a controller that has gone is no error: `receive` will tell.
    pub fn send(&mut self, message: &FromDatapath, fd: Option<BorrowedFd<'_>>) -> Result<(), TooLong> {
        let Some(controller) = &mut self.controller else { return Ok(()) };
        let bytes = rmp_serde::to_vec_named(message).expect("every message can be encoded");
        if bytes.len() > controller.longest {
            return Err(TooLong);
        }
        let fd = fd.and_then(|fd| fd.try_clone_to_owned().ok());
        controller.waiting.push_back(Packet { bytes, fd });
        self.flush();
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        while let Some(packet) = controller.waiting.front() {
            match socket::send(&controller.socket, &packet.bytes, packet.fd.as_ref().map(OwnedFd::as_fd)) {
                Ok(_) => drop(controller.waiting.pop_front()),
                Err(error) if socket::would_block(&error) => break,
                Err(_) => controller.waiting.clear(),
            }
        }
    }

    /// Whether something waits for room in the controller's socket.
    pub fn blocked(&self) -> bool {
        self.controller.as_ref().is_some_and(|controller| !controller.waiting.is_empty())
    }
}

fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Incoming {
    match rmp_serde::from_slice(bytes) {
        Ok(message) => Incoming::Message(message, fds),
        Err(error) => malformed(bytes, error.to_string()),
    }
}

fn malformed(bytes: &[u8], reason: String) -> Incoming {
    #[derive(Deserialize)]
    struct Ticket {
        ticket: u64,
    }
    let ticket = rmp_serde::from_slice(bytes).ok().map(|Ticket { ticket }| ticket);
    Incoming::Malformed { ticket, reason }
}
