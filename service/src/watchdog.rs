//! The supervisor's watchdog (`sd_watchdog_enabled(3)`), fed by the loop that does the work and by nothing else.
//!
//! A loop that hangs feeds nothing, and the supervisor ends and restarts the process. So there is no thread here: the
//! loop calls [`Watchdog::feed`] after each turn and wakes up in time for [`Watchdog::due`].

use std::time::{Duration, Instant};

use crate::notify;

/// A third of the interval: two words may be lost or late, and there is still one in time.
const PARTS: u32 = 3;
/// Never more often, whatever the supervisor asks for.
const EVERY_MIN: Duration = Duration::from_millis(1);

/// When the supervisor has to be told again that the loop goes round. On the monotonic clock.
#[derive(Debug)]
pub struct Watchdog {
    /// Between two words; `None` if nobody asked for any.
    every: Option<Duration>,
    due: Instant,
}

impl Watchdog {
    /// As the supervisor asks for it: `WATCHDOG_USEC`, if `WATCHDOG_PID` names this process or nobody.
    pub fn from_env() -> Self {
        Self::new(sd_notify::watchdog_enabled().filter(|_| notify::is_heard()))
    }

    /// Nobody watches.
    pub fn off() -> Self {
        Self::new(None)
    }

    /// `interval` without a word is the end. Zero means that nobody watches.
    fn new(interval: Option<Duration>) -> Self {
        let every = interval.filter(|interval| !interval.is_zero()).map(|interval| (interval / PARTS).max(EVERY_MIN));
        Self { every, due: Instant::now() }
    }

    /// When the loop has to come round again at the latest; `None` if nobody watches.
    pub fn due(&self) -> Option<Instant> {
        self.every.map(|_| self.due)
    }

    /// The loop has done a whole turn. Tells the supervisor, at most every third of the interval.
    pub fn feed(&mut self) {
        if self.is_due(Instant::now()) {
            notify::alive();
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        match self.every {
            Some(every) if now >= self.due => {
                self.due = now + every;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Watchdog;

    #[test]
    fn it_is_fed_every_third_of_the_interval_and_not_more_often() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(30)));
        let start = watchdog.due().expect("watched");
        let fed: Vec<u64> = (0..100).filter(|second| watchdog.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(fed, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        // Late once: the next is a third later, not at once.
        assert!(watchdog.is_due(start + Duration::from_secs(117)));
        assert!(!watchdog.is_due(start + Duration::from_secs(126)));
        assert!(watchdog.is_due(start + Duration::from_secs(127)));
    }

    #[test]
    fn without_an_interval_nobody_is_told() {
        for interval in [None, Some(Duration::ZERO)] {
            let mut watchdog = Watchdog::new(interval);
            assert_eq!(watchdog.due(), None);
            assert!(!watchdog.is_due(watchdog.due + Duration::from_secs(1)));
        }
        // Too short to be meant: still no busy loop.
        let mut watchdog = Watchdog::new(Some(Duration::from_micros(1)));
        let start = watchdog.due;
        assert!(watchdog.is_due(start) && !watchdog.is_due(start + Duration::from_micros(999)));
    }
}
