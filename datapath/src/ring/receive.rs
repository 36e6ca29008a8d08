//! A receive queue of virtio-net (virtio 1.3 §5.1.6.3): buffers are reserved ahead, a batch at a time, and filled one frame
//! after the other; a frame may take several when the driver can merge them.

use super::batch::{Batch, Payload, pour};
use super::fault::{Breach, Fault};
use super::layout::Ring;
use super::moderation::Moderation;
use crate::memory::{Sink, Source, Table};
use crate::offload::{Header, LONGEST_HEADER, Report};
use crate::worker::orders::QueueSetup;

/// The header of a frame with nothing left undone, in one buffer (§5.1.6.4).
pub(super) const PLAIN: [u8; LONGEST_HEADER] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Buffers of 1526 bytes, the least that a driver of mergeable ones should post (§5.1.6.3.1), that hold the longest frame.
const BUFFERS_OF_LONGEST: usize = 43;
/// How often a driver that posts nothing more is waited for.
const PATIENCE: u8 = 32;

pub struct Receive {
    pub ring: Ring,
    pub(super) header: usize,
    mergeable: bool,
    pub vector: u16,
    pub moderation: Moderation,
    /// The most buffers that were there at a time.
    fullest: usize,
    /// How often in a row the driver was found to have too few, and the index that it had reached.
    starved: (u8, u16),
}

/// Buffers that were reserved; the first `taken` of them are filled.
#[derive(Default)]
pub struct Room<'m> {
    batch: Batch<Sink<'m>>,
    taken: usize,
    fault: Option<Fault>,
}

impl Receive {
    pub fn new(setup: &QueueSetup, table: &Table) -> Result<Receive, Fault> {
        let ring = Ring::new(setup, table)?;
        Ok(Receive {
            ring,
            header: setup.header.min(LONGEST_HEADER),
            mergeable: setup.mergeable,
            vector: setup.vector,
            moderation: Moderation::default(),
            fullest: 0,
            starved: (0, 0),
        })
    }

    /// Buffers that are there, and not reserved, as far as anyone waits for them.
    pub fn outstanding(&mut self) -> usize {
        self.ring.outstanding(BUFFERS_OF_LONGEST)
    }

    /// How many buffers to wait for before a frame of unknown length is fetched, which may be one to be cut into `segments`
    /// later. A driver that never posts that many is not waited for in vain.
    pub fn enough_for_any(&mut self, segments: bool) -> usize {
        self.fullest = self.fullest.max(self.outstanding());
        if segments && self.mergeable { BUFFERS_OF_LONGEST.min(self.fullest).max(1) } else { 1 }
    }

    /// There are too few buffers: asks for a notification of the next one. True if more are there already.
    pub fn starve(&mut self) -> bool {
        let more = self.ring.arm_beyond();
        let (times, seen) = self.starved;
        self.starved = if seen == self.ring.seen() { (times.saturating_add(1), seen) } else { (0, self.ring.seen()) };
        if self.starved.0 >= PATIENCE {
            self.fullest = 0;
        }
        more
    }

    /// Looks ahead until `n` buffers are there, or all that the driver posted; returns how many.
    #[inline]
    pub fn reserve<'m>(&mut self, table: &'m Table, n: usize, room: &mut Room<'m>) -> usize {
        while room.free() < n && room.fault.is_none() {
            let before = room.free();
            room.fault = self.ring.pop(table, n - before, &mut room.batch).err();
            if room.free() == before {
                break;
            }
        }
        room.free()
    }

    /// The usual case: frames in one piece each, with nothing left undone and nothing reported, into one buffer in one piece
    /// each. How many of them; for the next one see `fill`.
    #[inline(always)]
    pub fn fill_plain<'f>(&self, room: &mut Room<'_>, frames: impl Iterator<Item = &'f Payload<'f, 'f>>) -> usize {
        match self.header {
            10 => room.fill_plain::<10>(frames),
            12 => room.fill_plain::<12>(frames),
            LONGEST_HEADER => room.fill_plain::<LONGEST_HEADER>(frames),
            _ => 0,
        }
    }

    /// Copies a frame into the next buffers, after a header. False if they do not suffice; then none is used.
    #[inline(never)]
    pub fn fill<'m>(
        &mut self,
        table: &'m Table,
        room: &mut Room<'m>,
        frame: &Payload<'_, '_>,
        header: &Header,
        report: Report,
    ) -> bool {
        let need = self.header + frame.len;
        let Some(count) = self.enough(table, room, need) else { return false };
        let header = header.reported(count as u16, report);
        let from = std::iter::once(Source::from(&header[..self.header])).chain(frame.pieces());
        pour(from, room.pieces(count));
        self.take(room, count, need);
        true
    }

    /// How many of the next buffers hold `need` bytes; None if there are too few.
    pub fn enough<'m>(&mut self, table: &'m Table, room: &mut Room<'m>, need: usize) -> Option<usize> {
        let (mut held, mut count) = (0, 0);
        while held < need {
            if count > 0 && !self.mergeable {
                return None;
            }
            if room.free() == count && self.reserve(table, count + 1, room) == count {
                return None;
            }
            let chain = &room.batch.chains[room.taken + count];
            if count == 0 && chain.len < self.header {
                let breach = Breach::NoRoomForHeader { len: chain.len, header: self.header };
                room.fault.get_or_insert(breach.at(self.ring.queue(), chain.id));
                return None;
            }
            held += chain.len;
            count += 1;
        }
        Some(count)
    }

    /// The next `count` buffers hold `total` bytes of a frame: they are used.
    pub fn take(&mut self, room: &mut Room<'_>, count: usize, total: usize) {
        let mut left = total;
        for chain in &mut room.batch.chains[room.taken..][..count] {
            chain.written = chain.len.min(left) as u32;
            left -= chain.written as usize;
        }
        room.taken += count;
    }

    /// Writes the header of a frame that lies in the next `count` buffers already.
    pub fn write_header(&self, room: &Room<'_>, count: usize, header: &Header, report: Report) {
        let header = header.reported(count as u16, report);
        pour([Source::from(&header[..self.header])], room.pieces(count));
    }

    pub fn header(&self) -> usize {
        self.header
    }

    /// Gives back what was not filled and shows the driver the rest: how many buffers, and whether it wants an interrupt.
    /// See also `Room::fault`.
    #[inline]
    pub fn flush(&mut self, room: &mut Room<'_>) -> (u16, bool) {
        let (filled, free) = room.batch.chains.split_at(room.taken);
        self.ring.rewind(free);
        self.ring.put(filled);
        room.batch.chains.truncate(room.taken);
        self.ring.flush()
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }
}

impl<'m> Room<'m> {
    /// With headers of `N` bytes.
    #[inline(always)]
    fn fill_plain<'f, const N: usize>(&mut self, frames: impl Iterator<Item = &'f Payload<'f, 'f>>) -> usize {
        let header = PLAIN.first_chunk::<N>().expect("no header is longer");
        let mut count = 0;
        for (chain, frame) in self.batch.chains[self.taken..].iter_mut().zip(frames) {
            let (place, need) = (chain.only(), N + frame.len);
            let Some(source) = frame.single().filter(|_| place.len() >= need) else { break };
            place.copy_array(header);
            place.after(N).copy_from(source);
            chain.written = need as u32;
            count += 1;
        }
        self.taken += count;
        count
    }

    /// The fault of the ring, if one was met: for the caller to act on.
    #[inline(always)]
    pub fn fault(&mut self) -> Option<Fault> {
        if self.fault.is_none() { None } else { self.fault.take() }
    }

    /// Buffers not filled yet.
    #[inline(always)]
    pub fn free(&self) -> usize {
        self.batch.chains.len() - self.taken
    }

    /// After `flush`: the buffers, as far as they were written.
    pub fn batch(&self) -> &Batch<Sink<'m>> {
        &self.batch
    }

    /// The pieces of the next `count` buffers, in order.
    pub fn pieces(&self, count: usize) -> impl Iterator<Item = Sink<'m>> {
        self.batch.chains[self.taken..][..count].iter().flat_map(|chain| self.batch.pieces(chain).iter().copied())
    }

    /// Empties it for another life; the allocations stay.
    pub fn recycle<'n>(self) -> Room<'n> {
        Room { batch: self.batch.recycle(), taken: 0, fault: None }
    }
}
