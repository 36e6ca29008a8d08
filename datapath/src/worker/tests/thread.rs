//! The worker as the pump has it: a thread, woken by orders, doorbells and taps.

use std::time::Instant;

use super::*;
use crate::memory::barrier;
use crate::worker::{WorkerHandle, spawn};

struct Running {
    worker: WorkerHandle,
    notices: Notices,
    counters: Counters,
}

impl Running {
    fn new() -> Running {
        let (worker, notices) = spawn().unwrap();
        Running { worker, notices, counters: Counters::new().unwrap() }
    }

    fn port(&self, id: FunctionId, representor: bool) -> Port {
        let guest = Guest::new();
        let counters = self.counters.function(id);
        let lines = Arc::new(Lines::new(8, counters.clone()));
        let (near, wire) =
            if representor { wire().map_or((None, None), |(a, b)| (Some(a), Some(b))) } else { (None, None) };
        self.worker.send(Order::AddFunction { function: id, representor: near, lines: lines.clone(), counters });
        let (done, receipt) = sync_channel(0);
        self.worker.send(Order::SetMemory { function: id, table: guest.table.clone(), done });
        receipt.recv().unwrap();
        let (receive, transmit) = (guest.queue(0, Role::Receive, RING), guest.queue(1, Role::Transmit, RING));
        for setup in [&receive.setup, &transmit.setup] {
            self.worker.send(Order::StartQueue { function: id, setup: setup.clone() });
        }
        Port { id, guest, receive, transmit, lines, wire, sent: 0, posted: 0 }
    }

    fn stop_all(&self, id: FunctionId) {
        let (done, receipt) = sync_channel(1);
        self.worker.send(Order::StopAll { function: id, done });
        receipt.recv().unwrap();
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn doorbells_and_frames_from_representors_wake_the_worker() {
    let running = Running::new();
    let mut a = running.port(3, true);
    a.post(20);
    for round in 0..20 {
        std::thread::sleep(Duration::from_millis(round % 3));
        a.send(&frame(BROADCAST, mac(3), 60));
        running.worker.doorbell(3, 1);
        until(|| a.emitted().len() == 1);
        a.inject(&frame(mac(3), mac(9), 60));
        until(|| a.received().len() == 1);
    }
}

#[test]
fn no_doorbell_is_lost_whenever_it_comes() {
    let running = Running::new();
    let (mut a, mut b) = (running.port(0, false), running.port(1, false));
    for round in 0..2000u64 {
        b.post(1);
        a.send(&frame(mac(1), mac(0), 60));
        // What is available must be visible before the device's wish is read (virtio 1.3 §2.7.13.4.1).
        barrier();
        if a.transmit.used_flags() == 0 {
            running.worker.doorbell(0, 1);
        }
        until_soon(|| b.received().len() == 1, round);
    }
}

/// Spins first: the doorbell of the next round shall meet a worker that is about to sleep.
fn until_soon(mut condition: impl FnMut() -> bool, round: u64) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "round {round}");
        std::thread::yield_now();
    }
    let pause = Instant::now();
    while pause.elapsed() < Duration::from_nanos(round * 37 % 60_000) {
        std::hint::spin_loop();
    }
}

#[test]
fn an_idle_worker_uses_no_processor_time() {
    let running = Running::new();
    let mut ports: Vec<_> = (0..40).map(|id| running.port(id, true)).collect();
    ports[0].send(&frame(BROADCAST, mac(0), 60));
    running.worker.doorbell(0, 1);
    until(|| ports[0].emitted().len() == 1);
    std::thread::sleep(Duration::from_millis(50));
    let before = worker_time();
    std::thread::sleep(Duration::from_millis(500));
    assert!(worker_time() - before <= 1, "ticks of a hundredth of a second");
}

/// Time that threads named "worker" of this test's process have used, in ticks; other tests may run workers too, so the
/// one that used least counts.
fn worker_time() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let times = stats.filter(|stat| stat.contains("(worker)")).map(|stat| {
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    });
    times.min().unwrap()
}

#[test]
fn memory_may_be_taken_and_queues_stopped_under_traffic() {
    let mut running = Running::new();
    let (mut a, mut b) = (running.port(0, false), running.port(1, false));
    b.post(32);
    for _ in 0..50 {
        (0..32).for_each(|_| a.send(&frame(mac(1), mac(0), 1000)));
        running.worker.doorbell(0, 1);
        let (done, receipt) = sync_channel(0);
        running.worker.send(Order::SetMemory { function: 1, table: Arc::default(), done });
        receipt.recv().unwrap();
        let (done, receipt) = sync_channel(0);
        running.worker.send(Order::SetMemory { function: 1, table: b.guest.table.clone(), done });
        receipt.recv().unwrap();
        until(|| a.transmit.used_index() == a.transmit.offered);
        let emptied = b.received().len() as u16;
        b.post(emptied);
    }
    running.stop_all(0);
    running.stop_all(1);
    let used = a.transmit.used_index();
    a.send(&frame(mac(1), mac(0), 60));
    running.worker.doorbell(0, 1);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(a.transmit.used_index(), used);
    assert!(running.notices.take().is_empty());
}
