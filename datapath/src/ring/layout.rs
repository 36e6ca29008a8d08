//! A virtqueue of whichever layout was negotiated. Which one it is, is asked once a batch.

use super::batch::{Batch, Chain};
use super::fault::Fault;
use super::packed::Packed;
use super::split::Split;
use crate::memory::{Table, Translate, barrier};
use crate::worker::orders::QueueSetup;

pub enum Ring {
    Split(Split),
    Packed(Packed),
}

/// The same verb of either layout.
macro_rules! either {
    ($self:ident, $ring:ident => $verb:expr) => {
        match $self {
            Ring::Split($ring) => $verb,
            Ring::Packed($ring) => $verb,
        }
    };
}

impl Ring {
    /// Checks the set-up and finds the ring's memory.
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Ring, Fault> {
        if setup.packed {
            Packed::new(setup, table).map(Ring::Packed)
        } else {
            Split::new(setup, table).map(Ring::Split)
        }
    }

    /// Finds the ring's memory in a table that replaced the former one.
    pub fn attach(&mut self, table: &Table) -> Result<(), Fault> {
        either!(self, ring => ring.attach(table))
    }

    /// Lets go of the ring's memory; nothing but `attach` may follow.
    pub fn detach(&mut self) {
        either!(self, ring => ring.detach());
    }

    pub fn queue(&self) -> u16 {
        either!(self, ring => ring.queue())
    }

    /// The same, of a ring that runs no longer: where it stands is no more for its record to tell.
    pub fn hand_back(&mut self) -> u16 {
        either!(self, ring => ring.hand_back())
    }

    /// Where to go on, as the position of a set-up: once nothing is popped, available and used are at the same place.
    pub fn position(&self) -> u16 {
        either!(self, ring => ring.position())
    }

    /// Takes up to `most` chains, but no more than `BATCH`, in order, with their pieces of the batch's direction, whose first
    /// bytes are fetched.
    ///
    /// # Errors
    /// The driver broke a rule; the batch holds the chains before it.
    #[inline]
    pub fn pop<'m, S: Translate<'m>>(
        &mut self,
        table: &'m Table,
        most: usize,
        batch: &mut Batch<S>,
    ) -> Result<(), Fault> {
        either!(self, ring => ring.pop(table, most, batch))
    }

    /// Gives back chains that were popped last and not put.
    #[inline]
    pub fn rewind<S>(&mut self, chains: &[Chain<S>]) {
        either!(self, ring => ring.rewind(chains));
    }

    /// Marks chains used, in the order in which they were popped; the driver sees it after `flush`.
    #[inline]
    pub fn put<S>(&mut self, chains: &[Chain<S>]) {
        either!(self, ring => ring.put(chains));
    }

    /// The same for chains that were only read: with VIRTIO_F_IN_ORDER one entry says it of all of them.
    #[inline]
    pub fn put_read<S>(&mut self, chains: &[Chain<S>]) {
        either!(self, ring => ring.put_read(chains));
    }

    /// Shows the driver what was put. How many chains that is, and whether it wants an interrupt.
    #[inline]
    pub fn flush(&mut self) -> (u16, bool) {
        let count = self.publish();
        if count == 0 {
            return (0, false);
        }
        // Chains must be visible before the driver's wish is read, else both sides could wait for each other.
        barrier();
        (count, self.wanted(count))
    }

    /// The same for the chains of two rings, of which the second is the one to be shown first: a barrier takes as long as the
    /// stores before it, and these go side by side.
    #[inline]
    pub fn flush_both(&mut self, first: &mut Ring) -> [(u16, bool); 2] {
        let counts = [first.publish(), self.publish()];
        if counts == [0; 2] {
            return [(0, false); 2];
        }
        barrier();
        let wanted = |ring: &mut Ring, count| (count, count > 0 && ring.wanted(count));
        [wanted(self, counts[1]), wanted(first, counts[0])]
    }

    #[inline]
    fn publish(&mut self) -> u16 {
        either!(self, ring => ring.publish())
    }

    #[inline]
    fn wanted(&mut self, count: u16) -> bool {
        either!(self, ring => ring.wanted(count))
    }

    /// Whether the driver wants an interrupt for the last `count` chains, which were shown to it before.
    pub fn still_wants(&self, count: u32) -> bool {
        either!(self, ring => ring.still_wants(count))
    }

    /// Asks the driver for no notifications.
    pub fn suppress(&mut self) {
        either!(self, ring => ring.suppress());
    }

    /// Asks for a notification of the next chain. True if chains are there already.
    pub fn arm(&mut self) -> bool {
        either!(self, ring => ring.arm())
    }

    /// As `arm`, but for chains beyond those that are there already. True if there are such.
    pub fn arm_beyond(&mut self) -> bool {
        either!(self, ring => ring.arm_beyond())
    }

    /// Whether chains are there: what a look at a quiet queue costs.
    #[inline]
    pub fn waiting(&mut self) -> bool {
        either!(self, ring => ring.waiting())
    }

    /// How many chains are there, if fewer than `most`.
    pub fn outstanding(&mut self, most: usize) -> usize {
        either!(self, ring => ring.outstanding(most))
    }

    /// How far the driver had come when that was last looked at.
    pub fn seen(&self) -> u16 {
        either!(self, ring => ring.seen())
    }
}
