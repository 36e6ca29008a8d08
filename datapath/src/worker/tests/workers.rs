//! Several workers: threads that share the switch, while queues move between them.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::*;
use crate::worker::crew::Crew;
use crate::worker::local::Thing;
use crate::worker::thread::{Shift, run};
use crate::worker::world::{Worker, employ};

/// What a guest sends before it looks at what came.
const BURST: u32 = 16;

/// Two workers with threads, and a third one that only moves things about.
struct Crowd {
    crew: Arc<Crew>,
    orders: std::sync::mpsc::Sender<Order>,
    mover: Worker,
    counters: Counters,
    notices: Notices,
}

/// Ends the threads when a test fails, too.
struct Ended(Arc<Crew>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn with_crowd(test: impl FnOnce(&mut Crowd)) {
    let (outbox, notices) = notices().unwrap();
    let crew = Arc::new(Crew::new(3).unwrap());
    let mut workers = employ(Engine::with_crew(outbox, crew.clone()).unwrap());
    let mover = workers.pop().unwrap();
    let (orders, receiver) = std::sync::mpsc::channel();
    let (start, mut receiver) = (Instant::now(), Some(receiver));
    std::thread::scope(|scope| {
        for worker in workers {
            let place = Mutex::new(Shift::new(worker, crew.clone(), receiver.take(), start).unwrap());
            scope.spawn(move || run(&place));
        }
        let _ended = Ended(crew.clone());
        test(&mut Crowd { crew, orders, mover, counters: Counters::for_workers(3).unwrap(), notices });
    });
}

impl Crowd {
    fn send(&self, order: Order) {
        self.orders.send(order).unwrap();
        self.crew.desks[0].doorbells.order();
    }

    fn settle(&self, order: impl FnOnce(Receipt) -> Order) {
        let (done, receipt) = sync_channel(1);
        self.send(order(done));
        receipt.recv().unwrap();
    }

    fn port(&mut self, id: FunctionId, representor: bool) -> Port {
        let guest = Guest::new();
        let counters = self.counters.function(id);
        let lines = Arc::new(Lines::new(8, counters.clone()));
        let (near, wire) =
            if representor { wire().map_or((None, None), |(a, b)| (Some(a), Some(b))) } else { (None, None) };
        self.send(Order::AddFunction { function: id, representor: near, lines: lines.clone(), counters });
        self.settle(|done| Order::SetMemory { function: id, table: guest.table.clone(), done });
        self.send(Order::SetFilter { function: id, filter: filter(id) });
        let (receive, transmit) = (guest.queue(0, Role::Receive, RING), guest.queue(1, Role::Transmit, RING));
        for setup in [&receive.setup, &transmit.setup] {
            self.send(Order::StartQueue { function: id, setup: setup.clone() });
        }
        let port = Port { id, guest, receive, transmit, lines, wire, sent: 0, posted: 0 };
        // The third worker has no thread.
        self.home(&port, id as usize % 2);
        port
    }

    fn home(&mut self, port: &Port, worker: usize) {
        self.settle(|done| Order::Fence { done });
        for queue in [None, Some(port.transmit.setup.queue)] {
            self.mover.alone(|engine| engine.rehome(Thing { function: port.id, queue }, worker));
        }
    }

    fn count(&self, id: FunctionId, counter: Counter) -> u64 {
        self.counters.function(id).get(counter)
    }

    /// See `Rig::assert_closed`.
    fn assert_closed(&self) {
        let sum = |id, counters: &[Counter]| counters.iter().map(|counter| self.count(id, *counter)).sum::<u64>();
        for id in 0..8 {
            let (left, right) = ([&CAME_IN[..], &COPIES[..]].concat(), [&WENT_OUT[..], &DROPS[..]].concat());
            assert_eq!(sum(id, &left), sum(id, &right), "port {id}");
        }
        let all = |counter| (0..8).map(|id| self.count(id, counter)).sum::<u64>();
        assert_eq!(all(Counter::SwitchInFrames), all(Counter::SwitchOutFrames));
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

/// A frame whose number tells where in its flow it belongs.
fn numbered(to: FunctionId, from: FunctionId, number: u32) -> Vec<u8> {
    let mut bytes = frame(mac(to), mac(from), 60 + (number % 200) as usize);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    bytes[18] = from as u8;
    bytes
}

/// Guests in a ring send to each other, each to the next and each to all from time to time; `meanwhile` is called over and
/// over. Asserts that what arrives from one guest comes in its order, and says how much came.
fn converse(crowd: &mut Crowd, ports: &mut [Port], frames: u32, mut meanwhile: impl FnMut(&mut Crowd, u32)) -> u64 {
    let count = ports.len();
    let (mut numbers, mut seen, mut came) = (vec![0u32; count], vec![[None::<u32>; 8]; count], 0);
    ports.iter_mut().for_each(|port| port.post(RING as u16 - 1));
    let mut round = 0;
    while numbers.iter().any(|number| *number < frames) || !ports.iter_mut().all(drained) {
        round += 1;
        for at in 0..count {
            let to = ((at + 1) % count) as FunctionId;
            let port = &mut ports[at];
            // No more than the next one has buffers for, however fast they are forwarded meanwhile.
            let room = BURST - u32::from(port.sent.wrapping_sub(port.transmit.used_index())).min(BURST);
            for _ in 0..room.min(frames - numbers[at]) {
                port.send(&numbered(to, port.id, numbers[at]));
                numbers[at] += 1;
            }
            crowd.crew.ring(port.id, port.transmit.setup.queue);
            came += take(port, &mut seen[at]);
        }
        meanwhile(crowd, round);
    }
    until("everything is counted", || {
        let all = |counter| ports.iter().map(|port| crowd.count(port.id, counter)).sum::<u64>();
        all(Counter::SwitchInFrames) == all(Counter::SwitchOutFrames)
            && all(Counter::TransmittedFrames) == u64::from(frames) * count as u64
    });
    crowd.settle(|done| Order::Fence { done });
    crowd.mover.alone(|_| ());
    came + ports.iter_mut().zip(&mut seen).map(|(port, seen)| take(port, seen)).sum::<u64>()
}

fn drained(port: &mut Port) -> bool {
    port.transmit.used_index() == port.sent
}

fn take(port: &mut Port, seen: &mut [Option<u32>; 8]) -> u64 {
    let frames = port.received();
    port.post(frames.len() as u16);
    for frame in &frames {
        let (from, number) = (usize::from(frame[18]), u32::from_be_bytes(frame[14..18].try_into().unwrap()));
        assert!(seen[from].is_none_or(|before| before < number), "out of order: {number} after {:?}", seen[from]);
        seen[from] = Some(number);
        assert_eq!(frame.len(), 60 + (number % 200) as usize);
    }
    frames.len() as u64
}

#[test]
fn queues_move_under_traffic_and_no_frame_is_lost_disordered_or_miscounted() {
    with_crowd(|crowd| {
        let mut ports: Vec<Port> = (0..4).map(|id| crowd.port(id, false)).collect();
        let came = converse(crowd, &mut ports, 3000, |crowd, round| {
            let (function, worker) = (round % 4, round as usize / 4 % 2);
            crowd.mover.alone(|engine| engine.rehome(Thing { function, queue: Some(1) }, worker));
        });
        crowd.assert_closed();
        let received: u64 = (0..4).map(|id| crowd.count(id, Counter::ReceivedFrames)).sum();
        assert_eq!((came, received, crowd.count(0, Counter::TransmittedFrames)), (12_000, 12_000, 3000));
    });
}

#[test]
fn a_fault_on_one_worker_costs_nothing_on_the_other() {
    with_crowd(|crowd| {
        let mut ports: Vec<Port> = (0..3).map(|id| crowd.port(id, false)).collect();
        let mut liar = crowd.port(3, false);
        let mut faults = 0;
        converse(crowd, &mut ports, 1000, |crowd, _| {
            liar.transmit.describe(0, u64::MAX - 4096, 100, 0, 0);
            liar.transmit.offer(0);
            crowd.crew.ring(3, 1);
            if !crowd.notices.take().is_empty() {
                faults += 1;
                crowd.settle(|done| Order::StopQueue { function: 3, queue: 1, done });
                liar.transmit = liar.guest.queue(1, Role::Transmit, RING);
                crowd.send(Order::StartQueue { function: 3, setup: liar.transmit.setup.clone() });
                crowd.home(&liar, faults % 2);
            }
        });
        assert!(faults > 0);
        crowd.assert_closed();
        assert!((0..3).all(|id| crowd.count(id, Counter::QueueFaults) == 0));
    });
}

#[test]
fn a_panic_on_one_worker_stops_its_function_and_no_other() {
    with_crowd(|crowd| {
        let mut ports: Vec<Port> = (0..3).map(|id| crowd.port(id, false)).collect();
        let mut unlucky = crowd.port(3, false);
        crowd.mover.alone(|engine| engine.fabric.get(3).unwrap().panics = true);
        converse(crowd, &mut ports, 500, |crowd, round| {
            if round == 3 {
                unlucky.send(&numbered(0, 3, 0));
                crowd.crew.ring(3, 1);
            }
        });
        until("its queues are stopped", || crowd.count(3, Counter::QueueFaults) == 2);
        crowd.assert_closed();
        assert_eq!(crowd.count(0, Counter::TransmittedFrames), 500);
    });
}

#[test]
fn orders_are_carried_out_while_others_forward() {
    with_crowd(|crowd| {
        let mut ports: Vec<Port> = (0..3).map(|id| crowd.port(id, false)).collect();
        let other = crowd.port(3, false);
        let tables = [Arc::default(), other.guest.table.clone()];
        converse(crowd, &mut ports, 1000, |crowd, round| {
            let table = tables[round as usize % 2].clone();
            crowd.settle(|done| Order::SetMemory { function: 3, table, done });
        });
        crowd.assert_closed();
    });
}

#[test]
fn a_flood_by_one_worker_reaches_everyone_in_order() {
    with_crowd(|crowd| {
        let mut ports: Vec<Port> = (0..6).map(|id| crowd.port(id, true)).collect();
        let (mut seen, mut came) = (vec![[None; 8]; 6], [0; 6]);
        ports.iter_mut().for_each(|port| port.post(RING as u16 - 1));
        for number in 0..300 {
            for port in &mut ports[..2] {
                let mut bytes = numbered(0, port.id, number);
                bytes[..6].copy_from_slice(&BROADCAST);
                port.send(&bytes);
                crowd.crew.ring(port.id, 1);
            }
            until("it is sent", || ports[..2].iter_mut().all(drained));
            for (at, port) in ports.iter_mut().enumerate() {
                came[at] += take(port, &mut seen[at]);
                port.emitted();
            }
        }
        until("all have all", || {
            let each = ports.iter_mut().enumerate();
            each.for_each(|(at, port)| came[at] += take(port, &mut seen[at]));
            came == [300, 300, 600, 600, 600, 600]
        });
        crowd.mover.alone(|_| ());
        crowd.assert_closed();
    });
}

#[test]
fn frames_from_a_representor_arrive_wherever_it_is_served() {
    with_crowd(|crowd| {
        let mut port = crowd.port(0, true);
        let mut seen = [None; 8];
        port.post(RING as u16 - 1);
        for number in 0..400u32 {
            port.inject(&numbered(0, 5, number));
            let mut came = 0;
            until("it arrives", || {
                came += take(&mut port, &mut seen);
                came == 1
            });
            crowd.mover.alone(|engine| engine.rehome(Thing { function: 0, queue: None }, number as usize % 2));
        }
        crowd.assert_closed();
    });
}

#[test]
fn a_worker_with_more_to_do_gives_things_to_one_that_sleeps() {
    with_crowd(|crowd| {
        let ports: Vec<Port> = (0..4).map(|id| crowd.port(id, false)).collect();
        crowd.mover.alone(|engine| {
            // The third worker has no thread: it is made to look busy.
            (0..4).for_each(|function| engine.rehome(Thing { function, queue: Some(1) }, 0));
        });
        let (crew, done) = (crowd.crew.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for mut port in ports {
                let (crew, done) = (&crew, &done);
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        if port.sent.wrapping_sub(port.transmit.used_index()) < 64 {
                            port.send(&frame(mac(port.id ^ 1), mac(port.id), 1000));
                            crew.ring(port.id, 1);
                        }
                        std::thread::yield_now();
                    }
                });
            }
            let start = Instant::now();
            let moved = || (0..4).filter(|id| crowd.crew.home(*id, Some(1)) == 1).count();
            while moved() == 0 && start.elapsed() < Duration::from_secs(60) {
                crowd.crew.desks[2].load.set(1.0, start.elapsed() + Duration::from_millis(100));
                std::thread::sleep(Duration::from_millis(1));
            }
            done.store(true, Relaxed);
            assert!(moved() > 0, "nothing was given away");
        });
    });
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let error = crate::worker::spawn_on(&[0, 5000], None).err().unwrap().to_string();
    assert!(error.starts_with("no worker can run on core 5000"), "{error}");
    let error = crate::worker::spawn_on(&[1023], None).err().unwrap().to_string();
    assert!(error.starts_with("no worker can run on core 1023"), "{error}");
}
