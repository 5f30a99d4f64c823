//! What became of the requests: latencies, counts, codes.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use raftbank_wire::api::FailKind;

/// Longest latency that is told apart, in microseconds: two days, more than any deadline.
const LATENCY_MAX: u64 = 2 * 86_400 * 1_000_000;
/// Most codes that are counted apart: a server could make up any number.
const CODES_MAX: usize = 64;
/// The code of what fell due and could not be sent in time.
pub const LATE: &str = "late";

/// Latencies and counts of some time.
#[derive(Clone, Debug)]
pub struct Tally {
    latency: Histogram<u64>,
    /// Requests that were sent and are over.
    pub requests: u64,
    /// Transfers or reads that were done.
    pub done: u64,
    /// Transfers that the bank refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Transfers or reads without an outcome, and late requests, by code.
    pub failed: BTreeMap<String, u64>,
    /// The worst kind of error.
    worst: Option<FailKind>,
}

/// What became of one transfer or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Committed or read.
    Done,
    /// The bank refused, for this reason.
    Refused(String),
    /// There is no outcome.
    Failed(FailKind, String),
}

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("constant bounds that fit together");
        Self { latency, requests: 0, done: 0, refused: BTreeMap::new(), failed: BTreeMap::new(), worst: None }
    }
}

impl Tally {
    /// A request is over, and all of it has an outcome.
    pub fn answered(&mut self, latency: Duration) {
        self.requests += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros.max(1));
    }

    /// A request is over, and not all of it has an outcome: it has no latency.
    pub fn given_up(&mut self) {
        self.requests += 1;
    }

    /// What became of a transfer or read.
    pub fn fate(&mut self, fate: Fate) {
        match fate {
            Fate::Done => self.done += 1,
            Fate::Refused(code) => count(&mut self.refused, code, 1),
            Fate::Failed(kind, code) => {
                count(&mut self.failed, code, 1);
                self.worsen(kind);
            }
        }
    }

    /// So many requests fell due and were not sent.
    pub fn late(&mut self, requests: u64) {
        if requests > 0 {
            count(&mut self.failed, LATE.to_owned(), requests);
            self.worsen(FailKind::NotExecuted);
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("the same bounds");
        self.requests += other.requests;
        self.done += other.done;
        other.refused.iter().for_each(|(code, number)| count(&mut self.refused, code.clone(), *number));
        other.failed.iter().for_each(|(code, number)| count(&mut self.failed, code.clone(), *number));
        other.worst.into_iter().for_each(|kind| self.worsen(kind));
    }

    /// Forgets everything, but keeps its memory.
    pub fn clear(&mut self) {
        let Self { latency, requests, done, refused, failed, worst } = self;
        latency.reset();
        (*requests, *done, *worst) = (0, 0, None);
        refused.clear();
        failed.clear();
    }

    /// Errors: transfers and reads without an outcome, and late requests.
    pub fn errors(&self) -> u64 {
        self.failed.values().sum()
    }

    /// What the bank refused.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Latency in microseconds of this share (0 to 1) of the requests that were answered; 0 if none was.
    pub fn micros(&self, share: f64) -> u64 {
        self.latency.value_at_quantile(share)
    }

    /// 0 if all was done; else 1 for a defect, 5 if an outcome is unknown, 4 if something was not executed, 3 if the
    /// bank refused.
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            Some(FailKind::Unknown) => 5,
            Some(FailKind::NotExecuted) => 4,
            Some(_) => 1,
            None if self.refused.is_empty() => 0,
            None => 3,
        }
    }

    fn worsen(&mut self, kind: FailKind) {
        let severity = |kind| match kind {
            FailKind::NotExecuted => 1,
            FailKind::Unknown => 2,
            FailKind::Usage | FailKind::Refused | FailKind::Corruption | FailKind::Internal => 3,
        };
        if self.worst.is_none_or(|worst| severity(kind) > severity(worst)) {
            self.worst = Some(kind);
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, code: String, number: u64) {
    let code = if counts.len() < CODES_MAX || counts.contains_key(&code) { code } else { "other".to_owned() };
    *counts.entry(code).or_default() += number;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_come_out_as_they_went_in_within_a_thousandth() {
        let mut tally = Tally::default();
        (1..=100_000).for_each(|micros| tally.answered(Duration::from_micros(micros)));
        for (share, wanted) in [(0.5, 50_000), (0.9, 90_000), (0.99, 99_000), (0.999, 99_900), (1.0, 100_000)] {
            let micros = tally.micros(share);
            assert!(micros.abs_diff(wanted) * 1_000 <= wanted, "{share}: {micros}");
        }
        tally.answered(Duration::MAX);
        tally.given_up();
        assert_eq!(tally.requests, 100_002);
        assert!(tally.micros(1.0) >= LATENCY_MAX, "what is longer than the longest is the longest");
        assert_eq!(Tally::default().micros(0.99), 0);
    }

    #[test]
    fn parts_add_up_and_the_worst_error_decides() {
        let mut all = Tally::default();
        let mut part = Tally::default();
        let failed = |kind, code: &str| Fate::Failed(kind, code.to_owned());
        for (fate, exit_code) in [
            (Fate::Done, 0),
            (Fate::Refused("insufficient_funds".to_owned()), 3),
            (failed(FailKind::NotExecuted, "overloaded"), 4),
            (failed(FailKind::Unknown, "outcome_unknown"), 5),
            (failed(FailKind::NotExecuted, "overloaded"), 5),
            (failed(FailKind::Internal, "internal"), 1),
            (failed(FailKind::Unknown, "outcome_unknown"), 1),
        ] {
            part.clear();
            part.answered(Duration::from_millis(3));
            part.fate(fate);
            all.add(&part);
            assert_eq!(all.exit_code(), exit_code, "{all:?}");
        }
        all.late(7);
        all.late(0);
        assert_eq!((all.requests, all.done, all.refusals(), all.errors()), (7, 1, 1, 5 + 7));
        assert_eq!(all.failed["overloaded"], 2);
        assert_eq!(all.failed[LATE], 7);
        assert_eq!(all.micros(0.5) / 10, 300);
    }

    #[test]
    fn a_server_that_makes_up_codes_fills_no_memory() {
        let mut tally = Tally::default();
        (0..10_000).for_each(|number| tally.fate(Fate::Refused(format!("code-{number}"))));
        assert_eq!((tally.refusals(), tally.refused.len()), (10_000, CODES_MAX + 1));
    }
}
