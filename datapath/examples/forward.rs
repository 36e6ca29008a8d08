//! How many cycles it takes to move a frame from one guest's transmit ring to another's receive ring: driver and datapath in
//! one thread, `cargo run --release --features testing --example forward`. The driver is light: it only moves indices.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use softdpu_datapath::ring::testing::{Driver, Guest, NO_INTERRUPT, WRITE};
use softdpu_datapath::worker::orders::{Filter, Order, Role};
use softdpu_datapath::worker::{self, Engine};
use softdpu_datapath::{counters, interrupt};

const RING: u32 = 1024;
const BURST: u16 = 32;
/// Buffers lie as DPDK's mbufs do: 2 KiB, headroom and descriptor. At 4096 they would share the sets of the first-level cache.
const STRIDE: u64 = 2304;
const ROUNDS: usize = 10_000;
const WINDOWS: usize = 60;

fn main() {
    let asked = std::env::args().nth(1).and_then(|octets| octets.parse().ok());
    for octets in asked.map_or(vec![64, 1518], |octets| vec![octets]) {
        let mut windows = measure(octets);
        windows.sort_by(f64::total_cmp);
        println!("{octets:5} B: {:6.1} cycles a packet (best {:.1})", windows[WINDOWS / 2], windows[0]);
    }
}

/// Cycles a packet in each of a number of short windows: on a shared machine the best ones were undisturbed.
fn measure(octets: usize) -> Vec<f64> {
    let (outbox, _notices) = worker::notices().unwrap();
    let mut engine = Engine::new(outbox).unwrap();
    let counters = counters::Counters::new().unwrap();
    let guests = [Guest::new(), Guest::new()];
    let mut transmit = guests[0].queue(1, Role::Transmit, RING);
    let mut receive = guests[1].queue(0, Role::Receive, RING);
    for (id, guest) in guests.iter().enumerate() {
        add(&mut engine, id as u32, guest, &counters);
    }
    guests[0].queue(0, Role::Receive, RING);
    prefill(&guests, &transmit, &receive, octets);
    start(&mut engine, 0, &guests[0].queue(0, Role::Receive, RING));
    start(&mut engine, 0, &transmit);
    start(&mut engine, 1, &receive);
    engine.patience = Duration::from_secs(3600);
    (0..RING as u16).for_each(|head| receive.place(head));
    receive.publish();
    run(&mut engine, &mut transmit, &mut receive, ROUNDS);
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        let before = cycles();
        run(&mut engine, &mut transmit, &mut receive, ROUNDS);
        windows.push((cycles() - before) as f64 / (ROUNDS as f64 * f64::from(BURST)));
    }
    let frames = (WINDOWS as u64 + 1) * ROUNDS as u64 * u64::from(BURST);
    assert_eq!(counters.function(0).get(counters::Function::SwitchedFrames), frames);
    windows
}

fn run(engine: &mut Engine, transmit: &mut Driver, receive: &mut Driver, rounds: usize) {
    for _ in 0..rounds {
        (0..BURST).for_each(|_| transmit.place(transmit.offered % RING as u16));
        transmit.publish();
        engine.turn(Duration::ZERO);
        receive.offered = receive.used_index().wrapping_add(RING as u16);
        receive.publish();
    }
}

fn prefill(guests: &[Guest; 2], transmit: &Driver, receive: &Driver, octets: usize) {
    for index in 0..RING as u16 {
        let offset = u64::from(index) * STRIDE;
        let [source, target] = [guests[0].buffer(0) + offset, guests[1].buffer(0) + offset];
        let mut frame = vec![0; 12 + octets];
        frame[12..18].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[18..24].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
        guests[0].write(source, &frame);
        transmit.describe(index, source, 12 + octets as u32, 0, 0);
        receive.describe(index, target, 2048, WRITE, 0);
    }
    transmit.set_flags(NO_INTERRUPT);
    receive.set_flags(NO_INTERRUPT);
}

fn add(engine: &mut Engine, id: u32, guest: &Guest, counters: &counters::Counters) {
    let own = counters.function(id);
    let lines = Arc::new(interrupt::Lines::new(4, own.clone()));
    engine.obey(Order::AddFunction { function: id, representor: None, lines, counters: own });
    let done = sync_channel(1).0;
    engine.obey(Order::SetMemory { function: id, table: guest.table.clone(), done });
    let filter = Filter {
        promiscuous: false,
        all_multicast: false,
        all_unicast: false,
        no_multicast: false,
        no_unicast: false,
        no_broadcast: false,
        addresses: vec![[2, 0, 0, 0, 0, id as u8]],
        vlans: Some(Box::new([0xff; 512])),
    };
    engine.obey(Order::SetFilter { function: id, filter });
    engine.obey(Order::SetFrameLimit { function: id, octets: 1518 });
}

fn start(engine: &mut Engine, function: u32, driver: &Driver) {
    engine.obey(Order::StartQueue { function, setup: driver.setup.clone() });
}

fn cycles() -> u64 {
    // SAFETY: reading the time stamp counter has no effect.
    unsafe { std::arch::x86_64::_rdtsc() }
}
