//! Bringing a folder of an older format up to date.
//!
//! From 1 to 2: the nodes of the log tree are computed from the blocks and written. They follow from the blocks alone, so
//! doing it twice, or after a part of it, gives the same rows. Whoever calls rewrites `meta` once they are synced: until
//! then the folder is of the old format, and the next open begins again.

use super::{Pending, SLED_BATCH_BYTES, log};
use crate::{
    engine::Engine,
    error::StoreError,
    progress::{Counter, OnProgress},
    rows::Applied,
};
use raftbank_ledger::{Block, Hash, LogTree};

/// Writes and syncs the log tree of all applied blocks. Holds one block and one batch of rows at a time.
pub(super) fn build_log(engine: &mut Engine, applied: &Applied, on_progress: OnProgress<'_>) -> Result<(), StoreError> {
    let tree = engine.tree().clone();
    let (mut blocks, mut last) = (LogTree::default(), Hash::ZERO);
    let mut pending = Pending::default();
    let mut counter = Counter::new(on_progress, "records for the log tree", applied.index.checked_add(1));
    for index in 0..=applied.index {
        counter.add(1);
        let Some((record, _)) = log::read_record(&tree, index)? else {
            return Err(tree.corrupt(format!("record {index} is missing")));
        };
        let Some(entry) = record.entry else { continue };
        let header = Block::decode(&entry)
            .map_err(|error| tree.corrupt(format!("record {index} holds no block: {error}")))?
            .header;
        if header.height != blocks.size() || header.previous != last {
            return Err(tree.corrupt(format!("record {index} does not hold block {} of this chain", blocks.size())));
        }
        last = header.hash();
        pending.insert_log(&blocks.push(last));
        if pending.bytes >= SLED_BATCH_BYTES {
            let Pending { batch, bytes } = std::mem::take(&mut pending);
            engine.apply(batch, bytes)?;
        }
    }
    if last != applied.tip.hash {
        return Err(tree.corrupt(format!(
            "the blocks up to record {} end with hash {last}, but the state stands at {}",
            applied.index, applied.tip.hash
        )));
    }
    engine.apply(pending.batch, pending.bytes)?;
    engine.sync()
}
