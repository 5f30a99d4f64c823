//! Start, the leader's end under load, and rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_wire::client::Client;

use super::figures::Round;
use super::host;
use crate::cluster::{Cluster, Plan};
use crate::load::{Fate, Load, LoadPlan, transfer, write};

/// Deadline of each request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two attempts while nobody serves.
const PAUSE: Duration = Duration::from_millis(2);
/// Clients that are at work while the leader is killed.
const CLIENTS: usize = 16;
/// What they must have got done before.
const PROGRESS: u64 = 200;
/// Least time over which rest is watched: processor time is told in steps of 10 ms.
const REST_MIN: Duration = Duration::from_secs(10);
/// From the last request to rest: heads are signed, marks are synced.
const SETTLE: Duration = Duration::from_secs(3);

/// From the start of the processes to the first committed transfer, then from each kill of the leader to the next one.
/// The data folders are made before. In milliseconds.
pub(crate) async fn start_and_kills(round: &mut Round, kills: usize) -> Result<()> {
    let mut cluster = Cluster::make(Plan::new(3)?)?;
    let begun = Instant::now();
    cluster.start_relay().await?;
    for node in 0..3 {
        cluster.start_node(node)?;
    }
    committed(&cluster, &[0, 1, 2], "first").await?;
    round.values.entry("start").or_default().push(begun.elapsed().as_secs_f64() * 1e3);
    for number in 0..kills {
        let (took, longest) = kill(&mut cluster, number).await?;
        round.values.entry("kill").or_default().push(took.as_secs_f64() * 1e3);
        round.values.entry("kill-longest").or_default().push(longest.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// From the kill to the commit of a transfer that is first sent after it, to the others in turn; and the longest that any
/// request of the load took, all its attempts together.
async fn kill(cluster: &mut Cluster, number: usize) -> Result<(Duration, Duration)> {
    cluster.converged().await?;
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: CLIENTS,
        seed: number as u64,
        accounts: 4,
        amount_max: 10,
        prefix: format!("load-{number}"),
        timeout: TIMEOUT,
        mixed: false,
        reads: 0.0,
        rest: Duration::ZERO,
    });
    ensure!(load.progress(PROGRESS, TIMEOUT).await, "no load\n{}", cluster.logs());
    let leader = cluster.leader().await?;
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    let begun = Instant::now();
    cluster.kill_node(leader)?;
    committed(cluster, &others, &format!("kill-{number}")).await?;
    let took = begun.elapsed();
    cluster.start_node(leader)?;
    let history = load.finish().await?;
    let acknowledged = history.attempts.iter().filter(|attempt| attempt.is_acknowledged());
    let longest = acknowledged.map(|attempt| attempt.known - attempt.sent).max().context("no load")?;
    Ok((took, Duration::from_nanos(longest)))
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

/// What each process uses while nobody asks: percent of a core, and bytes that it causes to be written.
pub(crate) async fn rest(round: &mut Round, time: Duration) -> Result<()> {
    let mut cluster = Cluster::start(Plan::new(3)?).await?;
    committed(&cluster, &[0, 1, 2], "first").await?;
    cluster.converged().await?;
    tokio::time::sleep(SETTLE).await;
    let mut pids: Vec<u32> = (0..3).filter_map(|node| cluster.pid(node)).collect();
    pids.extend(cluster.relay_pid());
    ensure!(pids.len() == 4, "a process is missing\n{}", cluster.logs());
    let look = || {
        let look = |&pid: &u32| Ok((host::processor_time(pid)?, host::written_bytes(pid)?));
        pids.iter().map(look).collect::<Result<Vec<_>>>().context("a process at rest")
    };
    let (begun, before) = (Instant::now(), look()?);
    tokio::time::sleep(time.max(REST_MIN)).await;
    let (took, after) = (begun.elapsed(), look()?);
    for ((time_before, bytes_before), (time_after, bytes_after)) in before.into_iter().zip(after) {
        let percent = 100.0 * time_after.saturating_sub(time_before).as_secs_f64() / took.as_secs_f64();
        round.values.entry("idle").or_default().push(percent);
        let written = bytes_after.saturating_sub(bytes_before);
        round.values.entry("idle-written").or_default().push(written as f64);
    }
    Ok(())
}
