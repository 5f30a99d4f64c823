//! What must be true after a run: the chains of all nodes against what the clients were told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Block, Verifier};
use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::client::Client;

use crate::cluster::{Cluster, name};
use crate::load::{Attempt, Fate};

/// Deadline of each answer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a run came to, for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Blocks of the chain, block 0 included.
    pub blocks: u64,
    /// Requests that clients made.
    pub requests: u64,
    /// Of those, acknowledged as committed.
    pub committed: u64,
    /// Acknowledged as refused by the bank.
    pub refused: u64,
    /// Acknowledged only on asking again.
    pub asked_again: u64,
    /// Not executed.
    pub not_executed: u64,
    /// Never known to their client.
    pub unknown: u64,
    /// Of those, found in the chain.
    pub unknown_found: u64,
}

/// Every block of a node, as bytes, block 0 first.
///
/// # Errors
/// The node's refusal, or a stream that ends early.
pub async fn blocks(client: &Client) -> Result<Vec<Vec<u8>>> {
    let mut stream = client.stream(ApiRequest::Blocks { from: 0, to: None }).await;
    let mut blocks = Vec::new();
    loop {
        match tokio::time::timeout(LIMIT, stream.recv()).await.context("no block in time")? {
            Some(ApiReply::Block { bytes }) => blocks.push(bytes),
            Some(ApiReply::End { count }) if count == blocks.len() as u64 => return Ok(blocks),
            Some(other) => bail!("not a block: {other:?}"),
            None => bail!("the blocks end after {}", blocks.len()),
        }
    }
}

/// Asks a node to execute its whole chain again.
///
/// # Errors
/// Something is wrong with it.
pub async fn verify(client: &Client) -> Result<()> {
    let mut stream = client.stream(ApiRequest::Verify).await;
    loop {
        match tokio::time::timeout(LIMIT, stream.recv()).await.context("no progress in time")? {
            Some(ApiReply::Progress { .. }) => {}
            Some(ApiReply::Verified { ok: true, .. }) => return Ok(()),
            other => bail!("verification: {other:?}"),
        }
    }
}

/// Waits until all nodes agree, then compares their chains with each other, with their books and with what clients
/// were told.
///
/// # Errors
/// The first thing that is wrong.
pub async fn check(cluster: &mut Cluster, attempts: &[Attempt]) -> Result<Summary> {
    cluster.converged().await?;
    let chain = blocks(&cluster.client(0).await?).await.context("n1")?;
    for node in 0..cluster.size() {
        let client = cluster.client(node).await?;
        let own = blocks(&client).await.with_context(|| name(node))?;
        ensure!(own.len() >= chain.len() && own[..chain.len()] == chain[..], "the chain of {} is another", name(node));
        verify(&client).await.with_context(|| name(node))?;
    }
    let mut verifier = Verifier::new(chain.first().context("no block 0")?)?;
    let mut places = BTreeMap::new();
    for (height, bytes) in chain.iter().enumerate() {
        if height > 0 {
            verifier.push(bytes).with_context(|| format!("block {height}"))?;
        }
        for (index, entry) in Block::decode(bytes)?.entries.into_iter().enumerate() {
            let place = (height as u64, u32::try_from(index)?, entry.outcome.code().to_owned());
            let id = entry.request.id.as_str().to_owned();
            if let Some(first) = places.insert(id.clone(), place) {
                bail!("{id} stands in the chain twice, first at {first:?}");
            }
        }
    }
    let expected: Vec<(String, i128)> =
        verifier.state().accounts().map(|(account, balance)| (account.as_str().to_owned(), balance)).collect();
    ensure!(expected.iter().map(|(_, balance)| balance).sum::<i128>() == 0, "the balances do not add up to 0");
    for node in 0..cluster.size() {
        let asked = ApiRequest::Accounts { local: true, timeout_ms: 5_000 };
        match cluster.client(node).await?.call(asked, LIMIT).await? {
            ApiReply::Accounts { accounts, height } if height + 1 == chain.len() as u64 => {
                ensure!(accounts == expected, "the balances of {} are not those of its chain", name(node));
            }
            other => bail!("{}: {other:?}", name(node)),
        }
    }
    let mut summary = told(attempts, &places)?;
    in_order(attempts)?;
    summary.blocks = chain.len() as u64;
    Ok(summary)
}

/// Every acknowledgement is true, and what was called not executed is nowhere.
fn told(attempts: &[Attempt], places: &BTreeMap<String, (u64, u32, String)>) -> Result<Summary> {
    let mut summary = Summary { requests: attempts.len() as u64, ..Summary::default() };
    for attempt in attempts {
        let found = places.get(&attempt.id);
        match &attempt.fate {
            Fate::Acknowledged { height, index, outcome, duplicate } => {
                let told = (*height, *index, outcome.clone());
                ensure!(found == Some(&told), "{attempt:?} was acknowledged, and the chain has {found:?}");
                summary.asked_again += u64::from(*duplicate);
                let sum = if outcome == "committed" { &mut summary.committed } else { &mut summary.refused };
                *sum += 1;
            }
            Fate::NotExecuted => {
                ensure!(found.is_none(), "{attempt:?} is in the chain at {found:?}");
                summary.not_executed += 1;
            }
            Fate::Unknown => {
                summary.unknown += 1;
                summary.unknown_found += u64::from(found.is_some());
            }
            Fate::Surprise(_) => bail!("{attempt:?}"),
        }
    }
    Ok(summary)
}

/// Whatever was acknowledged before another request was sent stands before it in the chain.
fn in_order(attempts: &[Attempt]) -> Result<()> {
    let mut events: Vec<(Instant, bool, (u64, u32), &str)> = Vec::new();
    for attempt in attempts {
        if let Fate::Acknowledged { height, index, .. } = attempt.fate {
            events.push((attempt.sent, false, (height, index), &attempt.id));
            events.push((attempt.known, true, (height, index), &attempt.id));
        }
    }
    events.sort();
    let mut last: Option<((u64, u32), &str)> = None;
    for (_, is_end, place, id) in events {
        match last {
            Some((before, other)) if !is_end && place <= before => {
                bail!(
                    "{id} stands at {place:?}, before {other} at {before:?} that was acknowledged before it was sent"
                );
            }
            _ if is_end => last = last.max(Some((place, id))),
            _ => {}
        }
    }
    Ok(())
}
