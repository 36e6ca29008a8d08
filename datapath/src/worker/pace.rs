//! How long to poll a queue that has gone quiet, before asking for its doorbell: as long as lately would have paid, and
//! not at all for a guest that speaks seldom.

use std::time::Duration;

const MOST: Duration = Duration::from_micros(50);
const LEAST: Duration = Duration::from_micros(5);

#[derive(Default)]
pub struct Pace {
    patience: Duration,
}

impl Pace {
    /// The worker slept this long. How long to poll from now on: longer, if a little more polling would have saved the
    /// sleep; shorter, if it would not.
    pub fn slept(&mut self, time: Duration) -> Duration {
        self.patience = match self.patience {
            patience if time <= MOST => (patience * 2).clamp(LEAST, MOST),
            patience if patience < 2 * LEAST => Duration::ZERO,
            patience => patience / 2,
        };
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_while_sleeps_are_short_and_shrinks_to_nothing() {
        let mut pace = Pace::default();
        let short = Duration::from_micros(20);
        assert_eq!([short; 5].map(|time| pace.slept(time).as_micros()), [5, 10, 20, 40, 50]);
        let long = Duration::from_millis(20);
        assert_eq!([long; 4].map(|time| pace.slept(time).as_micros()), [25, 12, 6, 0]);
    }
}
