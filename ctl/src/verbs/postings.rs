//! What happened to an account, block by block: for `history` and `statement`.
//!
//! The balance before the first block and the one after the last are asked for apart from the blocks between them, so a
//! node whose blocks and balances do not fit together is found out.

use std::collections::BTreeMap;

use raftbank_ledger::{
    Account, Amount, Balance, Block, Entry, Leg, Operation, Outcome, Pending, PendingStatus, RequestId, effect, touches,
};
use raftbank_wire::api::{ApiReply, ApiRequest, HELD_ROWS_MAX};
use serde_json::{Value, json};

use super::balance_at;
use super::writes::unexpected;
use crate::describe;
use crate::failure::Failure;
use crate::files::not_valid;
use crate::session::Session;
use crate::stream::Blocks;

/// A request that names the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Height of its block.
    pub height: u64,
    /// Its place in the block.
    pub index: usize,
    /// The block's time.
    pub time_ms: u64,
    /// The request and its outcome.
    pub entry: Entry,
    /// Payer and payee of the pending transfer that it posts or voids.
    pub sides: Option<[Account; 2]>,
    /// What it did to the account.
    pub change: Balance,
    /// The balance after it.
    pub balance: Balance,
}

/// Blocks, and the account's balance around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First height.
    pub from: u64,
    /// Last height.
    pub to: u64,
    /// The balance before the first block; 0 if there was no account yet.
    pub opening: Balance,
    /// The balance after the last one.
    pub closing: Balance,
}

/// Asks for the balances at both ends.
///
/// # Errors
/// There is no such account or no such block, or no answer.
pub async fn range(node: &mut Session, account: &Account, from: u64, to: Option<u64>) -> Result<Range, Failure> {
    if let Some(to) = to.filter(|to| *to < from) {
        return Err(Failure::usage("bad_range", format!("--to {to} is before --from {from}")));
    }
    let last = balance_at::ask(node, account, to).await?;
    let to = last.height;
    if to < from {
        let message = format!("--from {from} is above this node's head, block {to}");
        return Err(Failure::usage("bad_range", message).hint("bankctl status shows this node's height"));
    }
    let closing = match last.balance {
        Some(balance) => balance,
        None if *account == Account::world() => 0,
        None => return Err(balance_at::unknown(account, to)),
    };
    let opening = match from.checked_sub(1) {
        Some(before) => balance_at::ask(node, account, Some(before)).await?.balance.unwrap_or(0),
        None => 0,
    };
    Ok(Range { from, to, opening, closing })
}

/// Hands every request of the range that names the account to `each`, oldest first.
///
/// # Errors
/// No answer; corruption if the requests do not lead from one balance to the other.
pub async fn scan(
    node: &mut Session,
    account: &Account,
    range: &Range,
    mut each: impl FnMut(Posting),
) -> Result<(), Failure> {
    let total = range.to.saturating_sub(range.from).saturating_add(1);
    let mut blocks = Blocks::open(node, range.from, Some(range.to)).await?.with_bar(total);
    let mut balance = range.opening;
    let mut last = None;
    let mut held = Held::default();
    while let Some(block) = blocks.next().await? {
        last = Some(block.header.height);
        resolve(node, &block, &mut held).await?;
        post(account, &block, &mut held, &mut balance, &mut each);
    }
    if last != Some(range.to) {
        let message = format!("the node sent no blocks after {last:?}, though it has block {}", range.to);
        return Err(not_valid("bad_block", message).hint("bankctl verify"));
    }
    check(account, range, balance)
}

/// Pending transfers by their ids: a post does not say whose money it moves.
type Held = BTreeMap<RequestId, Pending>;

/// Asks for the pending transfers that the block ends and that began before the range.
async fn resolve(node: &mut Session, block: &Block, held: &mut Held) -> Result<(), Failure> {
    let ended = block.entries.iter().filter_map(|entry| match &entry.request.operation {
        Operation::Post { pending, .. } | Operation::Void { pending } => Some(pending),
        _ => None,
    });
    let ids: Vec<String> = ended.filter(|id| !held.contains_key(*id)).map(ToString::to_string).collect();
    for ids in ids.chunks(HELD_ROWS_MAX) {
        let rows = match node.ask(ApiRequest::HeldById { ids: ids.to_vec() }).await? {
            ApiReply::Held { rows, .. } => rows,
            other => return Err(unexpected(&other)),
        };
        for row in rows {
            let wrong = |why: String| not_valid("bad_pending", format!("the pending transfer {}: {why}", row.id));
            let id = RequestId::parse(&row.id).map_err(|error| wrong(error.to_string()))?;
            let pending = Pending {
                // Where it stands now says nothing about where it stood then.
                status: PendingStatus::Pending,
                expires_ms: row.expires_ms,
                from: Account::parse(&row.from).map_err(|error| wrong(error.to_string()))?,
                to: Account::parse(&row.to).map_err(|error| wrong(error.to_string()))?,
                amount: Amount::new(row.amount).map_err(|error| wrong(error.to_string()))?,
                posted: 0,
            };
            held.insert(id, pending);
        }
    }
    Ok(())
}

fn post(account: &Account, block: &Block, held: &mut Held, balance: &mut Balance, each: &mut impl FnMut(Posting)) {
    for (index, entry) in block.entries.iter().enumerate() {
        let pending = match &entry.request.operation {
            Operation::Pending { from, to, amount, timeout_ms, .. } => {
                let expires_ms = block.header.time_ms.saturating_add(*timeout_ms);
                let (status, from, to, amount) = (PendingStatus::Pending, from.clone(), to.clone(), *amount);
                if entry.outcome == Outcome::Committed {
                    let pending = Pending { status, expires_ms, from, to, amount, posted: 0 };
                    held.insert(entry.request.id.clone(), pending);
                }
                None
            }
            Operation::Post { pending, .. } | Operation::Void { pending } => held.get(pending),
            _ => None,
        };
        if !touches(entry, account, pending) {
            continue;
        }
        let change = effect(entry, account, pending);
        // What a node sends can be anything.
        *balance = balance.wrapping_add(change);
        let (height, time_ms) = (block.header.height, block.header.time_ms);
        let sides = pending.map(|pending| [pending.from.clone(), pending.to.clone()]);
        each(Posting { height, index, time_ms, entry: entry.clone(), sides, change, balance: *balance });
    }
}

/// The requests must lead to the balance that was asked for.
fn check(account: &Account, range: &Range, balance: Balance) -> Result<(), Failure> {
    if balance == range.closing {
        return Ok(());
    }
    let Range { to, closing, .. } = range;
    let message = format!(
        "the requests in the blocks give {account} a balance of {balance} after block {to}, but the node says {closing}"
    );
    Err(not_valid("balance_differs", message).hint("bankctl verify, and compare with another node: bankctl diff"))
}

impl Posting {
    /// The other side, if there is one.
    pub fn counterpart(&self, account: &Account) -> Option<Account> {
        let (from, to) = match &self.entry.request.operation {
            Operation::Transfer { from, to, .. } | Operation::Pending { from, to, .. } => (from.clone(), to.clone()),
            Operation::Linked { legs } => return linked_counterpart(legs, account),
            Operation::Post { .. } | Operation::Void { .. } => self.sides.clone()?.into(),
            Operation::Credit { account, .. } => (Account::world(), account.clone()),
            Operation::Debit { account, .. } => (account.clone(), Account::world()),
            Operation::Open { .. } | Operation::Put { .. } => return None,
        };
        Some(if from == *account { to } else { from })
    }

    /// As JSON.
    pub fn json(&self, account: &Account) -> Value {
        let Self { height, index, time_ms, entry, change, balance, .. } = self;
        let mut object = json!({
            "height": height, "index": index, "time_ms": time_ms, "id": entry.request.id.as_str(),
            "verb": entry.request.verb(), "outcome": entry.outcome.code(), "change": change.to_string(),
            "balance": balance.to_string(),
            "counterpart": self.counterpart(account).map(|account| account.to_string()),
        });
        if let Operation::Transfer { memo, .. } | Operation::Pending { memo, .. } = &entry.request.operation {
            object["memo"] = json!(memo);
        }
        object
    }

    /// As a row under [`HEADER`].
    pub fn row(&self, account: &Account) -> Vec<String> {
        let request = &self.entry.request;
        let memo = match &request.operation {
            Operation::Transfer { memo, .. } | Operation::Pending { memo, .. } if !memo.is_empty() => {
                format!("{memo:?}")
            }
            _ => String::new(),
        };
        let outcome = match self.entry.outcome.code() {
            "committed" => String::new(),
            code => code.to_owned(),
        };
        vec![
            self.height.to_string(),
            describe::time(self.time_ms),
            request.id.to_string(),
            request.verb().to_owned(),
            self.counterpart(account).map(|account| account.to_string()).unwrap_or_default(),
            format!("{:+}", self.change),
            self.balance.to_string(),
            [outcome, memo].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "),
        ]
    }
}

/// The other side of those legs that name the account, if it is the same in all.
fn linked_counterpart(legs: &[Leg], account: &Account) -> Option<Account> {
    let mut others = legs.iter().filter_map(|Leg { from, to, .. }| match account {
        _ if account == from => Some(to),
        _ if account == to => Some(from),
        _ => None,
    });
    let first = others.next()?;
    others.all(|other| other == first).then(|| first.clone())
}

/// The columns of a table of postings.
pub const HEADER: [&str; 8] = ["HEIGHT", "TIME", "ID", "VERB", "WITH", "CHANGE", "BALANCE", "NOTE"];
/// Which of them are numbers.
pub const RIGHT: [bool; 8] = [true, false, false, false, false, true, true, false];

#[cfg(test)]
mod tests;
