//! VIRTIO_F_IN_ORDER: one used entry for chains that were only read, each its own for those that were written to.

use super::super::testing::{Guest, chain};
use super::super::{BATCH, Batch, Ring};
use crate::memory::Source;
use crate::worker::orders::Role;

#[test]
fn one_entry_of_a_split_ring_speaks_for_a_batch() {
    let guest = Guest::new();
    let mut driver = guest.queue(1, Role::Transmit, 8);
    driver.setup.in_order = true;
    let mut ring = Ring::new(&driver.setup, &guest.table).unwrap();
    driver.write_used(1, (99, 99));
    for head in 0..5 {
        driver.describe(head, guest.buffer(0), 60, 0, 0);
        driver.offer(head);
    }
    let mut batch = Batch::<Source>::default();
    ring.pop(&guest.table, BATCH, &mut batch).unwrap();
    ring.put_read(&batch.chains);
    assert_eq!(ring.flush(), (5, true));
    assert_eq!(driver.used_index(), 5);
    let entries = driver.collect();
    assert_eq!(entries[0], (4, 0), "the last head, where the first would be");
    assert_eq!(entries[1], (99, 99), "skipped");
    assert_eq!(ring.position(), 5);
}

#[test]
fn one_descriptor_of_a_packed_ring_speaks_for_a_batch() {
    let guest = Guest::new();
    let mut driver = guest.packed(1, Role::Transmit, 7);
    driver.setup.in_order = true;
    let mut ring = Ring::new(&driver.setup, &guest.table).unwrap();
    for _ in 0..9 {
        driver.offer(&[(guest.buffer(0), 60, 0), (guest.buffer(1), 60, 0)]);
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        let last = driver.offer(&[(guest.buffer(0), 60, 0), (guest.buffer(1), 60, 0)]);
        let mut batch = Batch::<Source>::default();
        ring.pop(&guest.table, BATCH, &mut batch).unwrap();
        ring.put_read(&batch.chains);
        assert_eq!(ring.flush(), (3, true));
        // Chains of 2, 1 and 2: the driver has gone on by the 2 of the last, which it saw, and skips the others.
        assert_eq!(driver.collect(), [(last, 0)]);
        driver.skip(3);
        let place = driver.collected;
        assert_eq!(ring.position(), place.0 | u16::from(place.1) << 15);
    }
}

#[test]
fn buffers_that_were_written_to_have_an_entry_each() {
    let guest = Guest::new();
    let mut driver = guest.queue(0, Role::Receive, 8);
    driver.setup.in_order = true;
    let mut ring = Ring::new(&driver.setup, &guest.table).unwrap();
    ring.put(&[chain(0, 72), chain(1, 1514)]);
    ring.flush();
    assert_eq!(driver.collect(), [(0, 72), (1, 1514)]);
}
