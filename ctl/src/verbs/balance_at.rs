//! `balance --at` and `balance --proof`: a balance of the past, and one that anyone can check.

use std::path::Path;

use raftbank_ledger::{Account, Hash, Header};
use raftbank_proofs::{BalanceProof, Checkpoint};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use serde_json::json;

use super::writes::{account, unexpected};
use super::{Context, checkpoint};
use crate::failure::Failure;
use crate::files;
use crate::output::{SCHEMA, bytes};
use crate::proving;
use crate::session::{Session, unfailed};
use crate::stream::{self, Stream};

/// What a node says of an account after a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceAt {
    /// `None`: there was no such account.
    pub balance: Option<i128>,
    /// The block's height.
    pub height: u64,
    /// The leaf in its place, if there is no account.
    pub other: Option<(Hash, Hash)>,
    /// The siblings on the way to the state root.
    pub siblings: Vec<Hash>,
}

/// Asks a node; without a height, for its head.
///
/// # Errors
/// No such block here, or no answer.
pub async fn ask(node: &mut Session, account: &Account, height: Option<u64>) -> Result<BalanceAt, Failure> {
    let request = ApiRequest::BalanceAt { account: account.to_string(), height };
    match Stream::open(node, request).await?.last("blocks").await? {
        ApiReply::BalanceAt { balance, height, other, siblings, .. } => Ok(BalanceAt {
            balance,
            height,
            other: other.map(|(key, value)| (Hash(key), Hash(value))),
            siblings: siblings.into_iter().map(Hash).collect(),
        }),
        other => Err(unexpected(&other)),
    }
}

/// There was no such account then.
pub fn unknown(account: &Account, height: u64) -> Failure {
    let message = format!("there was no account {account} after block {height}");
    let failed = ApiReply::Failed { kind: FailKind::Refused, code: "unknown_account".to_owned(), message };
    // It is always a failure, and has the hint of all its kind.
    unfailed(failed).map_or_else(|failure| failure, |reply| unexpected(&reply))
}

/// `balance --at` without a proof.
///
/// # Errors
/// There was no such account, or no answer.
pub async fn at(context: &mut Context, name: &str, height: u64) -> Result<(), Failure> {
    let account = account(name)?;
    let found = ask(&mut context.node, &account, Some(height)).await?;
    let balance = match found.balance {
        Some(balance) => balance,
        // `world` always exists, and comes into the books with its first use.
        None if account == Account::world() => 0,
        None => return Err(unknown(&account, height)),
    };
    let object = json!({
        "schema": SCHEMA, "account": account.as_str(), "balance": balance.to_string(), "height": found.height,
    });
    context.out.result(&object, || format!("{account}  {balance}  (after block {})", found.height));
    Ok(())
}

/// `balance --proof`.
///
/// # Errors
/// No answer, no signed head in time, or answers that do not fit together.
pub async fn proof(context: &mut Context, name: &str, height: Option<u64>, file: Option<&Path>) -> Result<(), Failure> {
    let account = account(name)?;
    let node = &mut context.node;
    let (height, head) = match (height, file) {
        (Some(height), file) => (height, checkpoint::covering(node, height, file).await?),
        (None, Some(_)) => {
            let head = checkpoint::covering(node, 0, file).await?;
            (head.head.size - 1, head)
        }
        (None, None) => {
            // All that was acknowledged before is in it.
            let now = linearizable_height(node).await?;
            let head = checkpoint::newest(node, now.saturating_add(1)).await?;
            (head.head.size - 1, head)
        }
    };
    let proof = prove(node, &account, height, head).await?;
    proof.check(None).map_err(|error| files::contradicted(&error))?;
    let text = proof.to_string();
    if context.out.is_json() {
        let object = json!({
            "schema": SCHEMA, "account": account.as_str(), "balance": proof.balance.map(|balance| balance.to_string()),
            "height": height, "size": proof.log.checkpoint.head.size, "proof": text,
        });
        context.out.result(&object, String::new);
    } else {
        bytes(text.as_bytes());
    }
    Ok(())
}

async fn prove(node: &mut Session, account: &Account, height: u64, head: Checkpoint) -> Result<BalanceProof, Failure> {
    let header: Header = stream::block(node, height).await?.header;
    let BalanceAt { balance, other, siblings, .. } = ask(node, account, Some(height)).await?;
    let log = proving::log_proof(node, height, head).await?;
    Ok(BalanceProof { account: account.clone(), balance, header, other, siblings, log })
}

/// The height of the bank, as a majority knows it now.
///
/// # Errors
/// No majority answers in time.
pub async fn linearizable_height(node: &mut Session) -> Result<u64, Failure> {
    let (account, timeout_ms) = (Account::world().to_string(), node.timeout_ms());
    match node.ask(ApiRequest::Balance { account, local: false, timeout_ms }).await? {
        ApiReply::Balance { height, .. } => Ok(height),
        other => Err(unexpected(&other)),
    }
}
