//! The questions that the store answers without the node, each on a thread of its own.
//!
//! What these threads read is this node's own and was checked when it was stored. If it contradicts itself, that is damage,
//! and the node ends; whatever a client asks for, it cannot make a sound node believe that.

use std::time::{Duration, Instant};

use raftbank_consensus::Entry;
use raftbank_ledger::{Account, Balance, Block, Books, Hash, PlaceInTree, StateProof, merkle};
use raftbank_store::{Reader, StoreError};
use raftbank_wire::api::{ApiReply, FailKind};
use raftbank_wire::server::Responder;

use super::Report;
use crate::verify::{self, Against};

/// How long a block that is committed may be on its way to the store; longer than any sync that is not hopeless.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Bytes of records that are read at a time.
const PORTION_BYTES: usize = 4 << 20;
/// Blocks between two reports of progress.
const PROGRESS_EVERY: u64 = 256;
/// A reply with rows has about so many bytes; far below the longest reply.
const ROWS_BYTES: usize = 1 << 20;
/// What a row costs beside its name.
const ROW_BYTES: usize = 48;

/// A question that the store answers.
#[derive(Debug)]
pub enum Direct {
    /// A block.
    Block(u64),
    /// Blocks from a height on.
    Blocks {
        /// The first.
        from: u64,
        /// The last; none: the head.
        to: Option<u64>,
    },
    /// Are the books in order?
    Verify(Option<Against>),
    /// An inclusion proof.
    Inclusion {
        /// Of the block at this height.
        height: u64,
        /// In the tree of this size.
        size: u64,
    },
    /// A consistency proof.
    Consistency {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// An account's balance after an old block.
    BalanceAt(Account, u64),
    /// The stored rows.
    Rows,
}

/// The client, as the one who answers sees it.
pub trait Client {
    /// Sends one of several replies; it may be left out if the client does not keep up.
    fn send(&self, reply: &ApiReply);
    /// Sends one of several replies, waiting for the client if need be. False: it is gone.
    fn send_blocking(&self, reply: &ApiReply) -> bool;
    /// It is gone, or wants no more.
    fn is_closed(&self) -> bool;
}

impl Client for Responder {
    fn send(&self, reply: &ApiReply) {
        // A client that does not keep up misses some progress, no more.
        let _ = Responder::send(self, reply);
    }

    fn send_blocking(&self, reply: &ApiReply) -> bool {
        Responder::send_blocking(self, reply)
    }

    fn is_closed(&self) -> bool {
        Responder::is_closed(self)
    }
}

/// The end of an answer.
#[derive(Debug)]
pub struct Answer {
    /// The last reply; `None`: the client is gone.
    pub last: Option<ApiReply>,
    /// What the node must hear.
    pub report: Option<Report>,
}

impl Answer {
    fn reply(reply: ApiReply) -> Self {
        Self { last: Some(reply), report: None }
    }

    fn failed(kind: FailKind, code: &str, message: String) -> Self {
        Self::reply(failed(kind, code, message))
    }

    fn damaged(problem: String) -> Self {
        let last = Some(failed(FailKind::Corruption, "corruption", problem.clone()));
        Self { last, report: Some(Report::Damaged(problem)) }
    }

    fn gone() -> Self {
        Self { last: None, report: None }
    }

    fn disk_slow(height: u64) -> Self {
        let message = format!("the disk is slow: block {height} is not there yet; ask again");
        Self::failed(FailKind::NotExecuted, "disk_slow", message)
    }
}

/// Answers a question; `head` is this node's height.
pub fn answer(direct: &Direct, reader: &impl Reader, head: u64, client: &impl Client) -> Answer {
    let answered = match direct {
        Direct::Block(height) => block(reader, *height, head),
        Direct::Blocks { from, to } => blocks(reader, *from, *to, head, client),
        Direct::Verify(against) => verify(reader, against.as_ref(), head, client),
        Direct::Inclusion { height, size } => inclusion(reader, *height, *size, head),
        Direct::Consistency { old, new } => consistency(reader, *old, *new, head),
        Direct::BalanceAt(account, height) => balance_at(reader, account, *height, head, client),
        Direct::Rows => rows(reader, head, client),
    };
    answered.unwrap_or_else(|error| {
        let (kind, code) = match error {
            StoreError::Corrupt { .. } => (FailKind::Corruption, "corruption"),
            _ => (FailKind::Internal, "disk"),
        };
        let last = Some(failed(kind, code, error.to_string()));
        Answer { last, report: Some(Report::ReadFailed(error)) }
    })
}

/// Reads a block. One up to `head`, this node's height, is committed, but may still be on its way to the store.
fn stored(reader: &impl Reader, height: u64, head: u64) -> Result<Option<Entry>, StoreError> {
    let started = Instant::now();
    loop {
        let found = reader.block(height)?;
        if found.is_some() || height > head || started.elapsed() >= STORED_WITHIN {
            return Ok(found);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn block(reader: &impl Reader, height: u64, head: u64) -> Result<Answer, StoreError> {
    Ok(match stored(reader, height, head)? {
        Some(bytes) => Answer::reply(ApiReply::Block { bytes: bytes.to_vec() }),
        None => Answer::reply(unknown_block(height)),
    })
}

fn blocks(
    reader: &impl Reader,
    from: u64,
    to: Option<u64>,
    head: u64,
    client: &impl Client,
) -> Result<Answer, StoreError> {
    if to.is_some_and(|to| from > to) {
        let message = "the first height is above the last one".to_owned();
        return Ok(Answer::failed(FailKind::Usage, "bad_range", message));
    }
    let mut count = 0;
    for height in from..=to.map_or(head, |to| to.min(head)) {
        let Some(bytes) = stored(reader, height, head)? else { return Ok(Answer::disk_slow(height)) };
        if !client.send_blocking(&ApiReply::Block { bytes: bytes.to_vec() }) {
            return Ok(Answer::gone());
        }
        count += 1;
    }
    Ok(Answer::reply(ApiReply::End { count }))
}

fn verify(
    reader: &impl Reader,
    against: Option<&Against>,
    head: u64,
    client: &impl Client,
) -> Result<Answer, StoreError> {
    // What is committed now is verified, too.
    stored(reader, head, head)?;
    let report = verify::books(reader, against, &mut |done, total| {
        client.send(&ApiReply::Progress { done, total });
        !client.is_closed()
    })?;
    let Some(report) = report else { return Ok(Answer::gone()) };
    // Whether the checkpoint is genuine the client knows; it is no reason to end this node.
    let damage = report.problem.clone().filter(|_| !report.contradicted);
    let reply = ApiReply::Verified {
        ok: report.problem.is_none(),
        height: report.height,
        head: report.head.0,
        blocks: report.blocks,
        transactions: report.transactions,
        uncommitted: report.uncommitted,
        problem: report.problem,
    };
    Ok(Answer { last: Some(reply), report: damage.map(Report::Damaged) })
}

fn inclusion(reader: &impl Reader, height: u64, size: u64, head: u64) -> Result<Answer, StoreError> {
    if height >= size {
        let message = format!("a tree of {size} blocks has no block {height}: its last one is the one before {size}");
        return Ok(Answer::failed(FailKind::Usage, "bad_range", message));
    }
    hashes(reader, size, head, |read| merkle::inclusion(height, size, read))
}

fn consistency(reader: &impl Reader, old: u64, new: u64, head: u64) -> Result<Answer, StoreError> {
    if old == 0 || old > new {
        let message = format!("the older size must be at least 1 and at most the newer one, not {old} of {new}");
        return Ok(Answer::failed(FailKind::Usage, "bad_range", message));
    }
    hashes(reader, new, head, |read| merkle::consistency(old, new, read))
}

/// Why a node of the log tree cannot be had.
enum NoNode {
    Store(StoreError),
    Missing(u8, u64),
}

/// Makes a proof in the tree of a size from the stored nodes.
fn hashes<R: Reader>(
    reader: &R,
    size: u64,
    head: u64,
    prove: impl FnOnce(&mut dyn FnMut(u8, u64) -> Result<Hash, NoNode>) -> Result<Vec<Hash>, NoNode>,
) -> Result<Answer, StoreError> {
    // Sizes are at least 1 here.
    let last = size - 1;
    if last > head {
        let message = format!("this node's chain has no block {last} yet: its head is block {head}; ask again later");
        return Ok(Answer::failed(FailKind::NotExecuted, "unknown_block", message));
    }
    if stored(reader, last, head)?.is_none() {
        return Ok(Answer::disk_slow(last));
    }
    let mut read = |level, index| match reader.log_node(level, index) {
        Ok(Some(hash)) => Ok(hash),
        Ok(None) => Err(NoNode::Missing(level, index)),
        Err(error) => Err(NoNode::Store(error)),
    };
    match prove(&mut read) {
        Ok(hashes) => Ok(Answer::reply(ApiReply::Hashes { hashes: hashes.into_iter().map(|hash| hash.0).collect() })),
        Err(NoNode::Store(error)) => Err(error),
        Err(NoNode::Missing(level, index)) => {
            Ok(Answer::damaged(format!("node {index} at level {level} of the log tree is missing")))
        }
    }
}

fn balance_at(
    reader: &impl Reader,
    account: &Account,
    height: u64,
    head: u64,
    client: &impl Client,
) -> Result<Answer, StoreError> {
    if height > head {
        return Ok(Answer::reply(unknown_block(height)));
    }
    if stored(reader, height, head)?.is_none() {
        return Ok(Answer::disk_slow(height));
    }
    let total = height + 1;
    let (mut books, mut next) = (Books::default(), 0);
    for record in reader.walk(0, PORTION_BYTES) {
        let Some(entry) = record?.entry else { continue };
        if next % PROGRESS_EVERY == 0 {
            client.send(&ApiReply::Progress { done: next, total });
            if client.is_closed() {
                return Ok(Answer::gone());
            }
        }
        let block = match Block::decode(&entry) {
            Ok(block) if block.header.height == next => block,
            Ok(block) => {
                let found = block.header.height;
                return Ok(Answer::damaged(format!("block {found} stands where block {next} must be")));
            }
            Err(error) => return Ok(Answer::damaged(format!("block {next}: {error}"))),
        };
        books.apply(&block);
        if next == height {
            let tree = books.tree();
            let (found, expected) = (tree.root(), block.header.state_root);
            if found != expected {
                return Ok(Answer::damaged(format!(
                    "the blocks up to {height} give the state root {found}, but its header says {expected}"
                )));
            }
            let proof = Books::prove(&tree, account);
            return Ok(Answer::reply(balance_reply(account, books.balance(account), height, proof)));
        }
        next += 1;
    }
    Ok(Answer::damaged(format!("the log ends before block {height}")))
}

fn rows(reader: &impl Reader, head: u64, client: &impl Client) -> Result<Answer, StoreError> {
    stored(reader, head, head)?;
    let rows = reader.rows()?.rows;
    let height = rows.tip.height;
    let (mut accounts, mut values, mut bytes, mut count) = (Vec::new(), Vec::new(), 0, 0);
    let balances = rows.accounts.into_iter().map(|(account, balance)| (Some((account, balance)), None));
    let hashes = rows.values.into_iter().map(|(key, value)| (None, Some((key, Hash::of(&[&value]).0))));
    for (account, value) in balances.chain(hashes) {
        count += 1;
        bytes += ROW_BYTES;
        if let Some((account, balance)) = account {
            bytes += account.as_str().len();
            accounts.push((account.as_str().to_owned(), balance));
        }
        if let Some((key, hash)) = value {
            bytes += key.len();
            values.push((key, hash));
        }
        if bytes >= ROWS_BYTES {
            bytes = 0;
            let (accounts, values) = (std::mem::take(&mut accounts), std::mem::take(&mut values));
            if !client.send_blocking(&ApiReply::Rows { height, accounts, values }) {
                return Ok(Answer::gone());
            }
        }
    }
    // At least one, which says the height.
    if (bytes > 0 || count == 0) && !client.send_blocking(&ApiReply::Rows { height, accounts, values }) {
        return Ok(Answer::gone());
    }
    Ok(Answer::reply(ApiReply::End { count }))
}

/// An account's balance with its proof.
pub fn balance_reply(account: &Account, balance: Option<Balance>, height: u64, proof: StateProof) -> ApiReply {
    let other = match proof.end {
        PlaceInTree::Other { key, value } => Some((key.0, value.0)),
        PlaceInTree::Value(_) | PlaceInTree::Empty => None,
    };
    let siblings = proof.siblings.into_iter().map(|hash| hash.0).collect();
    ApiReply::BalanceAt { account: account.as_str().to_owned(), balance, height, other, siblings }
}

/// There is no such block.
pub fn unknown_block(height: u64) -> ApiReply {
    failed(FailKind::Refused, "unknown_block", format!("there is no block {height} here yet"))
}

/// A failure as the client sees it.
pub fn failed(kind: FailKind, code: &str, message: String) -> ApiReply {
    ApiReply::Failed { kind, code: code.to_owned(), message }
}

#[cfg(test)]
mod tests;
