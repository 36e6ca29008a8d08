//! A function that is told to leave its driver alone, and to go on.

use super::*;

fn freeze(rig: &mut Rig, port: &Port, on: bool) {
    rig.engine.obey(Order::Freeze { function: port.id, on, done: done() });
    rig.settle();
}

#[test]
fn a_frozen_function_touches_no_ring_and_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.post(4);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    freeze(&mut rig, &a, true);
    a.send(&frame(BROADCAST, mac(0), 61));
    rig.kick(&a);
    a.inject(&frame(mac(0), mac(9), 62));
    rig.settle();
    assert_eq!((a.transmit.used_index(), a.receive.used_index()), (1, 0));
    freeze(&mut rig, &a, false);
    assert_eq!((a.emitted().len(), a.received()), (2, vec![frame(mac(0), mac(9), 62)]));
    assert_eq!((rig.faults().len(), rig.losses(0).len()), (0, 0));
}

#[test]
fn frames_of_others_for_a_frozen_guest_are_counted_as_lost() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    b.post(4);
    freeze(&mut rig, &b, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    freeze(&mut rig, &b, false);
    assert!(b.received().is_empty());
    rig.assert_closed();
}

#[test]
fn a_queue_that_is_started_while_frozen_waits() {
    let mut rig = Rig::new();
    let mut a = rig.idle_port(0, true);
    freeze(&mut rig, &a, true);
    rig.start(0, &a.transmit.setup.clone());
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.transmit.used_index(), 0);
    freeze(&mut rig, &a, false);
    assert_eq!((a.transmit.used_index(), a.emitted().len()), (1, 1));
}

#[test]
fn a_ring_that_is_resumed_goes_on_behind_what_was_used() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    a.send(&frame(BROADCAST, mac(0), 61));
    rig.start(0, &QueueSetup { resume: true, ..a.transmit.setup.clone() });
    rig.settle();
    assert_eq!((a.transmit.used_index(), a.emitted().len()), (2, 2));
}

fn stands(rig: &mut Rig, function: FunctionId) -> Option<Vec<Stand>> {
    let (stands, told) = sync_channel(1);
    rig.engine.obey(Order::Stands { function, stands });
    told.recv().unwrap()
}

#[test]
fn a_frozen_function_tells_where_its_queues_stand_and_goes_on_there() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    freeze(&mut rig, &a, true);
    let stand = |queue, position| Stand { queue, position, answer: None };
    assert_eq!(stands(&mut rig, 0), Some(vec![stand(0, 0), stand(1, 1)]));
    a.send(&frame(BROADCAST, mac(0), 61));
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    assert_eq!(stands(&mut rig, 0), Some(vec![]));
    rig.start(0, &QueueSetup { position: 1, ..a.transmit.setup.clone() });
    freeze(&mut rig, &a, false);
    assert_eq!((a.transmit.used_index(), a.emitted().len()), (2, 2));
}

#[test]
fn where_a_running_function_stands_is_not_told() {
    let mut rig = Rig::new();
    rig.port(0, false);
    assert_eq!((stands(&mut rig, 0), stands(&mut rig, 1)), (None, None));
}
