//! Every frame not delivered has one named cause.

use super::*;
use crate::offload::Offloads;
use crate::ring::testing::NEXT;

const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 9];

/// What becomes of one frame from guest 0, at guests 0 and 1, of which guest 1 has buffers.
fn losses(setting: impl Fn(&mut Rig, &mut Port, &mut Port), sent: &[u8]) -> [Vec<(Counter, u64)>; 2] {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    b.send(&frame(mac(0), mac(1), 60));
    rig.kick(&b);
    let before = [rig.losses(0), rig.losses(1)];
    assert_eq!(before, [vec![(Counter::DropNoBuffer, 1)], vec![]]);
    b.post(4);
    setting(&mut rig, &mut a, &mut b);
    a.send(sent);
    rig.kick(&a);
    let mut after = [rig.losses(0), rig.losses(1)];
    after[0].remove(0);
    after
}

fn set(change: impl Fn(&mut Filter)) -> impl Fn(&mut Rig, &mut Port, &mut Port) {
    move |rig, _, _| {
        let mut filter = filter(1);
        change(&mut filter);
        rig.engine.obey(Order::SetFilter { function: 1, filter });
    }
}

fn none(_: &mut Rig, _: &mut Port, _: &mut Port) {}

fn tagged(to: [u8; 6], vlan: u16) -> Vec<u8> {
    let mut bytes = frame(to, mac(0), 64);
    bytes[12..14].copy_from_slice(&[0x81, 0x00]);
    bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
    bytes
}

const FILTERED: Counter = Counter::DropFiltered;

#[test]
fn filters_are_those_of_the_control_queue() {
    let own = frame(mac(1), mac(0), 60);
    let group = frame(GROUP, mac(0), 60);
    let all = frame(BROADCAST, mac(0), 60);
    let lost = |change: fn(&mut Filter), sent: &[u8]| losses(set(change), sent)[1].clone();
    assert_eq!(lost(|_| (), &own), []);
    assert_eq!(lost(|_| (), &all), []);
    assert_eq!(lost(|_| (), &group), [(FILTERED, 1)]);
    assert_eq!(lost(|filter| filter.all_multicast = true, &group), []);
    assert_eq!(lost(|filter| filter.addresses.push(GROUP), &group), []);
    assert_eq!(lost(|filter| (filter.addresses.push(GROUP), filter.no_multicast = true).1, &group), [(FILTERED, 1)]);
    assert_eq!(lost(|filter| filter.no_multicast = true, &all), []);
    assert_eq!(lost(|filter| filter.no_broadcast = true, &all), [(FILTERED, 1)]);
    assert_eq!(lost(|filter| filter.no_unicast = true, &own), [(FILTERED, 1)]);
    assert_eq!(lost(|filter| filter.addresses = vec![[2; 6]], &own), [(FILTERED, 1)]);
    assert_eq!(lost(|filter| filter.addresses = vec![[2; 6], mac(1)], &own), []);
    assert_eq!(lost(|filter| (filter.addresses.clear(), filter.all_unicast = true).1, &own), []);
    assert_eq!(lost(|filter| (filter.promiscuous = true, filter.no_broadcast = true).1, &all), []);
}

#[test]
fn vlans_not_in_the_table_are_refused() {
    let mut table = [0; 512];
    table[100 / 8] = 1 << (100 % 8);
    let lost = |sent: &[u8]| losses(set(|filter| filter.vlans = Some(Box::new(table))), sent)[1].clone();
    assert_eq!(lost(&tagged(mac(1), 100)), []);
    assert_eq!(lost(&tagged(mac(1), 0xe000 | 100)), [], "priority bits are no part of the number");
    assert_eq!(lost(&tagged(mac(1), 101)), [(Counter::DropVlan, 1)]);
    assert_eq!(lost(&frame(mac(1), mac(0), 60)), [], "untagged");
    assert_eq!(losses(set(|_| ()), &tagged(mac(1), 101))[1], [], "not filtered at all");
}

#[test]
fn a_receiver_without_buffers_loses_the_frame_and_nobody_waits() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    b.post(1);
    (0..3).for_each(|_| a.send(&frame(BROADCAST, mac(0), 60)));
    rig.kick(&a);
    assert_eq!((b.received().len(), rig.losses(1)), (1, vec![(Counter::DropNoBuffer, 2)]));
    assert_eq!(a.transmit.collect().len(), 3);
}

#[test]
fn a_frame_longer_than_the_receiver_allows() {
    let limit = |rig: &mut Rig, _: &mut Port, _: &mut Port| {
        rig.engine.obey(Order::SetFrameLimit { function: 1, octets: 1518 });
    };
    assert_eq!(losses(limit, &frame(mac(1), mac(0), 1519)), [vec![], vec![(Counter::DropTooLong, 1)]]);
    assert_eq!(losses(limit, &frame(mac(1), mac(0), 1518)), [vec![], vec![]]);
}

#[test]
fn a_frame_longer_than_the_port_takes_does_not_reach_the_representor() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    rig.engine.obey(Order::SetFrameLimit { function: 0, octets: 1518 });
    a.send(&frame(BROADCAST, mac(0), 1519));
    a.send(&frame(BROADCAST, mac(0), 1518));
    rig.kick(&a);
    assert_eq!((a.emitted().len(), rig.losses(0)), (1, vec![(Counter::DropTooLong, 1)]));
}

#[test]
fn a_frame_shorter_than_an_ethernet_header() {
    assert_eq!(losses(none, &[2; 13]), [vec![(Counter::DropTooShort, 1)], vec![]]);
    assert_eq!(losses(none, &frame(BROADCAST, mac(0), 14)), [vec![], vec![]]);
}

#[test]
fn a_link_that_is_down_on_either_side() {
    let down = |function| {
        move |rig: &mut Rig, _: &mut Port, _: &mut Port| {
            rig.engine.obey(Order::SetLink { function, up: false });
        }
    };
    let sent = frame(mac(1), mac(0), 60);
    assert_eq!(losses(down(0), &sent), [vec![(Counter::DropLinkDown, 1)], vec![]]);
    assert_eq!(losses(down(1), &sent), [vec![], vec![(Counter::DropLinkDown, 1)]]);
}

#[test]
fn a_header_that_asks_for_an_offload_or_is_cut_short() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    b.post(8);
    let place = a.guest.buffer(0);
    for (byte, value) in [(0, 1), (1, 1), (1, 0x80)] {
        let mut bytes = [&[0; 12], &frame(BROADCAST, mac(0), 60)[..]].concat();
        bytes[byte] = value;
        a.guest.write(place, &bytes);
        a.transmit.describe(0, place, 72, 0, 0);
        a.transmit.offer(0);
        rig.kick(&a);
    }
    a.transmit.describe(0, place, 1, NEXT, 1);
    a.transmit.describe(1, place, 10, 0, 0);
    a.transmit.offer(0);
    rig.kick(&a);
    assert_eq!(rig.losses(0), [(Counter::DropBadHeader, 4)]);
    assert!(b.received().is_empty() && rig.faults().is_empty());
    assert_eq!(a.transmit.collect().len(), 4);
}

#[test]
fn a_frame_that_nobody_takes() {
    let unknown = frame([2, 9, 9, 9, 9, 9], mac(0), 60);
    assert_eq!(losses(none, &unknown), [vec![(Counter::DropNoReceiver, 1)], vec![]]);
    let own = frame(mac(0), mac(0), 60);
    assert_eq!(losses(none, &own), [vec![(Counter::DropNoReceiver, 1)], vec![]]);
}

#[test]
fn a_guest_whose_driver_left_is_not_on_the_fabric() {
    let gone =
        |rig: &mut Rig, _: &mut Port, _: &mut Port| rig.engine.obey(Order::StopAll { function: 1, done: done() });
    for to in [mac(1), BROADCAST] {
        assert_eq!(losses(gone, &frame(to, mac(0), 60)), [vec![(Counter::DropNoReceiver, 1)], vec![]]);
    }
}

#[test]
fn a_representor_that_is_full_or_gone() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    for _ in 0..20 {
        (0..32).for_each(|_| a.send(&frame(BROADCAST, mac(0), 1500)));
        rig.kick(&a);
    }
    let busy = rig.count(0, Counter::DropRepresentorBusy);
    assert!(busy > 0);
    assert_eq!(a.emitted().len() as u64 + busy, 640);
    a.wire = None;
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(rig.count(0, Counter::DropRepresentorDown), 1);
    assert_eq!(a.transmit.collect().len(), 641);
}

/// A TCP frame that is still to be cut: 54 bytes of headers, then `payload`.
fn to_be_cut(payload: usize) -> Vec<u8> {
    let mut bytes = [&BROADCAST[..], &mac(0), &[8, 0, 0x45, 0]].concat();
    bytes.extend((40 + payload as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 9]);
    bytes.extend([0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.resize(54 + payload, 7);
    bytes
}

#[test]
fn a_frame_that_is_rewritten_before_it_is_cut_is_one_with_a_bad_header() {
    let mut rig = Rig::new();
    let (mut a, mut accomplice, mut victim) = (rig.port(0, false), rig.idle_port(1, false), rig.port(2, false));
    // The accomplice shares the sender's memory: its buffer lies over the sender's frame, and is filled first.
    rig.engine.obey(Order::SetMemory { function: 1, table: a.guest.table.clone(), done: done() });
    accomplice.receive = a.guest.queue(2, Role::Receive, RING);
    accomplice.receive.setup.queue = 0;
    rig.start(1, &accomplice.receive.setup);
    for (function, features) in [(0, 1 | 1 << 11), (1, 1 << 1 | 1 << 7)] {
        rig.engine.obey(Order::SetOffloads { function, offloads: Offloads(features) });
    }
    let (place, sent) = (a.guest.buffer(0), to_be_cut(3000));
    let header = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
    a.guest.write(place, &[&header[..], &sent].concat());
    a.transmit.describe(0, place, 12 + sent.len() as u32, 0, 0);
    accomplice.receive.describe(0, place + 26, 4096, WRITE, 0);
    accomplice.receive.offer(0);
    victim.post(8);
    a.transmit.offer(0);
    rig.kick(&a);
    assert_eq!(accomplice.receive.collect().len(), 1);
    assert_eq!(victim.received().len(), 0);
    assert_eq!((rig.losses(0), rig.losses(1)), (vec![], vec![]));
    assert_eq!(rig.losses(2), [(Counter::DropBadHeader, 1)]);
}

/// Frames of guest 0's transmit queue that were taken, and that reached nobody, with their octets.
fn unsent(rig: &Rig) -> (u64, u64, u64) {
    let count = |counter| rig.queue_count(0, 1, counter);
    (count(Queue::Frames), count(Queue::UnsentFrames), count(Queue::UnsentOctets))
}

#[test]
fn a_frame_that_reaches_nobody_is_counted_at_its_queue() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, false);
    a.send(&frame(BROADCAST, mac(0), 60));
    a.send(&frame(mac(9), mac(0), 70));
    rig.kick(&a);
    assert_eq!((unsent(&rig), rig.losses(0)), ((2, 2, 130), vec![(Counter::DropNoReceiver, 2)]));
    rig.engine.obey(Order::SetLink { function: 0, up: false });
    a.send(&frame(BROADCAST, mac(0), 80));
    rig.kick(&a);
    assert_eq!(unsent(&rig), (3, 3, 210));
}

#[test]
fn a_frame_that_one_of_many_takes_is_sent() {
    let mut rig = Rig::new();
    let (mut a, _b) = (rig.port(0, true), rig.port(1, false));
    rig.engine.obey(Order::SetFrameLimit { function: 0, octets: 1518 });
    a.send(&frame(BROADCAST, mac(0), 1600));
    rig.kick(&a);
    assert_eq!(
        unsent(&rig),
        (1, 0, 0),
        "the representor did not take it, guest 1 had no buffer, but it was offered one"
    );
    assert_eq!((rig.losses(0), rig.losses(1)), (vec![(Counter::DropTooLong, 1)], vec![(Counter::DropNoBuffer, 1)]));
}

#[test]
fn a_frame_that_only_the_representor_could_have_taken_is_not_sent() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    rig.engine.obey(Order::SetFrameLimit { function: 0, octets: 1518 });
    a.send(&frame(BROADCAST, mac(0), 1600));
    a.send(&frame(BROADCAST, mac(0), 100));
    rig.kick(&a);
    assert_eq!(unsent(&rig), (2, 1, 1600));
}

#[test]
fn a_queue_that_loses_a_frame_counts_it_beside_its_port() {
    let mut rig = Rig::new();
    let (mut a, _b) = (rig.port(0, false), rig.port(1, false));
    a.send(&frame(BROADCAST, mac(0), 60));
    a.send(&[2; 13]);
    rig.kick(&a);
    assert_eq!(rig.queue_count(1, 0, Queue::DropNoBuffer), 1);
    assert_eq!((rig.queue_count(0, 1, Queue::DropTooShort), unsent(&rig)), (1, (1, 0, 0)));
}
