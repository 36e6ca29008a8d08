//! Messages as bytes: 12 bytes of header, then the body, in the byte order of the machine.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use vhost::vhost_user::message::{FrontendReq, MAX_MSG_SIZE, VhostUserMsgValidator};
use vm_memory::ByteValued;

use crate::pump::descriptors::may_be_held;
use crate::pump::stream::Framing;

const HEADER: usize = 12;

const VERSION_MASK: u32 = 3;
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Of the number that comes with a descriptor or instead of one: the index of the ring, and that there is none.
pub const INDEX_MASK: u64 = 0xff;
pub const NO_FD: u64 = 1 << 8;

#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub request: u32,
    flags: u32,
    size: u32,
}

impl Header {
    pub fn wants_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    /// The name of the request, for sentences.
    pub fn name(&self) -> String {
        FrontendReq::try_from(self.request)
            .map_or_else(|()| format!("request {}", self.request), |request| format!("{request:?}"))
    }

    pub fn reply(&self, body: &[u8]) -> Vec<u8> {
        message(self.request, VERSION | REPLY, body)
    }
}

impl Framing for Header {
    const BYTES: usize = HEADER;

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let field = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let header = Self { request: field(0), flags: field(4), size: field(8) };
        if header.flags & VERSION_MASK != VERSION || header.flags & !(VERSION_MASK | NEED_REPLY) != 0 {
            return Err(format!("{} has the flags {:#x}, which no request has", header.name(), header.flags));
        }
        if header.size as usize > MAX_MSG_SIZE {
            return Err(format!("{} says that it has {} bytes", header.name(), header.size));
        }
        Ok(header)
    }

    fn body(&self) -> usize {
        self.size as usize
    }

    /// Beside memory and eventfds: a socket for our own requests, a pipe for device state.
    fn may_hold(fd: &OwnedFd) -> bool {
        may_be_held(fd) || kind(fd).is_some_and(|kind| matches!(kind, FileType::Socket | FileType::Fifo))
    }
}

pub fn kind(fd: &OwnedFd) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|status| FileType::from_raw_mode(status.st_mode))
}

/// A request of ours.
pub fn request(number: u32) -> Vec<u8> {
    message(number, VERSION, &[])
}

fn message(request: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let fields = [request, flags, body.len() as u32];
    fields.into_iter().flat_map(u32::to_ne_bytes).chain(body.iter().copied()).collect()
}

/// A body that is one structure, as long as it and with values that it can have.
pub fn whole<T: ByteValued + VhostUserMsgValidator>(body: &[u8]) -> Result<T, String> {
    let (value, rest) = beginning(body)?;
    if rest.is_empty() { Ok(value) } else { Err(format!("it has {} bytes", body.len())) }
}

/// The structure that a body begins with, and what comes after it.
pub fn beginning<T: ByteValued + VhostUserMsgValidator>(body: &[u8]) -> Result<(T, &[u8]), String> {
    let mut value = T::zeroed();
    let (first, rest) =
        body.split_at_checked(size_of::<T>()).ok_or_else(|| format!("it has only {} bytes", body.len()))?;
    value.as_mut_slice().copy_from_slice(first);
    if value.is_valid() { Ok((value, rest)) } else { Err("its fields contradict the protocol".into()) }
}

/// A body that is a 64-bit number.
pub fn number(body: &[u8]) -> Result<u64, String> {
    body.try_into().map(u64::from_ne_bytes).map_err(|_| format!("it has {} bytes, not 8", body.len()))
}

#[cfg(test)]
mod tests {
    use vhost::vhost_user::message::{VhostUserInflight, VhostUserVringState};

    use super::*;

    fn header(fields: [u32; 3]) -> Result<Header, String> {
        Header::parse(&fields.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_header_has_the_version_and_no_flags_of_a_reply() {
        assert!(header([1, 1, 0]).is_ok_and(|header| !header.wants_reply()));
        assert!(header([1, 9, 0]).is_ok_and(|header| header.wants_reply()));
        for flags in [0, 2, 3, 5, 0x11] {
            assert!(header([1, flags, 0]).unwrap_err().contains("GET_FEATURES"), "{flags:#x}");
        }
        assert!(header([99, 1, 4097]).unwrap_err().contains("request 99 says that it has 4097 bytes"));
    }

    #[test]
    fn a_body_is_exactly_as_long_as_its_structure() {
        assert!(whole::<VhostUserVringState>(&[0; 8]).is_ok());
        assert!(whole::<VhostUserVringState>(&[0; 7]).is_err() && whole::<VhostUserVringState>(&[0; 9]).is_err());
        assert!(beginning::<VhostUserVringState>(&[0; 9]).is_ok_and(|(_, rest)| rest == [0]));
        assert!(number(&[1, 0, 0, 0, 0, 0, 0, 0]) == Ok(1) && number(&[0; 4]).is_err());
    }

    #[test]
    fn a_structure_has_values_that_it_can_have() {
        assert!(whole::<VhostUserInflight>(&[0; 24]).is_err());
    }
}
