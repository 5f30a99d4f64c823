//! `--import`: makes a node's data folder from a complete export of a chain.
//!
//! The folder is made beside its place and moved there when all of it is synced, so that an import that ends early leaves
//! nothing that a node would start from. Records of the log are the blocks alone: whoever made the export had others
//! between them, so a node that was imported fits no node that was not.

use std::fs::{self, File};
use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use raftbank_consensus::{Entry, HardState, Record, Write};
use raftbank_ledger::{Block, NodeName, State};
use raftbank_proofs::{Export, ExportError};
use raftbank_store::{Batch, Expected, FORMAT, Meta, SledStore, StateWrite, Store};

use crate::args::Output;
use crate::config::Config;
use crate::error::Failure;
use crate::folder;
use crate::genesis::Bank;
use crate::signer;

/// Bytes of blocks that are written and synced together.
const PORTION_BYTES: usize = 1 << 20;
/// Blocks between two reports of progress.
const PROGRESS_EVERY: u64 = 256;

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// Height of the last block.
    pub height: u64,
    /// The state after it.
    pub state: State,
}

impl Imported {
    /// What was made, for `--output`.
    pub fn told(&self, config: &Config, output: Output) -> String {
        let (dir, node, state) = (config.node.data_dir.display(), &config.node.id, &self.state);
        let (height, head) = (self.height, state.tip().hash);
        match output {
            Output::Table => format!("made {dir} for {node}, height {height}, head {head}"),
            Output::Json => serde_json::json!({
                "schema": 1, "data_dir": dir.to_string(), "node": node, "height": height, "head": head.to_string(),
                "log_root": state.log().root().to_string(), "cluster": state.cluster_id().to_string(),
            })
            .to_string(),
        }
    }
}

/// Makes the data folder of a node from an export.
pub fn import(config: &Config, bank: &Bank, export: &Path) -> Result<Imported, Failure> {
    bank.position(&config.node.id)?;
    let dir = &config.node.data_dir;
    if !SledStore::is_vacant(dir)? {
        return Err(Failure::Usage(format!("{} is there already: an import makes a new data folder", dir.display())));
    }
    let file = File::open(export).map_err(|error| Failure::Usage(format!("{}: {error}", export.display())))?;
    let beside = beside(dir)?;
    // What an earlier import has left; nothing was ever promised on it.
    remove(&beside)?;
    let made = fill(config, bank, &beside, Export::new(BufReader::new(file)));
    let imported = match made {
        Ok(imported) => imported,
        Err(failure) => {
            remove(&beside)?;
            return Err(failure);
        }
    };
    // Over an empty folder, or to where nothing is.
    fs::rename(&beside, dir).map_err(Failure::io(format!("moving the new folder to {}", dir.display())))?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(Failure::io(format!("syncing {}", parent.display())))?;
    Ok(imported)
}

/// Where the folder is made.
fn beside(dir: &Path) -> Result<PathBuf, Failure> {
    let name = dir.file_name().ok_or_else(|| Failure::Usage(format!("{} is no folder's name", dir.display())))?;
    let mut name = name.to_owned();
    name.push(".importing");
    Ok(dir.with_file_name(name))
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io(format!("removing {}", dir.display()))(error))
        }
        _ => Ok(()),
    }
}

fn fill(config: &Config, bank: &Bank, dir: &Path, mut blocks: Export<BufReader<File>>) -> Result<Imported, Failure> {
    let first = blocks.next().ok_or_else(|| Failure::Usage("the export is empty".to_owned()))?.map_err(unreadable)?;
    if first != bank.block {
        return Err(Failure::Usage(format!(
            "the export is not of this bank: it begins with block {} and hash {}, the genesis file gives {}",
            first.header.height,
            first.hash(),
            bank.cluster_id
        )));
    }
    let node = NodeName::parse(&config.node.id).map_err(|error| Failure::Usage(error.to_string()))?;
    let (cluster_id, incarnation) = (bank.cluster_id, folder::incarnation()?);
    SledStore::create(
        dir,
        &Meta { format: FORMAT, cluster_id, node: node.clone(), incarnation, rejoining: false },
        &bank.block,
    )?;
    signer::load(dir, &cluster_id, &node)?;
    let (mut store, _reader, opened) = SledStore::open(dir, &Expected { cluster_id, node })?;
    let (mut state, mut portion) = (opened.state, Portion::default());
    let show = std::io::stderr().is_terminal();
    for block in blocks {
        let block = block.map_err(unreadable)?;
        portion.add(&mut state, &block)?;
        if portion.bytes >= PORTION_BYTES {
            portion.write(&mut store)?;
        }
        let height = block.header.height;
        if show && height.is_multiple_of(PROGRESS_EVERY) {
            eprint!("\rimported {height} blocks");
        }
    }
    if show {
        eprintln!();
    }
    portion.write(&mut store)?;
    store.close()?;
    Ok(Imported { height: state.tip().height, state })
}

fn unreadable(error: ExportError) -> Failure {
    match error {
        ExportError::Io(error) => Failure::io("reading the export")(error),
        ExportError::Line { .. } => Failure::Corrupt(format!("the export is not a chain: {error}")),
    }
}

/// Blocks that are verified and wait to be written.
#[derive(Default)]
struct Portion {
    records: Vec<Record>,
    state: Vec<StateWrite>,
    bytes: usize,
}

impl Portion {
    /// Verifies and executes the next block.
    fn add(&mut self, state: &mut State, block: &Block) -> Result<(), Failure> {
        let header = &block.header;
        let wrong = |violation: raftbank_ledger::Violation| {
            Failure::Corrupt(format!("the export is not a chain: block {}: {violation}", header.height))
        };
        block.check_static(state.difficulty(), state.cluster_id()).map_err(wrong)?;
        let executed = state.check(block).map_err(wrong)?;
        let delta = state.commit(executed, header).map_err(wrong)?;
        let (index, term, bytes) = (header.height, header.term, block.encode());
        self.bytes += bytes.len();
        self.records.push(Record { index, term, entry: Some(Entry::from(bytes)) });
        self.state.push(StateWrite { index, term, height: Some(header.height), delta: Some(delta) });
        Ok(())
    }

    /// Writes and syncs what waits.
    fn write(&mut self, store: &mut SledStore) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else { return Ok(()) };
        let hard = HardState { term: last.term, vote: None };
        let splice = Write::Splice { from: first.index, records: std::mem::take(&mut self.records) };
        let batch = Batch { writes: vec![Write::Hard(hard), splice], ..Batch::default() };
        store.write(&batch)?;
        store.sync()?;
        let state = std::mem::take(&mut self.state);
        store.write(&Batch { state, ..Batch::default() })?;
        store.sync()?;
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
