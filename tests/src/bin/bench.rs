//! How fast a bank of three nodes is on this machine, beside what its disk can do.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use raftbank_tests::cluster::{Cluster, Plan};
use raftbank_tests::load::{Attempt, Fate, Load, LoadPlan, transfer, write};
use raftbank_wire::client::Client;

/// Deadline of each request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two attempts while nobody serves.
const PAUSE: Duration = Duration::from_millis(2);
/// Bytes that are written before each measured fdatasync: about a block with one transfer.
const SYNC_BYTES: usize = 512;

/// Measure a bank of three nodes. Build with --release.
#[derive(Parser)]
struct Args {
    /// How often it is started, and how often a leader is killed.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Transfers of one client, one after the other.
    #[arg(long, default_value_t = 500)]
    sequential: usize,
    /// Seconds of 64 clients with one request each.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.runs > 0 && args.sequential > 0 && args.seconds > 0, "each count must be 1 or more");
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say little");
    }
    println!("{:<44} {:>10} {:>10} {:>10}", "", "median", "p99", "worst");
    let mut starts = Vec::new();
    for _ in 0..args.runs {
        starts.push(start().await?);
    }
    row("start of all processes to first transfer", starts);

    let mut cluster = Cluster::start(Plan::new(3)?).await?;
    cluster.leader().await?;
    let mut kills = Vec::new();
    for run in 0..args.runs {
        kills.push(kill(&mut cluster, run).await?);
    }
    row("kill -9 of the leader to next transfer", kills);

    let mut syncs = disk(&cluster, args.sequential)?;
    let sequential = sequential(&mut cluster, args.sequential).await?;
    // Once more afterwards, so that both have seen the same machine.
    syncs.extend(disk(&cluster, args.sequential)?);
    let sync = row("fdatasync of this disk", syncs);
    let alone = row("transfer, one client", sequential);
    let (attempts, blocks) = crowd(&mut cluster, Duration::from_secs(args.seconds)).await?;
    let count = attempts.len() as f64;
    let crowd = row("transfer, 64 clients with one request each", latencies(&attempts));

    println!();
    let rate = count / args.seconds as f64;
    println!("64 clients: {rate:.0} transfers a second, {:.1} in a block", count / blocks.max(1) as f64);
    println!("one client: {:.1} times the disk's fdatasync", alone.as_secs_f64() / sync.as_secs_f64());
    println!("64 clients: {:.1} times the disk's fdatasync", crowd.as_secs_f64() / sync.as_secs_f64());
    println!("64 clients: {:.1} transfers in the time of one fdatasync", rate * sync.as_secs_f64());
    Ok(())
}

/// From the start of the processes to the first committed transfer. The data folders are made before.
async fn start() -> Result<Duration> {
    let mut cluster = Cluster::make(Plan::new(3)?)?;
    let begun = Instant::now();
    cluster.start_relay().await?;
    for node in 0..3 {
        cluster.start_node(node)?;
    }
    committed(&cluster, &[0, 1, 2], "first").await?;
    Ok(begun.elapsed())
}

/// From the kill of the leader to the next committed transfer, asked for at the others.
async fn kill(cluster: &mut Cluster, run: usize) -> Result<Duration> {
    cluster.converged().await?;
    let leader = cluster.leader().await?;
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    let begun = Instant::now();
    cluster.kill_node(leader)?;
    committed(cluster, &others, &format!("kill-{run}")).await?;
    let took = begun.elapsed();
    cluster.start_node(leader)?;
    Ok(took)
}

/// Asks the nodes in turn until the transfer is committed.
async fn committed(cluster: &Cluster, nodes: &[usize], id: &str) -> Result<()> {
    let request = transfer(id, "a0", "a1", 1)?;
    let deadline = Instant::now() + TIMEOUT;
    for node in nodes.iter().cycle() {
        if let Ok(client) = Client::connect(cluster.socket(*node), TIMEOUT).await
            && let Fate::Acknowledged { .. } = write(&client, &request, TIMEOUT).await
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no transfer within {TIMEOUT:?}\n{}", cluster.logs());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// One transfer after the other, at the leader.
async fn sequential(cluster: &mut Cluster, count: usize) -> Result<Vec<Duration>> {
    cluster.converged().await?;
    let leader = cluster.leader().await?;
    let client = cluster.client(leader).await?;
    let mut times = Vec::new();
    for number in 0..count {
        let request = transfer(&format!("one-{number}"), "a0", "a1", 1)?;
        let begun = Instant::now();
        let fate = write(&client, &request, TIMEOUT).await;
        ensure!(matches!(fate, Fate::Acknowledged { .. }), "{fate:?}\n{}", cluster.logs());
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// 64 clients at all nodes; and how many blocks their transfers took.
async fn crowd(cluster: &mut Cluster, time: Duration) -> Result<(Vec<Attempt>, u64)> {
    let before = cluster.converged().await?.height;
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: 64,
        seed: 1,
        accounts: 4,
        amount_max: 10,
        prefix: "crowd".to_owned(),
        timeout: TIMEOUT,
        reads: 0.0,
        rest: Duration::ZERO,
    });
    tokio::time::sleep(time).await;
    let attempts = load.finish().await?.attempts;
    ensure!(attempts.iter().all(Attempt::is_acknowledged), "some were not acknowledged\n{}", cluster.logs());
    Ok((attempts, cluster.converged().await?.height - before))
}

fn latencies(attempts: &[Attempt]) -> Vec<Duration> {
    attempts.iter().map(|attempt| Duration::from_nanos(attempt.known - attempt.sent)).collect()
}

/// What an append of a small record and its fdatasync take, in the folder of a node's data.
fn disk(cluster: &Cluster, count: usize) -> Result<Vec<Duration>> {
    let path = cluster.file("sync");
    let mut file = fs::File::create(&path).context("the file of the disk's measure")?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&[7; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

/// Prints the spread, and returns the median.
fn row(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let show = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
    println!("{what:<44} {:>10} {:>10} {:>10}", show(at(50)), show(at(99)), show(at(100)));
    at(50)
}
