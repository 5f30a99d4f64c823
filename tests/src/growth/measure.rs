//! The measuring: one size after the other, each beside a new bank of the smallest size.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_wire::api::NodeRole;
use raftbank_wire::client::Client;

use super::folder::{GENESIS_ACCOUNTS, Made, Size, derive, fill, pair};
use super::load::{Committed, transfers};
use super::machine::{disk_available, memory, memory_available, on_disk, written};
use super::report::{Point, Report, Skipped};
use crate::bench::figures::Spread;
use crate::bench::host::{self, Conditions};
use crate::cluster::{Cluster, Plan, name};
use crate::load::{Fate, transfer, write};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Nodes of each bank.
const NODES: usize = 3;
/// Accounts while the chain grows.
const ACCOUNTS: u64 = 1_000;
/// Blocks while accounts grow.
const BLOCKS: u64 = 1_000;
/// No further start is measured when all together would take longer than this.
const STARTS: Duration = Duration::from_secs(20);
/// What of the machine's memory and disk a bank may take.
const SHARE: f64 = 0.9;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The chain: one transfer in each block.
    Blocks,
    /// The accounts.
    Accounts,
}

/// What is measured, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes of the chain.
    pub blocks: Vec<u64>,
    /// Numbers of accounts.
    pub accounts: Vec<u64>,
    /// Of each turn.
    pub time: Duration,
    /// Turns of each size, and as many of the smallest beside it.
    pub pairs: usize,
    /// How often a bank is started; less often one that takes long.
    pub starts: usize,
    /// Longest time for making a folder, and for a start.
    pub patience: Duration,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Accounts => "accounts",
        }
    }

    fn size(self, number: u64) -> Size {
        match self {
            Self::Blocks => Size { blocks: number, accounts: ACCOUNTS.min(number) },
            Self::Accounts => Size { blocks: BLOCKS.min(number), accounts: number },
        }
    }
}

/// Measures all sizes. One that cannot be, is skipped with the reason.
///
/// # Errors
/// Whatever is in the way of the smallest size.
pub async fn run(options: &Options) -> Result<Report> {
    let mut report = Report {
        conditions: Conditions::now(),
        seconds: options.time.as_secs_f64(),
        pairs: options.pairs,
        blocks: Vec::new(),
        accounts: Vec::new(),
        skipped: Vec::new(),
    };
    for (axis, sizes) in [(Axis::Blocks, &options.blocks), (Axis::Accounts, &options.accounts)] {
        let mut sizes = sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        let mut points: Vec<Point> = Vec::new();
        for wanted in sizes.iter().copied() {
            let smallest = axis.size(sizes[0]);
            ensure!(smallest.accounts >= GENESIS_ACCOUNTS, "a bank has {GENESIS_ACCOUNTS} accounts at least");
            let mut number = wanted;
            // What is too large is halved until it fits.
            while let Some(why) = points.last().and_then(|last| too_large(last, number, options).transpose()) {
                report.skipped.push(Skipped { axis: axis.name(), size: number, why: why? });
                number /= 2;
            }
            if points.last().is_some_and(|last| number <= last.size) {
                continue;
            }
            tell(&format!("{number} {}: making the folders", axis.name()));
            match measure(number, axis.size(number), smallest, options).await {
                Ok(point) => points.push(point),
                Err(error) if points.is_empty() => return Err(error),
                Err(error) => {
                    tell(&format!("{number} {}: {error:#}", axis.name()));
                    report.skipped.push(Skipped { axis: axis.name(), size: number, why: format!("{error:#}") });
                    break;
                }
            }
        }
        match axis {
            Axis::Blocks => report.blocks = points,
            Axis::Accounts => report.accounts = points,
        }
    }
    report.conditions.load_after = host::load();
    Ok(report)
}

/// What of this machine is not enough for a size, as far as the last one tells.
fn too_large(last: &Point, number: u64, options: &Options) -> Result<Option<String>> {
    let times = number as f64 / last.size as f64;
    if times <= 1.0 {
        return Ok(None);
    }
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let memory = times * last.memory_most_bytes.iter().sum::<u64>() as f64;
    let disk = times * (last.folder_bytes * NODES as u64) as f64;
    let has = [memory_available()? as f64, disk_available(&std::env::temp_dir())? as f64];
    for (what, wanted, has) in [("memory", memory, has[0]), ("disk", disk, has[1])] {
        if wanted > SHARE * has {
            return Ok(Some(format!(
                "three nodes would take about {:.1} GiB of {what}, of which {:.1} GiB are there",
                gib(wanted),
                gib(has)
            )));
        }
    }
    let seconds = times * last.made_s;
    let patience = options.patience.as_secs_f64();
    Ok((seconds > patience).then(|| format!("making its folder would take about {seconds:.0} s of {patience:.0} s")))
}

fn tell(what: &str) {
    eprintln!("growth: {what}");
}

/// A bank with its folders made.
struct Bank {
    cluster: Cluster,
    size: Size,
    made: Made,
}

async fn bank(size: Size, patience: Duration) -> Result<Bank> {
    let plan = Plan { accounts: usize::try_from(GENESIS_ACCOUNTS)?, ..Plan::new(NODES)? };
    let cluster = Cluster::make(plan)?;
    let first = cluster.data(0);
    let deadline = Instant::now() + patience;
    let folder = first.clone();
    let made = tokio::task::spawn_blocking(move || fill(&folder, size, deadline)).await??;
    (1..NODES).try_for_each(|node| derive(&first, &cluster.data(node)))?;
    Ok(Bank { cluster, size, made })
}

impl Bank {
    /// Starts all processes; returns when a transfer is committed, and how long that took from the nodes' start on.
    async fn start(&mut self, number: usize, patience: Duration) -> Result<Duration> {
        if !self.cluster.has_relay() {
            self.cluster.start_relay().await?;
        }
        let begun = Instant::now();
        for node in 0..NODES {
            self.cluster.start_node(node)?;
        }
        let leader = self.leader(begun + patience).await?;
        let (from, to) = pair(&mut ChaCha8Rng::seed_from_u64(number as u64), self.size.accounts);
        let request = transfer(&format!("start-{number}"), &format!("a{from}"), &format!("a{to}"), 1)?;
        let client = Client::connect(self.cluster.socket(leader), patience).await?;
        let fate = write(&client, &request, patience).await;
        ensure!(matches!(fate, Fate::Acknowledged { .. }), "the first transfer: {fate:?}");
        Ok(begun.elapsed())
    }

    /// Waits for the leader that all nodes follow. A long chain takes minutes to load.
    async fn leader(&mut self, deadline: Instant) -> Result<usize> {
        loop {
            let mut seen = Vec::new();
            for node in 0..NODES {
                seen.extend(self.cluster.status(node).await);
            }
            let leads = (0..NODES).find(|node| {
                let leads = seen.iter().any(|seen| seen.node == name(*node) && seen.role == NodeRole::Leader);
                leads && seen.iter().filter(|seen| seen.leader.as_deref() == Some(&name(*node))).count() == NODES
            });
            if let Some(leader) = leads {
                return Ok(leader);
            }
            let casualties = self.cluster.casualties();
            ensure!(casualties.is_empty(), "{casualties:?}\n{}", self.cluster.logs());
            ensure!(Instant::now() < deadline, "no leader in time\n{}", self.cluster.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn stop(&mut self) -> Result<()> {
        for node in 0..NODES {
            self.cluster.stop_node(node).await?;
        }
        Ok(())
    }

    /// Starts it again and again; it runs afterwards.
    async fn starts(&mut self, most: usize, patience: Duration) -> Result<Vec<f64>> {
        let mut starts = Vec::new();
        let mut all = Duration::ZERO;
        loop {
            let took = self.start(starts.len(), patience).await?;
            all += took;
            starts.push(took.as_secs_f64());
            if starts.len() >= most || all + took > STARTS {
                return Ok(starts);
            }
            self.stop().await?;
        }
    }

    /// A figure of each node's process.
    fn each<T>(&self, of: impl Fn(u32) -> Result<T>) -> Result<Vec<T>> {
        (0..NODES).map(|node| of(self.cluster.pid(node).context("a node that runs")?)).collect()
    }

    /// Bytes on disk of all folders.
    fn on_disk(&self) -> Result<u64> {
        (0..NODES).map(|node| on_disk(&self.cluster.data(node))).sum()
    }

    /// One turn.
    async fn turn(&mut self, number: u64, time: Duration, committed: &Arc<Committed>) -> Result<[f64; 3]> {
        let leader = self.cluster.leader().await?;
        let socket = self.cluster.socket(leader);
        let measured = transfers(&socket, self.size.accounts, number, time, committed).await;
        let sample = measured.and_then(|measured| measured.sample());
        let sample = sample.with_context(|| format!("a load\n{}", self.cluster.logs()))?;
        Ok([sample.rate, sample.p50_us, sample.p99_us])
    }
}

async fn measure(number: u64, size: Size, smallest: Size, options: &Options) -> Result<Point> {
    let mut bank = bank(size, options.patience).await?;
    let folder_bytes = on_disk(&bank.cluster.data(0))?;
    let made_s = bank.made.time.as_secs_f64();
    tell(&format!("made in {made_s:.1} s, {} MiB each; starting", folder_bytes >> 20));
    let starts = bank.starts(options.starts, options.patience).await?;
    let memory_bytes: Vec<u64> = bank.each(memory)?.into_iter().map(|[now, _]| now).collect();
    tell(&format!("started in {starts:.2?} s, {:?} MiB of memory; load", mib(&memory_bytes)));
    let mut small = self::bank(smallest, options.patience).await?;
    small.start(0, options.patience).await?;

    let written_by = |bank: &Bank| Ok::<_, anyhow::Error>(bank.each(written)?.into_iter().sum::<u64>());
    let (disk, stored) = (bank.on_disk()?, written_by(&bank)?);
    let (committed, other) = (Arc::default(), Arc::default());
    let (mut rates, mut rates_small, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for turn in 0..options.pairs as u64 {
        // Whoever is first alternates.
        let order = if turn % 2 == 0 { [true, false] } else { [false, true] };
        for large in order {
            if large {
                let [rate, half, most] = bank.turn(turn, options.time, &committed).await?;
                rates.push(rate);
                p50.push(half);
                p99.push(most);
            } else {
                rates_small.push(small.turn(turn, options.time, &other).await?[0]);
            }
        }
        let at = rates.len() - 1;
        ratios.push(rates[at] / rates_small[at]);
    }
    drop(small);
    let memory_most_bytes: Vec<u64> = bank.each(memory)?.into_iter().map(|[_, most]| most).collect();
    let transfers = committed.requests.load(Ordering::Relaxed);
    let per_transfer = |bytes: u64| bytes as f64 / NODES as f64 / transfers.max(1) as f64;
    let stored = written_by(&bank)? - stored;
    bank.stop().await?;
    let disk = bank.on_disk()?.saturating_sub(disk);
    let spread = |values: Vec<f64>| Spread::of(values).context("no turn was measured");
    let point = Point {
        size: number,
        blocks: bank.made.blocks,
        accounts: size.accounts,
        requests: bank.made.requests,
        request_bytes: bank.made.request_bytes,
        made_s,
        folder_bytes,
        start_s: spread(starts)?,
        memory_bytes,
        memory_most_bytes,
        rate: spread(rates)?,
        rate_smallest: spread(rates_small)?,
        ratio: spread(ratios)?,
        p50_us: spread(p50)?.median,
        p99_us: spread(p99)?.median,
        transfers,
        disk_per_transfer: per_transfer(disk),
        written_per_transfer: per_transfer(stored),
        request_bytes_each: committed.bytes.load(Ordering::Relaxed) as f64 / transfers.max(1) as f64,
    };
    tell(&format!("{:.0} transfers a second, {:.2} of the smallest", point.rate.median, point.ratio.median));
    Ok(point)
}

fn mib(bytes: &[u64]) -> Vec<u64> {
    bytes.iter().map(|bytes| bytes >> 20).collect()
}
