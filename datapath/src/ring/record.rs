//! What survives this process of a ring, in memory that the front end keeps (vhost-user: inflight I/O tracking).
//!
//! Chains are used in the order in which they were made available, and a batch is shown to the driver by one store. So a
//! ring stands at one place at any time: a split ring's own index tells it, and of a packed ring it is kept here. The
//! place after a batch is written before the batch is shown and settled afterwards; in between, the ring itself tells
//! which of the two holds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::fault::{Breach, Fault};
use crate::memory::{Area, Table};

/// Offsets in the record, after 64 bits for features that nobody has thought of yet.
const VERSION: usize = 8;
/// Of a packed ring: index used last and before, then both wrap counters, a byte each. Together one 64-bit word.
const USED: usize = 16;
pub const BYTES: usize = 32;

const PRESENT_VERSION: u16 = 1;

/// Where the record of a ring lies.
#[derive(Clone)]
pub struct Place {
    pub memory: Arc<Table>,
    pub offset: u64,
}

pub struct Record {
    area: Area,
}

/// Where a ring may stand, as positions.
pub enum Stood {
    /// It has never run.
    Nowhere,
    At(u16),
    /// At the first if the descriptor there is not used yet, else at the second.
    Either(u16, u16),
}

impl Record {
    pub fn open(place: &Place, queue: u16) -> Result<Record, Fault> {
        let area = place.memory.area(place.offset, BYTES, 8, true);
        area.map(|area| Record { area }).map_err(|refusal| Breach::Area("record", refusal).of(queue))
    }

    pub fn stood(&self) -> Stood {
        if self.area.u16(VERSION).load(Relaxed) != PRESENT_VERSION {
            return Stood::Nowhere;
        }
        let word = self.area.u64(USED).load(SeqCst).to_le_bytes();
        let [new, old] = [(0, 4), (2, 5)].map(|(index, wrap)| {
            let index = u16::from_le_bytes([word[index], word[index + 1]]);
            index & 0x7fff | u16::from(word[wrap] & 1) << 15
        });
        if new == old { Stood::At(new) } else { Stood::Either(old, new) }
    }

    /// The ring runs from here.
    pub fn begin(&self, position: u16) {
        self.settle(position);
        self.area.u16(VERSION).store(PRESENT_VERSION.to_le(), SeqCst);
    }

    /// A batch that ends at `new` is about to be shown.
    pub fn intend(&self, old: u16, new: u16) {
        self.store(old, new);
    }

    /// It has been shown.
    pub fn settle(&self, position: u16) {
        self.store(position, position);
    }

    /// The ring was stopped, and the front end was told where: what it says at the next start holds.
    pub fn forget(&self) {
        self.area.u16(VERSION).store(0, SeqCst);
    }

    fn store(&self, old: u16, new: u16) {
        let [a, b] = (new & 0x7fff).to_le_bytes();
        let [c, d] = (old & 0x7fff).to_le_bytes();
        let word = [a, b, c, d, (new >> 15) as u8, (old >> 15) as u8, 0, 0];
        self.area.u64(USED).store(u64::from_ne_bytes(word), SeqCst);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record at {:#x}", self.offset)
    }
}
