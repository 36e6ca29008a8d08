//! A control virtqueue: one chain at a time goes to the controller, and its answer comes back (virtio 1.3 §5.1.6.5).

use super::batch::{Batch, pour};
use super::fault::Fault;
use super::layout::Ring;
use crate::memory::{Sink, Source, Table};
use crate::worker::orders::QueueSetup;

/// Most device-readable bytes of a command that go to the controller: of a longer one it gets one byte more than a command
/// may have, and so knows.
const MOST: usize = 64 * 1024 + 1;

pub struct Control {
    ring: Ring,
    pub vector: u16,
    /// The command that waits for its answer.
    pending: Option<u64>,
    tickets: u64,
    /// An answer that came while the ring's memory was unmapped.
    kept: Option<(u64, Vec<u8>)>,
}

/// What a chain holds for the controller.
pub struct Command {
    pub ticket: u64,
    pub data: Vec<u8>,
    pub room: usize,
}

impl Control {
    pub fn new(setup: &QueueSetup, table: &Table, first_ticket: u64) -> Result<Control, Fault> {
        let kept = setup.answer.clone().map(|answer| (first_ticket + 1, answer));
        Ok(Control {
            ring: Ring::new(setup, table)?,
            vector: setup.vector,
            pending: kept.as_ref().map(|(ticket, _)| *ticket),
            tickets: first_ticket + u64::from(kept.is_some()),
            kept,
        })
    }

    /// The next command, unless one is waiting for its answer. It stays in the ring until that has come.
    pub fn pop(&mut self, table: &Table) -> Result<Option<Command>, Fault> {
        if self.pending.is_some() {
            return Ok(None);
        }
        let mut readable = Batch::<Source>::default();
        self.ring.pop(table, 1, &mut readable)?;
        let Some(chain) = readable.chains.first() else { return Ok(None) };
        let mut data = vec![0; chain.len.min(MOST)];
        pour(readable.pieces(chain).iter().copied(), [Sink::from(&mut data[..])]);
        self.ring.rewind(&readable.chains);
        let writable = self.writable(table)?;
        self.ring.rewind(&writable.chains);
        let room = writable.chains.first().map_or(0, |chain| chain.len);
        self.tickets += 1;
        self.pending = Some(self.tickets);
        Ok(Some(Command { ticket: self.tickets, data, room }))
    }

    /// Writes the answer to the chain of the command that waits, and puts it. None if it is another's answer.
    pub fn complete<'m>(
        &mut self,
        table: &'m Table,
        ticket: u64,
        reply: &[u8],
    ) -> Result<Option<Batch<Sink<'m>>>, Fault> {
        if self.pending.take_if(|pending| *pending == ticket).is_none() {
            return Ok(None);
        }
        let mut batch = self.writable(table)?;
        let Some(chain) = batch.chains.first() else { return Ok(None) };
        let written = pour([Source::from(reply)], batch.pieces(chain).iter().copied());
        batch.chains[0].written = written as u32;
        self.ring.put(&batch.chains);
        Ok(Some(batch))
    }

    /// Whether a command waits for its answer.
    pub fn waits(&self) -> bool {
        self.pending.is_some()
    }

    /// Keeps an answer until the ring's memory is back.
    pub fn keep(&mut self, ticket: u64, reply: Vec<u8>) {
        self.kept = Some((ticket, reply));
    }

    pub fn kept(&mut self) -> Option<(u64, Vec<u8>)> {
        self.kept.take()
    }

    /// The answer that is kept.
    pub fn answer(&self) -> Option<&[u8]> {
        self.kept.as_ref().map(|(_, answer)| &answer[..])
    }

    pub fn flush(&mut self) -> (u16, bool) {
        self.ring.flush()
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    fn writable<'m>(&mut self, table: &'m Table) -> Result<Batch<Sink<'m>>, Fault> {
        let mut batch = Batch::default();
        self.ring.pop(table, 1, &mut batch)?;
        Ok(batch)
    }
}
