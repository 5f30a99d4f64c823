//! When a node has to tick, and how many ticks it is owed when it wakes up: quiet ticks are slept through.
//!
//! A node at rest says how many of the next ticks can wait ([`Driver::quiet_ticks`](crate::driver::Driver::quiet_ticks)).
//! It sleeps until the first one that cannot, and whatever wakes it earlier, such as a frame, comes after the ticks that
//! have passed by then: a frame that is stepped before them would seem to be as old as they are.
//!
//! After a pause (a stopped process, a starved machine) time goes on from there: what was missed is not made up for, or a
//! node would campaign before it has read what waits for it. Quiet ticks are owed in any case, for they campaign nowhere.

use std::time::Duration;

/// The pace of one node's ticks. All moments are durations since any one origin of a monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    tick: Duration,
    /// When the next tick that was not given yet was or is due.
    next: Duration,
    /// So many ticks from that one on are quiet, unless something else happens.
    quiet: u32,
}

impl Pace {
    /// The first tick is due `now`. `tick` is above zero.
    pub fn new(tick: Duration, now: Duration) -> Self {
        Self { tick, next: now, quiet: 0 }
    }

    /// The node waits, and the next `quiet` ticks do nothing. Returns when it has to be woken at the latest.
    pub fn rest(&mut self, quiet: u32) -> Duration {
        self.quiet = quiet;
        self.next + self.tick * quiet
    }

    /// The ticks that are to be given now, before anything else that has happened. None of them is quiet any more after that.
    pub fn pass(&mut self, now: Duration) -> u32 {
        let quiet = std::mem::take(&mut self.quiet);
        let Some(late) = now.checked_sub(self.next) else { return 0 };
        let passed = u32::try_from(late.as_nanos() / self.tick.as_nanos().max(1) + 1).unwrap_or(u32::MAX);
        if passed <= quiet.saturating_add(1) {
            self.next += self.tick * passed;
            passed
        } else {
            self.next = now + self.tick;
            quiet.max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    const TICK: Duration = Duration::from_millis(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_rest_every_tick_is_given_in_its_time() {
        let mut pace = Pace::new(TICK, ms(100));
        let given: Vec<u32> = (95..135).step_by(5).map(|now| pace.pass(ms(now))).collect();
        assert_eq!(given, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(pace.rest(0), ms(140));
    }

    #[test]
    fn quiet_ticks_are_slept_through_and_given_with_the_first_that_is_not() {
        let mut pace = Pace::new(TICK, ms(100));
        assert_eq!(pace.rest(4), ms(140));
        assert_eq!(pace.pass(ms(141)), 5);
        assert_eq!((pace.pass(ms(142)), pace.rest(0)), (0, ms(150)));
    }

    #[test]
    fn what_wakes_a_node_early_comes_after_the_ticks_that_have_passed() {
        let mut pace = Pace::new(TICK, ms(100));
        pace.rest(8);
        assert_eq!(pace.pass(ms(133)), 4);
        // What has happened may have made the others matter.
        assert_eq!(pace.rest(0), ms(140));
        assert_eq!(pace.pass(ms(140)), 1);
        // Before the first: nothing has passed, and the rest is over all the same.
        pace.rest(8);
        assert_eq!((pace.pass(ms(149)), pace.pass(ms(171))), (0, 1));
    }

    #[test]
    fn a_pause_is_not_made_up_for_and_never_reaches_the_tick_that_does_something() {
        let mut pace = Pace::new(TICK, ms(100));
        assert_eq!(pace.pass(ms(100)), 1);
        // Without rest one tick is given, as if the process had been stopped right before it.
        assert_eq!((pace.pass(ms(5_003)), pace.rest(0)), (1, ms(5_013)));
        // At rest only what is quiet: the next comes when everything that waits has been read.
        assert_eq!(pace.rest(6), ms(5_073));
        assert_eq!((pace.pass(ms(9_000)), pace.rest(0)), (6, ms(9_010)));
        // Late by less than a tick is in time.
        pace.rest(6);
        assert_eq!((pace.pass(ms(9_079)), pace.rest(0)), (7, ms(9_080)));
    }
}
