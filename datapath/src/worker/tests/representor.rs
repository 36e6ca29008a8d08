use super::*;
use crate::ring::testing::NEXT;

fn wired(mergeable: bool) -> (Rig, Port) {
    let mut rig = Rig::new();
    let mut port = rig.idle_port(0, true);
    port.receive.setup.mergeable = mergeable;
    rig.start(0, &port.receive.setup.clone());
    rig.start(0, &port.transmit.setup.clone());
    (rig, port)
}

#[test]
fn a_frame_from_the_representor_goes_to_its_guest_alone() {
    let (mut rig, mut a) = wired(true);
    let mut b = rig.port(1, true);
    a.post(8);
    b.post(8);
    let sent: Vec<_> = (0..5).map(|n| frame(mac(0), mac(9), 60 + n)).collect();
    sent.iter().for_each(|frame| assert!(a.inject(frame)));
    rig.settle();
    assert_eq!((a.received(), b.received().len()), (sent, 0));
    assert_eq!(rig.count(0, Counter::RepresentorInFrames), 5);
    assert_eq!(rig.count(0, Counter::RepresentorInOctets), 310);
    assert_eq!(rig.queue_count(0, 0, Queue::Frames), 5);
    assert_eq!(rig.queue_count(0, 0, Queue::Batches), 1);
}

#[test]
fn a_frame_longer_than_a_buffer_spans_several() {
    let (mut rig, mut a) = wired(true);
    a.post(8);
    let sent = [frame(mac(0), mac(9), 9000), frame(mac(0), mac(9), 60), frame(mac(0), mac(9), 2036)];
    sent.iter().for_each(|frame| assert!(a.inject(frame)));
    rig.settle();
    assert_eq!(a.received(), sent);
    assert_eq!(a.receive.used_index(), 7);
}

#[test]
fn buffers_in_pieces_are_filled_where_they_are() {
    let (mut rig, mut a) = wired(false);
    for (index, len) in [(0, 5), (1, 9), (2, 3), (3, 600)] {
        let flags = if index < 3 { WRITE | NEXT } else { WRITE };
        a.receive.describe(index, a.guest.buffer(index.into()), len, flags, index + 1);
    }
    a.receive.offer(0);
    let sent = frame(mac(0), mac(9), 300);
    a.inject(&sent);
    rig.settle();
    assert_eq!(a.receive.collect(), [(0, 312)]);
    let all: Vec<u8> =
        [(0, 5), (1, 9), (2, 3), (3, 295)].iter().flat_map(|(n, len)| a.guest.read(a.guest.buffer(*n), *len)).collect();
    assert_eq!(all[12..], sent);
}

#[test]
fn frames_wait_in_the_representor_until_the_driver_posts_buffers() {
    let (mut rig, mut a) = wired(true);
    a.post(2);
    let sent: Vec<_> = (0..5).map(|n| frame(mac(0), mac(9), 60 + n)).collect();
    sent.iter().for_each(|frame| assert!(a.inject(frame)));
    rig.settle();
    assert_eq!(a.received(), sent[..2]);
    assert_eq!(a.receive.used_flags(), 0, "the doorbell is asked for");
    a.post(2);
    rig.engine.doorbell(0, 0);
    assert_ne!(a.receive.used_flags(), 0, "and no more while frames come");
    rig.settle();
    assert_eq!(a.received(), sent[2..4]);
    a.post(4);
    rig.engine.doorbell(0, 0);
    rig.settle();
    assert_eq!(a.received(), sent[4..]);
    assert_eq!(rig.losses(0), []);
}

#[test]
fn frames_for_a_guest_without_a_driver_are_lost_and_named() {
    let mut rig = Rig::new();
    let mut a = rig.idle_port(0, true);
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!(rig.losses(0), [(Counter::DropNotReady, 1)]);
    rig.start(0, &a.receive.setup.clone());
    a.post(4);
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!(a.received().len(), 1);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!(rig.losses(0), [(Counter::DropNotReady, 2)]);
}

#[test]
fn frames_that_waited_are_lost_when_the_driver_goes() {
    let (mut rig, a) = wired(true);
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!(rig.losses(0), []);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    rig.settle();
    assert_eq!(rig.losses(0), [(Counter::DropNotReady, 1)]);
}

#[test]
fn filters_limits_and_the_link_hold_for_the_representor_too() {
    let (mut rig, mut a) = wired(true);
    a.post(8);
    rig.engine.obey(Order::SetFrameLimit { function: 0, octets: 1518 });
    a.inject(&frame(mac(7), mac(9), 60));
    a.inject(&frame(mac(0), mac(9), 1519));
    a.inject(&frame(mac(0), mac(9), 13 + 1)[..13]);
    a.inject(&frame(mac(0), mac(9), 61));
    rig.settle();
    assert_eq!(a.received(), [frame(mac(0), mac(9), 61)]);
    rig.engine.obey(Order::SetLink { function: 0, up: false });
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert!(a.received().is_empty());
    let losses = [Counter::DropFiltered, Counter::DropLinkDown, Counter::DropTooLong, Counter::DropTooShort];
    assert_eq!(rig.losses(0), losses.map(|counter| (counter, 1)));
}

#[test]
fn a_frame_for_which_the_buffers_do_not_suffice_is_lost_and_they_serve_the_next() {
    let (mut rig, mut a) = wired(true);
    a.post(2);
    a.inject(&frame(mac(0), mac(9), 5000));
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!((a.received().len(), rig.losses(0)), (1, vec![(Counter::DropNoBuffer, 1)]));
}

#[test]
fn a_representor_whose_other_end_is_gone_does_not_keep_the_worker_busy() {
    let (mut rig, mut a) = wired(true);
    a.post(4);
    a.wire = None;
    rig.settle();
    assert!(rig.engine.idle());
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(rig.losses(0), [(Counter::DropRepresentorDown, 1)]);
}

#[test]
fn what_goes_to_a_station_beyond_the_representor_is_not_flooded() {
    let (mut rig, mut a) = wired(true);
    let mut b = rig.port(1, true);
    rig.engine.obey(Order::SetFilter { function: 1, filter: Filter { promiscuous: true, ..filter(1) } });
    a.post(8);
    b.post(8);
    let there = frame(mac(9), mac(0), 60);
    a.send(&there);
    rig.kick(&a);
    assert_eq!((a.emitted().len(), b.received().len()), (1, 1), "nobody knows yet where it is");
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    a.send(&there);
    rig.kick(&a);
    assert_eq!((a.emitted().len(), b.received().len()), (1, 0));
    rig.now += std::time::Duration::from_secs(u64::from(crate::switch::AGEING) + 1);
    a.send(&there);
    rig.kick(&a);
    assert_eq!((a.emitted().len(), b.received().len()), (1, 1));
}
