//! virtio 1.3 §5.1.6.3-4: headers and buffers of received frames.

use super::*;
use crate::ring::testing::NEXT;

/// A guest with receive buffers of its own cut, to which guest 0 sends a frame of `len`; what the used ring says then.
fn deliver(len: usize, header: usize, mergeable: bool, buffers: &[&[u32]]) -> (Rig, Port, Vec<(u16, u32)>) {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.idle_port(1, false));
    (b.receive.setup.header, b.receive.setup.mergeable) = (header, mergeable);
    rig.start(1, &b.receive.setup.clone());
    let mut next = 0;
    for chain in buffers {
        let head = next;
        for (n, piece) in chain.iter().enumerate() {
            let flags = if n + 1 < chain.len() { WRITE | NEXT } else { WRITE };
            b.receive.describe(next, b.guest.buffer(next.into()), *piece, flags, next + 1);
            next += 1;
        }
        b.receive.offer(head);
    }
    a.send(&frame(BROADCAST, mac(0), len));
    rig.kick(&a);
    let used = b.receive.collect();
    (rig, b, used)
}

/// What lies in the guest's buffers 0, 1, 2… of these lengths.
fn bytes(b: &Port, lens: &[usize]) -> Vec<u8> {
    lens.iter().enumerate().flat_map(|(n, len)| b.guest.read(b.guest.buffer(n as u64), *len)).collect()
}

fn expected(header: &[u8], len: usize) -> Vec<u8> {
    [header, &frame(BROADCAST, mac(0), len)].concat()
}

const ONE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

#[test]
fn the_modern_header_has_twelve_bytes_and_counts_one_buffer() {
    let (_, b, used) = deliver(100, 12, false, &[&[1526]]);
    assert_eq!(used, [(0, 112)]);
    assert_eq!(bytes(&b, &[112]), expected(&ONE, 100));
}

#[test]
fn the_legacy_header_has_ten_bytes() {
    let (_, b, used) = deliver(100, 10, false, &[&[1524]]);
    assert_eq!(used, [(0, 110)]);
    assert_eq!(bytes(&b, &[110]), expected(&[0; 10], 100));
}

#[test]
fn a_header_with_a_descriptor_of_its_own() {
    let (_, b, used) = deliver(100, 10, false, &[&[10, 1514]]);
    assert_eq!(used, [(0, 110)]);
    assert_eq!(bytes(&b, &[10, 100]), expected(&[0; 10], 100));
}

#[test]
fn a_header_cut_in_the_middle() {
    let (_, b, used) = deliver(100, 12, true, &[&[7, 30, 5, 500]]);
    assert_eq!(used, [(0, 112)]);
    assert_eq!(bytes(&b, &[7, 30, 5, 70]), expected(&ONE, 100));
}

#[test]
fn a_frame_spans_mergeable_buffers_and_the_header_counts_them() {
    let (rig, b, used) = deliver(1000, 12, true, &[&[500], &[300], &[100, 100], &[600], &[600]]);
    assert_eq!(used, [(0, 500), (1, 300), (2, 200), (4, 12)]);
    let mut header = ONE;
    header[10] = 4;
    let mut all = bytes(&b, &[500, 300, 100, 100, 12]);
    assert_eq!(all.len(), 1012);
    assert_eq!(all.split_off(12), expected(&[], 1000));
    assert_eq!(all, header);
    assert_eq!(rig.queue_count(1, 0, Queue::Frames), 1);
    assert_eq!(rig.queue_count(1, 0, Queue::CompletedDesc), 4);
}

#[test]
fn a_frame_that_fits_exactly_takes_one_buffer() {
    assert_eq!(deliver(100, 12, true, &[&[112], &[112]]).2, [(0, 112)]);
}

#[test]
fn too_few_mergeable_buffers_are_not_consumed() {
    let (mut rig, b, used) = deliver(1000, 12, true, &[&[500], &[300]]);
    assert_eq!((used, rig.losses(1)), (vec![], vec![(Counter::DropNoBuffer, 1)]));
    let mut b = b;
    b.receive.describe(2, b.guest.buffer(2), 300, WRITE, 0);
    b.receive.offer(2);
    let mut c = rig.port(2, false);
    c.send(&frame(BROADCAST, mac(2), 1000));
    rig.kick(&c);
    assert_eq!(b.receive.collect(), [(0, 500), (1, 300), (2, 212)]);
}

#[test]
fn a_buffer_too_small_for_the_frame_without_merging() {
    let (mut rig, _, used) = deliver(1000, 12, false, &[&[500], &[1526]]);
    assert_eq!((used, rig.losses(1)), (vec![], vec![(Counter::DropNoBuffer, 1)]));
    assert!(rig.faults().is_empty());
}

#[test]
fn a_buffer_too_small_for_the_header_is_a_fault() {
    let (mut rig, _, used) = deliver(100, 12, true, &[&[11], &[1526]]);
    assert!(used.is_empty());
    assert_eq!(rig.faults(), ["queue 0, descriptor 0: a receive buffer of 11 bytes cannot hold the header of 12"]);
    assert_eq!(rig.queue_count(1, 0, Queue::BadDescErrors), 1);
}
