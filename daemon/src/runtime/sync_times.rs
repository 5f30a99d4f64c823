//! How long the last syncs took.

use std::time::Duration;

use raftbank_wire::api::SyncFigures;

/// So many of the last syncs are remembered.
pub const WINDOW: usize = 512;

/// The last syncs, in a ring.
#[derive(Debug, Default)]
pub struct SyncTimes {
    count: u64,
    last_us: Vec<u64>,
}

impl SyncTimes {
    /// A sync has ended.
    pub fn add(&mut self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = usize::try_from(self.count % WINDOW as u64).unwrap_or(0);
        match self.last_us.get_mut(place) {
            Some(old) => *old = took_us,
            None => self.last_us.push(took_us),
        }
        self.count += 1;
    }

    /// The figures of the last syncs.
    pub fn figures(&self) -> SyncFigures {
        let mut sorted = self.last_us.clone();
        sorted.sort_unstable();
        // The least value that so many of a hundred do not exceed.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(0)
        };
        SyncFigures {
            count: self.count,
            window: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SyncTimes, WINDOW};

    #[test]
    fn figures_are_those_of_the_last_syncs() {
        let mut times = SyncTimes::default();
        assert_eq!((times.figures().count, times.figures().max_us), (0, 0));
        times.add(Duration::from_secs(9));
        for us in 1..=100 {
            times.add(Duration::from_micros(us));
        }
        let figures = times.figures();
        assert_eq!((figures.count, figures.window, figures.p50_us, figures.p99_us), (101, 101, 51, 100));
        assert_eq!(figures.max_us, 9_000_000);
        for _ in 0..WINDOW {
            times.add(Duration::from_micros(7));
        }
        let figures = times.figures();
        assert_eq!((figures.window as usize, figures.p50_us, figures.max_us), (WINDOW, 7, 7));
    }
}
