//! A packed ring goes on where a process before this one left it, whenever that died (virtio 1.3 §2.8).

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::Ring;
use super::super::record::{BYTES, Place, Record};
use super::super::testing::{ALL, Guest, PackedDriver};
use super::super::{BATCH, Batch};
use crate::memory::{Area, Region, Source, Table};
use crate::worker::orders::Role;

const ENTRY: usize = 32;
const BEGINNING: u16 = 1 << 15;

/// A driver whose ring has a record.
fn recorded(guest: &Guest, size: u32) -> (PackedDriver, Place) {
    let fd = rustix::fs::memfd_create("record", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let bytes = (BYTES + ENTRY * size as usize) as u64;
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    let region = Region::map(fd.as_fd(), 0, 0, bytes, ALL).unwrap();
    let place = Place { memory: Arc::new(Table::new(vec![region])), offset: 0 };
    let mut driver = guest.packed(1, Role::Transmit, size);
    driver.setup.record = Some(place.clone());
    (driver, place)
}

/// The ring as the next process finds it, told what the first one was.
fn next_process(guest: &Guest, driver: &PackedDriver) -> Ring {
    Ring::new(&driver.setup, &guest.table).unwrap()
}

fn pop<'m>(ring: &mut Ring, guest: &'m Guest) -> Batch<Source<'m>> {
    let mut batch = Batch::default();
    ring.pop(&guest.table, BATCH, &mut batch).unwrap();
    batch
}

fn offer(driver: &mut PackedDriver, guest: &Guest, descriptors: usize) -> u16 {
    driver.offer(&vec![(guest.buffer(0), 60, 0); descriptors])
}

fn collected(driver: &mut PackedDriver) -> Vec<u16> {
    driver.collect().iter().map(|used| used.0).collect()
}

fn record(place: &Place) -> Area {
    place.memory.area(0, BYTES, 8, true).unwrap()
}

/// The word that says where a batch began, where it ends, and how many words are noted.
fn under_way(old: u16, new: u16, noted: u16) -> u64 {
    let [old_wrap, new_wrap] = [old, new].map(|position| u64::from(position >> 15));
    let [old, new] = [old, new].map(|position| u64::from(position & 0x7fff));
    new | old << 16 | new_wrap << 32 | old_wrap << 40 | u64::from(noted) << 48
}

#[test]
fn every_process_goes_on_where_the_one_before_stood() {
    for size in [1, 2, 3, 5, 8] {
        let guest = Guest::new();
        let (mut driver, _place) = recorded(&guest, size);
        for round in 0..6 * size as usize {
            let mut ring = next_process(&guest, &driver);
            let id = offer(&mut driver, &guest, 1 + round % (size as usize).min(3));
            let batch = pop(&mut ring, &guest);
            ring.put(&batch.chains);
            assert_eq!(ring.flush().0, 1, "size {size}, round {round}");
            assert_eq!(collected(&mut driver), [id], "size {size}, round {round}");
        }
    }
}

#[test]
fn what_was_put_and_not_shown_is_taken_again() {
    let guest = Guest::new();
    let (mut driver, _place) = recorded(&guest, 8);
    (0..3).for_each(|_| _ = offer(&mut driver, &guest, 1));
    for _ in 0..3 {
        let mut ring = next_process(&guest, &driver);
        let batch = pop(&mut ring, &guest);
        assert_eq!(batch.chains.len(), 3);
        ring.put(&batch.chains);
        assert!(collected(&mut driver).is_empty());
    }
}

#[test]
fn a_batch_that_was_being_shown_is_shown_whole() {
    for written in 0..3 {
        let guest = Guest::new();
        let (mut driver, place) = recorded(&guest, 8);
        let ids: Vec<u16> = (0..3).map(|_| offer(&mut driver, &guest, 1)).collect();
        let mut ring = next_process(&guest, &driver);
        let batch = pop(&mut ring, &guest);
        ring.put(&batch.chains);
        record(&place).u64(16).store(under_way(BEGINNING, BEGINNING | 3, 3), Relaxed);
        (3 - written..3).for_each(|index| driver.describe(index, (0, 0, index, 0x8080)));
        let mut ring = next_process(&guest, &driver);
        assert_eq!(collected(&mut driver), ids, "{written} words were in the ring");
        assert!(pop(&mut ring, &guest).chains.is_empty());
        let id = offer(&mut driver, &guest, 1);
        assert_eq!(pop(&mut ring, &guest).chains[0].id, id);
    }
}

#[test]
fn a_batch_that_was_shown_is_left_as_the_driver_has_it() {
    let guest = Guest::new();
    let (mut driver, place) = recorded(&guest, 2);
    (0..2).for_each(|_| _ = offer(&mut driver, &guest, 1));
    let mut ring = next_process(&guest, &driver);
    let batch = pop(&mut ring, &guest);
    ring.put(&batch.chains);
    ring.flush();
    record(&place).u64(16).store(under_way(BEGINNING, 0, 2), Relaxed);
    assert_eq!(collected(&mut driver), [0, 1]);
    (0..2).for_each(|_| _ = offer(&mut driver, &guest, 1));
    assert_eq!(pop(&mut next_process(&guest, &driver), &guest).chains.len(), 2);
    assert!(collected(&mut driver).is_empty());
}

#[test]
fn a_driver_that_began_anew_is_begun_with() {
    let guest = Guest::new();
    let (mut driver, _place) = recorded(&guest, 8);
    let mut ring = next_process(&guest, &driver);
    for _ in 0..5 {
        offer(&mut driver, &guest, 1);
        let batch = pop(&mut ring, &guest);
        ring.put(&batch.chains);
        ring.flush();
    }
    guest.write(driver.setup.descriptor, &[0; 16 * 8]);
    guest.write(driver.setup.device, &[0; 4]);
    let setup = driver.setup.clone();
    let mut driver = guest.packed(1, Role::Transmit, 8);
    driver.setup = setup;
    offer(&mut driver, &guest, 2);
    assert_eq!(pop(&mut next_process(&guest, &driver), &guest).chains.len(), 1);
}

#[test]
fn a_record_of_places_that_are_not_there_is_a_fault_or_nothing() {
    let guest = Guest::new();
    let (mut driver, place) = recorded(&guest, 8);
    offer(&mut driver, &guest, 1);
    let mut ring = next_process(&guest, &driver);
    let batch = pop(&mut ring, &guest);
    ring.put(&batch.chains);
    ring.flush();
    for (old, new) in [(9, 1), (1, 9), (8, 8)] {
        record(&place).u64(16).store(under_way(old, new, 1), Relaxed);
        assert!(Ring::new(&driver.setup, &guest.table).is_err());
    }
    offer(&mut driver, &guest, 1);
    let open = Record::open(&place, 1, 8).unwrap();
    open.note(0, 0xffff, u64::MAX);
    record(&place).u64(16).store(under_way(BEGINNING | 1, BEGINNING | 2, 0xffff), Relaxed);
    assert!(Ring::new(&driver.setup, &guest.table).is_ok());
}
