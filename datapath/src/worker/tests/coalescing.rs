//! Interrupts that are held back (virtio 1.3 §5.1.6.5.9): none early, none lost.

use super::*;
use crate::ring::{Hold, Pace};

/// The driver's flag that asks for no interrupts (§2.7.7).
const NO_INTERRUPT: u16 = 1;

fn coalesce(rig: &mut Rig, queue: u16, packets: u32, microseconds: u64) {
    hold(rig, queue, Hold { packets, period: Duration::from_micros(microseconds), pace: Pace::First });
}

fn hold(rig: &mut Rig, queue: u16, hold: Hold) {
    rig.engine.obey(Order::SetCoalescing { function: 0, queue, hold });
}

/// Sends frames to the neighbour, and lets that much time pass.
fn send(rig: &mut Rig, port: &mut Port, frames: usize, after: u64) {
    rig.now += Duration::from_micros(after);
    (0..frames).for_each(|_| port.send(&frame(BROADCAST, mac(0), 60)));
    rig.kick(port);
}

fn pass(rig: &mut Rig, microseconds: u64) -> bool {
    rig.now += Duration::from_micros(microseconds);
    rig.engine.expire(rig.now)
}

#[test]
fn an_interrupt_waits_for_enough_frames_or_enough_time() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    coalesce(&mut rig, 1, 4, 100);
    send(&mut rig, &mut a, 3, 0);
    assert_eq!(fired(&line), 0);
    send(&mut rig, &mut a, 1, 10);
    assert_eq!(fired(&line), 1, "the fourth");
    send(&mut rig, &mut a, 2, 10);
    assert!(!pass(&mut rig, 60));
    assert_eq!(fired(&line), 0);
    pass(&mut rig, 200);
    assert_eq!(fired(&line), 1, "its time has come");
    pass(&mut rig, 1000);
    assert_eq!(fired(&line), 0, "and no other");
    assert_eq!(rig.queue_count(0, 1, Queue::Interrupts), 2);
}

#[test]
fn received_frames_are_counted_apart() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    let (receive, transmit) = (a.vector(0), a.vector(1));
    coalesce(&mut rig, 0, 2, 100);
    a.post(8);
    send(&mut rig, &mut a, 1, 0);
    assert_eq!(fired(&transmit), 1, "not held back");
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    assert_eq!(fired(&receive), 0);
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    assert_eq!(fired(&receive), 1, "one from a guest and one from the representor");
}

#[test]
fn what_the_driver_does_not_want_meanwhile_is_not_sent() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    coalesce(&mut rig, 1, 9, 100);
    send(&mut rig, &mut a, 3, 0);
    a.transmit.set_flags(NO_INTERRUPT);
    pass(&mut rig, 200);
    assert_eq!(fired(&line), 0);
    a.transmit.set_flags(0);
    send(&mut rig, &mut a, 1, 10);
    pass(&mut rig, 200);
    assert_eq!(fired(&line), 1);
}

#[test]
fn a_setting_that_is_met_already_interrupts_at_once() {
    for (packets, microseconds) in [(8, 1_000), (0, 0), (16, 5)] {
        let mut rig = Rig::new();
        let mut a = rig.port(0, true);
        let line = a.vector(1);
        coalesce(&mut rig, 1, 15, 1_000);
        send(&mut rig, &mut a, 10, 0);
        rig.now += Duration::from_micros(10);
        rig.engine.turn(rig.now);
        assert_eq!(fired(&line), 0);
        coalesce(&mut rig, 1, packets, microseconds);
        assert_eq!(fired(&line), 1);
    }
}

#[test]
fn a_queue_that_starts_anew_holds_nothing_and_goes_by_its_setting() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    coalesce(&mut rig, 1, 4, 100);
    send(&mut rig, &mut a, 1, 0);
    rig.engine.obey(Order::StopQueue { function: 0, queue: 1, done: done() });
    pass(&mut rig, 1000);
    assert_eq!(fired(&line), 0);
    a.transmit = a.guest.queue(1, Role::Transmit, RING);
    rig.start(0, &a.transmit.setup.clone());
    assert_eq!(fired(&line), 0);
}

#[test]
fn a_setting_ends_with_the_driver() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    coalesce(&mut rig, 1, 4, 100);
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    rig.start(0, &a.transmit.setup.clone());
    send(&mut rig, &mut a, 1, 0);
    assert_eq!(fired(&line), 1);
}

#[test]
fn frames_without_end_set_one_timer() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    coalesce(&mut rig, 1, 2, 1_000_000);
    for _ in 0..200 {
        send(&mut rig, &mut a, 1, 1);
        a.transmit.collect();
        a.emitted();
    }
    let mut timers = 0;
    while let Some(at) = rig.engine.local().timers.next() {
        timers += 1;
        rig.engine.expire(at);
    }
    assert_eq!(timers, 1);
}

#[test]
fn there_is_no_such_queue() {
    let mut rig = Rig::new();
    rig.port(0, true);
    coalesce(&mut rig, 2, 4, 100);
    coalesce(&mut rig, 999, 4, 100);
}

#[test]
fn an_idle_queue_that_counts_from_its_last_interrupt_interrupts_at_once() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    hold(&mut rig, 1, Hold { packets: 8, period: Duration::from_micros(100), pace: Pace::Interrupt });
    send(&mut rig, &mut a, 1, 1000);
    assert_eq!(fired(&line), 1);
    send(&mut rig, &mut a, 1, 10);
    assert_eq!(fired(&line), 0);
    pass(&mut rig, 100);
    assert_eq!(fired(&line), 1);
}

#[test]
fn a_busy_adaptive_queue_interrupts_less_often_and_forgets_none() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    let line = a.vector(1);
    hold(&mut rig, 1, Hold { pace: Pace::Adaptive, ..Hold::default() });
    let mut busy = 0;
    for _ in 0..2000 {
        rig.engine.expire(rig.now);
        send(&mut rig, &mut a, 1, 5);
        a.transmit.collect();
        a.emitted();
        busy += fired(&line);
    }
    assert!(busy < 1000, "{busy} interrupts for 2000 frames");
    pass(&mut rig, 1000);
    fired(&line);
    send(&mut rig, &mut a, 1, 100_000);
    assert_eq!(fired(&line), 1, "nothing else goes on: at once");
}
