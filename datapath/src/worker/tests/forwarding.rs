use super::*;
use crate::switch::AGEING;

fn learn(rig: &mut Rig, port: &mut Port) {
    port.send(&frame(BROADCAST, mac(port.id), 60));
    rig.kick(port);
}

#[test]
fn a_frame_for_a_learned_address_goes_to_that_guest_alone() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, true), rig.port(1, true), rig.port(2, true));
    learn(&mut rig, &mut b);
    for port in [&mut a, &mut b, &mut c] {
        port.post(4);
    }
    for port in [&a, &b, &c] {
        port.emitted();
    }
    let sent = frame(mac(1), mac(0), 200);
    a.send(&sent);
    rig.kick(&a);
    assert_eq!(b.received(), [sent]);
    assert!(c.received().is_empty() && a.received().is_empty());
    assert!(a.emitted().is_empty() && b.emitted().is_empty());
    assert_eq!(rig.count(0, Counter::SwitchedFrames), 1);
    assert_eq!(rig.count(0, Counter::SwitchedOctets), 200);
}

#[test]
fn a_batch_of_32_is_forwarded_with_one_used_index_and_one_interrupt_a_side() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    let (from, to) = (a.vector(1), b.vector(0));
    b.post(40);
    let sent: Vec<_> = (0..32).map(|n| frame(mac(1), mac(0), 60 + n)).collect();
    sent.iter().for_each(|frame| a.send(frame));
    rig.engine.doorbell(0, 1);
    rig.engine.turn(Duration::ZERO);
    assert_eq!(b.received(), sent);
    assert_eq!(a.transmit.collect(), (0..32).map(|head| (head, 0)).collect::<Vec<_>>());
    assert_eq!((fired(&from), fired(&to)), (1, 1));
    assert_eq!(rig.queue_count(1, 0, Queue::Batches), 1);
    assert_eq!(rig.queue_count(0, 1, Queue::ReceivedDesc), 32);
    assert_eq!(rig.queue_count(0, 1, Queue::Interrupts), 1);
}

#[test]
fn frames_keep_their_order_when_a_batch_has_several_receivers() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, false), rig.port(1, false), rig.port(2, false));
    learn(&mut rig, &mut b);
    learn(&mut rig, &mut c);
    b.post(16);
    c.post(16);
    let sent: Vec<_> = (0..20).map(|n| frame(mac(1 + n % 2), mac(0), 60 + n as usize)).collect();
    sent.iter().for_each(|frame| a.send(frame));
    rig.kick(&a);
    let expected = |id| sent.iter().filter(|frame| frame[..6] == mac(id)).cloned().collect::<Vec<_>>();
    assert_eq!(b.received(), expected(1));
    assert_eq!(c.received(), expected(2));
}

#[test]
fn a_broadcast_goes_to_every_other_guest_and_the_own_representor() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, true), rig.port(1, true), rig.port(2, false));
    for port in [&mut a, &mut b, &mut c] {
        port.post(4);
    }
    let sent = frame(BROADCAST, mac(0), 60);
    a.send(&sent);
    rig.kick(&a);
    assert_eq!((b.received(), c.received()), (vec![sent.clone()], vec![sent.clone()]));
    assert_eq!((a.emitted(), b.emitted().len(), a.received().len()), (vec![sent], 0, 0));
    assert_eq!(rig.count(0, Counter::SwitchedFrames), 2);
    assert_eq!(rig.count(0, Counter::RepresentorOutFrames), 1);
}

#[test]
fn an_unknown_unicast_goes_to_the_representor_and_to_guests_whose_filter_takes_it() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, true), rig.port(1, false), rig.port(2, false));
    let filter = Filter { promiscuous: true, ..filter(2) };
    rig.engine.obey(Order::SetFilter { function: 2, filter });
    for port in [&mut b, &mut c] {
        port.post(4);
    }
    let sent = frame([2, 9, 9, 9, 9, 9], mac(0), 60);
    a.send(&sent);
    rig.kick(&a);
    assert!(b.received().is_empty() && rig.losses(1).is_empty(), "not its concern, so no loss either");
    assert_eq!((c.received(), a.emitted()), (vec![sent.clone()], vec![sent]));
}

#[test]
fn an_address_that_moved_is_found_at_its_new_place() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, false), rig.port(1, false), rig.port(2, false));
    for port in [&mut b, &mut c] {
        port.send(&frame(BROADCAST, [2, 7, 7, 7, 7, 7], 60));
        rig.kick(port);
    }
    let filter = Filter { promiscuous: true, ..filter(2) };
    rig.engine.obey(Order::SetFilter { function: 2, filter });
    c.post(4);
    a.send(&frame([2, 7, 7, 7, 7, 7], mac(0), 60));
    rig.kick(&a);
    assert_eq!(c.received().len(), 1);
}

#[test]
fn an_address_not_heard_for_300_seconds_is_unknown_again() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    let filter = Filter { no_unicast: true, ..filter(1) };
    rig.engine.obey(Order::SetFilter { function: 1, filter });
    learn(&mut rig, &mut b);
    let mut send = |rig: &mut Rig, at: u32| {
        rig.now = Duration::from_secs(at.into());
        a.send(&frame(mac(1), mac(0), 60));
        rig.kick(&a);
        (rig.count(1, Counter::DropFiltered), a.emitted().len())
    };
    assert_eq!(send(&mut rig, AGEING - 1), (1, 0), "known to be there, and refused there");
    assert_eq!(send(&mut rig, AGEING), (1, 1), "may be anywhere");
}

#[test]
fn off_the_fabric_a_guest_talks_to_its_representor_only() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, true));
    learn(&mut rig, &mut b);
    rig.engine.obey(Order::SetFabric { function: 0, on: false });
    for port in [&mut a, &mut b] {
        port.post(4);
    }
    for port in [&a, &b] {
        port.emitted();
    }
    a.send(&frame(mac(1), mac(0), 60));
    a.send(&frame(BROADCAST, mac(0), 60));
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&a);
    rig.kick(&b);
    assert_eq!(a.emitted().len(), 2);
    assert!(a.received().is_empty() && b.received().is_empty());
    rig.engine.obey(Order::SetFabric { function: 0, on: true });
    a.send(&frame(mac(1), mac(0), 60));
    rig.kick(&a);
    assert_eq!(b.received().len(), 1);
}

#[test]
fn header_and_frame_may_be_cut_anywhere() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    b.post(4);
    let sent = frame(BROADCAST, mac(0), 100);
    let place = a.guest.buffer(3);
    a.guest.write(place, &[&[0; 12], &sent[..]].concat());
    let mut at = place;
    for (index, len) in [1, 10, 2, 5, 9, 85].into_iter().enumerate() {
        let (index, last) = (index as u16, index == 5);
        a.transmit.describe(index, at, len, if last { 0 } else { crate::ring::testing::NEXT }, index + 1);
        at += u64::from(len);
    }
    a.transmit.offer(0);
    rig.kick(&a);
    assert_eq!((b.received(), a.emitted()), (vec![sent.clone()], vec![sent]));
}

#[test]
fn sizes_are_counted_by_class_on_both_queues() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    b.post(40);
    for len in [60, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1522, 1523, 2047] {
        a.send(&frame(BROADCAST, mac(0), len));
    }
    rig.kick(&a);
    for (function, queue) in [(0, 1), (1, 0)] {
        let count = |counter| rig.queue_count(function, queue, counter);
        let classes = [Queue::Size64OrLess, Queue::Size65To127, Queue::Size128To255, Queue::Size256To511];
        assert_eq!(classes.map(count), [2; 4]);
        let classes = [Queue::Size512To1023, Queue::Size1024To1522, Queue::Size1523To2047, Queue::Size2048To4095];
        assert_eq!(classes.map(count), [2, 2, 2, 0]);
        assert_eq!((count(Queue::Frames), count(Queue::Octets)), (14, 9117));
    }
}

#[test]
fn a_removed_function_is_no_receiver_any_more() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    learn(&mut rig, &mut b);
    a.emitted();
    rig.engine.obey(Order::RemoveFunction { function: 1, done: done() });
    a.send(&frame(mac(1), mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.emitted().len(), 1);
}

#[test]
fn what_a_guest_without_a_receive_queue_was_learned_by_goes_with_its_driver() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.idle_port(1, false));
    rig.start(1, &b.transmit.setup.clone());
    learn(&mut rig, &mut b);
    rig.engine.obey(Order::StopAll { function: 1, done: done() });
    a.send(&frame(mac(1), mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.emitted().len(), 1);
}
