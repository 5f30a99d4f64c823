//! Verification: every applied block is executed again from genesis, and what is stored is compared with the result.
//!
//! The same for a running node (over its socket) and a stopped one (`--verify`, on a copy, so that not one byte of the
//! folder changes).

use std::io::IsTerminal;
use std::path::Path;

use raftbank_ledger::{Block, Hash, LogTree, StateRows, Verifier};
use raftbank_store::{Reader, SledStore, StoreError};

use crate::args::Output;
use crate::error::{EXIT_CORRUPT, Failure};
use crate::marker;

/// Bytes of records that are read at a time.
const PORTION_BYTES: usize = 4 << 20;
/// Blocks between two reports of progress.
const PROGRESS_EVERY: u64 = 256;

/// What a verification has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Height of the last block that was verified.
    pub height: u64,
    /// Its hash.
    pub head: Hash,
    /// Root of the log tree over the blocks that were verified: what a checkpoint of this size must say.
    pub log_root: Hash,
    /// Blocks that were executed again, block 0 included.
    pub blocks: u64,
    /// Requests in them.
    pub transactions: u64,
    /// Blocks in the log that are not known to be committed; not verified.
    pub uncommitted: u64,
    /// What is wrong; `None` if nothing is.
    pub problem: Option<String>,
    /// What is wrong is that the chain is not the checkpoint's; its books were in order as far as they were executed.
    pub contradicted: bool,
}

/// What the chain must begin with: the head that a checkpoint speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Against {
    /// Number of blocks.
    pub size: u64,
    /// Root of the log tree over them.
    pub root: Hash,
}

/// Verifies all that `reader` holds, and that the chain is that of the checkpoint, if there is one. `progress` is called now and then with blocks done and blocks in all, and says
/// whether to go on; `None`: it said no.
///
/// # Errors
/// The store's, if it cannot be read. Whatever reads well and is wrong stands in the report.
pub fn books<R: Reader>(
    reader: &R,
    against: Option<&Against>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<Report>, StoreError> {
    let mut report = Report {
        height: 0,
        head: Hash::ZERO,
        log_root: LogTree::default().root(),
        blocks: 0,
        transactions: 0,
        uncommitted: 0,
        problem: None,
        contradicted: false,
    };
    let mut verifier = None;
    let ended = walk(reader, against, progress, &mut verifier, &mut report)?;
    if let Some(verifier) = verifier {
        report.log_root = verifier.state().log().root();
    }
    Ok(ended.then_some(report))
}

/// Does it. `false`: `progress` said no.
fn walk<R: Reader>(
    reader: &R,
    against: Option<&Against>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
    verifier: &mut Option<Verifier>,
    report: &mut Report,
) -> Result<bool, StoreError> {
    let stored = reader.rows()?;
    let total = stored.rows.tip.height + 1;
    for record in reader.walk(0, PORTION_BYTES) {
        let record = record?;
        let Some(entry) = record.entry else { continue };
        if record.index > stored.applied {
            report.uncommitted += 1;
            continue;
        }
        if let Err(problem) = execute(verifier, &entry, record.term, report) {
            report.problem = Some(format!("record {}: {problem}", record.index));
            return Ok(true);
        }
        if let Some(verifier) = &verifier {
            report.problem = begins_with(verifier.state().log(), against).err();
            report.contradicted = report.problem.is_some();
            if report.problem.is_none() {
                report.problem = log_nodes(reader, verifier)?.err();
            }
            if report.problem.is_some() {
                return Ok(true);
            }
        }
        // Who asks for this height must be given this block.
        if reader.block(report.height)?.as_ref() != Some(&entry) {
            report.problem = Some(format!(
                "block {} is in record {}, but its height leads to another one",
                report.height, record.index
            ));
            return Ok(true);
        }
        if report.blocks.is_multiple_of(PROGRESS_EVERY) && !progress(report.blocks, total) {
            return Ok(false);
        }
    }
    if !progress(report.blocks, total) {
        return Ok(false);
    }
    report.contradicted = verifier.is_some() && against.is_some_and(|against| against.size > report.blocks);
    report.problem = match (&verifier, against) {
        (None, _) => Some("block 0 is missing".to_owned()),
        (Some(_), Some(against)) if against.size > report.blocks => Some(format!(
            "the checkpoint is of {} blocks, this chain has only {}: its end was cut off or rolled back",
            against.size, report.blocks
        )),
        (Some(verifier), _) => compare(verifier, &stored.rows).err(),
    };
    Ok(true)
}

/// Once the chain has as many blocks as the checkpoint, it must have its root. Nothing that comes later can change it.
fn begins_with(log: &LogTree, against: Option<&Against>) -> Result<(), String> {
    match against {
        Some(against) if against.size == 0 => Err("a checkpoint of no blocks is that of no chain".to_owned()),
        Some(against) if against.size == log.size() && against.root != log.root() => Err(format!(
            "this chain is not the one the checkpoint was made of: block {} or one before it was rewritten",
            log.size() - 1
        )),
        _ => Ok(()),
    }
}

/// Compares the stored nodes of the log tree that are complete with the last block.
fn log_nodes<R: Reader>(reader: &R, verifier: &Verifier) -> Result<Result<(), String>, StoreError> {
    for node in verifier.log_nodes() {
        let (level, index) = (node.level, node.index);
        match reader.log_node(level, index) {
            Ok(Some(hash)) if hash == node.hash => {}
            Ok(stored) => {
                let stored = stored.map_or("missing".to_owned(), |hash| format!("stored as {hash}"));
                return Ok(Err(format!(
                    "block {}: node {index} at level {level} of the log tree is {stored}, but the chain gives {}",
                    verifier.state().tip().height,
                    node.hash
                )));
            }
            Err(error @ StoreError::Corrupt { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

/// Compares what is stored with what the chain gives.
fn compare(verifier: &Verifier, rows: &StateRows) -> Result<(), String> {
    let tip = verifier.state().tip();
    if rows.tip != *tip {
        if planted!(CutTailVerifies) && tip.height < rows.tip.height {
            return Ok(());
        }
        return Err(format!(
            "the stored state says height {} with hash {}, the chain ends at height {} with hash {}",
            rows.tip.height, rows.tip.hash, tip.height, tip.hash
        ));
    }
    let accounts = rows.accounts.iter().map(|(name, balance)| (name, *balance));
    let values = rows.values.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    verifier.compare(accounts, values, &rows.ids, &rows.pendings).map_err(|violation| violation.to_string())?;
    verifier.compare_log(&rows.log).map_err(|violation| violation.to_string())
}

/// Executes one more block.
fn execute(verifier: &mut Option<Verifier>, bytes: &[u8], term: u64, report: &mut Report) -> Result<(), String> {
    let block = Block::decode(bytes).map_err(|error| error.to_string())?;
    if block.header.term != term {
        return Err(format!("holds a block of term {} under term {term}", block.header.term));
    }
    match verifier {
        None => {
            let new = verifier.insert(Verifier::new(bytes).map_err(|violation| violation.to_string())?);
            new.salt_tables(rand::random());
        }
        Some(verifier) => verifier.push(bytes).map_err(|violation| violation.to_string())?,
    }
    report.height = block.header.height;
    report.head = block.hash();
    report.blocks += 1;
    report.transactions += block.entries.len() as u64;
    Ok(())
}

/// `--verify`: verifies a stopped node's folder, prints the result, and returns the exit code.
pub fn folder(dir: &Path, against: Option<Against>, output: Output) -> Result<u8, Failure> {
    if let Some(reason) = marker::read(dir)? {
        eprintln!("raftbankd: an earlier run of this node stopped because of damage: {reason}");
    }
    let copy = SledStore::open_copy(dir)?;
    let show = std::io::stderr().is_terminal();
    let report = books(&copy.reader, against.as_ref(), &mut |done, total| {
        if show {
            eprint!("\rverified {done} of {total} blocks");
        }
        true
    })?
    .ok_or_else(|| Failure::Internal("the verification stopped by itself".to_owned()))?;
    if show {
        eprintln!();
    }
    match output {
        Output::Json => println!("{}", json(&report)),
        Output::Table => print!("{}", table(&report)),
    }
    Ok(if report.problem.is_none() { 0 } else { EXIT_CORRUPT })
}

fn json(report: &Report) -> serde_json::Value {
    let mut object = serde_json::json!({
        "schema": 1,
        "ok": report.problem.is_none(),
        "height": report.height,
        "head": report.head.to_string(),
        "log_root": report.log_root.to_string(),
        "blocks": report.blocks,
        "transactions": report.transactions,
        "uncommitted": report.uncommitted,
    });
    if let Some(problem) = &report.problem {
        object["problem"] = problem.as_str().into();
    }
    object
}

fn table(report: &Report) -> String {
    let Report { height, head, log_root, blocks, transactions, uncommitted, problem, .. } = report;
    let result = problem.as_ref().map_or("ok".to_owned(), |problem| format!("CORRUPT: {problem}"));
    format!(
        "result        {result}\nheight        {height}\nhead          {head}\nlog root      {log_root}\n\
         blocks        {blocks}\ntransactions  {transactions}\nuncommitted   {uncommitted}\n"
    )
}

#[cfg(test)]
mod tests;
