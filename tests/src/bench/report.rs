//! The tables.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::figures::{Round, Sample, Spread};
use super::goals::{Judged, Side, judge};
use super::host::Conditions;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Under which conditions.
    pub conditions: Conditions,
    /// In order of time.
    pub rounds: Vec<Round>,
    /// Goals beside figures.
    pub goals: Vec<Judged>,
    /// What was left out because a peer is missing, and why.
    pub skipped: Vec<String>,
    /// What did not run to its end, and why.
    pub failed: Vec<String>,
}

/// All loads with their names, in the order of the table.
const LOADS: [(&str, &str); 18] = [
    ("fdatasync", "append a block of one transfer, fdatasync"),
    ("fdatasync-batch", "append a block of 8,000, fdatasync"),
    ("loopback", "loopback TCP, 200 bytes there and back"),
    ("sha256", "SHA-256 of a block of one transfer"),
    ("sha256-batch", "SHA-256 of a block of 8,000"),
    ("sled", "sled alone, rows of a block of one, synced"),
    ("alone-batch", "one process: hash, sled, sync, blocks of 8,000"),
    ("transfer-1", "transfers, 1 client"),
    ("etcd-transfer-1", "etcd, transfers, 1 client"),
    ("etcd-put-1", "etcd, puts, 1 client"),
    ("postgres-1", "PostgreSQL, transfers, 1 client"),
    ("transfer-64", "transfers, 64 clients"),
    ("spread-64", "transfers, 64 clients at all nodes"),
    ("hot-64", "transfers of one account, 64 clients"),
    ("etcd-transfer-64", "etcd, transfers, 64 clients"),
    ("etcd-put-64", "etcd, puts, 64 clients"),
    ("postgres-64", "PostgreSQL, transfers, 64 clients"),
    ("read-64", "linearizable reads, 64 clients"),
];
/// The rest: the rate counts transfers, the times whole batches.
const BATCHES: (&str, &str) = ("batch-8000", "transfers in batches of 8,000");
/// Single values.
const VALUES: [(&str, &str); 5] = [
    ("start", "start of all processes to first commit, ms"),
    ("kill", "kill -9 of the leader to next commit, ms"),
    ("kill-longest", "longest request of 16 clients that retry, leader killed, ms"),
    ("idle", "processor time at rest, % of a core"),
    ("idle-written", "written at rest, bytes"),
];

impl Report {
    pub(crate) fn new(conditions: Conditions, rounds: Vec<Round>, skipped: Vec<String>, failed: Vec<String>) -> Self {
        let goals = judge(&rounds);
        Self { conditions, rounds, goals, skipped, failed }
    }

    fn spread(&self, load: &str, what: fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| what(round.samples.get(load)?)).collect())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Conditions { cores, kernel, file_system, load_before, load_after, build, peers } = &self.conditions;
        writeln!(f, "{cores} cores, Linux {kernel}, {file_system}; build: {build}")?;
        writeln!(f, "load average {load_before:.1} before, {load_after:.1} after; rounds: {}", self.rounds.len())?;
        if *load_before > 1.0 {
            writeln!(f, "The machine was busy with other things: compare ratios only.")?;
        }
        for peer in peers {
            writeln!(f, "peer: {peer}")?;
        }
        writeln!(f, "\nMedian and range over the rounds. The client's share of the processor is in cores.\n")?;
        writeln!(f, "| load | a second | p50 µs | p99 µs | client |\n| --- | --- | --- | --- | --- |")?;
        for (load, name) in LOADS.iter().chain([&BATCHES]) {
            if let Some(rate) = self.spread(load, |sample| Some(sample.rate)) {
                let column = |what| self.spread(load, what).map_or_else(|| "–".to_owned(), |spread| show(&spread));
                let (p50, p99) = (column(|sample| Some(sample.p50_us)), column(|sample| Some(sample.p99_us)));
                let client = column(|sample| sample.client_cores);
                writeln!(f, "| {name} | {} | {p50} | {p99} | {client} |", show(&rate))?;
            }
        }
        for (what, name) in VALUES {
            let all = self.rounds.iter().filter_map(|round| round.values.get(what)).flatten().copied().collect();
            if let Some(spread) = Spread::of(all) {
                writeln!(f, "| {name} | {} | | | |", show(&spread))?;
            }
        }
        writeln!(f, "\n| goal | figure | median (range) | |\n| --- | --- | --- | --- |")?;
        for Judged { what, unit, side, goal, measured, reached } in &self.goals {
            let side = match side {
                Side::AtMost => "≤",
                Side::Below => "<",
                Side::AtLeast => "≥",
                Side::Above => ">",
            };
            let measured = measured.as_ref().map_or_else(|| "–".to_owned(), show);
            let reached = match reached {
                Some(true) => "reached",
                Some(false) => "not reached",
                None => "not measured",
            };
            writeln!(f, "| {what} | {side} {} {unit} | {measured} | {reached} |", figure(*goal))?;
        }
        for what in &self.skipped {
            writeln!(f, "\nleft out: {what}")?;
        }
        for what in &self.failed {
            writeln!(f, "\nfailed: {what}")?;
        }
        Ok(())
    }
}

fn show(spread: &Spread) -> String {
    let Spread { median, min, max } = *spread;
    if min.total_cmp(&max).is_eq() {
        return figure(median);
    }
    format!("{} ({}–{})", figure(median), figure(min), figure(max))
}

/// Three digits, or all before the point; thousands apart.
fn figure(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && digit.is_ascii_digit() && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 0.126, 5.0, 42.36, 123.4, 1234.0, 1_234_567.8, -1234.0].map(figure);
        assert_eq!(shown, ["0", "0.13", "5.00", "42.4", "123", "1,234", "1,234,568", "-1,234"]);
    }

    #[test]
    fn an_empty_report_says_that_nothing_was_measured() {
        let report = Report::new(Conditions::now(), Vec::new(), vec!["etcd: it is not there".to_owned()], Vec::new());
        let text = report.to_string();
        assert!(text.contains("not measured") && text.contains("left out: etcd"), "{text}");
        assert!(!text.contains("| reached"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["skipped"][0], "etcd: it is not there");
    }
}
