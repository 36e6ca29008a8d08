//! Messages of the vfio-user protocol as bytes: 16 bytes of header, then the body. Everything is little-endian.

use rustix::io::Errno;

pub const HEADER: usize = 16;

/// Most bytes that one register access may move; told to the VMM in the VERSION reply.
pub const MAX_TRANSFER: u32 = 65536;

/// Longest message: a write of `MAX_TRANSFER` bytes with room to spare.
pub const MAX_MESSAGE: usize = HEADER + MAX_TRANSFER as usize + 64;

const TYPE_MASK: u32 = 0xf;
const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub command: u16,
    /// Of the whole message.
    pub size: u32,
    pub flags: u32,
}

/// Commands that a VMM may send; others are unknown.
pub mod command {
    pub const VERSION: u16 = 1;
    pub const DMA_MAP: u16 = 2;
    pub const DMA_UNMAP: u16 = 3;
    pub const GET_INFO: u16 = 4;
    pub const GET_REGION_INFO: u16 = 5;
    pub const GET_REGION_IO_FDS: u16 = 6;
    pub const GET_IRQ_INFO: u16 = 7;
    pub const SET_IRQS: u16 = 8;
    pub const REGION_READ: u16 = 9;
    pub const REGION_WRITE: u16 = 10;
    pub const RESET: u16 = 13;
    pub const REGION_WRITE_MULTI: u16 = 15;
    pub const DEVICE_FEATURE: u16 = 16;
    pub const MIG_DATA_READ: u16 = 17;
    pub const MIG_DATA_WRITE: u16 = 18;
}

impl Header {
    /// The fields, whatever they say.
    pub fn read(bytes: &[u8; HEADER]) -> Self {
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (id, command) = (field(0) as u16, (field(0) >> 16) as u16);
        Self { id, command, size: field(4), flags: field(8) }
    }

    /// The error is a sentence: after such a header nobody knows where the next message begins.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, String> {
        let header = Self::read(bytes);
        let id = header.id;
        if header.flags & TYPE_MASK != 0 {
            return Err(format!("message {id:#x} is a reply to nothing that was asked (flags {:#x})", header.flags));
        }
        if !(HEADER..=MAX_MESSAGE).contains(&(header.size as usize)) {
            return Err(format!("message {id:#x} says that it has {} bytes", header.size));
        }
        Ok(header)
    }

    pub fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY == 0
    }

    pub fn reply(&self, body: &[u8]) -> Vec<u8> {
        self.message(REPLY, 0, body)
    }

    pub fn refusal(&self, errno: Errno) -> Vec<u8> {
        self.message(REPLY | ERROR, errno.raw_os_error() as u32, &[])
    }

    fn message(&self, flags: u32, error: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(self.id.to_le_bytes());
        message.extend(self.command.to_le_bytes());
        message.extend(((HEADER + body.len()) as u32).to_le_bytes());
        message.extend(flags.to_le_bytes());
        message.extend(error.to_le_bytes());
        message.extend(body);
        message
    }
}

/// Reads a body field by field; a body that is too short is EINVAL.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn u16(&mut self) -> Result<u16, Errno> {
        self.take().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Errno> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Errno> {
        self.take().map(u64::from_le_bytes)
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(*field)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u32, flags: u32) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&[0x34, 0x12, 9, 0]);
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes[8..12].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    #[test]
    fn a_reply_echoes_id_and_command() {
        let asked = Header::parse(&header(32, 0)).unwrap();
        assert_eq!((asked.id, asked.command, asked.wants_reply()), (0x1234, 9, true));
        assert_eq!(asked.reply(&[7]), [0x34, 0x12, 9, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(asked.refusal(Errno::INVAL), [0x34, 0x12, 9, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for size in [0, 15, MAX_MESSAGE as u32 + 1, u32::MAX] {
            assert!(Header::parse(&header(size, 0)).is_err(), "{size}");
        }
        assert!(Header::parse(&header(16, 0)).is_ok() && Header::parse(&header(MAX_MESSAGE as u32, 0)).is_ok());
    }

    #[test]
    fn only_commands_are_taken() {
        assert!(Header::parse(&header(16, 1)).is_err() && Header::parse(&header(16, 2)).is_err());
        assert!(!Header::parse(&header(16, 0x10)).unwrap().wants_reply());
    }

    #[test]
    fn a_short_body_is_invalid() {
        let mut fields = Fields(&[1, 0, 0, 0, 2]);
        assert_eq!((fields.u32(), fields.u16()), (Ok(1), Err(Errno::INVAL)));
    }
}
