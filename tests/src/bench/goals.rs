//! What is to be reached, as ratios within one round, and how far it is.

use serde::Serialize;

use super::figures::{Round, Spread};

/// On which side of the figure a value shall be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// No more than this.
    AtMost,
    /// Less than this.
    Below,
    /// No less than this.
    AtLeast,
    /// More than this.
    Above,
}

/// One goal.
struct Goal {
    what: &'static str,
    unit: &'static str,
    side: Side,
    figure: f64,
    /// The values of a round; none: not measured.
    values: fn(&Round) -> Vec<f64>,
}

/// A goal beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// What is compared.
    pub what: &'static str,
    /// `×` of a ratio, else a unit.
    pub unit: &'static str,
    /// On which side of it the median shall be.
    pub side: Side,
    /// The goal.
    pub goal: f64,
    /// What was measured; none: nothing was.
    pub measured: Option<Spread>,
    /// The median is on the right side.
    pub reached: Option<bool>,
}

/// Every goal beside what the rounds came to.
pub(crate) fn judge(rounds: &[Round]) -> Vec<Judged> {
    GOALS
        .iter()
        .map(|goal| {
            let measured = Spread::of(rounds.iter().flat_map(goal.values).collect());
            let reached = measured.map(|spread| match goal.side {
                Side::AtMost => spread.median <= goal.figure,
                Side::Below => spread.median < goal.figure,
                Side::AtLeast => spread.median >= goal.figure,
                Side::Above => spread.median > goal.figure,
            });
            Judged { what: goal.what, unit: goal.unit, side: goal.side, goal: goal.figure, measured, reached }
        })
        .collect()
}

/// A ratio of two loads' rates or times; nothing unless both were measured.
fn ratio(above: Option<f64>, below: Option<f64>) -> Vec<f64> {
    above.zip(below).map(|(above, below)| above / below).filter(|ratio| ratio.is_finite()).into_iter().collect()
}

fn rate(round: &Round, load: &str) -> Option<f64> {
    Some(round.samples.get(load)?.rate)
}

fn p50(round: &Round, load: &str) -> Option<f64> {
    Some(round.samples.get(load)?.p50_us)
}

fn values(round: &Round, what: &str) -> Vec<f64> {
    round.values.get(what).cloned().unwrap_or_default()
}

const GOALS: [Goal; 18] = [
    Goal {
        what: "1 client, p50 : fdatasync + 3 loopback round trips",
        unit: "×",
        side: Side::AtMost,
        figure: 3.0,
        values: |round| {
            let floor = p50(round, "fdatasync").zip(p50(round, "loopback")).map(|(sync, trip)| sync + 3.0 * trip);
            ratio(p50(round, "transfer-1"), floor)
        },
    },
    Goal {
        what: "1 client, rate : etcd's transfers",
        unit: "×",
        side: Side::Above,
        figure: 1.0,
        values: |round| ratio(rate(round, "transfer-1"), rate(round, "etcd-transfer-1")),
    },
    Goal {
        what: "1 client, rate : etcd's plain puts",
        unit: "×",
        side: Side::Above,
        figure: 1.0,
        values: |round| ratio(rate(round, "transfer-1"), rate(round, "etcd-put-1")),
    },
    Goal {
        what: "1 client, rate : PostgreSQL's transfers",
        unit: "×",
        side: Side::Above,
        figure: 1.0,
        values: |round| ratio(rate(round, "transfer-1"), rate(round, "postgres-1")),
    },
    Goal {
        what: "64 clients, rate : PostgreSQL's transfers",
        unit: "×",
        side: Side::AtLeast,
        figure: 2.0,
        values: |round| ratio(rate(round, "transfer-64"), rate(round, "postgres-64")),
    },
    Goal {
        what: "64 clients, rate : etcd's plain puts",
        unit: "×",
        side: Side::AtLeast,
        figure: 2.0,
        values: |round| ratio(rate(round, "transfer-64"), rate(round, "etcd-put-64")),
    },
    Goal {
        what: "64 clients, rate : etcd's transfers",
        unit: "×",
        side: Side::AtLeast,
        figure: 10.0,
        values: |round| ratio(rate(round, "transfer-64"), rate(round, "etcd-transfer-64")),
    },
    Goal {
        what: "64 clients, p99 : p50",
        unit: "×",
        side: Side::Below,
        figure: 10.0,
        values: |round| {
            let sample = round.samples.get("transfer-64");
            ratio(sample.map(|sample| sample.p99_us), sample.map(|sample| sample.p50_us))
        },
    },
    Goal {
        what: "batches of 8,000, rate : one process that hashes, writes to sled, syncs",
        unit: "×",
        side: Side::AtLeast,
        figure: 0.3,
        values: |round| ratio(rate(round, "batch-8000"), rate(round, "alone-batch")),
    },
    Goal {
        what: "batches of 8,000, transfers",
        unit: "/s",
        side: Side::AtLeast,
        figure: 107_000.0,
        values: |round| rate(round, "batch-8000").into_iter().collect(),
    },
    Goal {
        what: "batches of 8,000, transfers (aim)",
        unit: "/s",
        side: Side::AtLeast,
        figure: 200_000.0,
        values: |round| rate(round, "batch-8000").into_iter().collect(),
    },
    Goal {
        what: "64 clients, one hot account : any accounts",
        unit: "×",
        side: Side::AtLeast,
        figure: 0.9,
        values: |round| ratio(rate(round, "hot-64"), rate(round, "transfer-64")),
    },
    Goal {
        what: "64 clients, linearizable reads : transfers",
        unit: "×",
        side: Side::AtLeast,
        figure: 10.0,
        values: |round| ratio(rate(round, "read-64"), rate(round, "transfer-64")),
    },
    Goal {
        what: "kill -9 of the leader under load to the next commit",
        unit: "ms",
        side: Side::AtMost,
        figure: 400.0,
        values: |round| values(round, "kill"),
    },
    Goal {
        what: "longest request of clients that retry, leader killed",
        unit: "ms",
        side: Side::AtMost,
        figure: 2_000.0,
        values: |round| values(round, "kill-longest").into_iter().reduce(f64::max).into_iter().collect(),
    },
    Goal {
        what: "at rest, processor time of a process",
        unit: "% of a core",
        side: Side::Below,
        figure: 1.0,
        values: |round| values(round, "idle"),
    },
    Goal {
        what: "at rest, processor time of the busiest process",
        unit: "% of a core",
        side: Side::Below,
        figure: 1.0,
        values: |round| values(round, "idle").into_iter().reduce(f64::max).into_iter().collect(),
    },
    Goal {
        what: "at rest, written by a process",
        unit: "bytes",
        side: Side::AtMost,
        figure: 0.0,
        values: |round| values(round, "idle-written"),
    },
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bench::figures::Sample;

    fn round(loads: &[(&'static str, f64)]) -> Round {
        let sample = |rate| Sample {
            count: 1,
            rate,
            p50_us: 1e6 / rate,
            p99_us: 5e6 / rate,
            worst_us: 9e6 / rate,
            client_cores: None,
        };
        Round { samples: loads.iter().map(|&(load, rate)| (load, sample(rate))).collect(), ..Round::default() }
    }

    fn found(rounds: &[Round], what: &str) -> Judged {
        judge(rounds).into_iter().find(|judged| judged.what == what).unwrap()
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = [
            round(&[("transfer-64", 300.0), ("postgres-64", 100.0)]),
            // A slow moment for both is no change of the ratio.
            round(&[("transfer-64", 30.0), ("postgres-64", 10.0)]),
            round(&[("transfer-64", 300.0)]),
        ];
        let judged = found(&rounds, "64 clients, rate : PostgreSQL's transfers");
        assert_eq!(judged.measured, Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(judged.reached, Some(true));
        let judged = found(&rounds, "64 clients, p99 : p50");
        assert_eq!(judged.reached, Some(true));
    }

    #[test]
    fn the_floor_of_one_client_is_a_sync_and_three_trips() {
        // 200 µs : 100 µs + 3 × 10 µs
        let rounds = [round(&[("transfer-1", 5_000.0), ("fdatasync", 10_000.0), ("loopback", 100_000.0)])];
        let judged = found(&rounds, "1 client, p50 : fdatasync + 3 loopback round trips");
        assert!((judged.measured.unwrap().median - 200.0 / 130.0).abs() < 1e-9);
        assert_eq!(judged.reached, Some(true));
    }

    #[test]
    fn what_was_not_measured_is_not_reached_and_not_missed() {
        assert!(judge(&[]).iter().all(|judged| judged.measured.is_none() && judged.reached.is_none()));
    }

    #[test]
    fn equal_is_not_ahead() {
        let rounds = [round(&[("transfer-1", 5.0), ("etcd-put-1", 5.0)])];
        assert_eq!(found(&rounds, "1 client, rate : etcd's plain puts").reached, Some(false));
    }
}
