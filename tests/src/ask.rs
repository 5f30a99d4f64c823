//! Single questions to nodes and to the relay, as tests put them.

use std::time::Duration;

use anyhow::{Result, bail};
use raftbank_wire::api::{ApiReply, ApiRequest, LinkCommand, PartitionCommand};
use raftbank_wire::client::Client;

use crate::cluster::{Cluster, name};

/// How long a node may take, unless a test says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A balance that was read linearizably.
///
/// # Errors
/// Any other answer.
pub async fn balance(client: &Client, account: &str, timeout: Duration) -> Result<i128> {
    let timeout_ms = u32::try_from(timeout.as_millis())?;
    let asked = ApiRequest::Balance { account: account.to_owned(), local: false, timeout_ms };
    match client.call(asked, timeout + Duration::from_secs(1)).await? {
        ApiReply::Balance { balance, local: false, .. } => Ok(balance),
        other => bail!("not a balance: {other:?}"),
    }
}

/// Divides the nodes into groups; messages pass within groups only.
///
/// # Errors
/// The relay's refusal.
pub async fn partition(cluster: &Cluster, groups: &[&[usize]]) -> Result<()> {
    let groups: Vec<String> =
        groups.iter().map(|group| group.iter().map(|&node| name(node)).collect::<Vec<_>>().join(",")).collect();
    let command = PartitionCommand::Set { groups: groups.join("/"), for_ms: None };
    cluster.relay(ApiRequest::Partition(command)).await.map(|_| ())
}

/// Ends the partition.
///
/// # Errors
/// The relay's refusal.
pub async fn heal(cluster: &Cluster) -> Result<()> {
    cluster.relay(ApiRequest::Partition(PartitionCommand::Heal)).await.map(|_| ())
}

/// Cuts the link from `a` to `b`, and the other direction unless `one_way`.
///
/// # Errors
/// The relay's refusal.
pub async fn cut(cluster: &Cluster, a: usize, b: usize, one_way: bool) -> Result<()> {
    let command = LinkCommand::Cut { a: name(a), b: name(b), one_way, for_ms: None };
    cluster.relay(ApiRequest::Link(command)).await.map(|_| ())
}

/// Ends all cuts, delay and loss.
///
/// # Errors
/// The relay's refusal.
pub async fn clear(cluster: &Cluster) -> Result<()> {
    cluster.relay(ApiRequest::Link(LinkCommand::Clear)).await.map(|_| ())
}
