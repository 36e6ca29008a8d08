//! Frames for everybody, when there are many.

use super::*;

/// More than one slice reaches.
const GUESTS: FunctionId = 150;

fn crowd(rig: &mut Rig) -> Vec<Port> {
    let mut ports: Vec<Port> = (0..GUESTS).map(|id| rig.port(id, false)).collect();
    ports.iter_mut().for_each(|port| port.post(4));
    ports
}

/// `count` turns, whatever is still to be done then.
fn turns(rig: &mut Rig, port: &Port, count: usize) {
    rig.engine.doorbell(port.id, port.transmit.setup.queue);
    (0..count).for_each(|_| rig.engine.turn(rig.now));
}

#[test]
fn a_broadcast_reaches_everybody_once() {
    let mut rig = Rig::new();
    let mut ports = crowd(&mut rig);
    let sent = [frame(BROADCAST, mac(0), 60), frame([2, 9, 9, 9, 9, 9], mac(0), 61), frame(BROADCAST, mac(0), 1500)];
    sent.iter().for_each(|frame| ports[0].send(frame));
    rig.kick(&ports[0]);
    for port in &mut ports[1..] {
        assert_eq!(port.received(), [sent[0].clone(), sent[2].clone()]);
    }
    assert_eq!(rig.count(0, Counter::FloodCopies), 2 * u64::from(GUESTS - 2));
    assert_eq!((rig.count(0, Counter::SwitchedFrames), rig.losses(0)), (298, vec![(Counter::DropNoReceiver, 1)]));
    assert_eq!(ports[0].transmit.collect().len(), 3);
}

#[test]
fn a_turn_reaches_some_of_them_and_other_queues_go_on() {
    let mut rig = Rig::new();
    let mut ports = crowd(&mut rig);
    ports[2].send(&frame(mac(3), mac(2), 14));
    rig.kick(&ports[2]);
    ports[0].send(&frame(BROADCAST, mac(0), 60));
    turns(&mut rig, &ports[0], 1);
    assert_eq!(ports[149].received().len(), 0, "not yet");
    assert_eq!(ports[0].transmit.collect().len(), 1, "the sender has its buffer back already");
    ports[3].send(&frame(mac(2), mac(3), 70));
    turns(&mut rig, &ports[3], 1);
    assert!(ports[2].received().contains(&frame(mac(2), mac(3), 70)));
    rig.settle();
    assert_eq!(ports[149].received().len(), 1);
}

#[test]
fn a_sender_waits_until_its_flood_is_done_so_its_frames_keep_their_order() {
    let mut rig = Rig::new();
    let mut ports = crowd(&mut rig);
    ports[0].send(&frame(BROADCAST, mac(0), 60));
    turns(&mut rig, &ports[0], 1);
    ports[0].send(&frame(BROADCAST, mac(0), 61));
    turns(&mut rig, &ports[0], 1);
    assert_eq!(ports[1].received().len(), 1);
    rig.settle();
    assert_eq!(ports[149].received(), [frame(BROADCAST, mac(0), 60), frame(BROADCAST, mac(0), 61)]);
}

#[test]
fn guests_and_the_sender_itself_may_go_while_a_flood_is_under_way() {
    let mut rig = Rig::new();
    let mut ports = crowd(&mut rig);
    ports[0].send(&frame(BROADCAST, mac(0), 60));
    turns(&mut rig, &ports[0], 1);
    for function in [0, 148] {
        rig.engine.obey(Order::RemoveFunction { function, done: done() });
    }
    rig.settle();
    assert_eq!((ports[148].received().len(), ports[149].received().len()), (0, 1));
    assert!(rig.engine.idle());
}

#[test]
fn with_flooding_off_an_unknown_address_is_sought_outside_only() {
    let mut rig = Rig::new();
    let (mut a, mut b, mut c) = (rig.port(0, false), rig.port(1, true), rig.port(2, false));
    let promiscuous = Filter { promiscuous: true, ..filter(2) };
    rig.engine.obey(Order::SetFilter { function: 2, filter: promiscuous });
    rig.engine.obey(Order::SetFlooding { on: false });
    c.post(8);
    for port in [&mut a, &mut b] {
        port.send(&frame([2, 9, 9, 9, 9, 9], mac(port.id), 60));
        port.send(&frame(BROADCAST, mac(port.id), 61));
        rig.kick(port);
    }
    assert_eq!(c.received().len(), 2, "broadcasts only");
    assert_eq!(
        (rig.losses(0), rig.losses(1)),
        (vec![(Counter::DropNoBuffer, 1), (Counter::DropNoSuchMac, 1)], vec![(Counter::DropNoBuffer, 1)])
    );
    assert_eq!(b.emitted().len(), 2);
}
