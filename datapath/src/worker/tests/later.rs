//! Queues of drivers that move much are looked at again, and their doorbells not asked for meanwhile.

use super::*;

const LATER: Duration = Duration::from_micros(100);

fn started() -> (Rig, Port) {
    let mut rig = Rig::new();
    let port = rig.port(0, true);
    rig.settle();
    (rig, port)
}

fn asks_for_its_doorbell(port: &Port) -> bool {
    port.transmit.used_flags() == 0
}

fn much(port: &mut Port) {
    (0..8).for_each(|_| port.send(&frame(BROADCAST, mac(0), 1500)));
}

fn pass(rig: &mut Rig, time: Duration) {
    rig.now += time;
    rig.engine.expire(rig.now);
    rig.settle();
}

#[test]
fn what_comes_soon_after_much_needs_no_doorbell() {
    let (mut rig, mut a) = started();
    much(&mut a);
    rig.kick(&a);
    assert!(a.emitted().len() == 8 && !asks_for_its_doorbell(&a));
    a.send(&frame(BROADCAST, mac(0), 60));
    pass(&mut rig, LATER / 2);
    assert_eq!(a.emitted().len(), 0);
    pass(&mut rig, LATER / 2);
    assert_eq!(a.emitted().len(), 1);
}

#[test]
fn a_driver_that_has_fallen_silent_is_asked_for_its_doorbell() {
    let (mut rig, mut a) = started();
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert!(asks_for_its_doorbell(&a), "it never moved much");
    much(&mut a);
    rig.kick(&a);
    let looks = (0..20).take_while(|_| !asks_for_its_doorbell(&a)).map(|_| pass(&mut rig, LATER)).count();
    assert!((2..20).contains(&looks), "{looks}");
    assert!(!rig.engine.expire(rig.now + Duration::from_secs(1)), "no timer is left");
}

#[test]
fn a_frame_for_the_guest_has_its_queue_looked_at_too() {
    let (mut rig, mut a) = started();
    a.post(8);
    much(&mut a);
    rig.kick(&a);
    a.emitted();
    a.send(&frame(BROADCAST, mac(0), 60));
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!((a.received().len(), a.emitted().len()), (1, 1));
}

#[test]
fn a_doorbell_that_comes_all_the_same_is_answered() {
    let (mut rig, mut a) = started();
    much(&mut a);
    rig.kick(&a);
    a.emitted();
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.emitted().len(), 1);
}

#[test]
fn a_queue_that_was_stopped_meanwhile_starts_as_any_other() {
    let (mut rig, mut a) = started();
    much(&mut a);
    rig.kick(&a);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    pass(&mut rig, LATER);
    a = Port { transmit: a.guest.queue(1, Role::Transmit, RING), sent: 0, ..a };
    rig.start(0, &a.transmit.setup);
    rig.settle();
    assert!(asks_for_its_doorbell(&a));
}
