//! What `bankctl bench` prints.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{BenchArgs, Mode};
use super::crew::{Plan, WARM_UP};
use super::set_up::CREDIT;
use super::source::name;
use super::tally::{LATE, Tally};
use crate::output::SCHEMA;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// All threads together.
    pub tally: Tally,
    /// From the begin to the last answer.
    pub time: Duration,
    /// Processor time of this process in that time.
    pub cpu: Duration,
    /// Ended by Ctrl-C.
    pub interrupted: bool,
}

/// What is about to be written, before anything is.
pub fn announcement(args: &BenchArgs, plan: &Plan, run: &str) -> String {
    let (first, last) = (name(0), name(args.accounts - 1));
    let seconds = args.seconds;
    let mut text = format!(
        "bench writes to this bank, and its chain keeps it for ever:\n  {} accounts {first} to {last}, {CREDIT} from \
         world to each, where they are not there yet\n",
        args.accounts
    );
    let nodes = match plan.sockets.len() {
        1 => "one node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let how = match plan.rate {
        None => format!("by {} clients of {nodes}", plan.clients),
        Some(rate) => format!("at {rate} requests a second to {nodes}"),
    };
    let _ = match args.mode {
        Mode::Read => writeln!(text, "  nothing else: balances are read {how} for {seconds} s"),
        Mode::Single => writeln!(text, "  transfers of 1 between them {how} for {seconds} s, ids bench-{run}-…"),
        Mode::Batch => {
            let batch = args.batch;
            writeln!(text, "  batches of {batch} transfers of 1 {how} for {seconds} s, ids bench-{run}-…")
        }
    };
    let _ = write!(text, "A warm-up of {} s comes first and is not counted. Ctrl-C ends it early.", WARM_UP.as_secs());
    text
}

/// One second of it.
pub fn progress(at: Duration, second: &Tally, errors: u64, time: Duration) -> String {
    let rate = second.done as f64 / time.as_secs_f64();
    let (p50, p99) = (shown(second.micros(0.5)), shown(second.micros(0.99)));
    format!("{:>5} s  {rate:>9.0}/s   p50 {p50:>9}   p99 {p99:>9}   errors {errors}", at.as_secs())
}

impl Measured {
    /// Transfers or reads a second.
    pub fn throughput(&self) -> f64 {
        if self.time.is_zero() { 0.0 } else { self.tally.done as f64 / self.time.as_secs_f64() }
    }

    /// Processor time of this program for each transfer or read, in microseconds.
    fn cpu_each(&self) -> f64 {
        let tally = &self.tally;
        let late = tally.failed.get(LATE).copied().unwrap_or(0);
        let asked = tally.done + tally.refusals() + tally.errors() - late;
        self.cpu.as_secs_f64() * 1e6 / asked.max(1) as f64
    }

    /// As JSON.
    pub fn json(&self, args: &BenchArgs, plan: &Plan, run: &str) -> Value {
        let tally = &self.tally;
        let micros = |share| if tally.micros(share) == 0 { Value::Null } else { json!(tally.micros(share)) };
        let reads = args.mode == Mode::Read;
        json!({
            "schema": SCHEMA,
            "mode": args.mode.to_string(),
            "run": run,
            "clients": args.clients,
            "sockets": plan.sockets.len(),
            "connections": plan.connections(),
            "threads": plan.threads(),
            "batch": (args.mode == Mode::Batch).then_some(args.batch),
            "accounts": args.accounts,
            "skew": args.skew.to_string(),
            "rate": args.rate,
            "warm_up_seconds": WARM_UP.as_secs(),
            "seconds": rounded(self.time.as_secs_f64(), 1_000.0),
            "interrupted": self.interrupted,
            "requests": tally.requests,
            "transfers": if reads { 0 } else { tally.done },
            "reads": if reads { tally.done } else { 0 },
            "throughput": rounded(self.throughput(), 10.0),
            "p50_us": micros(0.5),
            "p90_us": micros(0.9),
            "p99_us": micros(0.99),
            "p999_us": micros(0.999),
            "max_us": micros(1.0),
            "errors": tally.errors(),
            "error_codes": tally.failed,
            "refused": tally.refusals(),
            "refused_codes": tally.refused,
            "client_cpu_us_per_request": rounded(self.cpu_each(), 100.0),
        })
    }

    /// For people.
    pub fn text(&self, args: &BenchArgs, plan: &Plan) -> String {
        let tally = &self.tally;
        let unit = if args.mode == Mode::Read { "reads" } else { "transfers" };
        let what = if args.mode == Mode::Batch { "batch" } else { "request" };
        let mut rows = vec![
            (
                "measured",
                format!("{:.1} s{}", self.time.as_secs_f64(), if self.interrupted { ", interrupted" } else { "" }),
            ),
            ("load", load(args, plan)),
            (unit, format!("{}", tally.done)),
            ("throughput", format!("{:.1} {unit} a second", self.throughput())),
        ];
        let latency = format!("latency of a {what}");
        for (label, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            rows.push((label, shown(tally.micros(share))));
        }
        rows.push(("errors", counted(tally.errors(), &tally.failed)));
        rows.push(("refused", counted(tally.refusals(), &tally.refused)));
        rows.push(("this program", format!("{:.1} µs of processor time for each of the {unit}", self.cpu_each())));
        let mut text = String::new();
        for (label, value) in rows {
            if label == "p50" {
                let _ = writeln!(text, "{latency}");
            }
            let indent = if label.starts_with('p') || label == "max" { "  " } else { "" };
            let _ = writeln!(text, "{:<14}{value}", format!("{indent}{label}"));
        }
        text.trim_end().to_owned()
    }
}

fn load(args: &BenchArgs, plan: &Plan) -> String {
    let BenchArgs { mode, clients, batch, accounts, skew, .. } = args;
    let batch = if *mode == Mode::Batch { format!(" of {batch}") } else { String::new() };
    let rate = args.rate.map(|rate| format!(", {rate} requests due a second")).unwrap_or_default();
    let connections = plan.connections();
    format!("{mode}{batch}, {clients} clients on {connections} connections{rate}, {accounts} accounts ({skew})")
}

fn counted(sum: u64, codes: &std::collections::BTreeMap<String, u64>) -> String {
    let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
    if codes.is_empty() { sum.to_string() } else { format!("{sum} ({})", codes.join(", ")) }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// A latency for people.
fn shown(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}
