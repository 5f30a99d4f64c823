//! When requests fall due at a fixed rate, whether or not earlier ones are answered. Latency is counted from then on, so
//! a stall shows in every request that fell due in it, sent or not.
//!
//! Nothing is queued: what is overdue is told from the clock. That also bounds it: what could not be sent within the
//! patience after it was due is never sent, and counted as late.

use std::time::Duration;

/// The arrivals of one thread. All times are since the begin of the measurement.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Nanoseconds from one arrival to the next.
    interval: f64,
    /// Nanoseconds before the first.
    offset: f64,
    next: u64,
    end: Duration,
    patience: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Requests that are given up.
    pub late: u64,
    /// When the next request is due or was; none: there are no more.
    pub due: Option<Duration>,
}

impl Schedule {
    /// The share of thread `index` of `threads` in `rate` arrivals a second, until `end`.
    pub fn new(rate: f64, index: usize, threads: usize, end: Duration, patience: Duration) -> Self {
        let each = 1e9 / rate;
        Self { interval: each * threads as f64, offset: each * index as f64, next: 0, end, patience }
    }

    /// Takes the next arrival, at `now`. Past ones come at once, those that are overdue too long only as a number.
    pub fn take(&mut self, now: Duration) -> Arrival {
        let oldest = now.saturating_sub(self.patience).min(self.end);
        let first = self.next;
        if self.due(first) < oldest {
            // Not one by one: at a high rate a long stall makes millions.
            let skipped = (oldest.as_nanos() as f64 - self.offset) / self.interval;
            self.next = first.max(skipped as u64);
            while self.due(self.next) < oldest {
                self.next += 1;
            }
        }
        let late = self.next - first;
        let due = self.due(self.next);
        if due >= self.end {
            return Arrival { late, due: None };
        }
        self.next += 1;
        Arrival { late, due: Some(due) }
    }

    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos((self.offset + self.interval * number as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Tally;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// One client that is served within `latency`, but by nobody from `stall` to `back`; it asks one after the other.
    fn simulate(mut schedule: Schedule, latency: Duration, stall: Duration, back: Duration) -> Tally {
        let (mut now, mut tally) = (Duration::ZERO, Tally::default());
        loop {
            let arrival = schedule.take(now);
            tally.late(arrival.late);
            let Some(due) = arrival.due else { return tally };
            let sent = now.max(due);
            now = if (stall..back).contains(&sent) { back + latency } else { sent + latency };
            tally.answered(now - due);
        }
    }

    #[test]
    fn threads_share_the_rate_and_nothing_is_due_after_the_end() {
        let mut all = Vec::new();
        for index in 0..3 {
            let mut schedule = Schedule::new(1_000.0, index, 3, MS(100), MS(1_000));
            while let Arrival { late: 0, due: Some(due) } = schedule.take(Duration::ZERO) {
                all.push(due);
            }
        }
        all.sort();
        let wanted: Vec<Duration> = (0..100).map(MS).collect();
        assert_eq!(all.len(), wanted.len());
        for (due, wanted) in all.into_iter().zip(wanted) {
            assert!(due.abs_diff(wanted) < Duration::from_nanos(10), "{due:?} {wanted:?}");
        }
    }

    #[test]
    fn a_stall_is_in_the_latency_of_all_that_fell_due_in_it() {
        let schedule = Schedule::new(100.0, 0, 1, MS(10_000), MS(5_000));
        // Of 10 s, 500 ms are a stall. A closed loop would see one slow request of a thousand: not even its p99.
        let tally = simulate(schedule, MS(1), MS(3_000), MS(3_500));
        assert_eq!((tally.requests, tally.errors()), (1_000, 0));
        let p99 = tally.micros(0.99);
        assert!((400_000..=500_000).contains(&p99), "{p99}");
        let p50 = tally.micros(0.5);
        assert!((990..=1_010).contains(&p50), "{p50}");
        assert!(tally.micros(1.0).abs_diff(501_000) < 1_000);
    }

    #[test]
    fn what_is_overdue_too_long_is_late_and_the_rest_is_sent() {
        let schedule = Schedule::new(1_000.0, 0, 1, MS(10_000), MS(200));
        let tally = simulate(schedule, MS(0), MS(1_000), MS(3_000));
        // Due from 1001 to 2799 ms and looked at again at 3000 ms.
        assert_eq!(tally.errors(), 1_799);
        assert_eq!(tally.requests, 10_000 - 1_799);
    }

    #[test]
    fn a_day_of_stall_at_the_highest_rate_is_counted_at_once() {
        let day = Duration::from_secs(86_400);
        let mut schedule = Schedule::new(1_000_000.0, 0, 1, day, MS(1_000));
        assert_eq!(schedule.take(Duration::ZERO), Arrival { late: 0, due: Some(Duration::ZERO) });
        let arrival = schedule.take(day * 2);
        assert_eq!(arrival, Arrival { late: 86_400 * 1_000_000 - 1, due: None });
        assert_eq!(schedule.take(day * 2), Arrival { late: 0, due: None });
    }
}
