//! A transmit queue of virtio-net (virtio 1.3 §5.1.6.2).

use super::batch::{Batch, Chain, Payload};
use super::fault::Fault;
use super::later::Later;
use super::layout::Ring;
use super::moderation::Moderation;
use crate::memory::{Source, Table};
use crate::offload::{Header, Offloads};
use crate::worker::orders::QueueSetup;

pub struct Transmit {
    pub ring: Ring,
    pub(super) header: usize,
    pub vector: u16,
    pub moderation: Moderation,
    pub later: Later,
    /// Batches until it is tried again whether frames that follow each other go the same way.
    pub mixed: u8,
}

impl Transmit {
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Transmit, Fault> {
        Ok(Transmit {
            ring: Ring::new(setup, table)?,
            header: setup.header,
            vector: setup.vector,
            moderation: Moderation::default(),
            later: Later::default(),
            mixed: 0,
        })
    }

    /// Takes the next frames; on a fault the batch holds those before it.
    #[inline]
    pub fn pop<'m>(&mut self, table: &'m Table, most: usize, batch: &mut Batch<Source<'m>>) -> Result<(), Fault> {
        self.ring.pop(table, most, batch)
    }

    /// The usual case: a frame in one piece whose header asks for nothing. None: see `payload` and `header`.
    #[inline(always)]
    pub fn plain<'b, 'm>(&self, chain: &'b Chain<Source<'m>>) -> Option<Payload<'b, 'm>> {
        Transmit::bare(self.header, chain.only())
    }

    /// The same of a piece that is a whole chain, with a header of that length.
    #[inline(always)]
    pub(super) fn bare<'b, 'm>(header: usize, piece: Source<'m>) -> Option<Payload<'b, 'm>> {
        // flags and gso_type are the first two bytes, whatever the length of the header
        let plain = piece.len() > header && piece.u16(0) == Some(0);
        plain.then(|| Payload::of(piece.after(header)))
    }

    /// A chain without its virtio-net header; None if it is too short to have one.
    #[inline(always)]
    pub fn payload<'b, 'm>(
        &self,
        batch: &'b Batch<Source<'m>>,
        chain: &'b Chain<Source<'m>>,
    ) -> Option<Payload<'b, 'm>> {
        (chain.len >= self.header).then(|| Payload::new(batch.pieces(chain), chain.len, self.header))
    }

    /// What the header of a chain comes to; None if it contradicts the frame, or asks for what it `may` not.
    pub fn header(
        &self,
        batch: &Batch<Source<'_>>,
        chain: &Chain<Source<'_>>,
        may: Offloads,
        payload: &Payload<'_, '_>,
    ) -> Option<Header> {
        let mut bytes = [0; 10];
        Payload::new(batch.pieces(chain), chain.len, 0).read(&mut bytes);
        Header::new(bytes).transmitted(may, payload)
    }

    /// The frames have gone where they go; their buffers are the driver's again after `flush`.
    #[inline]
    pub fn put(&mut self, batch: &Batch<Source<'_>>) {
        self.ring.put_read(&batch.chains);
    }

    pub fn flush(&mut self) -> (u16, bool) {
        self.ring.flush()
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }
}
