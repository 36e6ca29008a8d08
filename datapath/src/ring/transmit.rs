//! A transmit queue of virtio-net (virtio 1.3 §5.1.6.2).

use super::batch::{Batch, Chain, Payload};
use super::fault::Fault;
use super::layout::Ring;
use super::moderation::Moderation;
use crate::memory::{Source, Table};
use crate::offload::{Header, Offloads};
use crate::worker::orders::QueueSetup;

pub struct Transmit {
    pub ring: Ring,
    header: usize,
    pub vector: u16,
    pub moderation: Moderation,
}

impl Transmit {
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Transmit, Fault> {
        Ok(Transmit {
            ring: Ring::new(setup, table)?,
            header: setup.header,
            vector: setup.vector,
            moderation: Moderation::default(),
        })
    }

    /// Takes the next frames; on a fault the batch holds those before it.
    #[inline]
    pub fn pop<'m>(&mut self, table: &'m Table, most: usize, batch: &mut Batch<Source<'m>>) -> Result<(), Fault> {
        self.ring.pop(table, most, batch)
    }

    /// A chain without its virtio-net header, and what that header comes to; None if it is cut short, contradicts the frame,
    /// or asks for what it `may` not.
    #[inline(always)]
    pub fn payload<'b, 'm>(
        &self,
        batch: &'b Batch<Source<'m>>,
        chain: &'b Chain<Source<'m>>,
        may: Offloads,
    ) -> Option<(Payload<'b, 'm>, Header)> {
        let pieces = batch.pieces(chain);
        // flags and gso_type are the first two bytes, whatever the length of the header
        let asked = match pieces.first().and_then(|piece| piece.u16(0)) {
            Some(asked) => asked,
            None => {
                let mut bytes = [0; 2];
                Payload::new(pieces, chain.len, 0).read(&mut bytes);
                u16::from_le_bytes(bytes)
            }
        };
        if chain.len < self.header {
            return None;
        }
        let payload = Payload::new(pieces, chain.len, self.header);
        let header = if asked == 0 { Header::default() } else { self.asked(pieces, chain, may, &payload)? };
        Some((payload, header))
    }

    #[inline(never)]
    fn asked(
        &self,
        pieces: &[Source<'_>],
        chain: &Chain<Source<'_>>,
        may: Offloads,
        payload: &Payload<'_, '_>,
    ) -> Option<Header> {
        let mut bytes = [0; 10];
        Payload::new(pieces, chain.len, 0).read(&mut bytes);
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
