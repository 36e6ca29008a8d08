//! The harness for a stable toolchain: runs a target with random inputs and with mutations of earlier ones.
//!
//!     mutate TARGET [--seconds N] [--seed N]     prints the seed; the same seed makes the same inputs
//!     mutate TARGET --input FILE                 one input, as written when a run failed
//!     mutate --list
//!
//! A failed run ends with status 1 and names the file that its input was written to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use softdpu_fuzz::{TARGETS, Target};

/// Panics anywhere, also those that the datapath catches: it never has a reason to.
static PANICS: AtomicUsize = AtomicUsize::new(0);
/// Inputs that are kept to be changed.
const KEPT: usize = 256;
const LONGEST: usize = 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["--list"] {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let target = words.first().and_then(|word| TARGETS.iter().find(|(name, _)| name == word));
    let Some(&(name, target)) = target else {
        eprintln!("usage: mutate TARGET [--seconds N] [--seed N] | mutate TARGET --input FILE | mutate --list");
        return ExitCode::from(2);
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let option = |name: &str| words.iter().position(|word| word == name).and_then(|place| words.get(place + 1));
    match option("--input") {
        Some(file) => one(target, &std::fs::read(file).expect("the input file can be read")),
        None => {
            let number = |name| option(name).and_then(|value| value.parse().ok());
            let seed = number("--seed").unwrap_or_else(clock);
            many(name, target, seed, Duration::from_secs(number("--seconds").unwrap_or(60)))
        }
    }
}

fn clock() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64)
}

fn one(target: Target, input: &[u8]) -> ExitCode {
    if holds(target, input) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn holds(target: Target, input: &[u8]) -> bool {
    let before = PANICS.load(Ordering::Relaxed);
    catch_unwind(AssertUnwindSafe(|| target(input))).is_ok() && PANICS.load(Ordering::Relaxed) == before
}

fn many(name: &str, target: Target, seed: u64, time: Duration) -> ExitCode {
    println!("{name}: seed {seed}");
    let (start, mut chance) = (Instant::now(), Chance(seed));
    let mut kept: Vec<Vec<u8>> = vec![chance.bytes(LONGEST)];
    for run in 0u64.. {
        if start.elapsed() >= time {
            println!("{name}: {run} runs");
            break;
        }
        let input = next(&mut chance, &kept);
        if !holds(target, &input) {
            return failed(name, seed, &input);
        }
        let place = chance.below(KEPT);
        if place < kept.len() { kept[place] = input } else { kept.push(input) }
    }
    ExitCode::SUCCESS
}

fn failed(name: &str, seed: u64, input: &[u8]) -> ExitCode {
    let file = PathBuf::from(format!("fuzz-{name}-{seed}.input"));
    match std::fs::write(&file, input) {
        Ok(()) => eprintln!("{name}: seed {seed} failed; run it again with: mutate {name} --input {}", file.display()),
        Err(error) => eprintln!("{name}: seed {seed} failed; its input cannot be written: {error}"),
    }
    ExitCode::FAILURE
}

/// Fresh bytes, or an earlier input changed in a few places.
fn next(chance: &mut Chance, kept: &[Vec<u8>]) -> Vec<u8> {
    if chance.below(3) == 0 {
        let len = chance.below(LONGEST);
        return chance.bytes(len);
    }
    let mut input = kept[chance.below(kept.len())].clone();
    for _ in 0..=chance.below(8) {
        change(chance, &mut input, kept);
    }
    input.truncate(LONGEST);
    input
}

fn change(chance: &mut Chance, input: &mut Vec<u8>, kept: &[Vec<u8>]) {
    let at = chance.below(input.len().max(1)).min(input.len());
    match chance.below(5) {
        0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = chance.number() as u8),
        1 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
        2 => drop(input.drain(at..(at + chance.below(16)).min(input.len()))),
        3 => drop(input.splice(at..at, chance.bytes(8))),
        _ => {
            let other = &kept[chance.below(kept.len())];
            let from = chance.below(other.len().max(1)).min(other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
    }
}

/// splitmix64
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.number() % n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.number() as u8).collect()
    }
}
