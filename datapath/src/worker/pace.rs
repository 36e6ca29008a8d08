//! How eagerly to look at rings. How long to poll a queue that has gone quiet, before asking for its doorbell: as long as
//! lately would have paid, and not at all for a guest that speaks seldom. And how long to leave busy queues alone between
//! two looks: a driver that finds its cache lines taken away after each burst is slower than one that is let write a few.

use std::time::Duration;

use crate::ring::BATCH;

const MOST: Duration = Duration::from_micros(50);
const LEAST: Duration = Duration::from_micros(5);

/// How long busy queues are left alone: some bursts of a driver in full flow.
const GAP: Duration = Duration::from_micros(4);
/// Chains found at a look: with fewer, someone may be waiting for the answer to each; with more, no line is fought over.
const FEW: usize = 16;
const ENOUGH: usize = 128;
/// Looks over which a mean is taken, and after which what was found out about gaps is doubted.
const LOOKS: usize = 8;
const DOUBT: usize = 4096;

#[derive(Default)]
pub struct Pace {
    patience: Duration,
    gap: Duration,
    /// Chains since the last gap.
    found: usize,
    /// Chains and looks since the gap was last thought about.
    chains: usize,
    looks: usize,
    /// The mean without a gap, while it is being tried whether one pays.
    without: Option<usize>,
    /// Looks until that is tried again.
    settled: usize,
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

    /// A turn found `sent` chains. How long to leave the rings alone now: not while more may be waiting, nor when nothing
    /// came.
    #[inline]
    pub fn turned(&mut self, sent: usize) -> Duration {
        self.found += sent;
        if sent >= BATCH || self.found == 0 {
            return Duration::ZERO;
        }
        let found = std::mem::take(&mut self.found);
        self.looked(found)
    }

    fn looked(&mut self, found: usize) -> Duration {
        self.settled = self.settled.saturating_sub(1);
        self.chains += found;
        self.looks += 1;
        if self.looks == LOOKS {
            let mean = self.chains / LOOKS;
            (self.chains, self.looks) = (0, 0);
            self.adapt(mean);
        }
        self.gap
    }

    /// A gap must bring more chains a look, else it only keeps a sender waiting that waits for its answers.
    fn adapt(&mut self, mean: usize) {
        let tried = self.without.take();
        if mean < FEW {
            self.gap = Duration::ZERO;
        } else if let Some(without) = tried {
            self.gap = if 2 * mean >= 3 * without { GAP } else { Duration::ZERO };
            self.settled = DOUBT;
        } else if self.settled == 0 && !self.gap.is_zero() {
            self.gap = Duration::ZERO;
        } else if self.settled == 0 && mean < ENOUGH {
            self.without = Some(mean);
            self.gap = GAP;
        }
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

    /// The gap after `looks` looks, at each of which as many chains were found as the gap before it let come.
    fn gap_after(looks: usize, found: impl Fn(Duration) -> usize) -> Duration {
        let mut pace = Pace::default();
        (0..looks).fold(Duration::ZERO, |gap, _| pace.looked(found(gap)))
    }

    #[test]
    fn a_frame_at_a_time_is_never_kept_waiting() {
        assert_eq!(gap_after(10_000, |_| 1), Duration::ZERO);
    }

    #[test]
    fn a_sender_that_waits_for_its_answers_is_soon_left_at_peace() {
        let gaps = (1..=DOUBT).filter(|looks| !gap_after(*looks, |_| 32).is_zero()).count();
        assert_eq!(gaps, LOOKS);
    }

    #[test]
    fn a_sender_in_full_flow_is_let_write_some_bursts() {
        let flow = |gap: Duration| if gap.is_zero() { 32 } else { 96 };
        assert_eq!(gap_after(100 * LOOKS, flow), GAP);
    }

    #[test]
    fn whether_a_gap_pays_is_doubted_from_time_to_time() {
        let flow = |gap: Duration| if gap.is_zero() { 32 } else { 96 };
        assert_eq!(gap_after(DOUBT + 2 * LOOKS, flow), Duration::ZERO);
        assert_eq!(gap_after(DOUBT + 3 * LOOKS, flow), GAP);
    }

    #[test]
    fn no_gap_while_more_is_waiting_or_nothing_came() {
        let mut pace = Pace { gap: GAP, ..Pace::default() };
        assert_eq!(pace.turned(0), Duration::ZERO);
        assert_eq!(pace.turned(BATCH), Duration::ZERO);
        assert_eq!(pace.turned(0), GAP);
        assert_eq!(pace.turned(0), Duration::ZERO);
    }
}
