//! What was measured: as JSON for the plots, and as tables.

use std::fmt;

use serde::Serialize;

use crate::bench::figures::Spread;
use crate::bench::host::Conditions;

/// All of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and when it ran.
    pub conditions: Conditions,
    /// Seconds of each turn.
    pub seconds: f64,
    /// Turns of each size and as many of the smallest beside it.
    pub pairs: usize,
    /// Over the blocks of the chain.
    pub blocks: Vec<Point>,
    /// Over the accounts.
    pub accounts: Vec<Point>,
    /// What was asked for and not measured.
    pub skipped: Vec<Skipped>,
}

/// A bank of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// The size: blocks or accounts.
    pub size: u64,
    /// Blocks of the chain, the genesis block not counted.
    pub blocks: u64,
    /// Accounts.
    pub accounts: u64,
    /// Requests in the chain, so ids that each node knows.
    pub requests: u64,
    /// Their canonical bytes.
    pub request_bytes: u64,
    /// Seconds that it took to make one folder.
    pub made_s: f64,
    /// Bytes on disk of one folder.
    pub folder_bytes: u64,
    /// Seconds from starting three nodes to the first committed transfer, of each start.
    pub start_s: Spread,
    /// Resident bytes of each node after the start.
    pub memory_bytes: Vec<u64>,
    /// The most that each node had resident until the end of the load.
    pub memory_most_bytes: Vec<u64>,
    /// Transfers a second, of each turn.
    pub rate: Spread,
    /// The same of the smallest size in the same turns.
    pub rate_smallest: Spread,
    /// `rate` : `rate_smallest` of each pair of turns.
    pub ratio: Spread,
    /// The middle latency in microseconds; the median of all turns.
    pub p50_us: f64,
    /// 99 % took no longer; the median of all turns.
    pub p99_us: f64,
    /// Transfers that were committed under load.
    pub transfers: u64,
    /// Bytes that a node's folder grew by, per transfer under load. sled's file grows in steps of 16 MiB.
    pub disk_per_transfer: f64,
    /// Bytes that a node handed to write calls, for files and connections, per transfer under load.
    pub written_per_transfer: f64,
    /// Bytes of a transfer's request under load.
    pub request_bytes_each: f64,
}

/// A size that was not measured.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Of blocks or accounts.
    pub axis: &'static str,
    /// How many.
    pub size: u64,
    /// What limits it.
    pub why: String,
}

const MIB: f64 = 1_048_576.0;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, points) in [("blocks", &self.blocks), ("accounts", &self.accounts)] {
            if points.is_empty() {
                continue;
            }
            writeln!(
                f,
                "| {name} | throughput : smallest | a second | p99 ms | memory MiB, × | start s, × | disk MiB, bytes \
                 per request byte | written per transfer, × its request |\n\
                 | --- | --- | --- | --- | --- | --- | --- | --- |"
            )?;
            let first = &points[0];
            for point in points {
                let memory = |point: &Point| mean(&point.memory_bytes) / MIB;
                writeln!(
                    f,
                    "| {} | {:.2} ({:.2}–{:.2}) | {:.0} | {:.1} | {:.0}, {:.1} | {:.2}, {:.1} | {:.1}, {:.1} | {:.0}, {:.0} |",
                    point.size,
                    point.ratio.median,
                    point.ratio.min,
                    point.ratio.max,
                    point.rate.median,
                    point.p99_us / 1_000.0,
                    memory(point),
                    memory(point) / memory(first),
                    point.start_s.median,
                    point.start_s.median / first.start_s.median,
                    point.folder_bytes as f64 / MIB,
                    point.folder_bytes as f64 / point.request_bytes.max(1) as f64,
                    point.written_per_transfer,
                    point.written_per_transfer / point.request_bytes_each.max(1.0),
                )?;
            }
            writeln!(f)?;
        }
        self.skipped
            .iter()
            .try_for_each(|skipped| writeln!(f, "not measured: {} {}: {}", skipped.size, skipped.axis, skipped.why))
    }
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len().max(1) as f64
}
