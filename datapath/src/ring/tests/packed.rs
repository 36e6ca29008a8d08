//! The packed virtqueue against a driver that keeps the rules, and one that does not (virtio 1.3 §2.8).

use super::super::Ring;
use super::super::testing::{BASE, Guest, INDIRECT, MEMORY, NEXT, PackedDriver, WRITE};
use super::super::{BATCH, Batch, Breach, Fault};
use crate::memory::{Refusal, Source};
use crate::worker::orders::{QueueSetup, Role};

const DISABLE: u16 = 1;
const AT_DESCRIPTOR: u16 = 2;
const AVAILABLE: u16 = 1 << 7;

fn transmit(guest: &Guest, size: u32) -> PackedDriver {
    guest.packed(1, Role::Transmit, size)
}

fn ring(guest: &Guest, driver: &PackedDriver) -> Ring {
    Ring::new(&driver.setup, &guest.table).unwrap()
}

fn pop<'m>(ring: &mut Ring, guest: &'m Guest) -> (Batch<Source<'m>>, Result<(), Fault>) {
    let mut batch = Batch::default();
    let outcome = ring.pop(&guest.table, BATCH, &mut batch);
    (batch, outcome)
}

fn ids(batch: &Batch<Source<'_>>) -> Vec<u16> {
    batch.chains.iter().map(|chain| chain.id).collect()
}

/// Pops what is there and gives it back at once.
fn serve(ring: &mut Ring, guest: &Guest) -> (u16, bool) {
    let (batch, outcome) = pop(ring, guest);
    outcome.unwrap();
    ring.put(&batch.chains);
    ring.flush()
}

/// The breach that a ring of four comes to whose first descriptors are these: (address, length, flags).
fn breach(guest: &Guest, setup: &QueueSetup, descriptors: &[(u64, u32, u16)]) -> Breach {
    let mut driver = transmit(guest, setup.size);
    driver.setup = setup.clone();
    for (index, (iova, len, flags)) in descriptors.iter().enumerate().rev() {
        driver.describe(index as u16, (*iova, *len, 9, flags | AVAILABLE));
    }
    let (batch, outcome) = pop(&mut ring(guest, &driver), guest);
    assert!(batch.chains.is_empty());
    outcome.unwrap_err().breach
}

#[test]
fn chains_come_in_order_and_no_more_than_a_batch_at_a_time() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 100);
    let mut ring = ring(&guest, &driver);
    (0..BATCH as u64 + 6).for_each(|n| _ = driver.offer(&[(guest.buffer(n), 60 + n as u32, 0)]));
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!(ids(&batch), (0..BATCH as u16).collect::<Vec<_>>());
    assert_eq!((batch.chains[1].len, batch.chains[1].slots), (61, 1));
    let (rest, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!(rest.chains.len(), 6);
    assert!(pop(&mut ring, &guest).0.chains.is_empty());
}

#[test]
fn rings_of_any_size_go_round_and_round() {
    for size in [1, 2, 3, 7, 64, 1000] {
        let guest = Guest::new();
        let mut driver = transmit(&guest, size);
        let mut ring = ring(&guest, &driver);
        for round in 0..2 * size + 3 {
            let ids: Vec<u16> =
                (0..1 + round % size.min(3)).map(|_| driver.offer(&[(guest.buffer(0), 60, 0)])).collect();
            assert_eq!(serve(&mut ring, &guest).0, ids.len() as u16, "size {size}");
            assert_eq!(driver.collect().iter().map(|used| used.0).collect::<Vec<_>>(), ids, "size {size}");
        }
    }
}

#[test]
fn the_largest_ring_goes_round() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 32768);
    let mut ring = ring(&guest, &driver);
    for _ in 0..32768 + 5 {
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        assert_eq!(serve(&mut ring, &guest).0, 1);
        assert_eq!(driver.collect().len(), 1);
    }
}

#[test]
fn a_chain_takes_up_as_many_places_as_it_has_descriptors() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 5);
    let mut ring = ring(&guest, &driver);
    for _ in 0..7 {
        let first = driver.offer(&[(guest.buffer(0), 12, 0), (guest.buffer(1), 100, 0), (guest.buffer(2), 9, WRITE)]);
        let second = driver.offer(&[(guest.buffer(3), 60, 0)]);
        let (batch, outcome) = pop(&mut ring, &guest);
        outcome.unwrap();
        assert_eq!(batch.chains.iter().map(|chain| (chain.len, chain.slots)).collect::<Vec<_>>(), [(112, 3), (60, 1)]);
        assert_eq!(batch.pieces(&batch.chains[0]).len(), 2);
        ring.put(&batch.chains);
        assert_eq!(ring.flush().0, 2);
        assert_eq!(driver.collect(), [(first, 0), (second, 0)]);
    }
}

#[test]
fn the_buffer_id_is_that_of_the_last_descriptor() {
    let guest = Guest::new();
    let driver = transmit(&guest, 4);
    driver.describe(1, (guest.buffer(1), 60, 0xbeef, AVAILABLE));
    driver.describe(0, (guest.buffer(0), 12, 0, NEXT | AVAILABLE));
    assert_eq!(ids(&pop(&mut ring(&guest, &driver), &guest).0), [0xbeef]);
}

#[test]
fn what_is_rewound_comes_again() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 5);
    let mut ring = ring(&guest, &driver);
    for _ in 0..3 {
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        driver.offer(&[(guest.buffer(0), 30, 0), (guest.buffer(1), 30, 0)]);
        driver.offer(&[(guest.buffer(0), 61, 0)]);
        let (batch, _) = pop(&mut ring, &guest);
        ring.rewind(&batch.chains[1..]);
        let (again, _) = pop(&mut ring, &guest);
        assert_eq!(ids(&again), ids(&batch)[1..]);
        ring.put(&batch.chains[..1]);
        ring.put(&again.chains);
        assert_eq!(ring.flush().0, 3);
        assert_eq!(driver.collect().len(), 3);
    }
}

#[test]
fn used_descriptors_are_shown_all_at_once() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    (0..3).for_each(|n| _ = driver.offer(&[(guest.buffer(n), 60, 0)]));
    let (mut batch, _) = pop(&mut ring, &guest);
    batch.chains[1].written = 7;
    ring.put(&batch.chains);
    assert_eq!(driver.collect(), []);
    assert_eq!(ring.flush(), (3, true));
    assert_eq!(driver.collect(), [(0, 0), (1, 7), (2, 0)]);
    assert_eq!(ring.flush(), (0, false), "nothing new");
}

#[test]
fn a_ring_goes_on_where_another_one_stopped() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 3);
    let mut position = driver.setup.position;
    for _ in 0..8 {
        driver.setup.position = position;
        let mut ring = ring(&guest, &driver);
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        assert_eq!(serve(&mut ring, &guest).0, 2);
        assert_eq!(driver.collect().len(), 2);
        position = ring.position();
    }
}

#[test]
fn the_drivers_flags_decide_over_the_interrupt() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    for (flags, wanted) in [(DISABLE, false), (0, true), (AT_DESCRIPTOR, true), (3, true)] {
        driver.set_events((0, true), flags);
        driver.offer(&[(guest.buffer(0), 60, 0)]);
        assert_eq!(serve(&mut ring, &guest), (1, wanted), "{flags}");
    }
}

#[test]
fn with_the_event_index_the_interrupt_comes_when_the_descriptor_is_used() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 5);
    driver.setup.event_index = true;
    let mut ring = ring(&guest, &driver);
    let mut used = |event: (u16, bool), chains: u16| {
        driver.set_events(event, AT_DESCRIPTOR);
        (0..chains).for_each(|_| _ = driver.offer(&[(guest.buffer(0), 60, 0)]));
        serve(&mut ring, &guest).1
    };
    assert!(used((0, true), 1));
    assert!(!used((3, true), 2), "descriptor 3 is next");
    assert!(used((3, true), 1));
    assert!(used((0, false), 2), "4, and 0 of the next round");
    assert!(!used((1, true), 1), "1 of the round before");
    assert!(used((2, false), 3), "in the middle of a batch");
    assert!(!used((4, false), 1), "long past");
}

#[test]
fn doorbells_are_suppressed_and_asked_for_by_flags_without_the_event_index() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    ring.suppress();
    assert_eq!(driver.device_events().1, DISABLE);
    assert!(!ring.arm());
    assert_eq!(driver.device_events().1, 0);
    driver.offer(&[(guest.buffer(0), 60, 0)]);
    assert!(ring.arm(), "it came while the doorbell was suppressed");
}

#[test]
fn doorbells_are_asked_for_by_descriptor_with_the_event_index() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 3);
    driver.setup.event_index = true;
    let mut ring = ring(&guest, &driver);
    for event in [2 | 1 << 15, 1, 1 << 15] {
        (0..2).for_each(|_| _ = driver.offer(&[(guest.buffer(0), 60, 0)]));
        serve(&mut ring, &guest);
        ring.suppress();
        assert_eq!(driver.device_events().1, DISABLE);
        assert!(!ring.arm());
        assert_eq!(driver.device_events(), (event, AT_DESCRIPTOR));
    }
}

#[test]
fn what_is_there_is_counted_by_chains_and_the_doorbell_asked_for_beyond_it() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    driver.setup.event_index = true;
    let mut ring = ring(&guest, &driver);
    driver.offer(&[(guest.buffer(0), 60, 0), (guest.buffer(0), 60, 0)]);
    driver.offer(&[(guest.buffer(0), 60, 0)]);
    assert_eq!((ring.outstanding(8), ring.outstanding(1)), (2, 1));
    assert!(!ring.arm_beyond());
    assert_eq!(driver.device_events(), (3 | 1 << 15, AT_DESCRIPTOR));
    assert_eq!(pop(&mut ring, &guest).0.chains.len(), 2);
}

#[test]
fn an_indirect_table_is_read_from_first_to_last_whatever_its_flags() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 1);
    driver.setup.indirect = true;
    let mut ring = ring(&guest, &driver);
    let table = guest.buffer(9) + 8;
    driver.describe_indirect(table, &[(guest.buffer(0), 12, INDIRECT), (guest.buffer(1), 60, NEXT)]);
    driver.offer(&[(table, 32, INDIRECT | WRITE)]);
    let (batch, outcome) = pop(&mut ring, &guest);
    outcome.unwrap();
    assert_eq!((batch.chains[0].id, batch.chains[0].len, batch.chains[0].slots), (0, 72, 1));
}

#[test]
fn an_indirect_descriptor_needs_the_feature_and_a_sound_table_and_stands_alone() {
    let guest = Guest::new();
    let mut setup = transmit(&guest, 4).setup;
    let table = guest.buffer(9);
    assert_eq!(breach(&guest, &setup, &[(table, 16, INDIRECT)]), Breach::IndirectNotNegotiated);
    setup.indirect = true;
    for (descriptors, expected) in [
        (&[(table, 17, INDIRECT)][..], Breach::IndirectLength(17)),
        (&[(table, 0, INDIRECT)], Breach::IndirectLength(0)),
        (&[(table, 16, INDIRECT | NEXT)], Breach::IndirectWithNext),
        (&[(guest.buffer(0), 12, NEXT), (table, 16, INDIRECT)], Breach::IndirectWithNext),
        (&[(table, 16 * 1025, INDIRECT)], Breach::Empty),
    ] {
        assert_eq!(breach(&guest, &setup, descriptors), expected);
    }
}

#[test]
fn a_chain_of_all_descriptors_is_no_fault_but_one_that_goes_on_is() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 4);
    let mut ring = ring(&guest, &driver);
    driver.offer(&[(guest.buffer(0), 10, 0); 4]);
    assert_eq!(pop(&mut ring, &guest).0.chains[0].len, 40);
    let endless = [(guest.buffer(0), 10, NEXT); 4];
    assert_eq!(breach(&guest, &transmit(&guest, 4).setup, &endless), Breach::TooLong { most: 4 });
}

#[test]
fn a_chain_of_more_than_1024_descriptors_is_a_fault_in_any_queue() {
    let guest = Guest::new();
    let setup = transmit(&guest, 2048).setup;
    let endless = vec![(guest.buffer(0), 10, NEXT); 2048];
    assert_eq!(breach(&guest, &setup, &endless), Breach::TooLong { most: 1024 });
}

#[test]
fn a_chain_must_be_there_wholly() {
    let guest = Guest::new();
    let driver = transmit(&guest, 4);
    driver.describe(0, (guest.buffer(0), 12, 0, NEXT | AVAILABLE));
    driver.describe(1, (guest.buffer(0), 12, 0, 0));
    let fault = pop(&mut ring(&guest, &driver), &guest).1.unwrap_err();
    assert_eq!(fault, Breach::Unfinished.at(1, 1));
}

#[test]
fn descriptors_that_were_taken_are_not_taken_again_whatever_the_driver_writes() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 2);
    let mut ring = ring(&guest, &driver);
    (0..2).for_each(|_| _ = driver.offer(&[(guest.buffer(0), 60, 0)]));
    assert_eq!(pop(&mut ring, &guest).0.chains.len(), 2);
    (0..2).for_each(|_| _ = driver.offer(&[(guest.buffer(0), 60, 0)]));
    assert!(pop(&mut ring, &guest).0.chains.is_empty());
    assert!(!ring.waiting());
}

#[test]
fn rules_of_a_chain_hold() {
    let guest = Guest::new();
    let setup = transmit(&guest, 4).setup;
    let end = BASE + MEMORY;
    for (descriptors, expected) in [
        (&[(guest.buffer(0), 0, 0)][..], Breach::Empty),
        (&[(guest.buffer(0), 60, WRITE | NEXT), (guest.buffer(0), 60, 0)], Breach::ReadableAfterWritable),
        (&[(end - 10, 11, 0)], Breach::Address(Refusal::Outside { iova: end, len: 1 })),
    ] {
        assert_eq!(breach(&guest, &setup, descriptors), expected);
    }
}

#[test]
fn chains_before_a_fault_are_not_lost() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 8);
    let mut ring = ring(&guest, &driver);
    (0..2).for_each(|_| _ = driver.offer(&[(guest.buffer(0), 60, 0)]));
    driver.offer(&[(0, 60, 0)]);
    let (batch, outcome) = pop(&mut ring, &guest);
    assert!(outcome.is_err());
    assert_eq!(batch.chains.len(), 2);
}

#[test]
fn a_ring_in_a_wrong_place_is_a_fault_at_once() {
    let guest = Guest::new();
    let good = transmit(&guest, 8).setup;
    let refusal = |change: fn(&mut QueueSetup)| {
        let mut setup = good.clone();
        change(&mut setup);
        Ring::new(&setup, &guest.table).err().expect("refused").breach
    };
    assert!(matches!(refusal(|setup| setup.descriptor += 8), Breach::Area("descriptor ring", _)));
    assert!(matches!(refusal(|setup| setup.driver += 2), Breach::Area("driver event suppression", _)));
    assert!(matches!(refusal(|setup| setup.device = BASE + MEMORY - 2), Breach::Area("device event suppression", _)));
    assert_eq!(refusal(|setup| setup.position = 8), Breach::Position { index: 8, size: 8 });
    for size in [0, 32769] {
        let setup = QueueSetup { size, ..good.clone() };
        let refused = Ring::new(&setup, &guest.table).err().map(|fault| fault.breach);
        assert_eq!(refused, Some(Breach::Size { size, packed: true }));
    }
}

#[test]
fn plain_and_divided_chains_alternate_over_the_ring_s_end() {
    let guest = Guest::new();
    let mut driver = transmit(&guest, 7);
    let mut ring = ring(&guest, &driver);
    for round in 0..20 {
        let first = driver.offer(&[(guest.buffer(0), 60, 0)]);
        let second = driver.offer(&[(guest.buffer(1), 30, 0), (guest.buffer(2), 31, 0)]);
        let third = driver.offer(&[(guest.buffer(3), 62, 0)]);
        let (batch, outcome) = pop(&mut ring, &guest);
        outcome.unwrap();
        assert_eq!(ids(&batch), [first, second, third], "round {round}");
        assert_eq!(
            batch.chains.iter().map(|chain| (chain.len, chain.slots)).collect::<Vec<_>>(),
            [(60, 1), (61, 2), (62, 1)]
        );
        ring.put(&batch.chains);
        ring.flush();
        assert_eq!(driver.collect().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [first, second, third]);
    }
}
