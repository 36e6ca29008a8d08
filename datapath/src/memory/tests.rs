use std::os::fd::{AsFd, OwnedFd};

use super::*;

const PAGE: u64 = 4096;
const ALL: Protection = Protection { read: true, write: true };

fn file(len: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, len).unwrap();
    fd
}

fn source<'m>(table: &'m Table, iova: u64, len: u64) -> Result<Vec<Source<'m>>, Refusal> {
    let mut pieces = Vec::new();
    Source::translate(table, &mut 0, iova, len, &mut pieces).map(|()| pieces)
}

fn sink<'m>(table: &'m Table, iova: u64, len: u64) -> Result<Vec<Sink<'m>>, Refusal> {
    let mut pieces = Vec::new();
    Sink::translate(table, &mut 0, iova, len, &mut pieces).map(|()| pieces)
}

#[test]
fn an_address_leads_to_the_place_in_the_file() {
    let fd = file(4 * PAGE);
    let table = Table::new(vec![Region::map(fd.as_fd(), PAGE, 0x10_0000, 2 * PAGE, ALL).unwrap()]);
    let pieces = sink(&table, 0x10_0010, 5).unwrap();
    assert_eq!(pieces[0].copy_from(Source::from(&b"hello"[..])), 5);
    let mut bytes = [0; 5];
    rustix::io::pread(&fd, &mut bytes, PAGE + 0x10).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn a_range_over_adjacent_regions_is_split() {
    let fd = file(4 * PAGE);
    let low = Region::map(fd.as_fd(), 2 * PAGE, 0, PAGE, ALL).unwrap();
    let high = Region::map(fd.as_fd(), 0, PAGE, PAGE, ALL).unwrap();
    let table = Table::new(vec![high, low]);
    let lens: Vec<usize> = source(&table, PAGE - 3, 10).unwrap().iter().map(Source::len).collect();
    assert_eq!(lens, [3, 7]);
    rustix::io::pwrite(&fd, b"abc", 3 * PAGE - 3).unwrap();
    rustix::io::pwrite(&fd, b"def", 0).unwrap();
    let mut bytes = [0; 6];
    table.read(&mut 0, PAGE - 3, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abcdef");
}

#[test]
fn a_range_that_leaves_memory_is_refused() {
    let fd = file(PAGE);
    let table = Table::new(vec![Region::map(fd.as_fd(), 0, PAGE, PAGE, ALL).unwrap()]);
    for (iova, len) in [(0, 1), (PAGE - 1, 2), (2 * PAGE - 1, 2), (2 * PAGE, 1), (u64::MAX, 1), (PAGE, u64::MAX)] {
        assert!(matches!(source(&table, iova, len), Err(Refusal::Outside { .. })), "{iova:#x} + {len:#x}");
    }
    assert!(matches!(source(&Table::default(), 0, 1), Err(Refusal::Outside { .. })));
}

#[test]
fn the_last_byte_of_the_address_space_can_be_memory_but_nothing_follows_it() {
    let fd = file(2 * PAGE);
    let top = 0u64.wrapping_sub(2 * PAGE);
    let table = Table::new(vec![Region::map(fd.as_fd(), 0, top, 2 * PAGE - 1, ALL).unwrap()]);
    assert!(source(&table, u64::MAX - 1, 1).is_ok());
    assert!(source(&table, u64::MAX - 1, 3).is_err());
    assert!(Region::map(fd.as_fd(), 0, top, 2 * PAGE, ALL).is_err());
}

#[test]
fn what_the_vmm_did_not_allow_is_refused() {
    let fd = file(2 * PAGE);
    let read = Protection { read: true, write: false };
    let write = Protection { read: false, write: true };
    let table = Table::new(vec![
        Region::map(fd.as_fd(), 0, 0, PAGE, read).unwrap(),
        Region::map(fd.as_fd(), 0, PAGE, PAGE, write).unwrap(),
        Region::unmapped(2 * PAGE, PAGE, ALL),
    ]);
    assert_eq!(sink(&table, 8, 1).err(), Some(Refusal::ReadOnly { iova: 8 }));
    assert_eq!(source(&table, PAGE, 1).err(), Some(Refusal::WriteOnly { iova: PAGE }));
    let refusal = source(&table, 2 * PAGE, 1).err().unwrap();
    assert_eq!(
        refusal.to_string(),
        "guest memory at 0x2000 is not shared: start QEMU with a memory-backend-memfd,share=on"
    );
    assert_eq!(sink(&table, PAGE - 1, 2).err(), Some(Refusal::ReadOnly { iova: PAGE - 1 }));
}

#[test]
fn a_ring_must_be_whole_aligned_and_permitted() {
    let fd = file(4 * PAGE);
    let read = Protection { read: true, write: false };
    let table = Table::new(vec![
        Region::map(fd.as_fd(), 0, 0, PAGE, ALL).unwrap(),
        Region::map(fd.as_fd(), PAGE, PAGE, PAGE, read).unwrap(),
        Region::map(fd.as_fd(), PAGE, 0x10_0008, PAGE, ALL).unwrap(),
    ]);
    assert!(table.area(16, 4080, 16, true).is_ok());
    assert!(matches!(table.area(16, 4096, 16, false), Err(Refusal::Divided { .. })));
    assert!(matches!(table.area(8, 16, 16, false), Err(Refusal::Misaligned { .. })));
    assert!(matches!(table.area(0x10_0010, 16, 16, false), Err(Refusal::Misaligned { .. })), "of the file's place");
    assert!(matches!(table.area(PAGE, 16, 16, true), Err(Refusal::ReadOnly { .. })));
    assert!(matches!(table.area(2 * PAGE, 16, 16, false), Err(Refusal::Outside { .. })));
}

#[test]
fn a_file_that_cannot_serve_is_refused() {
    let small = file(PAGE);
    assert!(Region::map(small.as_fd(), 0, 0, 2 * PAGE, ALL).is_err(), "too short");
    assert!(Region::map(small.as_fd(), u64::MAX, 0, PAGE, ALL).is_err(), "offset overflows");
    assert!(Region::map(small.as_fd(), 0, 0, 0, ALL).is_err(), "empty");
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    assert!(Region::map(pipe.as_fd(), 0, 0, PAGE, ALL).is_err(), "a pipe");
    let proc = std::fs::File::open("/proc/self/maps").unwrap();
    assert!(Region::map(proc.as_fd(), 0, 0, PAGE, ALL).is_err(), "a file of procfs");
}

#[test]
fn a_region_at_an_odd_place_of_the_file_is_mapped() {
    let fd = file(3 * PAGE);
    rustix::io::pwrite(&fd, b"odd", PAGE + 0x101).unwrap();
    let table = Table::new(vec![Region::map(fd.as_fd(), PAGE + 0x100, 0x4000, PAGE, ALL).unwrap()]);
    let mut bytes = [0; 3];
    table.read(&mut 0, 0x4001, &mut bytes).unwrap();
    assert_eq!(&bytes, b"odd");
}

#[test]
fn a_mapping_goes_with_its_last_owner() {
    let fd = file(PAGE);
    let region = Region::map(fd.as_fd(), 0, 0, PAGE, ALL).unwrap();
    let inode = rustix::fs::fstat(&fd).unwrap().st_ino;
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(&format!(" {inode} "));
    let table = Table::new(vec![region.clone()]);
    let area = table.area(0, 64, 16, true).unwrap();
    drop(region);
    drop(table);
    assert!(mapped(), "a ring still uses it");
    drop(area);
    assert!(!mapped());
}

#[test]
fn memory_that_the_vmm_truncates_reads_as_zero_and_is_marked() {
    survive_truncation();
    let (fd, other) = (file(2 * PAGE), file(PAGE));
    let table = Table::new(vec![Region::map(fd.as_fd(), 0, 0, 2 * PAGE, ALL).unwrap()]);
    let neighbour = Table::new(vec![Region::map(other.as_fd(), 0, 0, PAGE, ALL).unwrap()]);
    let before = poisonings();
    rustix::fs::ftruncate(&fd, 0).unwrap();
    let mut bytes = [1; 4];
    table.read(&mut 0, PAGE, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 4]);
    assert!(table.poisoned() && poisonings() > before);
    sink(&table, 0, 4).unwrap()[0].copy_from(Source::from(&bytes[..]));
    assert!(!neighbour.poisoned());
}

#[test]
fn copies_of_every_length_are_exact_and_touch_nothing_else() {
    let pattern: Vec<u8> = (0..200).map(|n| n as u8 + 1).collect();
    for len in 0..130 {
        let mut target = [0; 200];
        let n = Sink::from(&mut target[10..10 + len]).copy_from(Source::from(&pattern[3..]));
        assert_eq!((n, &target[10..10 + len]), (len, &pattern[3..3 + len]));
        assert!(target[..10].iter().chain(&target[10 + len..]).all(|byte| *byte == 0), "length {len}");
    }
}
