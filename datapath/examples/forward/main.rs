//! How many cycles it takes to move a frame from one guest's transmit ring to another's receive ring: driver and datapath in
//! one thread, beside a memcpy of the same bytes in the same windows. The driver is light: it only makes buffers available
//! again. `cargo run --release --features testing --example forward [-- [--json] [--windows N] [--split|--packed] [OCTETS]...]`

mod side;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use softdpu_datapath::memory::{Sink, Source, Translate};
use softdpu_datapath::offload::Offloads;
use softdpu_datapath::ring::testing::Guest;
use softdpu_datapath::worker::orders::{Filter, Order, Role};
use softdpu_datapath::worker::{self, Engine};
use softdpu_datapath::{counters, interrupt};

use side::Side;

const RING: u16 = 1024;
const BURST: u16 = 32;
/// Buffers lie as DPDK's mbufs do: 2 KiB, headroom and descriptor. At 4096 they would share the sets of the first-level cache.
const STRIDE: u64 = 2304;
const HEADER: usize = 12;
/// Windows are short: on a busy machine some of many are undisturbed.
const ROUNDS: usize = 250;
const WINDOWS: usize = 400;

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    packed: bool,
    in_order: bool,
    both_ways: bool,
    octets: usize,
}

/// Cycles a packet in the windows: of the datapath, and of memcpy.
struct Figures {
    datapath: Vec<f64>,
    memcpy: Vec<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let named = arguments.iter().position(|argument| argument == "--windows").map(|at| at + 1);
    let windows = named.and_then(|at| arguments.get(at)?.parse().ok()).unwrap_or(WINDOWS);
    let given = |word: &str| arguments.iter().any(|argument| argument == word);
    let layout = if given("--split") { Some(false) } else { given("--packed").then_some(true) };
    let numbers = arguments.iter().enumerate().filter(|(at, _)| Some(*at) != named);
    let mut sizes: Vec<usize> = numbers.filter_map(|(_, argument)| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![64, 1518];
    }
    let wanted = |case: &Case| layout.is_none_or(|packed| case.packed == packed);
    let results: Vec<String> =
        cases(&sizes).filter(wanted).map(|case| case.report(&measure(case, windows), json)).collect();
    if json {
        println!("[\n{}\n]", results.join(",\n"));
    }
}

fn cases(sizes: &[usize]) -> impl Iterator<Item = Case> {
    sizes.iter().flat_map(|octets| {
        [false, true].into_iter().flat_map(|packed| {
            [(false, false), (true, false), (false, true)].map(|(in_order, both_ways)| Case {
                packed,
                in_order,
                both_ways,
                octets: *octets,
            })
        })
    })
}

impl Case {
    fn name(&self) -> String {
        let layout = if self.packed { "packed" } else { "split" };
        let in_order = if self.in_order { " in order" } else { "" };
        let ways = if self.both_ways { " both ways" } else { "" };
        format!("{layout}{in_order}{ways} {}", self.octets)
    }

    /// One line: for people at once, as JSON to be printed later.
    fn report(&self, figures: &Figures, json: bool) -> String {
        let [median, memcpy] = [&figures.datapath, &figures.memcpy].map(|windows| quantile(windows, 0.5));
        let [best, memcpy_best] = [&figures.datapath, &figures.memcpy].map(|windows| quantile(windows, 0.0));
        if !json {
            println!(
                "{:26} {median:6.1} cycles a packet (best {best:5.1}); memcpy {memcpy:6.1} (best {memcpy_best:5.1}): {:3.0} % of it",
                self.name(),
                100.0 * memcpy_best / best
            );
        }
        format!(
            "  {{\"case\": \"{}\", \"cycles\": {median:.1}, \"best\": {best:.1}, \"memcpy\": {memcpy:.1}, \
             \"memcpy_best\": {memcpy_best:.1}}}",
            self.name()
        )
    }
}

/// On a shared machine the best windows were undisturbed.
fn measure(case: Case, windows: usize) -> Figures {
    let (outbox, _notices) = worker::notices().unwrap();
    let mut engine = Engine::new(outbox).unwrap();
    let counters = counters::Counters::new().unwrap();
    let guests = [Guest::new(), Guest::new()];
    for (id, guest) in guests.iter().enumerate() {
        add(&mut engine, id as u32, guest, &counters);
    }
    let mut ways = [way(case, &guests, 0), way(case, &guests, 1)];
    for (from, (transmit, receive)) in ways.iter().enumerate() {
        start(&mut engine, from as u32, transmit);
        start(&mut engine, 1 - from as u32, receive);
    }
    engine.be_patient(Duration::from_secs(3600));
    ways.iter_mut().for_each(|(_, receive)| receive.give(RING));
    let copies = copies(case, &guests);
    let mut figures = Figures { datapath: Vec::new(), memcpy: Vec::new() };
    // Both have been heard before it is measured, so that their addresses are known.
    run(&mut engine, &mut ways, ROUNDS);
    let measured = if case.both_ways { &mut ways[..] } else { &mut ways[..1] };
    let packets = (ROUNDS * usize::from(BURST)) as f64;
    for _ in 0..windows {
        figures.datapath.push(cycles(|| run(&mut engine, measured, ROUNDS)) / packets / measured.len() as f64);
        figures.memcpy.push(cycles(|| copy(&copies, ROUNDS)) / packets);
    }
    let frames = (windows as u64 + 1) * ROUNDS as u64 * u64::from(BURST);
    (0..measured.len() as u32)
        .for_each(|from| assert_eq!(counters.function(from).get(counters::Function::SwitchedFrames), frames));
    figures
}

fn run(engine: &mut Engine, ways: &mut [(Side, Side)], rounds: usize) {
    for _ in 0..rounds {
        ways.iter_mut().for_each(|(transmit, _)| transmit.give(BURST));
        engine.turn(Duration::ZERO);
        ways.iter_mut().for_each(|(_, receive)| receive.give(BURST));
    }
}

fn copy(copies: &[(Source<'_>, Sink<'_>)], rounds: usize) {
    for burst in copies.chunks(BURST.into()).cycle().take(rounds) {
        for (source, sink) in burst {
            std::hint::black_box(sink.copy_from(*source));
        }
    }
}

/// A transmit queue of guest `from`, and the receive queue of the other one, with their buffers.
fn way(case: Case, guests: &[Guest; 2], from: usize) -> (Side, Side) {
    let to = 1 - from;
    let mut transmit = Side::new(case, &guests[from], 1, Role::Transmit);
    let mut receive = Side::new(case, &guests[to], 0, Role::Receive);
    let mut frame = vec![0; HEADER + case.octets];
    frame[HEADER..HEADER + 6].copy_from_slice(&[2, 0, 0, 0, 0, to as u8]);
    frame[HEADER + 6..HEADER + 12].copy_from_slice(&[2, 0, 0, 0, 0, from as u8]);
    for index in 0..RING {
        let [source, sink] = places(guests, from, index);
        guests[from].write(source, &frame);
        transmit.describe(index, source, frame.len() as u32);
        receive.describe(index, sink, 2048);
    }
    (transmit, receive)
}

/// Where the buffers of a ring lie: the source's, and the target's in the other guest's second half.
fn places(guests: &[Guest; 2], from: usize, index: u16) -> [u64; 2] {
    let offset = u64::from(index) * STRIDE;
    let half = u64::from(RING) * STRIDE;
    [guests[from].buffer(0) + offset, guests[1 - from].buffer(0) + half + offset]
}

fn copies<'g>(case: Case, guests: &'g [Guest; 2]) -> Vec<(Source<'g>, Sink<'g>)> {
    let len = (HEADER + case.octets) as u64;
    (0..RING)
        .map(|index| {
            let ([source, sink], mut sources, mut sinks) = (places(guests, 0, index), Vec::new(), Vec::new());
            Source::translate(&guests[0].table, &mut 0, source, len, &mut sources).unwrap();
            Sink::translate(&guests[1].table, &mut 0, sink, len, &mut sinks).unwrap();
            (sources[0], sinks[0])
        })
        .collect()
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
    engine.obey(Order::SetOffloads { function: id, offloads: Offloads(0x3b83) });
}

fn start(engine: &mut Engine, function: u32, side: &Side) {
    engine.obey(Order::StartQueue { function, setup: side.setup().clone() });
}

fn quantile(windows: &[f64], part: f64) -> f64 {
    let mut sorted = windows.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn cycles(work: impl FnOnce()) -> f64 {
    let before = now();
    work();
    (now() - before) as f64
}

#[cfg(target_arch = "x86_64")]
fn now() -> u64 {
    // SAFETY: reading the time stamp counter has no effect.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds, where there is no such counter.
#[cfg(not(target_arch = "x86_64"))]
fn now() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}
