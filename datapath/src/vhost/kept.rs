//! Where packed rings stand, kept outside of this process for front ends that do not keep it themselves (QEMU's virtio-net
//! is one): in a file of the controller's, which outlives both.
//!
//! A front end whose back end died cannot ask it where a packed ring stands, and says of it at the next start what it said
//! at the last one. That, and the ring being the same, is how the file's word is known to hold instead. A driver that began
//! anew meanwhile says the same too; that one's ring tells (`ring::packed`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::ftruncate;

use super::inflight::PACKED;
use super::rings::Areas;
use crate::memory::{Protection, Region, Table};
use crate::ring::record::{BYTES, Place, Record};

/// How a ring was started, before its record: that there is one, its size and position, then its areas, 64 bits each.
const START: usize = 32;
const THERE: u64 = 1 << 63;
const ALIGN: usize = 64;

pub struct Kept {
    memory: Arc<Table>,
    stride: usize,
}

/// What a front end said when it started a ring.
#[derive(Clone, Copy)]
pub struct Start {
    pub position: u16,
    pub size: u32,
    pub areas: Areas,
}

impl Kept {
    /// In a file that is as long as it must be from now on. The error is a sentence.
    pub fn new(file: &OwnedFd, rings: usize, size: u32) -> Result<Self, String> {
        let stride = (START + BYTES + PACKED * size as usize).next_multiple_of(ALIGN);
        let length = (stride * rings) as u64;
        let refused = |error| format!("where its rings stand cannot be kept: {error}");
        ftruncate(file, length).map_err(|error| refused(error.to_string()))?;
        let protection = Protection { read: true, write: true };
        let region = Region::map(file.as_fd(), 0, 0, length, protection).map_err(|error| refused(error.to_string()))?;
        Ok(Self { memory: Arc::new(Table::new(vec![region])), stride })
    }

    /// The record of a packed ring that starts: as it is if it is this ring's, else made anew.
    pub fn place(&self, index: u32, start: &Start) -> Option<Place> {
        let [descriptors, driver, device] = start.areas;
        let words = [THERE | u64::from(start.size) << 16 | u64::from(start.position), descriptors, driver, device];
        let place = self.record(index);
        let area = self.memory.area(place.offset - START as u64, START, 8, true).ok()?;
        let known = words.iter().enumerate().all(|(n, word)| area.u64(8 * n).load(Relaxed) == *word);
        if !known {
            self.forget(index);
            words.iter().enumerate().for_each(|(n, word)| area.u64(8 * n).store(*word, Relaxed));
        }
        Some(place)
    }

    /// What it says of a ring holds no more.
    pub fn forget(&self, index: u32) {
        if let Ok(record) = Record::open(&self.record(index), index as u16, 0) {
            record.forget();
        }
    }

    fn record(&self, index: u32) -> Place {
        Place { memory: self.memory.clone(), offset: (index as usize * self.stride + START) as u64 }
    }
}
