//! Torture: a real cluster under load while processes are killed and stopped, links are cut and disks fail; then
//! everything heals, the cluster must serve, and the whole history is judged.
//!
//! A run is a sequence of rounds, each with a fresh cluster. The seed decides what happens in a round and when; the
//! processes' own timing is not part of it, so a seed repeats the faults and not the exact course.

mod faults;
mod hands;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::faults::Fault;
use self::hands::Hands;
use crate::cluster::Plan;
use crate::history::{self, Summary};
use crate::load::{Load, LoadPlan};
use crate::volume::own_mounts;

/// Longest wait for service after everything healed; far above what a busy machine needs.
const RECOVERY: Duration = Duration::from_secs(90);

/// What is done for how long.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// No new round begins after this time.
    pub time: Duration,
    /// How long faults go on in each round.
    pub round: Duration,
    /// Of the first round; the next one has the next number.
    pub seed: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rounds, each with a cluster of its own.
    pub rounds: u64,
    /// How often each fault was made.
    pub faults: BTreeMap<&'static str, u64>,
    /// Processes that were killed or that ended because of a fault.
    pub ended: u64,
    /// What clients were told, added up.
    pub summary: Summary,
    /// Longest time from the healing to 20 more acknowledged transfers.
    pub recovery_max: Duration,
    /// Kinds of faults that this machine does not allow, and why.
    pub skipped: Vec<String>,
}

/// Runs rounds until the time is up; at least one.
///
/// # Errors
/// The first rule that is broken, or whatever is in the way; with the round's seed and the logs. All of it must run on
/// one thread: the disks are mounted for that thread alone.
pub async fn run(options: Options) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report::default();
    let disks = match own_mounts() {
        Ok(()) => true,
        Err(error) => {
            report.skipped.push(format!("disks of their own: {error:#}"));
            false
        }
    };
    if let Some(obstacle) = hands::tracer() {
        report.skipped.push(format!("EIO at sync: {obstacle}"));
    }
    let mut seed = options.seed;
    while report.rounds == 0 || begun.elapsed() < options.time {
        let line = round(seed, options.round, disks, &mut report)
            .await
            .with_context(|| format!("round with seed {seed}; again: torture --minutes 0 --seed {seed}"))?;
        println!("{:>6} s  seed {seed}: {line}", begun.elapsed().as_secs());
        report.rounds += 1;
        seed += 1;
    }
    Ok(report)
}

/// One cluster, from its first block to its judgement.
async fn round(seed: u64, time: Duration, disks: bool, report: &mut Report) -> Result<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let nodes = if rng.random_bool(0.3) { 5 } else { 3 };
    let mut plan = Plan::new(nodes)?;
    // Most transfers succeed and some are refused: both are outcomes.
    plan.balance = 20_000;
    let mut hands = Hands::new(plan, disks).await?;
    hands.cluster.leader().await?;
    let load = Load::start(&LoadPlan {
        sockets: hands.cluster.sockets(),
        clients: 8,
        seed,
        accounts: 4,
        amount_max: 8_000,
        prefix: format!("t{seed}"),
        timeout: Duration::from_secs(3),
        mixed: true,
        reads: 0.5,
        rest: Duration::from_millis(4),
    });
    let ends = Instant::now() + time;
    let mut made: BTreeMap<&'static str, u64> = BTreeMap::new();
    let weights = faults::weights(&mut rng, disks, hands::tracer().is_none());
    while Instant::now() < ends {
        for _ in 0..rng.random_range(1..=2) {
            let fault = faults::draw(&weights, &mut rng);
            let victim = hands.victim(&mut rng).await;
            if hands.make(fault, victim, &mut rng).await? {
                *made.entry(fault.name()).or_default() += 1;
            }
        }
        hands.watch(Duration::from_millis(rng.random_range(50..2_500))).await?;
        if rng.random_bool(0.5) {
            hands.heal_all().await?;
            hands.watch(Duration::from_millis(rng.random_range(0..1_500))).await?;
        }
    }
    hands.heal_all().await?;
    let healed = Instant::now();
    let goal = load.acknowledged() + 20;
    while load.acknowledged() < goal {
        hands.watch(Duration::from_millis(20)).await?;
        ensure!(
            healed.elapsed() < RECOVERY,
            "no service after everything healed\n{}{}",
            hands.autopsy(),
            hands.cluster.logs()
        );
    }
    let recovery = healed.elapsed();
    let told = load.finish().await?;
    hands.all_up().await?;
    let summary = match history::check(&mut hands.cluster, &told).await {
        Ok(summary) => summary,
        Err(error) => bail!("{error:#}\n{}{}", hands.autopsy(), hands.cluster.logs()),
    };
    for (fault, count) in &made {
        *report.faults.entry(fault).or_default() += count;
    }
    report.ended += hands.ended;
    report.recovery_max = report.recovery_max.max(recovery);
    add(&mut report.summary, &summary);
    let faults: u64 = made.values().sum();
    Ok(format!(
        "{nodes} nodes, {faults} faults, {} processes ended, {} blocks, {} acknowledged, {} reads, {} unknown; service \
         {} ms after healing",
        hands.ended,
        summary.blocks,
        summary.committed + summary.refused,
        summary.reads + summary.local_reads,
        summary.unknown,
        recovery.as_millis()
    ))
}

fn add(sum: &mut Summary, more: &Summary) {
    sum.blocks += more.blocks;
    sum.requests += more.requests;
    sum.committed += more.committed;
    sum.refused += more.refused;
    sum.asked_again += more.asked_again;
    sum.not_executed += more.not_executed;
    sum.unknown += more.unknown;
    sum.unknown_found += more.unknown_found;
    sum.reads += more.reads;
    sum.local_reads += more.local_reads;
}

/// All kinds of faults, for reports.
pub fn kinds() -> Vec<&'static str> {
    Fault::ALL.iter().map(|fault| fault.name()).collect()
}
