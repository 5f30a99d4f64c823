//! Verification: every applied block is executed again from genesis, and what is stored is compared with the result.
//!
//! The same for a running node (over its socket) and a stopped one (`--verify`, on a copy, so that not one byte of the
//! folder changes).

use std::io::IsTerminal;
use std::path::Path;

use raftbank_ledger::{Block, Hash, StateRows, Verifier};
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
    /// Blocks that were executed again, block 0 included.
    pub blocks: u64,
    /// Requests in them.
    pub transactions: u64,
    /// Blocks in the log that are not known to be committed; not verified.
    pub uncommitted: u64,
    /// What is wrong; `None` if nothing is.
    pub problem: Option<String>,
}

/// Verifies all that `reader` holds. `progress` is called now and then with blocks done and blocks in all, and says
/// whether to go on; `None`: it said no.
///
/// # Errors
/// The store's, if it cannot be read. Whatever reads well and is wrong stands in the report.
pub fn books<R: Reader>(reader: &R, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<Option<Report>, StoreError> {
    let stored = reader.rows()?;
    let total = stored.rows.tip.height + 1;
    let mut report = Report { height: 0, head: Hash::ZERO, blocks: 0, transactions: 0, uncommitted: 0, problem: None };
    let mut verifier: Option<Verifier> = None;
    for record in reader.walk(0, PORTION_BYTES) {
        let record = record?;
        let Some(entry) = record.entry else { continue };
        if record.index > stored.applied {
            report.uncommitted += 1;
            continue;
        }
        if let Err(problem) = execute(&mut verifier, &entry, record.term, &mut report) {
            report.problem = Some(format!("record {}: {problem}", record.index));
            return Ok(Some(report));
        }
        // Who asks for this height must be given this block.
        if reader.block(report.height)?.as_ref() != Some(&entry) {
            report.problem = Some(format!(
                "block {} is in record {}, but its height leads to another one",
                report.height, record.index
            ));
            return Ok(Some(report));
        }
        if report.blocks.is_multiple_of(PROGRESS_EVERY) && !progress(report.blocks, total) {
            return Ok(None);
        }
    }
    if !progress(report.blocks, total) {
        return Ok(None);
    }
    match verifier {
        None => report.problem = Some("block 0 is missing".to_owned()),
        Some(verifier) => report.problem = compare(&verifier, &stored.rows).err(),
    }
    Ok(Some(report))
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
    verifier.compare(accounts, values, &rows.ids).map_err(|violation| violation.to_string())
}

/// Executes one more block.
fn execute(verifier: &mut Option<Verifier>, bytes: &[u8], term: u64, report: &mut Report) -> Result<(), String> {
    let block = Block::decode(bytes).map_err(|error| error.to_string())?;
    if block.header.term != term {
        return Err(format!("holds a block of term {} under term {term}", block.header.term));
    }
    match verifier {
        None => *verifier = Some(Verifier::new(bytes).map_err(|violation| violation.to_string())?),
        Some(verifier) => verifier.push(bytes).map_err(|violation| violation.to_string())?,
    }
    report.height = block.header.height;
    report.head = block.hash();
    report.blocks += 1;
    report.transactions += block.entries.len() as u64;
    Ok(())
}

/// `--verify`: verifies a stopped node's folder, prints the result, and returns the exit code.
pub fn folder(dir: &Path, output: Output) -> Result<u8, Failure> {
    if let Some(reason) = marker::read(dir)? {
        eprintln!("raftbankd: an earlier run of this node stopped because of damage: {reason}");
    }
    let copy = SledStore::open_copy(dir)?;
    let show = std::io::stderr().is_terminal();
    let report = books(&copy.reader, &mut |done, total| {
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
    let Report { height, head, blocks, transactions, uncommitted, problem } = report;
    let result = problem.as_ref().map_or("ok".to_owned(), |problem| format!("CORRUPT: {problem}"));
    format!(
        "result        {result}\nheight        {height}\nhead          {head}\nblocks        {blocks}\n\
         transactions  {transactions}\nuncommitted   {uncommitted}\n"
    )
}

#[cfg(test)]
mod tests;
