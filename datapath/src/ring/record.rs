//! What survives this process of a ring, in memory that the front end keeps (vhost-user: inflight I/O tracking).
//!
//! Chains are used in the order in which they were made available, and a batch is shown to the driver by one store. So a
//! ring stands at one place at any time: a split ring's own index tells it, and of a packed ring it is kept here. The
//! place after a batch is written before the batch is shown and settled afterwards; in between, the ring itself tells
//! which of the two holds.
//!
//! A packed ring is written where its driver's descriptors lie, the first of a batch last. Of a process that dies on the
//! way nobody could tell which of the others it had overwritten, so all words of a batch are noted here before one of them
//! is in the ring: whoever goes on writes them again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::fault::{Breach, Fault};
use crate::memory::{Area, Table};

/// Offsets in the record, after 64 bits for features that nobody has thought of yet.
const VERSION: usize = 8;
/// Of a packed ring: index used last and before, then both wrap counters, a byte each, and in what the protocol leaves free
/// how many words are noted. Together one 64-bit word.
const USED: usize = 16;
pub const BYTES: usize = 32;

/// Of each of a packed ring's entries, the fields that mean something to others only while the entry is in flight: here a
/// used descriptor's second half, and where it belongs.
const ENTRY: usize = 32;
const WORD: usize = 16;
const INDEX: usize = 24;

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
    /// At the first if the descriptor there is still the driver's, else at the second, with the words noted in between.
    Either(u16, u16, u16),
}

impl Record {
    /// With as many entries as a packed ring has descriptors; a split one needs none.
    pub fn open(place: &Place, queue: u16, entries: u16) -> Result<Record, Fault> {
        let area = place.memory.area(place.offset, BYTES + ENTRY * usize::from(entries), 8, true);
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
        let noted = u16::from_le_bytes([word[6], word[7]]);
        if noted == 0 { Stood::At(new) } else { Stood::Either(old, new, noted) }
    }

    /// The ring runs from here.
    pub fn begin(&self, position: u16) {
        self.settle(position);
        self.area.u16(VERSION).store(PRESENT_VERSION.to_le(), SeqCst);
    }

    /// Number `entry` of a batch: the word that is to be written at `index`.
    #[inline(always)]
    pub fn note(&self, entry: u16, index: u16, word: u64) {
        let at = BYTES + ENTRY * usize::from(entry);
        self.area.u64(at + WORD).store(word, Relaxed);
        self.area.u64(at + INDEX).store(u64::from(index).to_le(), Relaxed);
    }

    /// Shows a batch that ends at `new` and whose first `noted` words are noted: from here on it is, whatever happens.
    pub fn show(&self, old: u16, new: u16, noted: u16, descriptors: &[[AtomicU64; 2]]) {
        self.store(old, new, noted);
        self.write(noted, descriptors);
        self.settle(new);
    }

    /// Writes what is noted into the ring, the first word last. The memory may be the front end's, which may have its joke.
    pub fn write(&self, noted: u16, descriptors: &[[AtomicU64; 2]]) {
        for entry in (0..usize::from(noted).min(descriptors.len())).rev() {
            let at = BYTES + ENTRY * entry;
            let index = u64::from_le(self.area.u64(at + INDEX).load(Relaxed));
            let place = usize::try_from(index).ok().and_then(|index| descriptors.get(index));
            if let Some([_, rest]) = place {
                rest.store(self.area.u64(at + WORD).load(Relaxed), if entry == 0 { Release } else { Relaxed });
            }
        }
    }

    /// Nothing is under way.
    fn settle(&self, position: u16) {
        self.store(position, position, 0);
    }

    /// What it says holds no more: the front end was told where the ring stands, or makes it anew.
    pub fn forget(&self) {
        self.area.u16(VERSION).store(0, SeqCst);
    }

    fn store(&self, old: u16, new: u16, noted: u16) {
        let [a, b] = (new & 0x7fff).to_le_bytes();
        let [c, d] = (old & 0x7fff).to_le_bytes();
        let [e, f] = noted.to_le_bytes();
        let word = [a, b, c, d, (new >> 15) as u8, (old >> 15) as u8, e, f];
        self.area.u64(USED).store(u64::from_ne_bytes(word), SeqCst);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record at {:#x}", self.offset)
    }
}
