//! Inflight I/O tracking: memory made here and kept by the front end, so that a ring goes on at the right place when this
//! process is another one. What is in it: `ring::record`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::VhostUserInflight;
use vm_memory::ByteValued;

use super::session::{Done, Port, Session, Verdict, feature};
use super::wire::whole;
use crate::memory::{Protection, Region, Table};
use crate::ring::record::{BYTES, Place};

/// What the protocol has for each descriptor of a split and of a packed ring; of a split one not used here, where nothing is
/// in flight between two batches.
const SPLIT_HEAD: usize = 16;
const SPLIT: usize = 16;
pub const PACKED: usize = 32;
const ALIGN: usize = 64;
/// Bytes of the message.
const FIELDS: usize = 20;
const PADDING: usize = 4;
/// The number of descriptors, in the head.
const DESCRIPTORS: u64 = 10;

/// The fields, with or without the four bytes that a C compiler puts after them.
fn asked(body: &[u8]) -> Result<VhostUserInflight, String> {
    let padded = [body, &[0; PADDING]].concat();
    whole(if body.len() == FIELDS { &padded } else { body })
}

/// Records of the rings from the first on, one every `stride` bytes.
pub struct Inflight {
    memory: Arc<Table>,
    stride: usize,
    count: usize,
}

impl Inflight {
    pub fn place(&self, index: u32) -> Option<Place> {
        let index = index as usize;
        let offset = (index * self.stride) as u64;
        (index < self.count).then(|| Place { memory: self.memory.clone(), offset })
    }
}

impl Session {
    pub fn get_inflight(&self, port: &Port, body: &[u8]) -> Verdict {
        let wanted = asked(body)?;
        let (stride, count) = self.records(port, &wanted)?;
        let size = (stride * count) as u64;
        let made = |error| format!("no memory for it: {error}");
        let fd = memfd_create("inflight", MemfdFlags::CLOEXEC).map_err(made)?;
        ftruncate(&fd, size).map_err(made)?;
        for index in 0..count {
            let head = wanted.queue_size.to_le_bytes();
            rustix::io::pwrite(&fd, &head, (index * stride) as u64 + DESCRIPTORS).map_err(made)?;
        }
        let answer = VhostUserInflight { mmap_size: size, mmap_offset: 0, ..wanted };
        Ok(Done::WithFd(answer.as_slice()[..body.len()].to_vec(), fd))
    }

    pub fn set_inflight(&mut self, port: &Port, body: &[u8], fds: &[OwnedFd]) -> Verdict {
        let given = asked(body)?;
        if self.rings.iter().any(|ring| ring.running.is_some()) {
            return Err("rings run".into());
        }
        let (stride, count) = self.records(port, &given)?;
        if given.mmap_size < (stride * count) as u64 {
            return Ok(Done::Refused(format!("{} bytes do not hold {count} records", given.mmap_size)));
        }
        let [fd] = fds else { return Err("it lacks its descriptor".into()) };
        let protection = Protection { read: true, write: true };
        match Region::map(fd.as_fd(), given.mmap_offset, 0, given.mmap_size, protection) {
            Ok(region) => self.inflight = Some(Inflight { memory: Arc::new(Table::new(vec![region])), stride, count }),
            Err(error) => return Ok(Done::Refused(error.to_string())),
        }
        Ok(Done::Quietly)
    }

    /// Bytes from one record to the next, and how many there are.
    fn records(&self, port: &Port, asked: &VhostUserInflight) -> Result<(usize, usize), String> {
        let (count, size) = (usize::from(asked.num_queues), usize::from(asked.queue_size));
        if count > port.offer.rings || size as u32 > port.offer.size {
            return Err(format!("there are no {count} rings of {size} descriptors"));
        }
        let bytes = if self.has(feature::RING_PACKED) { BYTES + PACKED * size } else { SPLIT_HEAD + SPLIT * size };
        Ok((bytes.max(BYTES).next_multiple_of(ALIGN), count))
    }
}
