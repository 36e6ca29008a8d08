//! When a driver is interrupted for buffers used: at once, or held back until enough of them or enough time have come
//! together (virtio 1.3 §5.1.6.5.9). Costs a look at one number while it is off.

use std::time::Duration;

/// Longest time that an interrupt is held back, whatever is asked for (§5.1.6.5.9.5 allows less than that).
const LONGEST: Duration = Duration::from_secs(1);

/// How one queue's interrupts are held back. Times are those since the start.
#[derive(Default)]
pub struct Moderation {
    packets: u32,
    period: Duration,
    held: Option<Held>,
    /// When a timer will go off, if one was asked for.
    timer: Option<Duration>,
}

/// An interrupt that the driver wants and has not got.
struct Held {
    /// Buffers used since.
    count: u32,
    since: Duration,
}

impl Moderation {
    /// 0 of either: interrupts are not held back.
    pub fn set(&mut self, packets: u32, period: Duration) {
        let off = packets == 0 || period.is_zero();
        (self.packets, self.period) = if off { (0, Duration::ZERO) } else { (packets, period.min(LONGEST)) };
    }

    #[inline(always)]
    pub fn off(&self) -> bool {
        self.packets == 0
    }

    /// A batch was flushed, and its driver `wanted` to know or not. How many buffers an interrupt is now due for, if one is.
    pub fn flushed(&mut self, count: u16, wanted: bool, now: Duration) -> Option<u32> {
        if let Some(held) = &mut self.held {
            held.count = held.count.saturating_add(count.into());
        } else if wanted {
            self.held = Some(Held { count: count.into(), since: now });
        }
        self.due(now)
    }

    /// The same, for time that has passed or a setting that has changed.
    pub fn due(&mut self, now: Duration) -> Option<u32> {
        let (packets, end) = (self.packets, self.end());
        self.held.take_if(|held| held.count >= packets || end.is_some_and(|end| end <= now)).map(|held| held.count)
    }

    /// When a timer should go off, unless one will that has been asked for: to be called after anything else.
    pub fn timer(&mut self) -> Option<Duration> {
        let end = self.end()?;
        let sooner = self.timer.is_none_or(|timer| end < timer);
        sooner.then(|| *self.timer.insert(end))
    }

    /// A timer that was asked for has gone off.
    pub fn rang(&mut self, at: Duration) {
        self.timer.take_if(|timer| *timer == at);
    }

    fn end(&self) -> Option<Duration> {
        self.held.as_ref().map(|held| held.since + self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(microseconds: u64) -> Duration {
        Duration::from_micros(microseconds)
    }

    fn moderation(packets: u32, microseconds: u64) -> Moderation {
        let mut moderation = Moderation::default();
        moderation.set(packets, after(microseconds));
        moderation
    }

    #[test]
    fn either_of_both_zero_is_off() {
        for (packets, microseconds) in [(0, 0), (0, 5), (5, 0)] {
            assert!(moderation(packets, microseconds).off());
        }
        assert!(!moderation(1, 1).off());
    }

    #[test]
    fn enough_buffers_end_it() {
        let mut moderation = moderation(15, 1000);
        assert_eq!(moderation.flushed(10, true, after(0)), None);
        assert_eq!(moderation.timer(), Some(after(1000)));
        assert_eq!(moderation.flushed(5, false, after(10)), Some(15), "the wish of the first batch stands");
        assert_eq!(moderation.due(after(2000)), None, "it was sent once");
    }

    #[test]
    fn enough_time_ends_it_counted_from_the_first() {
        let mut moderation = moderation(100, 50);
        assert_eq!(moderation.flushed(1, true, after(100)), None);
        assert_eq!(moderation.flushed(1, true, after(140)), None);
        assert_eq!(moderation.due(after(149)), None);
        assert_eq!(moderation.due(after(150)), Some(2));
        assert_eq!(moderation.flushed(1, true, after(160)), None, "and counts anew");
    }

    #[test]
    fn what_the_driver_does_not_want_to_know_is_not_held() {
        let mut moderation = moderation(5, 50);
        assert_eq!(moderation.flushed(9, false, after(0)), None);
        assert_eq!((moderation.timer(), moderation.due(after(100))), (None, None));
    }

    #[test]
    fn a_setting_that_changes_is_looked_at_anew() {
        let mut moderation = moderation(15, 1000);
        moderation.flushed(10, true, after(0));
        moderation.set(8, after(1000));
        assert_eq!(moderation.due(after(1)), Some(10));
        moderation.flushed(1, true, after(2));
        moderation.set(0, after(0));
        assert_eq!(moderation.due(after(2)), Some(1));
    }

    #[test]
    fn one_timer_at_a_time_is_asked_for() {
        let mut moderation = moderation(2, 100);
        moderation.flushed(1, true, after(0));
        assert_eq!((moderation.timer(), moderation.timer()), (Some(after(100)), None));
        moderation.flushed(1, true, after(10));
        moderation.flushed(1, true, after(20));
        assert_eq!(moderation.timer(), None, "the one that was asked for comes sooner");
        moderation.rang(after(100));
        assert_eq!((moderation.due(after(100)), moderation.timer()), (None, Some(after(120))));
    }

    #[test]
    fn nothing_is_held_for_longer_than_a_second() {
        let mut moderation = moderation(u32::MAX, u64::from(u32::MAX));
        moderation.flushed(1, true, after(0));
        assert_eq!(moderation.timer(), Some(Duration::from_secs(1)));
    }
}
