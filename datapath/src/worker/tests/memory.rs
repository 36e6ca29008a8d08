//! Memory that comes and goes while queues run.

use std::os::fd::AsFd;

use super::*;
use crate::memory::{Region, Table};
use crate::ring::testing::{ALL, BASE, MEMORY};

fn set(rig: &mut Rig, port: &Port, table: Arc<Table>) {
    rig.engine.obey(Order::SetMemory { function: port.id, table, done: done() });
}

#[test]
fn a_queue_waits_while_its_ring_is_unmapped_and_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.post(4);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    set(&mut rig, &a, Arc::default());
    a.send(&frame(BROADCAST, mac(0), 61));
    a.inject(&frame(mac(0), mac(9), 62));
    rig.settle();
    assert_eq!((a.transmit.used_index(), a.receive.used_index()), (1, 0));
    let table = a.guest.table.clone();
    set(&mut rig, &a, table);
    rig.settle();
    assert_eq!((a.emitted().len(), a.received()), (2, vec![frame(mac(0), mac(9), 62)]));
    assert_eq!((rig.faults().len(), rig.losses(0).len()), (0, 0));
}

#[test]
fn nothing_of_the_former_table_is_held_once_the_receipt_has_fired() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    rig.kick(&a);
    let region = Region::map(a.guest.fd.as_fd(), 0, BASE, MEMORY, ALL).unwrap();
    let table = Arc::new(Table::new(vec![region]));
    let inode = rustix::fs::fstat(&a.guest.fd).unwrap().st_ino.to_string();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = || maps().lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count();
    assert_eq!(mappings(), 2);
    set(&mut rig, &a, table);
    rig.kick(&a);
    set(&mut rig, &a, Arc::default());
    assert_eq!(mappings(), 1, "the test driver's own");
}

#[test]
fn a_doorbell_while_the_ring_is_unmapped_is_no_fault_and_not_lost() {
    let mut rig = Rig::new();
    let mut a = rig.port(0, true);
    a.send(&frame(BROADCAST, mac(0), 60));
    set(&mut rig, &a, Arc::default());
    rig.kick(&a);
    assert_eq!((rig.faults().len(), a.emitted().len()), (0, 0));
    let table = a.guest.table.clone();
    set(&mut rig, &a, table);
    rig.settle();
    assert_eq!(a.emitted().len(), 1);
}

#[test]
fn a_buffer_unmapped_under_traffic_stops_its_queue() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, true));
    let half = MEMORY / 2;
    let region = Region::map(a.guest.fd.as_fd(), 0, BASE, half, ALL).unwrap();
    a.send(&frame(BROADCAST, mac(0), 60));
    set(&mut rig, &a, Arc::new(Table::new(vec![region])));
    rig.kick(&a);
    let cause = format!("queue 1, descriptor 0: {:#x} + 0x48 is outside the guest's memory", a.guest.buffer(0));
    assert_eq!(rig.faults(), [cause]);
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    assert_eq!(b.emitted().len(), 1);
}

#[test]
fn a_buffer_over_two_maps_of_adjacent_memory_is_one_stream() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, false));
    b.post(4);
    let cut = a.guest.buffer(0) + 4096 - BASE;
    let low = Region::map(a.guest.fd.as_fd(), 0, BASE, cut, ALL).unwrap();
    let high = Region::map(a.guest.fd.as_fd(), cut, BASE + cut, MEMORY - cut, ALL).unwrap();
    set(&mut rig, &a, Arc::new(Table::new(vec![low, high])));
    let sent = frame(BROADCAST, mac(0), 500);
    let place = BASE + cut - 30;
    a.guest.write(place, &[&[0; 12], &sent[..]].concat());
    a.transmit.describe(0, place, 512, 0, 0);
    a.transmit.offer(0);
    rig.kick(&a);
    assert_eq!((b.received(), a.emitted()), (vec![sent.clone()], vec![sent]));
}

#[test]
fn a_vmm_that_truncates_its_memory_loses_its_own_queues_only() {
    crate::memory::survive_truncation();
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig.port(0, true), rig.port(1, true));
    a.post(4);
    rustix::fs::ftruncate(&a.guest.fd, 0).unwrap();
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    rig.engine.check_memory();
    let sentence = "the VMM took away memory that it had shared (was its file truncated?)";
    assert_eq!(rig.faults(), [0, 1].map(|queue| format!("queue {queue}: {sentence}")));
    b.send(&frame(BROADCAST, mac(1), 60));
    rig.kick(&b);
    assert_eq!(b.emitted().len(), 2);
}

#[test]
fn memory_truncated_before_the_kernel_writes_to_it_is_the_same() {
    crate::memory::survive_truncation();
    let mut rig = Rig::new();
    let mut a = rig.idle_port(0, true);
    a.receive.describe(0, a.guest.buffer(0), LENGTH, WRITE, 0);
    a.receive.offer(0);
    rig.start(0, &a.receive.setup.clone());
    rustix::fs::ftruncate(&a.guest.fd, a.guest.buffer(0) - BASE).unwrap();
    a.inject(&frame(mac(0), mac(9), 60));
    rig.settle();
    rig.engine.check_memory();
    assert!(rig.faults()[0].starts_with("queue 0: the VMM took away memory"));
}
