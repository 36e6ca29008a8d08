//! Receive-side scaling between real rings (virtio 1.3 §5.1.6.5.7), from other guests and from the representor.

use super::queues::{datagram, two_pairs};
use super::*;
use crate::worker::orders::Hash;

/// UDP over IPv4 by its addresses alone, or by its ports too.
const IPV4: u32 = 1;
const UDPV4: u32 = 4;

/// A key of ones: each bit of an input that is set turns the whole hash over.
fn parity(rig: &mut Rig, types: u32, table: [u16; 2], unclassified: u16) {
    let hash = Hash { steer: true, types, key: vec![0xff; 40], table: table.into(), unclassified };
    rig.engine.obey(Order::SetHash { function: 0, hash });
}

#[test]
fn frames_go_where_the_table_says() {
    for representor in [false, true] {
        let mut rig = Rig::new();
        let (mut a, mut receive, _) = two_pairs(&mut rig, representor);
        let mut b = rig.port(1, false);
        parity(&mut rig, UDPV4, [1, 0], 0);
        for (port, counts) in [(0, (0, 1)), (1, (1, 0)), (3, (0, 1)), (7, (1, 0))] {
            // 10.0.0.2 to 10.0.0.1: four bits of tens, two of the ends
            let bytes = datagram(mac(0), mac(1), [2, 1], [port, 0]);
            if representor {
                a.inject(&bytes);
                rig.settle();
            } else {
                b.send(&bytes);
                rig.kick(&b);
            }
            assert_eq!((a.received().len(), receive.collect().len()), counts, "port {port}");
        }
    }
}

#[test]
fn frames_without_a_hash_go_to_the_unclassified_queue() {
    for (unclassified, counts) in [(0, (2, 0)), (1, (0, 2))] {
        let mut rig = Rig::new();
        let (mut a, mut receive, _) = two_pairs(&mut rig, false);
        let mut b = rig.port(1, false);
        parity(&mut rig, 2, [0, 0], unclassified);
        b.send(&datagram(mac(0), mac(1), [2, 1], [1, 2]));
        b.send(&frame(mac(0), mac(1), 60));
        rig.kick(&b);
        assert_eq!((a.received().len(), receive.collect().len()), counts);
    }
}

#[test]
fn frames_for_a_queue_that_is_being_reset_are_lost() {
    let mut rig = Rig::new();
    let (mut a, _, _) = two_pairs(&mut rig, false);
    let mut b = rig.port(1, false);
    parity(&mut rig, UDPV4, [1, 0], 0);
    rig.engine.obey(Order::StopQueue { function: 0, queue: 2, done: done() });
    b.send(&datagram(mac(0), mac(1), [2, 1], [0, 0]));
    b.send(&datagram(mac(0), mac(1), [2, 1], [1, 0]));
    rig.kick(&b);
    assert_eq!((a.received().len(), rig.losses(0)), (1, vec![(Counter::DropNotReady, 1)]));
}

#[test]
fn scaling_does_not_need_the_first_queue() {
    let mut rig = Rig::new();
    let (_a, mut receive, _) = two_pairs(&mut rig, false);
    let mut b = rig.port(1, false);
    parity(&mut rig, IPV4, [1, 1], 1);
    rig.engine.obey(Order::StopQueue { function: 0, queue: 0, done: done() });
    b.send(&datagram(mac(0), mac(1), [2, 1], [0, 0]));
    rig.kick(&b);
    assert_eq!((receive.collect().len(), rig.losses(0)), (1, vec![]));
}

#[test]
fn automatic_steering_finds_another_queue_for_the_first_too() {
    let mut rig = Rig::new();
    let (_a, mut receive, _) = two_pairs(&mut rig, false);
    let mut b = rig.port(1, false);
    rig.engine.obey(Order::StopQueue { function: 0, queue: 0, done: done() });
    (0..8).for_each(|port| b.send(&datagram(mac(0), mac(1), [2, 1], [port, 0])));
    rig.kick(&b);
    assert_eq!((receive.collect().len(), rig.losses(0)), (8, vec![]));
}

#[test]
fn scaling_ends_with_the_driver() {
    let mut rig = Rig::new();
    let (mut a, receive, _) = two_pairs(&mut rig, false);
    let mut b = rig.port(1, false);
    parity(&mut rig, IPV4, [1, 1], 1);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    rig.start(0, &a.receive.setup.clone());
    rig.start(0, &receive.setup.clone());
    rig.engine.obey(Order::SetPairs { function: 0, pairs: 1 });
    b.send(&datagram(mac(0), mac(1), [2, 1], [0, 0]));
    rig.kick(&b);
    assert_eq!(a.received().len(), 1);
}

/// A port whose only receive queue has a header of 20 bytes, with 4 buffers; from guests, or from its representor.
fn reporting(rig: &mut Rig, representor: bool, length: u32) -> (Port, Driver) {
    let port = rig.idle_port(0, representor);
    let mut receive = port.guest.queue(0, Role::Receive, RING);
    receive.setup.header = 20;
    receive.setup.mergeable = true;
    rig.start(0, &receive.setup);
    rig.engine.obey(Order::SetHash {
        function: 0,
        hash: Hash { types: IPV4 | UDPV4, key: (0..40).collect(), ..Hash::default() },
    });
    for head in 0..8 {
        receive.describe(head, port.guest.buffer(200 + u64::from(head)), length, WRITE, 0);
        receive.offer(head);
    }
    (port, receive)
}

/// The hash of a datagram as the specification words it: a window of the key slides along the input.
fn hashed(datagram: &[u8]) -> u32 {
    let input = [&datagram[26..34], &datagram[34..38]].concat();
    let key: Vec<u8> = (0..40).collect();
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    let window = |at: usize| (at..at + 32).fold(0, |value: u32, n| value << 1 | u32::from(bit(&key, n)));
    (0..96).filter(|n| bit(&input, *n) != 0).fold(0, |sum, n| sum ^ window(n))
}

#[test]
fn hashes_are_reported_in_the_header() {
    for representor in [false, true] {
        for (length, buffers) in [(LENGTH, 1), (60, 2)] {
            let mut rig = Rig::new();
            let (a, mut receive) = reporting(&mut rig, representor, length);
            let mut b = rig.port(1, false);
            let other = [&frame(mac(0), mac(1), 14)[..], &[7; 66]].concat();
            for (bytes, kind) in [(datagram(mac(0), mac(1), [2, 1], [53, 1000]), 3u16), (other, 0)] {
                if representor {
                    a.inject(&bytes);
                    rig.settle();
                } else {
                    b.send(&bytes);
                    rig.kick(&b);
                }
                let used = receive.collect();
                assert_eq!((used.len(), used[0].1), (buffers, (20 + 80).min(length)));
                let header = a.guest.read(a.guest.buffer(200 + u64::from(used[0].0)), 20);
                let value = if kind == 0 { 0 } else { hashed(&bytes) };
                assert_eq!(header[..10], [0; 10]);
                assert_eq!(header[10..12], (buffers as u16).to_le_bytes());
                assert_eq!(header[12..16], value.to_le_bytes());
                assert_eq!(header[16..], [&kind.to_le_bytes()[..], &[0, 0]].concat());
                let first = a.guest.read(a.guest.buffer(200 + u64::from(used[0].0)) + 20, used[0].1 as usize - 20);
                assert_eq!(first, bytes[..first.len()]);
            }
        }
    }
}
