//! Guests and what is outside. The uplink is one end of a packet socket pair; real interfaces are in `port`.

use super::*;
use crate::port::{Packets, Wire};
use crate::worker::uplink::port as uplink_port;

const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// Uplink `number`; the far end of its cable.
fn uplink(rig: &mut Rig, number: u8) -> OwnedFd {
    let (near, far) = wire().unwrap();
    let counters = rig.counters.function(uplink_port(number));
    rig.engine.obey(Order::AddUplink { uplink: number, wire: Wire::Packets(Packets::new(near)), counters });
    far
}

/// A frame comes in, behind a header of ten bytes.
fn arrives(wire: &OwnedFd, frame: &[u8]) {
    rustix::io::write(wire, &[&[0; 10], frame].concat()).unwrap();
}

/// What went out, having checked the headers.
fn departed(wire: &OwnedFd) -> Vec<Vec<u8>> {
    let (mut frames, mut bytes) = (Vec::new(), vec![0; 70000]);
    while let Ok(n @ 1..) = rustix::io::read(wire, &mut bytes) {
        assert_eq!(bytes[..10], [0; 10]);
        frames.push(bytes[10..n].to_vec());
    }
    frames
}

#[test]
fn a_guest_and_someone_outside_find_each_other() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    let wire = uplink(&mut rig, 0);
    [&mut a, &mut b].into_iter().for_each(|port| port.post(8));
    let asks = frame(BROADCAST, mac(0), 60);
    a.send(&asks);
    rig.kick(&a);
    assert_eq!((departed(&wire), b.received()), (vec![asks.clone()], vec![asks]));
    let answers = frame(mac(0), OUTSIDE, 61);
    arrives(&wire, &answers);
    rig.settle();
    assert_eq!((a.received(), b.received().len()), (vec![answers], 0));
    let thanks = frame(OUTSIDE, mac(0), 62);
    a.send(&thanks);
    rig.kick(&a);
    assert_eq!((departed(&wire), b.received().len()), (vec![thanks], 0));
    let counted =
        [Counter::UplinkInFrames, Counter::UplinkInOctets, Counter::UplinkOutFrames, Counter::UplinkOutOctets];
    assert_eq!(counted.map(|counter| rig.count(uplink_port(0), counter)), [1, 61, 2, 122]);
}

#[test]
fn a_broadcast_from_outside_reaches_the_guests_of_that_uplink() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    let wires = [uplink(&mut rig, 0), uplink(&mut rig, 1)];
    rig.engine.obey(Order::Assign { function: 1, uplink: 1 });
    [&mut a, &mut b].into_iter().for_each(|port| port.post(8));
    arrives(&wires[1], &frame(BROADCAST, OUTSIDE, 60));
    rig.settle();
    assert_eq!((a.received().len(), b.received().len()), (0, 1));
    assert!(departed(&wires[0]).is_empty(), "uplinks are not bridged");
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    assert_eq!((departed(&wires[0]).len(), departed(&wires[1]).len(), a.received().len()), (0, 1, 1));
}

#[test]
fn what_was_not_for_anybody_here_is_counted() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, false);
    let wire = uplink(&mut rig, 0);
    a.post(8);
    arrives(&wire, &frame([2, 7, 7, 7, 7, 7], OUTSIDE, 60));
    arrives(&wire, &frame(OUTSIDE, OUTSIDE, 60));
    arrives(&wire, &frame(mac(0), OUTSIDE, 13 + 1)[..13]);
    rig.settle();
    assert_eq!(a.received().len(), 0);
    assert_eq!(rig.losses(uplink_port(0)), [(Counter::DropTooShort, 1), (Counter::DropNoReceiver, 2)]);
}

#[test]
fn a_guest_that_sends_from_an_address_is_not_looked_for_outside() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    let wire = uplink(&mut rig, 0);
    [&mut a, &mut b].into_iter().for_each(|port| port.post(8));
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    arrives(&wire, &frame(BROADCAST, mac(0), 60));
    rig.settle();
    b.send(&frame(mac(0), mac(1), 70));
    rig.kick(&b);
    assert!(a.received().contains(&frame(mac(0), mac(1), 70)));
}

#[test]
fn link_and_limit_of_the_interface_are_respected() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, false);
    let wire = uplink(&mut rig, 0);
    rig.engine.obey(Order::SetUplink { uplink: 0, up: true, octets: 1518 });
    a.send(&frame(BROADCAST, mac(0), 1519));
    a.send(&frame(BROADCAST, mac(0), 1518));
    rig.kick(&a);
    assert_eq!(departed(&wire).len(), 1);
    rig.engine.obey(Order::SetUplink { uplink: 0, up: false, octets: 1518 });
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(rig.losses(uplink_port(0)), [(Counter::DropLinkDown, 1), (Counter::DropTooLong, 1)]);
}

#[test]
fn an_uplink_that_is_full_or_gone() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, false);
    let wire = uplink(&mut rig, 0);
    for _ in 0..20 {
        (0..32).for_each(|_| a.send(&frame(BROADCAST, mac(0), 1500)));
        rig.kick(&a);
    }
    let busy = rig.count(uplink_port(0), Counter::DropUplinkBusy);
    assert!(busy > 0);
    assert_eq!(departed(&wire).len() as u64 + busy, 640);
    drop(wire);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(rig.count(uplink_port(0), Counter::DropUplinkDown), 1);
    assert!(rig.engine.idle());
    rig.engine.obey(Order::RemoveUplink { uplink: 0 });
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(rig.losses(0), [(Counter::DropNoReceiver, 1)]);
}

#[test]
fn guests_that_do_not_drain_lose_what_comes_from_outside_and_hold_up_nobody() {
    let mut rig = Rig::new();
    let (a, mut b) = (rig.port(0, false), rig.port(1, false));
    let wire = uplink(&mut rig, 0);
    b.post(40);
    for id in [0, 1] {
        (0..16).for_each(|_| arrives(&wire, &frame(mac(id), OUTSIDE, 60)));
    }
    rig.settle();
    assert_eq!((rig.losses(a.id), b.received().len()), (vec![(Counter::DropNoBuffer, 16)], 16));
}
