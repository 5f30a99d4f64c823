//! What follows from the blocks of the log: request ids, places of blocks, the log tree; and the state after records that
//! are known to be committed and whose results sled does not hold.

use super::{Shared, log};
use crate::{
    chain::Chain,
    engine::Tree,
    error::StoreError,
    progress::{Counter, OnProgress},
    replay::execute,
    rows::Applied,
    shape::Runs,
};
use raftbank_consensus::{Index, Record};
use raftbank_ledger::{Block, Hash, IdRecord, Ids, LogTree, RequestId, State, Tip};
use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that nobody else knows: whoever could choose ids that are slow to find would make every start slow, for ever.
fn salt() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// What follows from the blocks up to one of them.
pub(super) struct Derived {
    pub chain: Chain,
    pub log: LogTree,
    pub ids: Ids,
}

/// Reads all applied records. Each must be there, match its digest and have the term that the table of terms says; the
/// blocks must follow each other by height and hash from block 0 to the one the state stands at.
pub(super) fn derive(
    tree: &Tree,
    applied: &Applied,
    cluster_id: Hash,
    runs: &Runs,
    on_progress: OnProgress<'_>,
) -> Result<Derived, StoreError> {
    let mut found = Derived { chain: Chain::default(), log: LogTree::default(), ids: Ids::salted(salt()) };
    let mut tip = None;
    let mut counter = Counter::new(on_progress, "records", applied.index.checked_add(1));
    log::each(tree, 0, applied.index, |record| {
        counter.add(1);
        let index = record.index;
        if record.term != runs.term_at(index) {
            return Err(tree.corrupt(format!(
                "record {index} has term {}, but the table of terms says {}",
                record.term,
                runs.term_at(index)
            )));
        }
        let Some(entry) = record.entry else { return Ok(()) };
        let block =
            Block::decode(&entry).map_err(|error| tree.corrupt(format!("record {index} holds no block: {error}")))?;
        let (height, hash) = (found.chain.blocks(), block.hash());
        let previous = tip.as_ref().map_or(Hash::ZERO, |tip: &Tip| tip.hash);
        let begins = height > 0 || hash == cluster_id;
        if block.header.height != height || block.header.previous != previous || !begins {
            return Err(tree.corrupt(format!("record {index} does not hold block {height} of this chain")));
        }
        tip = Some(tip_of(&block, hash));
        found.chain.push(index, &found.log.push(hash));
        for (id, record) in ids_of(block, height) {
            if !found.ids.insert(&id, record) {
                return Err(tree.corrupt(format!("a request id of block {height} was used before")));
            }
        }
        Ok(())
    })?;
    if tip.as_ref() != Some(&applied.tip) {
        return Err(tree.corrupt(format!(
            "the state stands at block {} with hash {}, but the log has another block there",
            applied.tip.height, applied.tip.hash
        )));
    }
    Ok(found)
}

fn ids_of(block: Block, height: u64) -> impl Iterator<Item = (RequestId, IdRecord)> {
    (0_u32..).zip(block.entries).map(move |(index, entry)| {
        let record = IdRecord { height, index, digest: entry.request.digest(), outcome: entry.outcome };
        (entry.request.id, record)
    })
}

fn tip_of(block: &Block, hash: Hash) -> Tip {
    let header = &block.header;
    Tip { height: header.height, hash, time_ms: header.time_ms, term: header.term, state_root: header.state_root }
}

/// The request ids of all blocks up to record `to`, which were read before.
pub(super) fn ids(tree: &Tree, to: Index) -> Result<Ids, StoreError> {
    let (mut ids, mut height) = (Ids::salted(salt()), 0);
    log::each(tree, 0, to, |record| {
        let Some(entry) = record.entry else { return Ok(()) };
        let block = Block::decode(&entry)
            .map_err(|error| tree.corrupt(format!("record {} holds no block: {error}", record.index)))?;
        for (id, record) in ids_of(block, height) {
            ids.insert(&id, record);
        }
        height += 1;
        Ok(())
    })?;
    Ok(ids)
}

/// Executes committed records again, as the node did when it applied them first.
pub(super) fn replay(
    tree: &Tree,
    records: &[Record],
    state: &mut State,
    shared: &mut Shared,
    applied: &mut Applied,
    on_progress: OnProgress<'_>,
) -> Result<(), StoreError> {
    let mut counter = Counter::new(on_progress, "records to execute again", Some(records.len() as u64));
    for record in records {
        let write = execute(state, record).map_err(|why| {
            tree.corrupt(format!("record {} is committed, and it cannot be executed: {why}", record.index))
        })?;
        shared.apply(&write, applied);
        counter.add(1);
    }
    Ok(())
}
