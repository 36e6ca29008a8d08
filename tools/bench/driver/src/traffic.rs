//! The measurements: each is a few short windows.

use std::hint::black_box;
use std::io;
use std::ptr;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::guest::Pair;
use crate::memory::Memory;
use crate::report::{Report, Window};
use crate::ring::{HEADER, Ring, stride};
use crate::steady::{Disturbance, Steady};

/// Before the first window that counts.
const WARM_UP: Duration = Duration::from_millis(30);
/// Between windows, for everyone else on the machine.
const PAUSE: Duration = Duration::from_millis(10);
/// After the last frame of a window, and at most.
const QUIET: Duration = Duration::from_millis(1);
const DRAIN: Duration = Duration::from_secs(1);
/// Rounds between looks at the clock.
const ROUNDS: usize = 16;

/// What a window saw.
#[derive(Default)]
pub struct Seen {
    pub frames: u64,
    pub lost: u64,
    /// Ticks of each frame's way; latency only.
    pub times: Vec<u32>,
    pub time: Duration,
    pub ticks: u64,
}

/// How long a window lasts, by both clocks.
pub struct Clock {
    start: Instant,
    ticks: u64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now(), ticks: ticks() }
    }

    pub fn runs(&self, time: Duration) -> bool {
        self.start.elapsed() < time
    }

    pub fn stop(self, frames: u64) -> Seen {
        Seen { frames, ticks: ticks() - self.ticks, time: self.start.elapsed(), ..Seen::default() }
    }
}

pub fn throughput<R: Ring>(pair: &mut Pair<R>, arguments: &Arguments) -> io::Result<Report> {
    let windows = windows(arguments, |time| {
        let (clock, mut sent, mut came) = (Clock::start(), 0, 0);
        while clock.runs(time) {
            for _ in 0..ROUNDS {
                sent += send(pair, arguments.burst, arguments.touch);
                came += receive(pair, arguments.touch);
            }
        }
        let seen = clock.stop(came);
        Seen { lost: sent.saturating_sub(came + drain(pair, arguments.ring)), ..seen }
    })?;
    Ok(Report { windows, disorder: pair.disorder() })
}

pub fn latency<R: Ring>(pair: &mut Pair<R>, arguments: &Arguments) -> io::Result<Report> {
    let windows = windows(arguments, |time| {
        let (clock, mut times, mut frames) = (Clock::start(), Vec::new(), 0);
        while clock.runs(time) {
            let start = ticks();
            send(pair, 1, arguments.touch);
            let mut came = 0;
            while came == 0 && clock.runs(2 * time) {
                came = receive(pair, arguments.touch);
            }
            times.push((ticks() - start) as u32);
            frames += came;
        }
        Seen { times, ..clock.stop(frames) }
    })?;
    Ok(Report { windows, disorder: pair.disorder() })
}

/// With the back end, which is `forward`, in the driver's own thread.
pub fn together<R: Ring>(
    pair: &mut Pair<R>,
    arguments: &Arguments,
    mut forward: impl FnMut(),
) -> io::Result<Vec<Window>> {
    windows(arguments, |time| {
        let (clock, mut frames) = (Clock::start(), 0);
        while clock.runs(time) {
            for _ in 0..ROUNDS {
                send(pair, arguments.burst, arguments.touch);
                forward();
                frames += receive(pair, arguments.touch);
            }
        }
        clock.stop(frames)
    })
}

/// One frame in flight, with the back end in the driver's own thread, which `forward` lets work. What `others` do between
/// two frames does not count.
pub fn apart<R: Ring, B>(
    pair: &mut Pair<R>,
    arguments: &Arguments,
    back_end: &mut B,
    forward: impl Fn(&mut B),
    mut others: impl FnMut(&mut B),
) -> io::Result<Vec<Window>> {
    windows(arguments, |time| {
        let (clock, mut times, mut frames) = (Clock::start(), Vec::new(), 0);
        while clock.runs(time) {
            others(back_end);
            let start = ticks();
            send(pair, 1, arguments.touch);
            let mut came = 0;
            while came == 0 && clock.runs(2 * time) {
                forward(back_end);
                came = receive(pair, arguments.touch);
            }
            times.push((ticks() - start) as u32);
            frames += came;
        }
        Seen { times, ..clock.stop(frames) }
    })
}

/// Copies header and frame of each buffer of one ring into those of another guest's.
pub fn memcpy(arguments: &Arguments) -> io::Result<Report> {
    let octets = HEADER + arguments.octets;
    let stride = stride(arguments.octets);
    let size = usize::from(arguments.ring) * stride as usize;
    let [from, to] = [Memory::new(size, arguments.small_pages)?, Memory::new(size, arguments.small_pages)?];
    let windows = windows(arguments, |time| {
        let (clock, mut frames) = (Clock::start(), 0);
        while clock.runs(time) {
            for index in 0..u64::from(arguments.ring) {
                let [from, to] = [from.at(index * stride, octets), to.at(index * stride, octets)];
                // SAFETY: `at` has checked both; they are in different mappings.
                unsafe { ptr::copy_nonoverlapping(black_box(from), black_box(to), octets) };
            }
            frames += u64::from(arguments.ring);
        }
        clock.stop(frames)
    })?;
    Ok(Report { windows, disorder: 0 })
}

/// A warm-up, then the windows of the command line, each with its disturbance.
pub fn windows(arguments: &Arguments, mut run: impl FnMut(Duration) -> Seen) -> io::Result<Vec<Window>> {
    let steady = Steady::new(arguments.core, &arguments.also, arguments.fifo)?;
    run(WARM_UP);
    let mut windows = Vec::new();
    for _ in 0..arguments.windows {
        std::thread::sleep(PAUSE);
        let (seen, disturbance) = steady.during(|| run(Duration::from_millis(arguments.milliseconds)))?;
        windows.push(window(seen, disturbance));
    }
    Ok(windows)
}

fn window(mut seen: Seen, disturbance: Disturbance) -> Window {
    let seconds = seen.time.as_secs_f64();
    let a_microsecond = seen.ticks as f64 / seconds / 1e6;
    seen.times.sort_unstable();
    let quantile = |share: f64| {
        let place = (seen.times.len() as f64 * share) as usize;
        seen.times.get(place).map(|time| f64::from(*time) / a_microsecond)
    };
    Window {
        seconds,
        frames: seen.frames,
        lost: seen.lost,
        cycles: seen.ticks as f64 / seen.frames.max(1) as f64,
        p50: quantile(0.5),
        p99: quantile(0.99),
        disturbance,
    }
}

/// The first guest offers a burst when it has one; how many frames that is.
#[inline]
pub fn send<R: Ring>(pair: &mut Pair<R>, burst: u16, touch: bool) -> u64 {
    let guest = &mut pair.guests[0];
    let queue = &mut guest.transmit;
    if queue.mine < burst {
        queue.take();
        if queue.mine < burst {
            return 0;
        }
    }
    if touch {
        for buffer in queue.buffers(queue.next_offered, burst) {
            let place = guest.memory.at(buffer + HEADER as u64 + 20, 8).cast::<u64>();
            // SAFETY: `at` has checked the range.
            unsafe { place.write_unaligned(buffer) };
        }
    }
    queue.offer(burst);
    u64::from(burst)
}

/// The second guest takes what came and offers the buffers again; how many frames that is.
#[inline]
pub fn receive<R: Ring>(pair: &mut Pair<R>, touch: bool) -> u64 {
    let guest = &mut pair.guests[1];
    let queue = &mut guest.receive;
    let first = queue.next_taken;
    let came = queue.take();
    if came == 0 {
        return 0;
    }
    if touch {
        for buffer in queue.buffers(first, came) {
            let place = guest.memory.at(buffer, 10);
            // SAFETY: `at` has checked the range.
            black_box(unsafe { (place.cast::<u64>().read_unaligned(), place.add(8).cast::<u16>().read_unaligned()) });
        }
    }
    queue.offer(came);
    u64::from(came)
}

/// Waits until every frame sent is used and nothing more comes; how many came.
fn drain<R: Ring>(pair: &mut Pair<R>, ring: u16) -> u64 {
    let (end, mut quiet, mut frames) = (Instant::now() + DRAIN, Instant::now(), 0);
    while quiet.elapsed() < QUIET && Instant::now() < end {
        let came = receive(pair, false);
        pair.guests[0].transmit.take();
        if came > 0 || pair.guests[0].transmit.mine < ring {
            quiet = Instant::now();
        }
        frames += came;
    }
    frames
}

#[inline]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}
