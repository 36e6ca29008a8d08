//! Several queue pairs (virtio 1.3 §5.1.6.5.6), doorbells and interrupts.

use super::*;
use crate::ring::BATCH;
use crate::ring::testing::NO_NOTIFY;

/// Receive queues 0 and 2, transmit queues 1 and 3; queue 0 is the port's own.
pub fn two_pairs(rig: &mut Rig, representor: bool) -> (Port, Driver, Driver) {
    let mut port = rig.port(0, representor);
    let (mut receive, transmit) = (port.guest.queue(2, Role::Receive, RING), port.guest.queue(3, Role::Transmit, RING));
    rig.start(0, &receive.setup);
    rig.start(0, &transmit.setup);
    rig.engine.obey(Order::SetPairs { function: 0, pairs: 2 });
    port.post(32);
    for head in 0..32 {
        receive.describe(head, port.guest.buffer(200 + u64::from(head)), LENGTH, WRITE, 0);
        receive.offer(head);
    }
    (port, receive, transmit)
}

/// A UDP datagram between two addresses and ports.
pub fn datagram(to: [u8; 6], from: [u8; 6], address: [u8; 2], port: [u16; 2]) -> Vec<u8> {
    let mut bytes = frame(to, from, 80);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..34]
        .copy_from_slice(&[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, address[0], 10, 0, 0, address[1]]);
    bytes[34..36].copy_from_slice(&port[0].to_be_bytes());
    bytes[36..38].copy_from_slice(&port[1].to_be_bytes());
    bytes
}

#[test]
fn a_flow_comes_back_on_the_pair_that_it_left_by() {
    for representor in [false, true] {
        let mut rig = Rig::new();
        let (mut a, mut receive, mut transmit) = two_pairs(&mut rig, representor);
        let mut b = rig.port(1, false);
        for (source, queue) in [(1000, 1), (2000, 3), (3000, 3), (4000, 1)] {
            let out = datagram(mac(1), mac(0), [1, 2], [source, 53]);
            if queue == 1 {
                a.send(&out);
            } else {
                a.guest.write(a.guest.buffer(300), &[&[0; 12], &out[..]].concat());
                transmit.describe(0, a.guest.buffer(300), 92, 0, 0);
                transmit.offer(0);
            }
            rig.engine.doorbell(0, queue);
            rig.settle();
            let back = datagram(mac(0), mac(1), [2, 1], [53, source]);
            if representor {
                a.inject(&back);
                rig.settle();
            } else {
                b.send(&back);
                rig.kick(&b);
            }
            let counts = (a.received().len(), receive.collect().len());
            assert_eq!(counts, if queue == 1 { (1, 0) } else { (0, 1) }, "port {source}");
        }
    }
}

#[test]
fn flows_that_never_left_are_spread_and_stay_in_order() {
    let mut rig = Rig::new();
    let (mut a, mut receive, _) = two_pairs(&mut rig, false);
    let mut b = rig.port(1, false);
    for port in 0..16 {
        b.send(&datagram(mac(0), mac(1), [2, 1], [53, port]));
        b.send(&datagram(mac(0), mac(1), [2, 1], [53, port]));
    }
    rig.kick(&b);
    let (first, second) = (a.received().len(), receive.collect().len());
    assert_eq!(first + second, 32);
    assert!(first > 0 && second > 0 && first % 2 == 0);
}

#[test]
fn with_one_pair_in_use_the_second_queue_gets_nothing() {
    let mut rig = Rig::new();
    let (mut a, mut receive, _) = two_pairs(&mut rig, false);
    rig.engine.obey(Order::SetPairs { function: 0, pairs: 1 });
    let mut b = rig.port(1, false);
    (0..16).for_each(|port| b.send(&datagram(mac(0), mac(1), [2, 1], [53, port])));
    rig.kick(&b);
    assert_eq!((a.received().len(), receive.collect().len()), (16, 0));
}

#[test]
fn a_pair_in_use_whose_queue_is_not_set_up_falls_back_to_the_first() {
    let mut rig = Rig::new();
    let (mut a, _, _) = two_pairs(&mut rig, false);
    rig.engine.obey(Order::StopQueue { function: 0, queue: 2, done: done() });
    let mut b = rig.port(1, false);
    (0..16).for_each(|port| b.send(&datagram(mac(0), mac(1), [2, 1], [53, port])));
    rig.kick(&b);
    assert_eq!(a.received().len(), 16);
}

#[test]
fn frames_in_the_representor_wait_for_buffers_of_any_pair() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let mut receive = a.guest.queue(2, Role::Receive, RING);
    rig.start(0, &receive.setup);
    rig.engine.obey(Order::SetPairs { function: 0, pairs: 2 });
    a.inject(&datagram(mac(0), mac(1), [2, 1], [53, 1]));
    rig.settle();
    assert_eq!((a.receive.used_flags(), receive.used_flags(), rig.losses(0).len()), (0, 0, 0));
    a.post(4);
    receive.describe(0, a.guest.buffer(200), LENGTH, WRITE, 0);
    receive.offer(0);
    rig.engine.doorbell(0, 2);
    rig.settle();
    assert_eq!(a.received().len() + receive.collect().len(), 1);
}

#[test]
fn a_transmit_queue_is_polled_with_its_doorbell_suppressed_and_armed_when_quiet() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, false);
    rig.settle();
    assert_eq!(a.transmit.used_flags(), 0);
    rig.engine.be_patient(Duration::from_micros(50));
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.engine.doorbell(0, 1);
    rig.engine.turn(Duration::from_micros(100));
    rig.engine.turn(Duration::from_micros(140));
    assert_eq!((a.transmit.used_flags(), rig.engine.idle()), (NO_NOTIFY, false));
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.engine.turn(Duration::from_micros(145));
    assert_eq!(a.transmit.collect().len(), 2, "no doorbell was needed");
    rig.engine.turn(Duration::from_micros(194));
    assert!(!rig.engine.idle());
    rig.engine.turn(Duration::from_micros(195));
    assert_eq!((a.transmit.used_flags(), rig.engine.idle()), (0, true));
}

#[test]
fn a_queue_with_work_waiting_is_served_when_it_starts() {
    let mut rig = Rig::new();
    let mut a = rig.idle_port(0, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.start(0, &a.transmit.setup.clone());
    rig.settle();
    assert_eq!(a.emitted().len(), 1);
}

#[test]
fn a_busy_guest_does_not_keep_another_waiting() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, true));
    (0..RING).for_each(|_| a.send(&frame(BROADCAST, mac(0), 60)));
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.engine.doorbell(0, 1);
    rig.engine.doorbell(1, 1);
    rig.engine.turn(Duration::ZERO);
    assert_eq!((a.transmit.collect().len(), b.transmit.collect().len()), (BATCH, 1));
}

#[test]
fn a_vector_changed_on_the_way_is_used_from_then_on() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let (old, new) = (a.vector(1), a.vector(5));
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!((fired(&old), fired(&new)), (1, 0));
    rig.engine.obey(Order::SetVector { function: 0, queue: 1, vector: 5 });
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!((fired(&old), fired(&new)), (0, 1));
}

#[test]
fn a_queue_restarted_while_it_is_polled_is_polled_once() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    rig.engine.be_patient(Duration::from_secs(1));
    for _ in 0..3 {
        let setup = a.transmit.setup.clone();
        rig.start(0, &setup);
    }
    (0..BATCH + 8).for_each(|_| a.send(&frame(BROADCAST, mac(0), 60)));
    rig.engine.turn(Duration::ZERO);
    assert_eq!(a.transmit.collect().len(), BATCH);
}

#[test]
fn a_removed_function_leaves_no_event_behind_though_its_tap_is_open_elsewhere() {
    let mut rig = Rig::new();
    let guest = rig.idle_port(0, false);
    let (near, far) = wire().unwrap();
    let kept = near.try_clone().unwrap();
    let counters = rig.counters.function(0);
    let lines = guest.lines.clone();
    rig.engine.obey(Order::AddFunction { function: 0, representor: Some(near), lines, counters });
    rig.settle();
    rig.engine.obey(Order::RemoveFunction { function: 0, done: done() });
    rustix::io::write(&far, &[0; 72]).unwrap();
    let mut events = [const { std::mem::MaybeUninit::uninit() }; 16];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert!(rustix::event::epoll::wait(rig.engine.epoll(), &mut events, Some(&now)).unwrap().0.is_empty());
    drop(kept);
}
