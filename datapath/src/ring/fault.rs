//! What a driver can do wrong with a virtqueue, in words.

use std::fmt;

use crate::counters;
use crate::memory::Refusal;

/// A rule of virtqueues was broken; the queue must be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub queue: u16,
    pub descriptor: Option<u16>,
    pub breach: Breach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    Size { size: u32, packed: bool },
    Position { index: u16, size: u16 },
    Area(&'static str, Refusal),
    Jump { next: u16, available: u16, size: u16 },
    HeadOutside { size: u16 },
    NextOutside { next: u16, size: u16 },
    Unfinished,
    TooLong { most: u16 },
    IndirectNotNegotiated,
    IndirectLength(u32),
    IndirectNested,
    IndirectWithNext,
    Empty,
    ReadableAfterWritable,
    Address(Refusal),
    NoRoomForHeader { len: usize, header: usize },
    MemoryTaken,
    Panic,
}

impl Breach {
    pub fn at(self, queue: u16, descriptor: u16) -> Fault {
        Fault { queue, descriptor: Some(descriptor), breach: self }
    }

    pub fn of(self, queue: u16) -> Fault {
        Fault { queue, descriptor: None, breach: self }
    }

    /// Where the operator sees it.
    pub fn counter(&self) -> counters::Queue {
        match self {
            Breach::TooLong { .. } => counters::Queue::ExceedMaxChain,
            Breach::Area(..) | Breach::Address(_) | Breach::MemoryTaken => counters::Queue::InvalidBuffer,
            _ => counters::Queue::BadDescErrors,
        }
    }
}

impl Fault {
    /// What happened, for someone who knows which queue it is about.
    pub fn cause(&self) -> String {
        match self.descriptor {
            Some(descriptor) => format!("descriptor {descriptor}: {}", self.breach),
            None => self.breach.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.descriptor.is_some() { "," } else { ":" };
        write!(f, "queue {}{comma} {}", self.queue, self.cause())
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Size { size, packed: true } => write!(f, "size {size} is not between 1 and 32768"),
            Breach::Size { size, packed: false } => write!(f, "size {size} is not a power of two from 1 to 32768"),
            Breach::Position { index, size } => {
                write!(f, "to go on at descriptor {index}, but the queue's size is {size}")
            }
            Breach::Area(what, refusal) => write!(f, "{what}: {refusal}"),
            Breach::Jump { next, available, size } => {
                write!(f, "the available index went from {next} to {available}, further than the queue's size {size}")
            }
            Breach::HeadOutside { size } => write!(f, "made available, but the queue's size is {size}"),
            Breach::NextOutside { next, size } => {
                write!(f, "names {next} as the next one, but the queue's size is {size}")
            }
            Breach::TooLong { most } => {
                write!(f, "its chain loops or has more than {most} descriptors")
            }
            Breach::Unfinished => write!(f, "in a chain that was made available, but not available itself"),
            Breach::IndirectNotNegotiated => write!(f, "indirect, which was not negotiated"),
            Breach::IndirectLength(len) => write!(f, "indirect table of {len} bytes, not a positive multiple of 16"),
            Breach::IndirectNested => write!(f, "indirect inside an indirect table"),
            Breach::IndirectWithNext => write!(f, "both INDIRECT and NEXT are set"),
            Breach::Empty => write!(f, "a buffer of no bytes"),
            Breach::ReadableAfterWritable => write!(f, "a device-readable buffer follows a device-writable one"),
            Breach::Address(refusal) => write!(f, "{refusal}"),
            Breach::NoRoomForHeader { len, header } => {
                write!(f, "a receive buffer of {len} bytes cannot hold the header of {header}")
            }
            Breach::MemoryTaken => write!(f, "the VMM took away memory that it had shared (was its file truncated?)"),
            Breach::Panic => write!(f, "stopped after an error of the datapath itself; its log has the details"),
        }
    }
}
