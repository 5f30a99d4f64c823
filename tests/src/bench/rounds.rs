//! The rounds: what is measured in which order, and what happens when a part cannot be.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::bank::{Bank, CROWD, Load};
use super::etcd::{self, Etcd};
use super::figures::{Measured, Round, Sample};
use super::floors;
use super::host::{self, Conditions};
use super::leader;
use super::postgres::{self, Postgres};
use super::report::Report;

/// How often leaders are killed in all rounds together, at least.
const KILLS: usize = 10;
/// Longest time that each floor is measured.
const FLOOR_MAX: Duration = Duration::from_secs(1);

/// One client and the floors below it are measured in so many turns: how fast a disk syncs changes from one second to
/// the next.
const PARTS: u32 = 5;

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Disk, loopback, hash, sled alone.
    Floors,
    /// Transfers of 1 and of 64 clients, and with one hot account.
    Single,
    /// Linearizable reads of 64 clients.
    Reads,
    /// 8,000 transfers at a time.
    Batches,
    /// Puts and transfers in etcd.
    Etcd,
    /// Transfers in PostgreSQL.
    Postgres,
    /// Start, and the leader's end under load.
    Kill,
    /// What idle processes use.
    Idle,
}

impl Group {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What is measured how often and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds.
    pub runs: usize,
    /// Of each load.
    pub time: Duration,
    /// Which parts.
    pub only: Vec<Group>,
}

/// Measures. What fails is told in the report, and the rest goes on. Dropping the future ends all processes.
pub async fn run(options: &Options) -> Report {
    let mut conditions = Conditions::now();
    let (mut skipped, mut failed, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
    let mut groups = options.only.clone();
    for (group, found) in [(Group::Etcd, etcd::find()), (Group::Postgres, postgres::find())] {
        if groups.contains(&group) {
            match found {
                Ok((_, version)) => conditions.peers.push(version),
                Err(why) => {
                    eprintln!("left out: {}: {why:#}", group.name());
                    skipped.push(format!("{}: {why:#}", group.name()));
                    groups.retain(|&kept| kept != group);
                }
            }
        }
    }
    for number in 0..options.runs {
        let mut round = Round::default();
        for &group in &groups {
            eprintln!("round {} of {}: {}", number + 1, options.runs, group.name());
            if let Err(why) = measure(group, number, &groups, options, &mut round).await {
                let why = format!("{why:#}");
                eprintln!("failed: {}: {why}", group.name());
                // The rest are logs.
                let first = why.lines().next().unwrap_or_default();
                failed.push(format!("round {}, {}: {first}", number + 1, group.name()));
            }
        }
        rounds.push(round);
    }
    conditions.load_after = host::load();
    Report::new(conditions, rounds, skipped, failed)
}

async fn measure(group: Group, number: usize, groups: &[Group], options: &Options, round: &mut Round) -> Result<()> {
    let time = options.time;
    match group {
        Group::Floors => {
            if !groups.contains(&Group::Single) {
                let mut floors = Floors::default();
                floors.measure(time.min(FLOOR_MAX))?;
                floors.tell(round)?;
            }
            let folder = floor_folder()?;
            round.samples.extend(floors::all(folder.path(), time.min(FLOOR_MAX)).await?);
        }
        Group::Single => {
            let mut bank = Bank::start().await?;
            let (mut alone, mut floors) = (Measured::default(), Floors::default());
            for _ in 0..PARTS {
                if groups.contains(&Group::Floors) {
                    floors.measure(time / PARTS)?;
                }
                alone.append(bank.load(Load::Uniform, 1, time / PARTS).await?);
            }
            round.samples.insert("transfer-1", alone.sample()?);
            floors.tell(round)?;
            // The state grows: each of these is now the first and now the last one.
            let mut loads = [("transfer-64", Load::Uniform), ("hot-64", Load::Hot), ("spread-64", Load::Spread)];
            let first = number % loads.len();
            loads.rotate_left(first);
            for (name, load) in loads {
                round.samples.insert(name, bank.load(load, CROWD, time).await?.sample()?);
            }
            bank.audit().await?;
        }
        Group::Reads => {
            let mut bank = Bank::start().await?;
            round.samples.insert("read-64", bank.load(Load::Read, CROWD, time).await?.sample()?);
        }
        Group::Batches => {
            let mut bank = Bank::start().await?;
            round.samples.insert("batch-8000", bank.batches(time).await?);
            bank.audit().await?;
        }
        Group::Etcd => {
            let mut etcd = Etcd::start().await?;
            for (name, load, clients) in [
                ("etcd-transfer-1", etcd::Load::Transfer, 1),
                ("etcd-put-1", etcd::Load::Put, 1),
                ("etcd-transfer-64", etcd::Load::Transfer, CROWD),
                ("etcd-put-64", etcd::Load::Put, CROWD),
            ] {
                round.samples.insert(name, etcd.load(load, clients, time).await?);
            }
        }
        Group::Postgres => {
            let mut postgres = Postgres::start().await?;
            round.samples.insert("postgres-1", postgres.load(1, time).await?);
            round.samples.insert("postgres-64", postgres.load(CROWD, time).await?);
        }
        Group::Kill => leader::start_and_kills(round, KILLS.div_ceil(options.runs)).await?,
        Group::Idle => leader::rest(round, time).await?,
    }
    Ok(())
}

/// In the file system of all data.
fn floor_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("rbfloor").tempdir().context("a temporary folder")
}

/// What a transfer of one client is compared with.
#[derive(Default)]
struct Floors {
    syncs: Vec<Duration>,
    trips: Vec<Duration>,
}

impl Floors {
    /// Half of the time for each, and no longer than is needed for a good figure.
    fn measure(&mut self, time: Duration) -> Result<()> {
        let time = time.min(FLOOR_MAX) / 2;
        let bytes = floors::block(&floors::transfers(1)?)?;
        self.syncs.extend(floors::disk(floor_folder()?.path(), &bytes, time)?);
        self.trips.extend(floors::loopback(time)?);
        Ok(())
    }

    fn tell(self, round: &mut Round) -> Result<()> {
        if !self.syncs.is_empty() {
            round.samples.insert("fdatasync", Sample::sequence(self.syncs)?);
            round.samples.insert("loopback", Sample::sequence(self.trips)?);
        }
        Ok(())
    }
}
