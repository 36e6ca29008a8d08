//! DMA_MAP and DMA_UNMAP: the book of what the VMM lets the device reach. The mappings themselves are `memory`'s.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::wire::Fields;
use crate::memory::{Protection, Region, Table};

/// Maps that one VMM may have at a time; told to it in the VERSION reply.
pub const MAX_MAPS: usize = 8192;

/// Of those that take a mapping of this process, of which the kernel gives 65530 (vm.max_map_count): each VMM has so many of
/// its own, and all together share a pool beyond that. So one that maps page by page leaves the others theirs.
const OWN_MAPPINGS: usize = 32;
const POOL: usize = 24_000;

/// What is left of the pool, in mappings.
#[derive(Clone)]
pub struct Pool(Arc<AtomicUsize>);

impl Default for Pool {
    fn default() -> Pool {
        Pool(Arc::new(AtomicUsize::new(POOL)))
    }
}

impl Pool {
    /// A VMM that has this many mappings wants one more.
    fn take(&self, mapped: usize) -> Result<(), Errno> {
        if mapped < OWN_MAPPINGS {
            return Ok(());
        }
        let taken = self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| Errno::NOSPC)
    }

    /// One that had this many mappings has `left` now.
    fn give_back(&self, mapped: usize, left: usize) {
        self.0.fetch_add(mapped.saturating_sub(OWN_MAPPINGS) - left.saturating_sub(OWN_MAPPINGS), Relaxed);
    }
}

/// Addresses, offsets and sizes are multiples of this.
pub const PAGE: u64 = 4096;

const READ: u32 = 1;
const WRITE: u32 = 2;
/// A request for mmap (the default where there is a descriptor), and one for pread and pwrite instead.
const MMAP: u32 = 4;
const FILE_IO: u32 = 8;

const UNMAP_ALL: u32 = 2;
const UNMAP_SIZE: u32 = 24;

#[derive(Default)]
pub struct Maps {
    regions: BTreeMap<u64, Region>,
    pool: Pool,
    /// Regions that are mapped here.
    mapped: usize,
}

impl Maps {
    /// Maps whose number is bounded together with those of others.
    pub fn sharing(pool: Pool) -> Maps {
        Maps { pool, regions: BTreeMap::new(), mapped: 0 }
    }

    pub fn table(&self) -> Table {
        Table::new(self.regions.values().cloned().collect())
    }

    pub fn clear(&mut self) {
        self.regions.clear();
        self.settle();
    }

    /// Whether anything is mapped in a range of addresses.
    pub fn has_any(&self, start: u64, end: u64) -> bool {
        start < end && self.overlaps(start, end)
    }

    /// Carries out DMA_MAP.
    pub fn map(&mut self, body: &[u8], mut fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let mut fields = Fields(body);
        let (size, flags) = (fields.u32()?, fields.u32()?);
        let (offset, iova, len) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let fd = fds.pop();
        check_map(size, flags, fd.is_some() && fds.is_empty(), fds.is_empty())?;
        if len == 0 || [offset, iova, len].iter().any(|number| number % PAGE != 0) {
            return Err(Errno::INVAL);
        }
        let end = iova.checked_add(len).ok_or(Errno::INVAL)?;
        if self.overlaps(iova, end) {
            return Err(Errno::EXIST);
        }
        if self.regions.len() >= MAX_MAPS {
            return Err(Errno::INVAL);
        }
        let protection = Protection { read: flags & READ != 0, write: flags & WRITE != 0 };
        let region = match fd {
            Some(fd) => self.mapping(|| shared(fd, offset, iova, len, protection))?,
            None => Region::unmapped(iova, len, protection),
        };
        self.regions.insert(iova, region);
        Ok(())
    }

    /// Carries out DMA_UNMAP, which may cover several maps, but none in part. The regions have left the book; they are
    /// to be kept until no worker touches them.
    pub fn unmap(&mut self, body: &[u8]) -> Result<Vec<Region>, Errno> {
        let mut fields = Fields(body);
        let (size, flags, iova, len) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u64()?);
        if size < UNMAP_SIZE || flags & !UNMAP_ALL != 0 {
            return Err(Errno::INVAL); // dirty bitmaps are asked for by DEVICE_FEATURE
        }
        if flags & UNMAP_ALL != 0 {
            let everything = iova == 0 && len == 0;
            return if everything { Ok(self.take(0, u64::MAX)) } else { Err(Errno::INVAL) };
        }
        let end = iova.checked_add(len).filter(|_| len > 0).ok_or(Errno::INVAL)?;
        if self.cut_by(iova, end) {
            return Err(Errno::INVAL);
        }
        let taken = self.take(iova, end);
        if taken.is_empty() { Err(Errno::NOENT) } else { Ok(taken) }
    }

    fn take(&mut self, start: u64, end: u64) -> Vec<Region> {
        let inside: Vec<u64> = self.regions.range(start..end).map(|(iova, _)| *iova).collect();
        let taken = inside.iter().filter_map(|iova| self.regions.remove(iova)).collect();
        self.settle();
        taken
    }

    /// Makes a region that takes a mapping, if there is one left.
    fn mapping(&mut self, make: impl FnOnce() -> Result<Region, Errno>) -> Result<Region, Errno> {
        self.pool.take(self.mapped)?;
        self.mapped += 1;
        let made = make();
        if made.is_err() {
            self.pool.give_back(self.mapped, self.mapped - 1);
            self.mapped -= 1;
        }
        made
    }

    /// Regions have left: their mappings are others' now.
    fn settle(&mut self) {
        let left = self.regions.values().filter(|region| region.mapped()).count();
        self.pool.give_back(self.mapped, left);
        self.mapped = left;
    }

    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.regions.range(..end).next_back().is_some_and(|(_, region)| region.iova() + region.len() > start)
    }

    /// Whether a map lies on both sides of one of the two bounds.
    fn cut_by(&self, start: u64, end: u64) -> bool {
        [start, end].iter().any(|bound| {
            let before = self.regions.range(..bound).next_back();
            before.is_some_and(|(_, region)| region.iova() + region.len() > *bound)
        })
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        self.clear();
    }
}

fn check_map(size: u32, flags: u32, has_fd: bool, fds_fit: bool) -> Result<(), Errno> {
    let needs_fd = flags & (MMAP | FILE_IO) != 0;
    if size < 32 || flags & !(READ | WRITE | MMAP | FILE_IO) != 0 || flags & (READ | WRITE) == 0 {
        return Err(Errno::INVAL);
    }
    if !fds_fit || needs_fd && !has_fd {
        return Err(Errno::INVAL);
    }
    // pread and pwrite a packet would be a system call a descriptor.
    if flags & FILE_IO != 0 { Err(Errno::OPNOTSUPP) } else { Ok(()) }
}

/// Maps memory that the VMM shares.
fn shared(fd: OwnedFd, offset: u64, iova: u64, len: u64, protection: Protection) -> Result<Region, Errno> {
    Region::map(fd.as_fd(), offset, iova, len, protection).map_err(|error| {
        log::warn!("guest memory at {iova:#x} is refused: {error}");
        Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn map_body(flags: u32, offset: u64, iova: u64, len: u64) -> Vec<u8> {
        let numbers = [offset, iova, len].into_iter().flat_map(u64::to_le_bytes);
        [32u32, flags].iter().flat_map(|number| number.to_le_bytes()).chain(numbers).collect()
    }

    fn unmap_body(flags: u32, iova: u64, len: u64) -> Vec<u8> {
        let numbers = [iova, len].into_iter().flat_map(u64::to_le_bytes);
        [UNMAP_SIZE, flags].iter().flat_map(|number| number.to_le_bytes()).chain(numbers).collect()
    }

    fn memory(len: u64) -> OwnedFd {
        let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, len).unwrap();
        fd
    }

    /// Maps of one page each, without descriptors.
    fn maps(pages: &[u64]) -> Maps {
        let mut maps = Maps::default();
        for page in pages {
            maps.map(&map_body(READ | WRITE, 0, page * PAGE, PAGE), vec![]).unwrap();
        }
        maps
    }

    #[test]
    fn a_map_over_a_map_exists_already() {
        let mut maps = maps(&[2, 5]);
        for (page, count) in [(2, 1), (1, 2), (4, 9), (1, 9)] {
            let body = map_body(READ, 0, page * PAGE, count * PAGE);
            assert_eq!(maps.map(&body, vec![]), Err(Errno::EXIST), "{page} {count}");
        }
        assert_eq!(maps.map(&map_body(READ, 0, 3 * PAGE, 2 * PAGE), vec![]), Ok(()));
    }

    #[test]
    fn one_unmap_may_cover_several_maps_but_none_in_part() {
        let mut maps = maps(&[1, 2, 4]);
        maps.map(&map_body(READ, 0, 8 * PAGE, 4 * PAGE), vec![]).unwrap();
        assert_eq!(maps.unmap(&unmap_body(0, PAGE, 4 * PAGE)).map(|regions| regions.len()), Ok(3));
        for (page, count) in [(8, 3), (9, 3), (9, 1), (7, 2), (11, 9)] {
            let got = maps.unmap(&unmap_body(0, page * PAGE, count * PAGE)).map(|regions| regions.len());
            assert_eq!(got, Err(Errno::INVAL), "{page} {count}");
        }
        assert_eq!(maps.unmap(&unmap_body(0, PAGE, PAGE)).map(|regions| regions.len()), Err(Errno::NOENT));
    }

    #[test]
    fn unmap_all_wants_no_range() {
        let mut maps = maps(&[1, 2]);
        assert_eq!(maps.unmap(&unmap_body(UNMAP_ALL, 0, PAGE)).map(|regions| regions.len()), Err(Errno::INVAL));
        assert_eq!(maps.unmap(&unmap_body(UNMAP_ALL | 1, 0, 0)).map(|regions| regions.len()), Err(Errno::INVAL));
        assert_eq!(maps.unmap(&unmap_body(UNMAP_ALL, 0, 0)).map(|regions| regions.len()), Ok(2));
        assert_eq!(maps.regions.len(), 0);
    }

    #[test]
    fn what_is_not_a_map_is_invalid() {
        let mut maps = Maps::default();
        for body in [
            map_body(READ, 0, 0, 0),
            map_body(READ, 0, 1, PAGE),
            map_body(READ, 1, 0, PAGE),
            map_body(READ, 0, 0, PAGE - 1),
            map_body(READ, 0, u64::MAX - PAGE + 1, PAGE),
            map_body(0, 0, 0, PAGE),
            map_body(READ | 16, 0, 0, PAGE),
            map_body(READ | MMAP, 0, 0, PAGE),
            vec![0; 31],
        ] {
            assert_eq!(maps.map(&body, vec![]), Err(Errno::INVAL), "{body:?}");
        }
        assert_eq!(maps.regions.len(), 0);
    }

    #[test]
    fn memory_must_be_as_long_as_the_map_and_be_memory() {
        let mut maps = Maps::default();
        assert_eq!(maps.map(&map_body(READ, PAGE, 0, PAGE), vec![memory(PAGE)]), Err(Errno::INVAL));
        assert_eq!(maps.map(&map_body(READ, 0, 0, PAGE), vec![memory(PAGE), memory(PAGE)]), Err(Errno::INVAL));
        let pipe = rustix::pipe::pipe().unwrap().0;
        assert!(maps.map(&map_body(READ, 0, 0, PAGE), vec![pipe]).is_err());
        assert_eq!(maps.map(&map_body(READ | WRITE, PAGE, 0, PAGE), vec![memory(2 * PAGE)]), Ok(()));
    }

    #[test]
    fn a_vmm_that_takes_the_whole_pool_leaves_the_others_their_own() {
        let pool = Pool(Arc::new(AtomicUsize::new(3)));
        let (mut greedy, mut modest) = (Maps::sharing(pool.clone()), Maps::sharing(pool.clone()));
        let one = |maps: &mut Maps, page: u64| maps.map(&map_body(READ, 0, page * PAGE, PAGE), vec![memory(PAGE)]);
        let most = OWN_MAPPINGS as u64 + 3;
        (0..most).for_each(|page| assert_eq!(one(&mut greedy, page), Ok(())));
        assert_eq!(one(&mut greedy, most), Err(Errno::NOSPC));
        assert_eq!(greedy.map(&map_body(READ, 0, most * PAGE, PAGE), vec![]), Ok(()), "no mapping is needed");
        (0..OWN_MAPPINGS as u64).for_each(|page| assert_eq!(one(&mut modest, page), Ok(())));
        assert_eq!(one(&mut modest, most), Err(Errno::NOSPC));
        assert_eq!(greedy.unmap(&unmap_body(0, 0, PAGE)).map(|regions| regions.len()), Ok(1));
        assert_eq!(one(&mut modest, most), Ok(()));
        drop((greedy, modest));
        assert_eq!(pool.0.load(Relaxed), 3);
    }

    #[test]
    fn the_number_of_maps_is_bounded() {
        let mut maps = maps(&(0..MAX_MAPS as u64).collect::<Vec<_>>());
        assert_eq!(maps.map(&map_body(READ, 0, MAX_MAPS as u64 * PAGE, PAGE), vec![]), Err(Errno::INVAL));
    }
}
