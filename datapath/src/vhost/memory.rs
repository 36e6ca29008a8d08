//! The front end's memory: where its own addresses, which rings are named by, and the guest's, which descriptors use, lie.

use std::os::fd::{AsFd, OwnedFd};

use vhost::vhost_user::message::{VhostUserMemory, VhostUserMemoryRegion, VhostUserSingleMemoryRegion};

use super::wire::{beginning, whole};
use crate::memory::{Protection, Region, Table};

/// Regions that a front end may have when it adds them one by one, and those of SET_MEM_TABLE.
pub const MOST_SLOTS: usize = 509;
const MOST_AT_ONCE: usize = 8;

#[derive(Clone)]
struct Slot {
    user: u64,
    region: Region,
}

#[derive(Default)]
pub struct Memory {
    slots: Vec<Slot>,
}

impl Memory {
    pub fn table(&self) -> Table {
        Table::new(self.slots.iter().map(|slot| slot.region.clone()).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The guest's address of what the front end itself has at `user`.
    pub fn guest(&self, user: u64) -> Option<u64> {
        let holds = |slot: &&Slot| user.wrapping_sub(slot.user) < slot.region.len();
        self.slots.iter().find(holds).map(|slot| slot.region.iova() + (user - slot.user))
    }

    /// The memory of SET_MEM_TABLE, in place of any before. The error is a sentence.
    pub fn new(body: &[u8], fds: &[OwnedFd]) -> Result<Self, String> {
        let (VhostUserMemory { num_regions, .. }, mut rest) = beginning(body)?;
        let count = num_regions as usize;
        if count > MOST_AT_ONCE || fds.len() != count {
            return Err(format!("it has {count} regions and {} descriptors", fds.len()));
        }
        let mut memory = Self::default();
        for fd in fds {
            let (region, after) = beginning(rest)?;
            memory.insert(&region, fd)?;
            rest = after;
        }
        if rest.is_empty() { Ok(memory) } else { Err(format!("{} bytes follow its regions", rest.len())) }
    }

    /// ADD_MEM_REG.
    pub fn add(&mut self, body: &[u8], fds: &[OwnedFd]) -> Result<(), String> {
        let region: VhostUserSingleMemoryRegion = whole(body)?;
        match fds {
            _ if self.slots.len() >= MOST_SLOTS => Err(format!("there are {MOST_SLOTS} regions already")),
            [fd] => self.insert(&region, fd),
            _ => Err(format!("it has {} descriptors", fds.len())),
        }
    }

    /// REM_MEM_REG: the region of just these addresses. It is returned, to be kept until no worker touches it.
    pub fn remove(&mut self, body: &[u8]) -> Result<Region, String> {
        let wanted: VhostUserSingleMemoryRegion = whole(body)?;
        let (guest, user, len) = (wanted.guest_phys_addr, wanted.user_addr, wanted.memory_size);
        let is_it = |slot: &Slot| (slot.region.iova(), slot.user, slot.region.len()) == (guest, user, len);
        let place = self.slots.iter().position(is_it);
        let place = place.ok_or_else(|| format!("there is no region of {len:#x} bytes at guest address {guest:#x}"))?;
        Ok(self.slots.remove(place).region)
    }

    fn insert(&mut self, wanted: &VhostUserMemoryRegion, fd: &OwnedFd) -> Result<(), String> {
        let VhostUserMemoryRegion { guest_phys_addr: guest, memory_size: len, user_addr: user, mmap_offset: offset } =
            *wanted;
        let ends = [guest, user, offset].map(|start| start.checked_add(len));
        if len == 0 || ends.iter().any(Option::is_none) {
            return Err(format!("a region of {len:#x} bytes cannot be at guest address {guest:#x}"));
        }
        let overlaps = |start: u64, other: u64, size: u64| start < other + size && other < start + len;
        if self.slots.iter().any(|slot| {
            let size = slot.region.len();
            overlaps(guest, slot.region.iova(), size) || overlaps(user, slot.user, size)
        }) {
            return Err(format!("the region at guest address {guest:#x} lies over another"));
        }
        let protection = Protection { read: true, write: true };
        let region = Region::map(fd.as_fd(), offset, guest, len, protection)
            .map_err(|error| format!("the region at guest address {guest:#x} cannot be mapped: {error}"))?;
        self.slots.push(Slot { user, region });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};
    use vm_memory::ByteValued;

    use super::*;

    const PAGE: u64 = 4096;

    fn file(pages: u64) -> OwnedFd {
        let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, pages * PAGE).unwrap();
        fd
    }

    fn region(guest: u64, len: u64, user: u64, offset: u64) -> Vec<u8> {
        VhostUserMemoryRegion::new(guest, len, user, offset).as_slice().to_vec()
    }

    fn table(count: u32, regions: &[Vec<u8>]) -> Vec<u8> {
        [VhostUserMemory::new(count).as_slice().to_vec(), regions.concat()].concat()
    }

    fn single(guest: u64, len: u64, user: u64) -> Vec<u8> {
        VhostUserSingleMemoryRegion::new(guest, len, user, 0).as_slice().to_vec()
    }

    #[test]
    fn addresses_of_the_front_end_are_found_in_the_guest() {
        let regions = [region(0, PAGE, 0x7000_0000, 0), region(0x10_0000, 2 * PAGE, 0x9000_0000, PAGE)];
        let memory = Memory::new(&table(2, &regions), &[file(1), file(3)]).unwrap();
        assert_eq!(memory.guest(0x7000_0010), Some(0x10));
        assert_eq!(memory.guest(0x9000_1fff), Some(0x10_1fff));
        for outside in [0, 0x6fff_ffff, 0x7000_1000, 0x9000_2000, u64::MAX] {
            assert_eq!(memory.guest(outside), None, "{outside:#x}");
        }
    }

    #[test]
    fn a_table_that_cannot_be_is_refused_in_a_sentence() {
        let one = || region(0, PAGE, 0, 0);
        for (body, files, why) in [
            (table(0, &[]), 0, "contradict"),
            (table(2, &[one(), one()]), 2, "lies over another"),
            (table(2, &[one(), region(PAGE, PAGE, 0, 0)]), 2, "lies over another"),
            (table(1, &[one()]), 0, "1 regions and 0 descriptors"),
            (table(2, &[one()]), 2, "only 0 bytes"),
            (table(1, &[one(), one()]), 1, "32 bytes follow"),
            (table(9, &vec![one(); 9]), 9, "9 regions"),
            (table(1, &[region(0, 2 * PAGE, 0, 0)]), 1, "does not hold the range"),
            (table(1, &[region(u64::MAX, 2, 0, 0)]), 1, ""),
            (table(1, &[region(0, 0, 0, 0)]), 1, ""),
        ] {
            let fds: Vec<_> = (0..files).map(|_| file(1)).collect();
            let got = Memory::new(&body, &fds).map(|_| ());
            assert!(got.as_ref().is_err_and(|error| error.contains(why)), "{why}: {got:?}");
        }
    }

    #[test]
    fn regions_come_and_go_one_by_one() {
        let mut memory = Memory::default();
        memory.add(&single(0, PAGE, 0), &[file(1)]).unwrap();
        memory.add(&single(PAGE, PAGE, PAGE), &[file(1)]).unwrap();
        assert!(memory.add(&single(0, PAGE, 0x9000), &[file(1)]).is_err());
        assert!(memory.add(&single(0x8000, PAGE, 0x8000), &[]).is_err());
        assert!(memory.remove(&single(PAGE, 2 * PAGE, PAGE)).is_err());
        memory.remove(&single(PAGE, PAGE, PAGE)).unwrap();
        assert_eq!((memory.guest(0), memory.guest(PAGE)), (Some(0), None));
    }

    #[test]
    fn the_number_of_regions_is_bounded() {
        let mut memory = Memory::default();
        let fd = file(1);
        let fds = std::slice::from_ref(&fd);
        for page in 0..MOST_SLOTS as u64 {
            memory.add(&single(page * PAGE, PAGE, page * PAGE), fds).unwrap();
        }
        assert!(memory.add(&single(1 << 40, PAGE, 1 << 40), fds).unwrap_err().contains("509"));
    }
}
