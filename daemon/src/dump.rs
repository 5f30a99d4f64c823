//! `--dump`: everything that can be read in a stopped node's data folder as JSON lines, to compare it with another node's.
//!
//! Blocks as in an export, those that are not known to be committed with `"uncommitted":true`; then the stored balances and
//! values; then where the state stands, why the node stopped, if it left a mark, and what cannot be read.

use std::io::{BufWriter, Write};
use std::path::Path;

use raftbank_ledger::Block;
use raftbank_proofs::block_json;
use raftbank_store::Salvage;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::marker;

/// Prints the folder to standard output. It is read from a copy: not one byte of it changes.
pub fn folder(dir: &Path) -> Result<(), Failure> {
    let reason = marker::read(dir)?;
    let salvage = Salvage::open(dir)?;
    write(&salvage, reason.as_deref(), &mut BufWriter::new(std::io::stdout().lock()))
}

fn write(salvage: &Salvage, reason: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
    let mut line = |value: &Value| writeln!(out, "{value}").map_err(Failure::io("standard output cannot be written"));
    let applied = salvage.applied.as_ref().map(|(index, _)| *index);
    let mut damage = salvage.damage.clone();
    for index in 0.. {
        match salvage.record(index) {
            Ok(None) => break,
            Ok(Some(record)) => match record.entry.as_deref().map(Block::decode) {
                None => {}
                Some(Ok(block)) => {
                    let mut object = block_json(&block);
                    if applied.is_none_or(|applied| index > applied) {
                        object["uncommitted"] = true.into();
                    }
                    line(&object)?;
                }
                Some(Err(error)) => damage.push(format!("record {index} holds no block: {error}")),
            },
            Err(error) => {
                damage.push(error.to_string());
                break;
            }
        }
    }
    for (account, balance) in &salvage.accounts {
        line(&json!({ "stored": "account", "account": account.as_str(), "balance": balance.to_string() }))?;
    }
    for (key, value) in &salvage.values {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        line(&json!({ "stored": "value", "key_hex": hex, "value_sha256": value.to_string() }))?;
    }
    let height = salvage.applied.as_ref().map(|(_, tip)| tip.height);
    line(&json!({ "stored": "tip", "height": height, "stopped": reason, "damage": damage }))?;
    out.flush().map_err(Failure::io("standard output cannot be written"))
}

#[cfg(test)]
mod tests;
