//! What the device writes into its guest, logged while its VMM wants that: DMA_LOGGING_START, _STOP and _REPORT.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustix::io::Errno;

use super::dma::PAGE;
use super::function::Function;
use super::migration::Asked;
use super::wire::Fields;
use super::world::World;
use crate::control::messages::StartQueue;
use crate::memory::{Pages, Table};
use crate::worker::dirty::Dirty;
use crate::worker::orders::Order;

/// Most ranges of one START: as many as fit into a page, which is what Linux takes.
const MOST_RANGES: u32 = 256;
const RANGE: usize = 16;

/// Most bytes of a bitmap, told in the VERSION reply, and of guest memory that one REPORT is about: what that has a bit for.
pub const MOST_BITMAP: u64 = 2 << 20;
const MOST_LENGTH: u64 = MOST_BITMAP * 8 * PAGE;

/// What the device writes of a split ring: flags, index, entries, event; of a packed one: its descriptors, and its event.
const USED_HEAD: u64 = 4;
const USED_ENTRY: u64 = 8;
const USED_EVENT: u64 = 2;
const DESCRIPTOR: u64 = 16;
const EVENT: u64 = 4;

pub struct Logging {
    /// The page size that was asked for. A page of the log has always 4 KiB.
    asked: u64,
    pages: Arc<Pages>,
    /// The guest has more memory, in more places, than is logged: what is there is not known.
    overrun: bool,
}

impl Function {
    /// START tells which pages it logs. Its ranges are checked and say no more: whatever the guest has is logged.
    pub fn start_logging(&mut self, asked: Asked, data: &[u8], world: &World) -> Result<Vec<u8>, Errno> {
        let mut fields = Fields(data);
        let (page, count, reserved) = (fields.u64()?, fields.u32()?, fields.take::<4>()?);
        check_ranges(page, count, fields.rest())?;
        match &self.logging {
            Some(logging) if logging.asked != page => return Err(Errno::INVAL),
            Some(_) => {}
            None => {
                let pages = covering(&Pages::default(), &self.maps.table()).ok_or(Errno::NOMEM)?;
                self.logging = Some(Logging { asked: page, pages: Arc::new(pages), overrun: false });
                world.settle(|done| Order::SetDirty { function: self.id, dirty: self.dirty(), done });
            }
        }
        let head = [&PAGE.to_le_bytes()[..], &count.to_le_bytes(), &reserved].concat();
        Ok(asked.echo(&[&head, &data[head.len()..]].concat()))
    }

    pub fn stop_logging(&mut self, world: &World) {
        if self.logging.take().is_some() {
            self.log_writes(world);
        }
    }

    /// REPORT: what was written in a range since it was last asked.
    pub fn report_writes(&self, asked: Asked, data: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut fields = Fields(data);
        let (address, len, unit) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let logging = self.logging.as_ref().ok_or(Errno::INVAL)?;
        let end = address.checked_add(len).ok_or(Errno::OVERFLOW)?;
        if len == 0 {
            return Err(Errno::INVAL);
        }
        if !self.maps.has_any(address, end) && !logging.pages.covers(address, len) {
            return Err(Errno::NOENT);
        }
        let bytes = bitmap_size(address, len, unit)?;
        asked.fits(24 + bytes as usize)?;
        if logging.overrun {
            return Err(Errno::NOSPC);
        }
        Ok(asked.reply(&[&data[..24], &logging.pages.take(address, len, unit)].concat()))
    }

    /// The guest has memory that it did not have before.
    pub fn log_more(&mut self, table: &Table, world: &World) {
        let Some(logging) = &mut self.logging else { return };
        match covering(&logging.pages, table) {
            Some(pages) => logging.pages = Arc::new(pages),
            None => logging.overrun = true,
        }
        self.log_writes(world);
    }

    /// A queue is started: what of its ring is written is known before it is.
    pub fn log_ring(&mut self, start: &StartQueue, world: &World) {
        self.rings.insert(start.queue as u16, written(start));
        if self.logging.is_some() {
            self.log_writes(world);
        }
    }

    /// Tells the worker what is to be logged from now on. Nobody waits: what it is about comes later.
    pub fn log_writes(&self, world: &World) {
        let (done, _) = sync_channel(1);
        world.worker.send(Order::SetDirty { function: self.id, dirty: self.dirty(), done });
    }

    fn dirty(&self) -> Option<Arc<Dirty>> {
        let last = self.rings.keys().next_back().map_or(0, |last| usize::from(*last) + 1);
        let ring = |queue: usize| self.rings.get(&(queue as u16)).cloned().unwrap_or_default();
        let logging = self.logging.as_ref()?;
        Some(Arc::new(Dirty { log: logging.pages.clone(), event: None, rings: (0..last).map(ring).collect() }))
    }
}

fn covering(pages: &Pages, table: &Table) -> Option<Pages> {
    pages.covering(&table.writable().collect::<Vec<_>>()).ok()
}

fn check_ranges(page: u64, count: u32, ranges: &[u8]) -> Result<(), Errno> {
    if !page.is_power_of_two() {
        return Err(Errno::INVAL);
    }
    if count > MOST_RANGES {
        return Err(Errno::TOOBIG);
    }
    let ranges = ranges.get(..count as usize * RANGE).ok_or(Errno::INVAL)?;
    let ranges = ranges.chunks_exact(RANGE).map(|range| check_range(page, range));
    let mut ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) { Err(Errno::INVAL) } else { Ok(()) }
}

/// Where a range begins and ends.
fn check_range(page: u64, range: &[u8]) -> Result<(u64, u64), Errno> {
    let mut fields = Fields(range);
    let (start, len) = (fields.u64()?, fields.u64()?);
    if len == 0 || start % page != 0 || len % page != 0 {
        return Err(Errno::INVAL);
    }
    Ok((start, start.checked_add(len).ok_or(Errno::OVERFLOW)?))
}

/// Bytes of the bitmap of a range, with a bit for each `unit` bytes.
fn bitmap_size(address: u64, len: u64, unit: u64) -> Result<u64, Errno> {
    let pages = [address, len].iter().all(|number| number % PAGE == 0);
    if !unit.is_power_of_two() || len < unit || len > MOST_LENGTH || !pages {
        return Err(Errno::INVAL);
    }
    let bytes = len.div_ceil(unit).div_ceil(64) * 8;
    if bytes > MOST_BITMAP { Err(Errno::INVAL) } else { Ok(bytes) }
}

/// The addresses and lengths of what the device writes of a ring.
fn written(start: &StartQueue) -> Vec<(u64, u64)> {
    if start.packed {
        vec![(start.descriptor, DESCRIPTOR * start.size), (start.device, EVENT)]
    } else {
        vec![(start.device, USED_HEAD + USED_ENTRY * start.size + USED_EVENT)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ranges: &[(u64, u64)]) -> Vec<u8> {
        ranges.iter().flat_map(|(start, len)| [start.to_le_bytes(), len.to_le_bytes()].concat()).collect()
    }

    #[test]
    fn ranges_are_whole_pages_that_do_not_overlap() {
        let check = |page, list: &[(u64, u64)]| check_ranges(page, list.len() as u32, &ranges(list));
        assert_eq!(check(PAGE, &[]), Ok(()));
        assert_eq!(check(PAGE, &[(2 * PAGE, PAGE), (0, 2 * PAGE)]), Ok(()));
        for (page, list) in [
            (0, vec![]),
            (PAGE + 1, vec![]),
            (PAGE, vec![(0, 0)]),
            (PAGE, vec![(1, PAGE)]),
            (PAGE, vec![(0, PAGE + 1)]),
            (2 * PAGE, vec![(PAGE, 2 * PAGE)]),
            (PAGE, vec![(PAGE, PAGE), (0, 2 * PAGE)]),
        ] {
            assert_eq!(check(page, &list), Err(Errno::INVAL), "{page} {list:?}");
        }
        assert_eq!(check(PAGE, &[(PAGE, u64::MAX - PAGE + 1)]), Err(Errno::OVERFLOW));
        assert_eq!(check_ranges(PAGE, 2, &ranges(&[(0, PAGE)])), Err(Errno::INVAL));
        assert_eq!(check_ranges(PAGE, MOST_RANGES + 1, &[]), Err(Errno::TOOBIG));
    }

    #[test]
    fn a_bitmap_has_whole_words_and_is_bounded() {
        assert_eq!(bitmap_size(0, 64 * PAGE, PAGE), Ok(8));
        assert_eq!(bitmap_size(0, 65 * PAGE, PAGE), Ok(16));
        assert_eq!(bitmap_size(PAGE, PAGE, PAGE / 2), Ok(8));
        assert_eq!(bitmap_size(0, MOST_LENGTH, PAGE), Ok(MOST_BITMAP));
        assert_eq!(bitmap_size(0, MOST_LENGTH, PAGE / 2), Err(Errno::INVAL));
        assert_eq!(bitmap_size(0, MOST_LENGTH + PAGE, 2 * PAGE), Err(Errno::INVAL));
        for (address, len, unit) in
            [(1, PAGE, PAGE), (0, PAGE + 1, PAGE), (0, PAGE, 0), (0, PAGE, 3), (0, PAGE, 2 * PAGE)]
        {
            assert_eq!(bitmap_size(address, len, unit), Err(Errno::INVAL), "{address} {len} {unit}");
        }
        assert_eq!(bitmap_size(0, u64::MAX / PAGE * PAGE, 1), Err(Errno::INVAL));
    }
}
