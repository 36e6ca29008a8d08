//! The short way from ring to ring, between either layouts.

use super::super::lane::Ahead;
use super::super::testing::{Driver, Guest, NEXT, PackedDriver, WRITE};
use super::super::{BATCH, Batch, Receive, Transmit};
use crate::memory::Source;
use crate::worker::orders::{QueueSetup, Role};

const RING: u16 = 16;

/// A driver of either layout, whose buffers have one descriptor each.
enum Side {
    Split(Driver),
    Packed(PackedDriver),
}

impl Side {
    fn new(guest: &Guest, role: Role, packed: bool) -> Side {
        if packed {
            Side::Packed(guest.packed(0, role, RING.into()))
        } else {
            Side::Split(guest.queue(0, role, RING.into()))
        }
    }

    fn setup(&mut self) -> &mut QueueSetup {
        match self {
            Side::Split(driver) => &mut driver.setup,
            Side::Packed(driver) => &mut driver.setup,
        }
    }

    /// What the buffer will be known by.
    fn next(&self) -> u16 {
        match self {
            Side::Split(driver) => driver.offered % RING,
            Side::Packed(driver) => driver.next.0,
        }
    }

    fn offer(&mut self, iova: u64, len: u32, flags: u16) {
        let id = self.next();
        match self {
            Side::Split(driver) => {
                driver.describe(id, iova, len, flags, 0);
                driver.offer(id);
            }
            Side::Packed(driver) => _ = driver.offer(&[(iova, len, flags)]),
        }
    }

    fn collect(&mut self) -> Vec<(u16, u32)> {
        match self {
            Side::Split(driver) => driver.collect(),
            Side::Packed(driver) => driver.collect(),
        }
    }
}

/// Two guests, a queue of each, and what their drivers know.
struct Pair {
    guests: [Guest; 2],
    sides: [Side; 2],
    transmit: Transmit,
    receive: Receive,
    ahead: Ahead,
}

impl Pair {
    fn new(packed: [bool; 2], in_order: bool) -> Pair {
        let guests = [Guest::new(), Guest::new()];
        let mut sides =
            [Side::new(&guests[0], Role::Transmit, packed[0]), Side::new(&guests[1], Role::Receive, packed[1])];
        sides.iter_mut().for_each(|side| side.setup().in_order = in_order);
        let transmit = Transmit::new(sides[0].setup(), &guests[0].table).unwrap();
        let receive = Receive::new(sides[1].setup(), &guests[1].table).unwrap();
        Pair { guests, sides, transmit, receive, ahead: Ahead::default() }
    }

    fn all() -> impl Iterator<Item = Pair> {
        [[false, false], [false, true], [true, false], [true, true]].into_iter().map(|packed| Pair::new(packed, false))
    }

    /// Frame `number`, whose bytes all are that number.
    fn send(&mut self, number: u8, header: u8, octets: usize) {
        let (guest, side) = (&self.guests[0], &mut self.sides[0]);
        let place = guest.buffer(side.next().into());
        guest.write(place, &[&[header; 12][..], &vec![number; octets]].concat());
        side.offer(place, 12 + octets as u32, 0);
    }

    fn post(&mut self, len: u32) {
        let place = self.guests[1].buffer(self.sides[1].next().into());
        self.sides[1].offer(place, len, WRITE);
    }

    /// Moves frames whose bytes are not `but`: the lengths of those moved, and whether others are left.
    fn run(&mut self, but: u8) -> (Vec<usize>, bool) {
        let mut moved = Vec::new();
        let mut from = self.transmit.lane(&self.guests[0].table, BATCH).unwrap();
        let mut to = self.receive.lane(&self.guests[1].table, BATCH).unwrap();
        let alike = |payload: super::super::Payload<'_, '_>| {
            let mut first = [0];
            payload.read(&mut first);
            first[0] != but
        };
        let left = from.run(&mut to, &mut self.ahead, alike, |octets| moved.push(octets));
        assert_eq!(self.receive.flush_lane(), moved.len());
        self.transmit.flush();
        (moved, left)
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        let used = self.sides[1].collect();
        used.iter().map(|(id, len)| self.guests[1].read(self.guests[1].buffer((*id).into()), *len as usize)).collect()
    }
}

impl Receive {
    fn flush_lane(&mut self) -> usize {
        self.ring.flush().0.into()
    }
}

fn delivered(number: u8, octets: usize) -> Vec<u8> {
    [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &vec![number; octets]].concat()
}

#[test]
fn frames_and_buffers_keep_their_order_round_and_round_the_rings() {
    for mut pair in Pair::all() {
        for round in 0..40 {
            let octets: Vec<usize> = (0..1 + round % 16).map(|n| 1 + (round * 211 + n * 97) % 1500).collect();
            for (number, octets) in octets.iter().enumerate() {
                pair.post(1600);
                pair.send(number as u8, 0, *octets);
            }
            let first = pair.sides[0].next().wrapping_sub(octets.len() as u16) % RING;
            assert_eq!(pair.run(0xff), (octets.clone(), false));
            let expected: Vec<_> = (0..).zip(&octets).map(|(number, octets)| delivered(number, *octets)).collect();
            assert_eq!(pair.received(), expected);
            let sent: Vec<_> = (0..octets.len() as u16).map(|n| ((first + n) % RING, 0)).collect();
            assert_eq!(pair.sides[0].collect(), sent);
        }
    }
}

#[test]
fn the_first_that_is_not_plain_is_left_with_all_after_it() {
    for mut pair in Pair::all() {
        for round in 0..20 {
            (0..9).for_each(|_| pair.post(1600));
            (0..9).for_each(|number| pair.send(number, u8::from(number == round % 9), 100));
            let plain = usize::from(round % 9);
            assert_eq!(pair.run(0xff), (vec![100; plain], true));
            let mut rest = Batch::<Source>::default();
            pair.transmit.pop(&pair.guests[0].table, BATCH, &mut rest).unwrap();
            assert_eq!(rest.chains.len(), 9 - plain);
            pair.transmit.put(&rest);
            pair.transmit.flush();
            assert_eq!(pair.sides[0].collect().len(), 9);
            assert_eq!(pair.received().len(), plain);
            // The buffers that were not filled take the next frames.
            (0..9 - plain).for_each(|_| pair.send(7, 0, 100));
            assert_eq!(pair.run(0xff), (vec![100; 9 - plain], false));
            assert_eq!(pair.received(), vec![delivered(7, 100); 9 - plain]);
            pair.sides[0].collect();
        }
    }
}

#[test]
fn a_frame_that_differs_or_finds_no_buffer_or_too_small_a_one_is_left() {
    for mut pair in Pair::all() {
        (0..5).for_each(|number| pair.send(number, 0, 100));
        pair.post(1600);
        pair.post(111);
        pair.post(1600);
        assert_eq!(pair.run(0xff), (vec![100], true), "the second buffer is too small");
        assert_eq!(pair.run(1), (vec![], true), "the next frame differs");
        assert_eq!(pair.received(), [delivered(0, 100)]);
    }
    for mut pair in Pair::all() {
        (0..5).for_each(|number| pair.send(number, 0, 100));
        (0..2).for_each(|_| pair.post(112));
        assert_eq!(pair.run(0xff), (vec![100; 2], true), "there are two buffers");
        assert_eq!(pair.received(), [delivered(0, 100), delivered(1, 100)]);
    }
}

#[test]
fn a_buffer_in_pieces_outside_memory_or_of_the_wrong_direction_is_not_passed() {
    for bad in [(0, 1600, WRITE | NEXT), (u64::MAX - 100, 1600, WRITE), (0, 1600, 0), (0, 0, WRITE)] {
        for mut pair in Pair::all() {
            (0..2).for_each(|number| pair.send(number, 0, 100));
            pair.post(1600);
            let place = if bad.0 == 0 { pair.guests[1].buffer(1) } else { bad.0 };
            match &mut pair.sides[1] {
                Side::Split(driver) => {
                    driver.describe(1, place, bad.1, bad.2, 2);
                    driver.offer(1);
                }
                Side::Packed(driver) => {
                    let (index, available) = (driver.next.0, 1 << 7);
                    driver.describe(index, (place, bad.1, 1, bad.2 | available));
                }
            }
            assert_eq!(pair.run(0xff), (vec![100], true), "{bad:?}");
        }
    }
}

#[test]
fn in_order_the_last_entry_of_a_run_speaks_for_all_that_were_read() {
    for packed in [false, true] {
        let mut pair = Pair::new([packed, packed], true);
        (0..5).for_each(|_| pair.post(1600));
        (0..5).for_each(|number| pair.send(number, 0, 60));
        assert_eq!(pair.run(0xff).0.len(), 5);
        assert_eq!(pair.sides[0].collect()[0], (4, 0), "the last one, where the first would be");
        assert_eq!(pair.received().len(), 5, "those that were written to have an entry each");
    }
}
