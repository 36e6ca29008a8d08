//! The control virtqueue (virtio 1.3 §5.1.6.5).

use super::*;
use crate::ring::testing::NEXT;

fn control(rig: &mut Rig) -> (Port, Driver) {
    let port = rig.port(0, false);
    let driver = port.guest.queue(2, Role::Control, RING);
    rig.start(0, &driver.setup);
    (port, driver)
}

/// A command in two readable pieces, with one byte for the answer; its head is `first`.
fn command(port: &Port, driver: &mut Driver, first: u16, bytes: &[u8]) {
    let place = port.guest.buffer(first.into());
    port.guest.write(place, bytes);
    port.guest.write(place + 2048, &[0xff]);
    driver.describe(first, place, 2, NEXT, first + 1);
    driver.describe(first + 1, place + 2, bytes.len() as u32 - 2, NEXT, first + 2);
    driver.describe(first + 2, place + 2048, 1, WRITE, 0);
    driver.offer(first);
}

fn commands(rig: &mut Rig) -> Vec<(u64, Vec<u8>, usize)> {
    let command = |notice| match notice {
        Notice::Command { function: 0, queue: 2, ticket, data, room } => Some((ticket, data, room)),
        _ => None,
    };
    rig.notices.take().into_iter().filter_map(command).collect()
}

fn complete(rig: &mut Rig, ticket: u64, reply: &[u8]) {
    rig.engine.obey(Order::Complete { function: 0, queue: 2, ticket, reply: reply.to_vec() });
}

#[test]
fn a_command_goes_out_and_its_answer_comes_back() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    let eventfd = port.vector(2);
    command(&port, &mut driver, 0, &[1, 0, 2, 0, 0, 0]);
    rig.engine.doorbell(0, 2);
    let (ticket, data, room) = commands(&mut rig).remove(0);
    assert_eq!((data, room, driver.used_index()), (vec![1, 0, 2, 0, 0, 0], 1, 0));
    complete(&mut rig, ticket, &[0, 9, 9]);
    assert_eq!(driver.collect(), [(0, 1)], "no more than there was room for");
    assert_eq!(port.guest.read(port.guest.buffer(0) + 2048, 2), [0, 0]);
    assert_eq!(fired(&eventfd), 1);
}

#[test]
fn commands_are_counted_when_they_come_and_when_they_were_done() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    let mut counted = Vec::new();
    for (first, answer) in [(0, 0), (3, 1)] {
        command(&port, &mut driver, first, &[1, 0, 1]);
        rig.engine.doorbell(0, 2);
        let (ticket, ..) = commands(&mut rig).remove(0);
        counted.push([Queue::Commands, Queue::CommandsOk].map(|counter| rig.queue_count(0, 2, counter)));
        complete(&mut rig, ticket, &[answer]);
    }
    counted.push([Queue::Commands, Queue::CommandsOk].map(|counter| rig.queue_count(0, 2, counter)));
    assert_eq!(counted, [[1, 0], [2, 1], [2, 1]]);
}

#[test]
fn commands_are_taken_one_at_a_time() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    command(&port, &mut driver, 0, &[1, 0, 1]);
    command(&port, &mut driver, 3, &[1, 1, 1]);
    rig.engine.doorbell(0, 2);
    rig.engine.doorbell(0, 2);
    let first = commands(&mut rig);
    assert_eq!(first.len(), 1);
    complete(&mut rig, first[0].0, &[0]);
    let second = commands(&mut rig);
    assert_eq!(second[0].1, [1, 1, 1]);
    complete(&mut rig, first[0].0, &[0]);
    assert_eq!(driver.collect(), [(0, 1)], "an old answer is nobody's");
    complete(&mut rig, second[0].0, &[1]);
    assert_eq!((driver.collect(), driver.used_flags()), (vec![(3, 1)], 0));
}

#[test]
fn a_stopped_queue_forgets_its_command_and_a_new_one_has_another_ticket() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    command(&port, &mut driver, 0, &[1, 0, 1]);
    rig.engine.doorbell(0, 2);
    let old = commands(&mut rig).remove(0).0;
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    complete(&mut rig, old, &[0]);
    assert_eq!(driver.used_index(), 0);
    rig.start(0, &driver.setup);
    let new = commands(&mut rig).remove(0).0;
    assert_ne!(old, new);
    complete(&mut rig, old, &[0]);
    assert_eq!(driver.used_index(), 0);
    complete(&mut rig, new, &[0]);
    assert_eq!(driver.used_index(), 1);
}

#[test]
fn a_command_may_have_no_room_for_an_answer() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    driver.describe(0, port.guest.buffer(0), 4, 0, 0);
    driver.offer(0);
    rig.engine.doorbell(0, 2);
    let (ticket, data, room) = commands(&mut rig).remove(0);
    assert_eq!((data.len(), room), (4, 0));
    complete(&mut rig, ticket, &[0]);
    assert_eq!(driver.collect(), [(0, 0)]);
}

#[test]
fn of_a_command_of_more_than_64_kilobytes_the_controller_gets_one_byte_too_many() {
    for (length, handed) in [(65536, 65536), (65537, 65537), (100_000, 65537)] {
        let mut rig = Rig::new();
        let (port, mut driver) = control(&mut rig);
        driver.describe(0, port.guest.buffer(0), length, 1, 1);
        driver.describe(1, port.guest.buffer(0), 1, 2, 0);
        driver.offer(0);
        rig.engine.doorbell(0, 2);
        let (ticket, data, room) = commands(&mut rig).remove(0);
        assert_eq!((data.len(), room), (handed, 1));
        complete(&mut rig, ticket, &[1]);
        assert_eq!((driver.collect(), rig.faults().len()), (vec![(0, 1)], 0));
    }
}

#[test]
fn an_answer_waits_while_the_ring_is_unmapped() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    command(&port, &mut driver, 0, &[1, 0, 1]);
    rig.engine.doorbell(0, 2);
    let ticket = commands(&mut rig).remove(0).0;
    rig.engine.obey(Order::SetMemory { function: 0, table: Arc::default(), done: done() });
    complete(&mut rig, ticket, &[7]);
    assert_eq!(driver.used_index(), 0);
    rig.engine.obey(Order::SetMemory { function: 0, table: port.guest.table.clone(), done: done() });
    assert_eq!(driver.collect(), [(0, 1)]);
    assert_eq!(port.guest.read(port.guest.buffer(0) + 2048, 1), [7]);
}

#[test]
fn an_answer_goes_along_with_a_queue_and_is_given_where_it_goes_on() {
    let mut rig = Rig::new();
    let (port, mut driver) = control(&mut rig);
    command(&port, &mut driver, 0, &[1, 0, 1]);
    rig.engine.doorbell(0, 2);
    let (ticket, ..) = commands(&mut rig).remove(0);
    rig.engine.obey(Order::Freeze { function: 0, on: true, done: done() });
    complete(&mut rig, ticket, &[0]);
    let (stands, told) = sync_channel(1);
    rig.engine.obey(Order::Stands { function: 0, stands });
    let stand = told.recv().unwrap().unwrap().remove(2);
    assert_eq!((stand.queue, stand.position, &stand.answer), (2, 0, &Some(vec![0])));
    rig.engine.obey(Order::StopAll { function: 0, done: done() });
    rig.start(0, &QueueSetup { answer: stand.answer, ..driver.setup.clone() });
    assert_eq!(driver.used_index(), 0, "it is still frozen");
    rig.engine.obey(Order::Freeze { function: 0, on: false, done: done() });
    assert_eq!((driver.collect(), commands(&mut rig).len()), (vec![(0, 1)], 0));
    assert_eq!(port.guest.read(port.guest.buffer(0) + 2048, 1), [0]);
}
