//! The log: one line a record, on stderr. What a guest or a VMM can cause is bounded in number, or it could fill the disk.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::LevelFilter;

/// Lines at once, enough for hundreds of VMMs that come together; and how long it takes until there is one more. Whoever asks
/// for more than the usual level gets them all.
const BURST: u32 = 1000;
const EACH: Duration = Duration::from_millis(100);

struct Throttle {
    left: u32,
    /// Until when what is left has been counted.
    counted: Instant,
    left_out: u32,
}

/// Starts the log; a panic is a record too.
pub fn start(level: LevelFilter) {
    let throttle = Mutex::new(Throttle::new(Instant::now()));
    env_logger::Builder::new()
        .filter_level(level)
        .format(move |out, record| {
            let admitted = match level {
                LevelFilter::Debug | LevelFilter::Trace => Some(0),
                _ => throttle.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()),
            };
            match admitted {
                None => return Ok(()),
                Some(0) => {}
                Some(left_out) => writeln!(out, "warn: {left_out} lines were left out here: there were too many")?,
            }
            writeln!(out, "{}: {}", record.level().as_str().to_lowercase(), record.args())
        })
        .init();
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

impl Throttle {
    fn new(now: Instant) -> Throttle {
        Throttle { left: BURST, counted: now, left_out: 0 }
    }

    /// Whether a line may be written now: None, or how many were left out just before it.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let more =
            (now.saturating_duration_since(self.counted).as_millis() / EACH.as_millis()).min(BURST.into()) as u32;
        if more > 0 {
            self.left = (self.left + more).min(BURST);
            self.counted = now;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.left_out += 1;
            return None;
        };
        self.left = left;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let admitted = (0..BURST + 50).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(admitted, BURST as usize);
        assert_eq!(throttle.admit(start + EACH), Some(50));
        assert_eq!(throttle.admit(start + EACH), None);
        assert_eq!(throttle.admit(start + 3 * EACH), Some(1));
        assert_eq!(throttle.admit(start + 3 * EACH), Some(0));
    }

    #[test]
    fn a_quiet_time_brings_a_burst_and_no_more() {
        let mut throttle = Throttle::new(Instant::now());
        let later = throttle.counted + 100 * BURST * EACH;
        assert_eq!((0..2 * BURST).filter(|_| throttle.admit(later).is_some()).count(), BURST as usize);
    }
}
