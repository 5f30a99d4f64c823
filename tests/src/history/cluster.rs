//! Collects the chains of a cluster of real processes, and judges what its clients were told.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::client::Client;

use super::{History, Summary, judge};
use crate::cluster::{Cluster, name};

/// Deadline of each answer.
const LIMIT: Duration = Duration::from_secs(60);

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
pub async fn check(cluster: &mut Cluster, history: &History) -> Result<Summary> {
    cluster.converged().await?;
    let chain = blocks(&cluster.client(0).await?).await.context("n1")?;
    for node in 0..cluster.size() {
        let client = cluster.client(node).await?;
        let own = blocks(&client).await.with_context(|| name(node))?;
        ensure!(own.len() >= chain.len() && own[..chain.len()] == chain[..], "the chain of {} is another", name(node));
        verify(&client).await.with_context(|| name(node))?;
    }
    let (summary, model) = judge(&chain, history)?;
    let expected = model.accounts_at(u64::MAX);
    for node in 0..cluster.size() {
        let asked = ApiRequest::Accounts { local: true, timeout_ms: 5_000 };
        match cluster.client(node).await?.call(asked, LIMIT).await? {
            ApiReply::Accounts { accounts, height } if height + 1 == chain.len() as u64 => {
                ensure!(accounts == expected, "the balances of {} are not those of its chain", name(node));
            }
            other => bail!("{}: {other:?}", name(node)),
        }
    }
    Ok(summary)
}
