//! What the worker has written into a guest that is being migrated, page by page. Of a guest that is not, nothing is asked
//! but whether it is, once a batch.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::memory::{Marks, Sink, Table};
use crate::ring::Batch;

/// Where writes are logged. A snapshot: it is replaced when anything of it changes.
pub struct Dirty {
    pub log: Arc<dyn Marks>,
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

    /// All rings: whether drivers are to notify is written there at other times too.
    pub fn all_rings(&self) {
        (0..self.rings.len()).for_each(|queue| self.ring(queue as u16));
    }

    /// A batch of a receive queue, or an answer to a command: the buffers as far as they were filled, and the ring.
    pub fn filled(&self, queue: u16, memory: &Table, batch: &Batch<Sink<'_>>) {
        batch.written(|sink, len| {
            if let Some(address) = memory.address(sink) {
                self.log.mark(address, len as u64);
            }
        });
        self.ring(queue);
    }
}
