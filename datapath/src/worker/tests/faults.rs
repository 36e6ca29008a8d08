//! A guest's mistake costs its own queue only.

use super::*;
use crate::counters::QUEUES;
use crate::ring::testing::NEXT;

/// Guests 0 and 1 exchange frames; nothing of what happens to guest 2 may change that.
fn neighbours_are_well(rig: &mut Rig, a: &mut Port, b: &mut Port) {
    b.post(1);
    a.send(&frame(mac(1), mac(0), 77));
    rig.kick(a);
    assert_eq!(b.received(), [frame(mac(1), mac(0), 77)]);
}

#[test]
fn a_descriptor_loop_costs_its_own_queue_only() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut bad) = (rig.port(0, false), rig.port(1, false), rig.port(2, false));
    bad.send(&frame(BROADCAST, mac(2), 60));
    bad.transmit.describe(1, bad.guest.buffer(0), 12, NEXT, 1);
    bad.transmit.offer(1);
    b.post(1);
    rig.kick(&bad);
    assert_eq!(b.received().len(), 1, "the frame before the fault");
    assert_eq!(rig.faults(), ["queue 1, descriptor 1: its chain loops or has more than 128 descriptors"]);
    assert_eq!(rig.count(2, Counter::QueueFaults), 1);
    assert_eq!(rig.queue_count(2, 1, Queue::ExceedMaxChain), 1);
    neighbours_are_well(&mut rig, &mut a, &mut b);
    bad.post(2);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(bad.received().len(), 1, "its receive queue goes on");
}

#[test]
fn a_bad_receive_buffer_costs_the_receiver_not_the_sender() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut bad) = (rig.port(0, false), rig.port(1, false), rig.port(2, false));
    bad.post(1);
    bad.receive.describe(9, 0x10, 2048, WRITE, 0);
    bad.receive.offer(9);
    b.post(3);
    (0..3).for_each(|_| a.send(&frame(BROADCAST, mac(0), 60)));
    rig.kick(&a);
    assert_eq!((b.received().len(), a.transmit.collect().len()), (3, 3));
    assert_eq!(bad.received().len(), 1);
    assert_eq!(rig.faults(), ["queue 0, descriptor 9: 0x10 + 0x800 is outside the guest's memory"]);
    assert_eq!((rig.queue_count(2, 0, Queue::InvalidBuffer), rig.count(2, Counter::DropBadDescriptor)), (1, 2));
    neighbours_are_well(&mut rig, &mut a, &mut b);
}

#[test]
fn a_faulted_queue_is_deaf_until_it_is_started_again() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.transmit.set_available(100);
    rig.kick(&a);
    assert_eq!(rig.faults().len(), 1);
    rig.kick(&a);
    assert_eq!(rig.faults().len(), 0);
    a.transmit.set_available(0);
    rig.start(0, &a.transmit.setup.clone());
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!((a.emitted().len(), rig.count(0, Counter::QueueFaults)), (1, 1));
}

#[test]
fn a_queue_in_a_wrong_place_faults_when_it_starts() {
    let mut rig = Rig::new();
    let mut a = rig.idle_port(0, false);
    a.transmit.setup.device = 0;
    rig.start(0, &a.transmit.setup.clone());
    assert_eq!(rig.faults(), ["queue 1: used ring: 0x0 + 0x404 is outside the guest's memory"]);
}

#[test]
fn a_panic_costs_the_function_that_was_served() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut bad) = (rig.port(0, false), rig.port(1, false), rig.port(2, false));
    rig.engine.fabric.get(2).unwrap().panics = true;
    bad.send(&frame(BROADCAST, mac(2), 60));
    rig.kick(&bad);
    let sentence = "stopped after an error of the datapath itself; its log has the details";
    assert_eq!(rig.faults(), [0, 1].map(|queue| format!("queue {queue}: {sentence}")));
    neighbours_are_well(&mut rig, &mut a, &mut b);
}

#[test]
fn orders_for_what_is_not_there_do_nothing() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    for function in [5, 1024, u32::MAX] {
        rig.engine.doorbell(function, 0);
        rig.engine.readable(function);
        rig.engine.obey(Order::Kick { function, queue: 1 });
        rig.engine.obey(Order::StopQueue { function, queue: 1, done: done() });
        rig.engine.obey(Order::SetLink { function, up: true });
        rig.engine.obey(Order::RemoveFunction { function, done: done() });
        rig.start(function, &a.transmit.setup.clone());
    }
    for queue in [2, 64, 65, 127, 128, 65535] {
        rig.engine.doorbell(0, queue);
        rig.engine.obey(Order::StopQueue { function: 0, queue, done: done() });
        rig.engine.obey(Order::SetVector { function: 0, queue, vector: 0 });
    }
    let setup = QueueSetup { queue: QUEUES as u16, ..a.transmit.setup.clone() };
    rig.start(0, &setup);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.emitted().len(), 1);
}
