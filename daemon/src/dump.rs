//! `--dump`: everything in a stopped node's data folder as JSON lines, for comparing it with another node's.
//!
//! Blocks as in an export, those that are not known to be committed with `"uncommitted":true`; then the stored balances and
//! values; then why the node stopped, if it left a mark.

use std::io::{BufWriter, Write};
use std::path::Path;

use raftbank_ledger::{Block, Hash};
use raftbank_proofs::block_json;
use raftbank_store::{Reader, SledStore};
use serde_json::json;

use crate::error::Failure;
use crate::marker;

/// Bytes of records that are read at a time.
const PORTION_BYTES: usize = 4 << 20;

/// Prints the folder to standard output. It is read from a copy: not one byte of it changes.
pub fn folder(dir: &Path) -> Result<(), Failure> {
    let reason = marker::read(dir)?;
    let copy = SledStore::open_copy(dir)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&copy.reader, reason.as_deref(), &mut out)
}

fn write<R: Reader>(reader: &R, reason: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
    let mut line =
        |value: &serde_json::Value| writeln!(out, "{value}").map_err(Failure::io("standard output cannot be written"));
    let stored = reader.rows()?;
    for record in reader.walk(0, PORTION_BYTES) {
        let record = record?;
        let Some(entry) = record.entry else { continue };
        let block = Block::decode(&entry)
            .map_err(|error| Failure::Corrupt(format!("record {} holds no block: {error}", record.index)))?;
        let mut object = block_json(&block);
        if record.index > stored.applied {
            object["uncommitted"] = true.into();
        }
        line(&object)?;
    }
    let height = stored.rows.tip.height;
    for (account, balance) in &stored.rows.accounts {
        line(&json!({ "stored": "account", "account": account.as_str(), "balance": balance.to_string() }))?;
    }
    for (key, value) in &stored.rows.values {
        line(&json!({ "stored": "value", "key_hex": hex(key), "value_sha256": Hash::of(&[value]).to_string() }))?;
    }
    let end = json!({ "stored": "tip", "height": height, "hash": stored.rows.tip.hash.to_string(), "stopped": reason });
    line(&end)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
