//! What the worker has written into a guest that is being migrated, page by page. Of a guest that is not, nothing is asked
//! but whether it is, once a batch.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::memory::{Log, Table};
use crate::ring::Room;

/// Where writes are logged. A snapshot: it is replaced when anything of it changes.
pub struct Dirty {
    pub log: Arc<Log>,
    /// Signalled after something was logged, where the VMM wants that.
    pub event: Option<Arc<OwnedFd>>,
    /// The guest addresses and lengths of what the device writes of each ring, by queue.
    pub rings: Vec<Vec<(u64, u64)>>,
}

impl Dirty {
    /// A batch of a transmit queue: only its ring was written.
    pub fn ring(&self, queue: u16) {
        for &(address, len) in self.rings.get(usize::from(queue)).into_iter().flatten() {
            self.log.mark(address, len);
        }
        if let Some(event) = &self.event {
            let _ = rustix::io::write(&**event, &1u64.to_ne_bytes()); // a full one has been signalled already
        }
    }

    /// A batch of a receive queue: the buffers that were filled, and its ring.
    pub fn received(&self, queue: u16, memory: &Table, room: &Room<'_>) {
        room.written(|sink, len| {
            if let Some(address) = memory.address(sink) {
                self.log.mark(address, len as u64);
            }
        });
        self.ring(queue);
    }
}
