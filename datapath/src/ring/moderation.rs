//! When a driver is interrupted for buffers used: at once, or held back until enough of them or enough time have come
//! together (virtio 1.3 §5.1.6.5.9). Costs a look at one flag while it is off.

use std::time::Duration;

/// Longest time that an interrupt is held back, whatever is asked for (§5.1.6.5.9.5 allows less than that).
const LONGEST: Duration = Duration::from_secs(1);

/// How long the load is measured before an adaptive queue follows it. One that has become idle follows at once.
const WINDOW: Duration = Duration::from_millis(2);

/// What an adaptive queue goes by: from so many buffers a second, an interrupt waits for so many of them or so many
/// microseconds. Each step gathers a few frames at its own load, so a lone one is never kept waiting for company that is
/// not there.
const PROFILE: [(u64, u32, u64); 4] = [(0, 0, 0), (50_000, 16, 64), (200_000, 64, 96), (1_000_000, 256, 128)];

/// What the time that an interrupt is held back counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The first buffer that it is held back for, as a driver commands it.
    #[default]
    First,
    /// The interrupt before: one for a queue that was idle comes at once.
    Interrupt,
    /// The last buffer: it is over when no other has come for so long.
    Last,
    /// The first buffer; how much is held back follows the load.
    Adaptive,
}

/// How a queue's interrupts are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    pub packets: u32,
    pub period: Duration,
    pub pace: Pace,
}

/// The state of one queue. Times are those since the start.
#[derive(Default)]
pub struct Moderation {
    on: bool,
    hold: Hold,
    load: Load,
    held: Option<Held>,
    /// When an interrupt that was held back was sent.
    sent: Duration,
    /// When a timer will go off, if one was asked for.
    timer: Option<Duration>,
}

/// An interrupt that the driver wants and has not got.
struct Held {
    /// Buffers used since.
    count: u32,
    since: Duration,
    last: Duration,
}

impl Moderation {
    /// 0 of either: interrupts are not held back.
    pub fn set(&mut self, hold: Hold) {
        let adaptive = hold.pace == Pace::Adaptive;
        self.on = adaptive || (hold.packets > 0 && !hold.period.is_zero());
        let numbers = self.on && !adaptive;
        self.hold = if numbers { hold } else { Hold { pace: hold.pace, ..Hold::default() } };
        self.hold.period = self.hold.period.min(LONGEST);
        self.load = Load::default();
    }

    #[inline(always)]
    pub fn off(&self) -> bool {
        !self.on
    }

    /// A batch was flushed, and its driver `wanted` to know or not. How many buffers an interrupt is now due for, if one is.
    pub fn flushed(&mut self, count: u16, wanted: bool, now: Duration) -> Option<u32> {
        if self.hold.pace == Pace::Adaptive {
            self.follow(count, now);
        }
        if let Some(held) = &mut self.held {
            held.count = held.count.saturating_add(count.into());
            held.last = now;
        } else if wanted {
            self.held = Some(Held { count: count.into(), since: now, last: now });
        }
        self.due(now)
    }

    fn follow(&mut self, count: u16, now: Duration) {
        if let Some(rate) = self.load.measured(count, now) {
            let step = PROFILE.iter().rfind(|(from, ..)| *from <= rate);
            let (_, packets, microseconds) = step.expect("the profile begins at 0");
            (self.hold.packets, self.hold.period) = (*packets, Duration::from_micros(*microseconds));
        }
    }

    /// The same, for time that has passed or a setting that has changed.
    pub fn due(&mut self, now: Duration) -> Option<u32> {
        let (packets, end) = (self.hold.packets, self.end());
        let held = self.held.take_if(|held| held.count >= packets || end.is_some_and(|end| end <= now))?;
        self.sent = now.min(held.last + self.hold.period); // at the end of everything `now` is no time
        Some(held.count)
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
        let held = self.held.as_ref()?;
        let from = match self.hold.pace {
            Pace::First | Pace::Adaptive => held.since,
            Pace::Interrupt => self.sent,
            Pace::Last => held.last,
        };
        Some(from + self.hold.period)
    }
}

/// How busy a queue is.
#[derive(Default)]
struct Load {
    since: Duration,
    count: u64,
    last: Duration,
}

impl Load {
    /// Buffers a second, once they have been counted for long enough; none after a pause.
    fn measured(&mut self, count: u16, now: Duration) -> Option<u64> {
        self.count += u64::from(count);
        let (passed, pause) = (now.saturating_sub(self.since), now.saturating_sub(self.last));
        self.last = now;
        if passed < WINDOW {
            return None;
        }
        let rate = if pause < WINDOW { self.count * 1_000_000 / passed.as_micros() as u64 } else { 0 };
        (self.since, self.count) = (now, 0);
        Some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(microseconds: u64) -> Duration {
        Duration::from_micros(microseconds)
    }

    fn hold(packets: u32, microseconds: u64) -> Hold {
        Hold { packets, period: after(microseconds), pace: Pace::First }
    }

    fn moderation(packets: u32, microseconds: u64) -> Moderation {
        paced(packets, microseconds, Pace::First)
    }

    fn paced(packets: u32, microseconds: u64, pace: Pace) -> Moderation {
        let mut moderation = Moderation::default();
        moderation.set(Hold { pace, ..hold(packets, microseconds) });
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
        moderation.set(hold(8, 1000));
        assert_eq!(moderation.due(after(1)), Some(10));
        moderation.flushed(1, true, after(2));
        moderation.set(hold(0, 0));
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

    #[test]
    fn from_the_last_interrupt_the_first_of_an_idle_queue_comes_at_once() {
        let mut moderation = paced(100, 50, Pace::Interrupt);
        assert_eq!(moderation.flushed(1, true, after(1000)), Some(1));
        assert_eq!(moderation.flushed(1, true, after(1010)), None);
        assert_eq!(moderation.timer(), Some(after(1050)));
        assert_eq!(moderation.flushed(1, true, after(1040)), None);
        assert_eq!(moderation.due(after(1050)), Some(2));
        assert_eq!(moderation.flushed(1, true, after(1100)), Some(1));
    }

    #[test]
    fn from_the_last_buffer_each_one_begins_the_time_anew() {
        let mut moderation = paced(4, 50, Pace::Last);
        assert_eq!(moderation.flushed(1, true, after(0)), None);
        assert_eq!(moderation.flushed(1, true, after(40)), None);
        assert_eq!(moderation.due(after(50)), None);
        assert_eq!(moderation.due(after(90)), Some(2));
        assert_eq!(moderation.flushed(3, true, after(100)), None);
        assert_eq!(moderation.flushed(1, true, after(110)), Some(4), "enough is enough");
    }

    #[test]
    fn an_end_of_everything_is_no_time_to_count_from() {
        let mut moderation = paced(9, 50, Pace::Interrupt);
        moderation.flushed(1, true, after(10));
        assert_eq!(moderation.due(Duration::MAX), Some(1));
        assert_eq!(moderation.flushed(1, true, after(500)), Some(1));
    }

    /// Frames at a steady rate; how many of them each interrupt was for once that was known, on the average.
    fn gathered(moderation: &mut Moderation, every: u64, from: u64) -> u64 {
        let (mut frames, mut interrupts, window) = (0, 0, WINDOW.as_micros() as u64);
        for now in (from..from + 10 * window).step_by(every as usize) {
            let told = [moderation.due(after(now)), moderation.flushed(1, true, after(now))];
            if now > from + 2 * window {
                (frames, interrupts) = (frames + 1, interrupts + told.iter().flatten().count() as u64);
            }
        }
        frames / interrupts
    }

    #[test]
    fn an_adaptive_queue_follows_its_load() {
        let mut moderation = paced(0, 0, Pace::Adaptive);
        assert_eq!(gathered(&mut moderation, 100, 10_000), 1, "10 000 a second: each at once");
        assert!(gathered(&mut moderation, 10, 100_000) >= 5, "100 000");
        assert!(gathered(&mut moderation, 2, 200_000) >= 40, "500 000");
        assert!(gathered(&mut moderation, 1, 300_000) >= 100, "1 000 000");
    }

    #[test]
    fn an_adaptive_queue_that_was_busy_tells_of_a_lone_frame_at_once() {
        let mut moderation = paced(0, 0, Pace::Adaptive);
        gathered(&mut moderation, 1, 10_000);
        moderation.due(after(40_000));
        assert_eq!(moderation.flushed(1, true, after(50_000)), Some(1));
    }

    #[test]
    fn numbers_after_an_adaptive_time_are_gone_by() {
        let mut moderation = paced(0, 0, Pace::Adaptive);
        gathered(&mut moderation, 1, 10_000);
        moderation.set(hold(0, 0));
        assert!(moderation.off());
        moderation.set(hold(2, 100));
        moderation.due(Duration::MAX);
        assert_eq!(moderation.flushed(1, true, after(60_000)), None);
        assert_eq!(moderation.flushed(1, true, after(60_001)), Some(2));
    }
}
