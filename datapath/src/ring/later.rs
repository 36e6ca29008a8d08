//! How a transmit queue that has gone quiet is waited for: with its doorbell, or, while its driver moves much, without one
//! for a while, being looked at again a little later. A doorbell costs the driver's processor a system call at least, and
//! where it is a message (vfio-user) two threads' wake-ups, until it is answered; then it is dear beside a look.

use std::time::Duration;

/// How much later.
const LATER: Duration = Duration::from_micros(100);
/// Octets since the last look, either way, that are much.
const MUCH: u64 = 8 * 1024;
/// Looks at which nothing came, before the doorbell is asked for again.
const LOOKS: u8 = 8;
/// Longest frame that holds nothing but headers: an acknowledgement, to which no answer is awaited.
const HEADERS: u64 = 90;

/// What a pair of queues has carried in all.
#[derive(Clone, Copy, Default)]
pub struct Carried {
    pub sent: u64,
    pub received: u64,
    /// Frames that were received.
    pub frames: u64,
}

#[derive(Default)]
pub struct Later {
    /// As of the last look, since the queue was started.
    carried: Option<Carried>,
    left: u8,
    /// When the last timer that was asked for goes off, or went.
    timer: Duration,
}

impl Later {
    /// The queue has gone quiet. Whether to look again, and not ask for its doorbell.
    pub fn looks_again(&mut self, carried: Carried) -> bool {
        let Some(before) = self.carried.replace(carried) else { return false };
        let sent = carried.sent.saturating_sub(before.sent);
        let received = carried.received.saturating_sub(before.received);
        let frames = carried.frames.saturating_sub(before.frames);
        if sent.saturating_add(received) >= MUCH {
            self.left = LOOKS;
        } else if received > frames.saturating_mul(HEADERS) {
            // Someone who asks little at a time waits for each answer.
            self.left = 0;
        }
        let again = self.left > 0;
        self.left = self.left.saturating_sub(1);
        again
    }

    /// When to look, if a timer is to be set for that: there is one at most.
    pub fn timer(&mut self, now: Duration) -> Option<Duration> {
        if self.timer > now {
            return None;
        }
        self.timer = now + LATER;
        Some(self.timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided after each step: octets sent, octets received, in so many frames.
    fn decided(steps: &[[u64; 3]]) -> Vec<bool> {
        let (mut later, mut carried) = (Later::default(), Carried { sent: 1 << 20, ..Carried::default() });
        assert!(!later.looks_again(carried), "what went before is not known");
        let decide = |[sent, received, frames]: &[u64; 3]| {
            carried.sent += sent;
            carried.received += received;
            carried.frames += frames;
            later.looks_again(carried)
        };
        steps.iter().map(decide).collect()
    }

    #[test]
    fn a_driver_that_speaks_seldom_is_asked_for_its_doorbell() {
        assert_eq!(decided(&[[98, 98, 1], [98, 0, 0], [0, 98, 1]]), [false; 3]);
    }

    #[test]
    fn one_that_moves_much_is_looked_at_again_some_times() {
        let looks = usize::from(LOOKS);
        for step in [[65_000, 0, 0], [0, 65_000, 1]] {
            let decided = decided(&[&[step][..], &vec![[0, 0, 0]; looks]].concat());
            assert_eq!(decided, [vec![true; looks], vec![false]].concat());
        }
    }

    #[test]
    fn acknowledgements_change_nothing_and_a_question_ends_it() {
        assert_eq!(decided(&[[65_000, 0, 0], [0, 66, 1], [0, 180, 2], [0, 120, 1]]), [true, true, true, false]);
    }

    #[test]
    fn one_timer_at_a_time_is_set() {
        let (mut later, start) = (Later::default(), Duration::from_secs(1));
        assert_eq!(later.timer(start), Some(start + LATER));
        assert_eq!(later.timer(start + LATER / 2), None);
        assert_eq!(later.timer(start + LATER), Some(start + 2 * LATER));
    }

    #[test]
    fn counters_that_began_anew_are_no_matter() {
        let mut later = Later::default();
        later.looks_again(Carried { sent: 100, received: 100, frames: 1 });
        later.looks_again(Carried::default());
        assert!(!later.looks_again(Carried { sent: 60, received: 60, frames: 1 }));
    }
}
