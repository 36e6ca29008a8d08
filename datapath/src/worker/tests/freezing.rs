//! A function that is told to leave its driver alone, and to go on.

use super::*;
use crate::memory::Pages;
use crate::ring::testing::NEXT;
use crate::worker::dirty::Dirty;

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
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    b.post(4);
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    freeze(&mut rig, &b, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    a.send(&frame(mac(1), mac(0), 60));
    rig.kick(&a);
    assert_eq!(a.emitted().len(), 1, "where the guest is has not been forgotten");
    assert_eq!(rig.losses(1), [(Counter::DropNotReady, 2)]);
    freeze(&mut rig, &b, false);
    assert!(b.received().is_empty());
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

/// Logs what is written into a guest, with the rings of its receive and transmit queues.
fn logged(rig: &mut Rig, port: &Port) -> Arc<Pages> {
    let pages = Arc::new(Pages::default().covering(&port.guest.table.writable().collect::<Vec<_>>()).unwrap());
    let ring = |setup: &QueueSetup| vec![(setup.device, 6 + 8 * u64::from(setup.size))];
    let rings = vec![ring(&port.receive.setup), ring(&port.transmit.setup)];
    let dirty = Some(Arc::new(Dirty { log: pages.clone(), event: None, rings }));
    rig.engine.obey(Order::SetDirty { function: port.id, dirty, done: done() });
    pages
}

/// The pages that were written, by address.
fn written(pages: &Pages, port: &Port) -> Vec<u64> {
    let of = |(start, len): (u64, u64)| {
        let bitmap = pages.take(start, len, 4096);
        (0..len / 4096)
            .filter(move |page| bitmap[(page / 8) as usize] >> (page % 8) & 1 != 0)
            .map(move |page| start + page * 4096)
    };
    port.guest.table.writable().flat_map(of).collect()
}

#[test]
fn what_is_written_into_a_guest_is_logged_and_at_the_last_its_rings() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, false), rig.port(1, false));
    let (mine, theirs) = (logged(&mut rig, &a), logged(&mut rig, &b));
    let page = |address: u64| address & !4095;
    b.post(4);
    assert_eq!((written(&mine, &a), written(&theirs, &b)), (vec![], vec![]));
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    assert_eq!(written(&mine, &a), [page(a.transmit.setup.device)], "nothing but the ring of the one that sends");
    let filled = written(&theirs, &b);
    assert!(filled.contains(&page(b.receive.setup.device)) && filled.contains(&page(b.guest.buffer(RING.into()))));
    assert_eq!(filled.len(), 2);
    freeze(&mut rig, &b, true);
    assert_eq!(written(&theirs, &b), {
        let mut rings = vec![page(b.receive.setup.device), page(b.transmit.setup.device)];
        rings.sort_unstable();
        rings.dedup();
        rings
    });
}

#[test]
fn the_answer_to_a_command_is_logged() {
    let mut rig = Rig::new();
    let a = rig.port(0, false);
    let mut driver = a.guest.queue(2, Role::Control, RING);
    rig.start(0, &driver.setup);
    let pages = logged(&mut rig, &a);
    let place = a.guest.buffer(0);
    driver.describe(0, place, 2, NEXT, 1);
    driver.describe(1, place + 2048, 1, WRITE, 0);
    driver.offer(0);
    rig.engine.doorbell(0, 2);
    let Some(Notice::Command { ticket, .. }) = rig.notices.take().pop() else { panic!("no command") };
    assert!(written(&pages, &a).is_empty());
    rig.engine.obey(Order::Complete { function: 0, queue: 2, ticket, reply: vec![0] });
    assert_eq!(written(&pages, &a), [(place + 2048) & !4095]);
}
