//! The log: one line a record, on stderr. What a guest or a VMM can cause is bounded in number, or it could fill the disk.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::LevelFilter;

/// Lines in each second; whoever asks for more than the usual level gets them all.
const LINES: u32 = 100;

#[derive(Default)]
struct Throttle {
    second: Option<Instant>,
    lines: u32,
    left_out: u32,
}

/// Starts the log; a panic is a record too.
pub fn start(level: LevelFilter) {
    let throttle = Mutex::new(Throttle::default());
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
                Some(left_out) => {
                    writeln!(out, "warn: {left_out} lines were left out here: more than {LINES} a second")?
                }
            }
            writeln!(out, "{}: {}", record.level().as_str().to_lowercase(), record.args())
        })
        .init();
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
}

impl Throttle {
    /// Whether a line may be written now: None, or how many were left out just before it.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        if self.lines > LINES {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let admitted = (0..LINES + 50).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(50));
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(0));
    }
}
