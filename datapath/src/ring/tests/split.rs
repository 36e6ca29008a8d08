//! The split virtqueue against a driver that keeps the rules, and one that does not (virtio 1.3 §2.7).

use super::super::Ring;
use super::super::testing::{BASE, Driver, Guest, INDIRECT, MEMORY, NEXT, NO_INTERRUPT, NO_NOTIFY, WRITE, chain};
use super::super::{BATCH, Batch, Breach, Fault};
use crate::memory::{Refusal, Source};
use crate::worker::orders::Role;

fn transmit(guest: &Guest, size: u32) -> Driver {
    guest.queue(1, Role::Transmit, size)
}

fn ring(guest: &Guest, driver: &Driver) -> Ring {
    Ring::new(&driver.setup, &guest.table).unwrap()
}

fn pop<'m>(ring: &mut Ring, guest: &'m Guest) -> (Batch<Source<'m>>, Result<(), Fault>) {
    let mut batch = Batch::default();
    let outcome = ring.pop(&guest.table, BATCH, &mut batch);
    (batch, outcome)
}

/// The breach that one chain with this head comes to.
fn breach(guest: &Guest, driver: &mut Driver, head: u16) -> Breach {
    let mut ring = ring(guest, driver);
    driver.offer(head);
    let (batch, outcome) = pop(&mut ring, guest);
    assert!(batch.chains.is_empty());
    outcome.unwrap_err().breach
}

#[test]
fn chains_come_in_order_and_no_more_than_a_batch_at_a_time() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 128);
    let mut ring = ring(&guest, &driver);
    for head in (0..BATCH as u16 + 8).rev() {
        driver.describe(head, guest.buffer(u64::from(head)), 60 + u32::from(head), 0, 0);
        driver.offer(head);
    }
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!(
        batch.chains.iter().map(|chain| chain.id).collect::<Vec<_>>(),
        (8..BATCH as u16 + 8).rev().collect::<Vec<_>>()
    );
    assert_eq!(batch.chains[0].len, 60 + BATCH + 7);
    assert_eq!(pop(&mut ring, &guest).0.chains.len(), 8);
    assert_eq!(pop(&mut ring, &guest).0.chains.len(), 0);
}

#[test]
fn indices_wrap_around_at_65536() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 4);
    driver.describe(2, guest.buffer(0), 60, 0, 0);
    driver.setup.position = 65534;
    (driver.offered, driver.collected) = (65534, 65534);
    driver.set_available(65534);
    let mut ring = ring(&guest, &driver);
    for _ in 0..4 {
        driver.offer(2);
        let (batch, outcome) = pop(&mut ring, &guest);
        outcome.unwrap();
        ring.put(&batch.chains);
        ring.flush();
        assert_eq!(driver.collect(), [(2, 0)]);
    }
    assert_eq!(driver.used_index(), 2);
}

#[test]
fn what_is_rewound_comes_again() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    for head in 0..3 {
        driver.describe(head, guest.buffer(0), 60, 0, 0);
        driver.offer(head);
    }
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    ring.rewind(&batch.chains[1..]);
    assert_eq!(pop(&mut ring, &guest).0.chains.iter().map(|chain| chain.id).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn used_entries_are_shown_all_at_once() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    for head in 0..3 {
        driver.describe(head, guest.buffer(0), 60, 0, 0);
        driver.offer(head);
    }
    pop(&mut ring, &guest).1.unwrap();
    ring.put(&[chain(0, 0), chain(1, 7)]);
    assert_eq!(driver.used_index(), 0);
    assert_eq!(ring.flush(), (2, true));
    assert_eq!(driver.collect(), [(0, 0), (1, 7)]);
    assert_eq!(ring.flush(), (0, false), "nothing new");
}

#[test]
fn two_rings_that_are_shown_together_each_follow_their_own_driver() {
    let guests = [Guest::new(), Guest::new()];
    let drivers = guests.each_ref().map(|guest| transmit(guest, 8));
    let [mut from, mut to] = [0, 1].map(|number| ring(&guests[number], &drivers[number]));
    assert_eq!(from.flush_both(&mut to), [(0, false); 2], "nothing is put");
    drivers[1].set_flags(NO_INTERRUPT);
    from.put(&[chain(0, 0), chain(1, 0)]);
    to.put(&[chain(0, 60)]);
    assert_eq!(from.flush_both(&mut to), [(2, true), (1, false)]);
    assert_eq!([0, 1].map(|number| drivers[number].used_index()), [2, 1]);
    to.put(&[chain(1, 60)]);
    drivers[1].set_flags(0);
    assert_eq!(from.flush_both(&mut to), [(0, false), (1, true)]);
}

#[test]
fn the_no_interrupt_flag_is_honoured() {
    let guest = Guest::new();
    let driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    driver.set_flags(NO_INTERRUPT);
    ring.put(&[chain(0, 0)]);
    assert_eq!(ring.flush(), (1, false));
    driver.set_flags(0);
    ring.put(&[chain(0, 0)]);
    assert_eq!(ring.flush(), (1, true));
}

#[test]
fn with_the_event_index_the_interrupt_comes_when_the_event_is_passed() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.setup.event_index = true;
    let mut ring = ring(&guest, &driver);
    driver.set_flags(NO_INTERRUPT);
    let mut flush = |event: u16, entries: u16| {
        driver.set_used_event(event);
        (0..entries).for_each(|_| ring.put(&[chain(0, 0)]));
        ring.flush().1
    };
    assert!(flush(0, 1), "the flag means nothing with the event index");
    assert!(!flush(3, 2), "index 3 is used next: entry 3 is not there yet");
    assert!(flush(3, 1));
    assert!(!flush(3, 4), "long past");
    assert!(flush(9, 4), "in the middle of a batch");
    assert!(!flush(11, 0), "nothing new");
}

#[test]
fn doorbells_are_suppressed_by_the_flag_without_the_event_index() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    ring.suppress();
    assert_eq!(driver.used_flags(), NO_NOTIFY);
    assert!(!ring.arm());
    assert_eq!(driver.used_flags(), 0);
    driver.describe(0, guest.buffer(0), 60, 0, 0);
    driver.offer(0);
    assert!(ring.arm(), "it came while the doorbell was suppressed");
}

#[test]
fn doorbells_are_asked_for_by_the_event_with_the_event_index() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.setup.event_index = true;
    let mut ring = ring(&guest, &driver);
    driver.describe(0, guest.buffer(0), 60, 0, 0);
    driver.offer(0);
    driver.offer(0);
    pop(&mut ring, &guest).1.unwrap();
    ring.suppress();
    assert_eq!(driver.available_event(), 0, "left behind");
    assert!(!ring.arm());
    assert_eq!((driver.available_event(), driver.used_flags()), (2, 0));
}

#[test]
fn a_chain_is_the_sum_of_its_descriptors_of_one_direction() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    driver.describe(5, guest.buffer(0), 12, NEXT, 2);
    driver.describe(2, guest.buffer(1), 100, NEXT, 7);
    driver.describe(7, guest.buffer(2), 50, WRITE, 0);
    driver.offer(5);
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!((batch.chains[0].id, batch.chains[0].len), (5, 112));
    assert_eq!(batch.pieces(&batch.chains[0]).len(), 2);
}

#[test]
fn an_indirect_table_is_followed() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 4);
    driver.setup.indirect = true;
    let mut ring = ring(&guest, &driver);
    let table = guest.buffer(9) + 8;
    driver.describe_indirect(table, &[(guest.buffer(0), 12, NEXT, 2), (0, 0, 0, 0), (guest.buffer(1), 60, 0, 0)]);
    driver.describe(1, table, 48, INDIRECT | WRITE, 0);
    driver.offer(1);
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!((batch.chains[0].id, batch.chains[0].len), (1, 72));
}

#[test]
fn an_indirect_table_may_end_a_chain() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 4);
    driver.setup.indirect = true;
    let mut ring = ring(&guest, &driver);
    driver.describe_indirect(guest.buffer(9), &[(guest.buffer(1), 60, 0, 0)]);
    driver.describe(0, guest.buffer(0), 12, NEXT, 3);
    driver.describe(3, guest.buffer(9), 16, INDIRECT, 0);
    driver.offer(0);
    assert_eq!(pop(&mut ring, &guest).0.chains[0].len, 72);
}

#[test]
fn an_indirect_descriptor_needs_the_feature_and_a_sound_table() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 4);
    driver.describe(0, guest.buffer(9), 16, INDIRECT, 0);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::IndirectNotNegotiated);
    driver.setup.indirect = true;
    for (len, flags, expected) in [
        (17, INDIRECT, Breach::IndirectLength(17)),
        (0, INDIRECT, Breach::IndirectLength(0)),
        (16, INDIRECT | NEXT, Breach::IndirectWithNext),
    ] {
        let mut driver = redo(&guest, &driver);
        driver.describe(0, guest.buffer(9), len, flags, 0);
        assert_eq!(breach(&guest, &mut driver, 0), expected);
    }
    for (entry, expected) in [
        ((guest.buffer(1), 16, INDIRECT, 0), Breach::IndirectNested),
        ((guest.buffer(1), 16, NEXT, 1), Breach::NextOutside { next: 1, size: 1 }),
        ((guest.buffer(1), 16, NEXT, 0), Breach::TooLong { most: 1 }),
    ] {
        let mut driver = redo(&guest, &driver);
        driver.describe_indirect(guest.buffer(9), &[entry]);
        driver.describe(0, guest.buffer(9), 16, INDIRECT, 0);
        assert_eq!(breach(&guest, &mut driver, 0), expected);
    }
}

/// The same queue, set up again.
fn redo(guest: &Guest, driver: &Driver) -> Driver {
    let mut again = transmit(guest, driver.setup.size);
    again.setup = driver.setup.clone();
    again.set_available(0);
    again
}

#[test]
fn a_loop_of_descriptors_is_a_fault() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.describe(0, guest.buffer(0), 12, NEXT, 1);
    driver.describe(1, guest.buffer(0), 12, NEXT, 0);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::TooLong { most: 8 });
}

#[test]
fn a_chain_as_long_as_the_queue_is_no_fault() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    (0..8).for_each(|n| driver.describe(n, guest.buffer(0), 10, if n < 7 { NEXT } else { 0 }, n + 1));
    driver.offer(0);
    assert_eq!(pop(&mut ring, &guest).0.chains[0].len, 80);
}

#[test]
fn a_chain_of_more_than_1024_descriptors_is_a_fault_in_any_queue() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 2048);
    (0..1025).for_each(|n| driver.describe(n, guest.buffer(0), 10, NEXT, n + 1));
    driver.describe(1024, guest.buffer(0), 10, 0, 0);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::TooLong { most: 1024 });
    let mut driver = redo(&guest, &driver);
    let mut ring = ring(&guest, &driver);
    driver.offer(1);
    assert_eq!(pop(&mut ring, &guest).0.chains[0].len, 10240);
}

#[test]
fn numbers_beyond_the_queue_are_faults() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    assert_eq!(breach(&guest, &mut driver, 8), Breach::HeadOutside { size: 8 });
    let mut driver = redo(&guest, &driver);
    assert_eq!(breach(&guest, &mut driver, 65535), Breach::HeadOutside { size: 8 });
    let mut driver = redo(&guest, &driver);
    driver.describe(0, guest.buffer(0), 12, NEXT, 8);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::NextOutside { next: 8, size: 8 });
}

#[test]
fn an_available_index_that_jumps_is_a_fault() {
    let guest = Guest::new();
    let driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    driver.set_available(9);
    let fault = pop(&mut ring, &guest).1.unwrap_err();
    assert_eq!(fault.to_string(), "queue 1: the available index went from 0 to 9, further than the queue's size 8");
    driver.set_available(65535);
    assert!(pop(&mut ring, &guest).1.is_err(), "backwards");
}

#[test]
fn an_empty_buffer_is_a_fault() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.describe(0, guest.buffer(0), 0, 0, 0);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::Empty);
}

#[test]
fn a_readable_buffer_after_a_writable_one_is_a_fault() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.describe(0, guest.buffer(0), 60, WRITE | NEXT, 1);
    driver.describe(1, guest.buffer(0), 60, 0, 0);
    assert_eq!(breach(&guest, &mut driver, 0), Breach::ReadableAfterWritable);
}

#[test]
fn a_buffer_outside_memory_is_a_fault_that_names_it() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let end = BASE + MEMORY;
    driver.describe(3, end - 10, 11, 0, 0);
    let mut ring = ring(&guest, &driver);
    driver.offer(3);
    let fault = pop(&mut ring, &guest).1.unwrap_err();
    assert_eq!(fault, Breach::Address(Refusal::Outside { iova: end, len: 1 }).at(1, 3));
    assert_eq!(fault.to_string(), "queue 1, descriptor 3: 0x11000000 + 0x1 is outside the guest's memory");
}

#[test]
fn chains_before_a_fault_are_not_lost() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.describe(0, guest.buffer(0), 60, 0, 0);
    driver.describe(1, 0, 60, 0, 0);
    let mut ring = ring(&guest, &driver);
    [0, 0, 1, 0].into_iter().for_each(|head| driver.offer(head));
    let (batch, outcome) = pop(&mut ring, &guest);
    assert!(outcome.is_err());
    assert_eq!(batch.chains.len(), 2);
}

#[test]
fn a_ring_in_a_wrong_place_is_a_fault_at_once() {
    let guest = Guest::new();
    let good = transmit(&guest, 8).setup;
    let refusal = |change: fn(&mut crate::worker::orders::QueueSetup)| {
        let mut setup = good.clone();
        change(&mut setup);
        Ring::new(&setup, &guest.table).err().expect("refused").breach
    };
    assert!(matches!(refusal(|setup| setup.descriptor = 0), Breach::Area("descriptor table", Refusal::Outside { .. })));
    assert!(matches!(refusal(|setup| setup.descriptor += 8), Breach::Area(_, Refusal::Misaligned { .. })));
    assert!(matches!(refusal(|setup| setup.driver += 1), Breach::Area("available ring", Refusal::Misaligned { .. })));
    assert!(matches!(refusal(|setup| setup.device += 2), Breach::Area("used ring", Refusal::Misaligned { .. })));
    assert!(matches!(refusal(|setup| setup.device = BASE + MEMORY - 4), Breach::Area(_, Refusal::Divided { .. })));
    for size in [0, 3, 65536] {
        let setup = crate::worker::orders::QueueSetup { size, ..good.clone() };
        assert_eq!(
            Ring::new(&setup, &guest.table).err().map(|fault| fault.breach),
            Some(Breach::Size { size, packed: false })
        );
    }
}
