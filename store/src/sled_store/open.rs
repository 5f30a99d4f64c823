//! Opening a data folder: nothing is believed before it was compared with the mark and with itself.

use super::{
    Shared, SledReader, SledStore, base, derive,
    layout::{Layout, Standing},
    log, migrate,
    overlay::Overlay,
    reader,
};
use crate::{
    crashsafe,
    engine::{Engine, Tree, Tuning},
    error::StoreError,
    mark::{Mark, MarkFile},
    meta::{self, FORMAT, Meta},
    progress::{OnProgress, Progress},
    rows::{self, Applied},
    shape::{Reach, Runs},
    types::{Expected, Opened},
};
use raftbank_consensus::{Durable, HardState, Index, NodeId, TermRun};
use raftbank_ledger::{Block, State, StateRows};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// The first format whose rows say whose they are.
const FORMAT_OWNED: u32 = 3;

pub(super) fn open(
    layout: Layout,
    expected: Option<&Expected>,
    tuning: Tuning,
    on_progress: OnProgress<'_>,
) -> Result<(SledStore, SledReader, Opened), StoreError> {
    let mut meta = identify(&layout, expected)?;
    for path in [layout.sled().join("db"), layout.sled().join("conf")] {
        // sled would make a new one and begin with nothing.
        if !path.is_file() {
            return Err(StoreError::corrupt(format!("the file {} is missing", path.display())));
        }
    }
    let bytes = std::fs::metadata(layout.sled().join("db")).map_or(0, |found| found.len());
    on_progress(Progress::Opening { bytes });
    let mut engine = Engine::open(&layout.sled(), &layout.shown, tuning)?;
    // sled renames a snapshot file while it opens.
    crashsafe::sync_dir(&layout.sled())?;
    let found_mark = MarkFile::open(&layout.mark())?;
    let mut mark = found_mark.file;
    let promised = *mark.current();
    if promised.incarnation != meta.incarnation {
        return Err(StoreError::corrupt(format!(
            "the high-water mark {} belongs to another folder",
            layout.mark().display()
        )));
    }

    let tree = engine.tree().clone();
    let genesis = load_genesis(&tree, &meta)?;
    let owned = check_owner(&tree, &meta)?;
    let hard = load_hard(&tree)?;
    let stored = reader::load_applied(&tree)?;
    let mut runs = load_runs(&tree)?;
    let mut end = log::read_end(&tree, stored.index, promised.last_index, on_progress)?;

    let mut notes = Vec::new();
    if found_mark.bad_slots > 0 {
        notes.push("one slot of the high-water mark was torn or damaged; the other one was used".to_owned());
    }
    let forgotten_runs = check_runs(&tree, &mut runs, &end, &stored)?;
    check_promises(&tree, &promised, &hard, &end, &runs)?;
    let derive::Derived { chain, log, ids } = derive::derive(&tree, &stored, meta.cluster_id, &runs, on_progress)?;
    let reader::Rows { accounts, values, pendings } = reader::load(&tree, on_progress)?;
    let account_rows = accounts.len() as u64;
    let rows = (accounts.len() + values.len() + pendings.len()) as u64;
    on_progress(Progress::Reading { what: "rows, for the state root", done: rows, total: Some(rows) });
    let (cluster_id, difficulty) = (meta.cluster_id, genesis.header.difficulty);
    let tip = stored.tip.clone();
    let mut state = State::restore(StateRows { accounts, values, ids, pendings, log, tip, cluster_id, difficulty })
        .map_err(|error| tree.corrupt(format!("the stored state is not the one that was written: {error}")))?;

    if !end.torn.is_empty() || !forgotten_runs.is_empty() {
        let mut batch = sled::Batch::default();
        for key in &end.torn {
            batch.remove(key);
        }
        for first in &forgotten_runs {
            batch.remove(&rows::number_key(rows::RUN, *first));
        }
        engine.apply(batch, 1)?;
        engine.sync()?;
        notes.push(format!(
            "a torn tail after record {} was cut; nothing of it was ever acknowledged (the high-water mark stands at {})",
            end.last_index, promised.last_index
        ));
    }
    // What was known to be committed is executed again before anybody sees the state: it was shown before.
    let mut shared = Shared {
        reach: Reach { last_index: end.last_index, applied: stored.index, height: stored.tip.height },
        overlay: Overlay::new(stored.clone(), base::load(&tree)?, account_rows, tuning.limits),
        chain,
        tip: stored.tip.clone(),
    };
    let mut applied = stored.clone();
    let known = if planted!(ReplaySkipped) { 0 } else { promised.committed.saturating_sub(stored.index) };
    let waiting = end.tail.split_off(usize::try_from(known).unwrap_or(usize::MAX).min(end.tail.len()));
    let again = std::mem::replace(&mut end.tail, waiting);
    derive::replay(&tree, &again, &mut state, &mut shared, &mut applied, on_progress)?;
    for record in again.iter().chain(&end.tail) {
        shared.overlay.passed(record.entry.as_ref().map_or(0, |entry| entry.len()));
    }
    if !promised.closed {
        notes.push(format!(
            "the node was not stopped cleanly; its log reaches record {}, its state record {}, of which {} were executed \
             again, the high-water mark {}",
            end.last_index,
            applied.index,
            again.len(),
            promised.last_index
        ));
    }

    let peers = load_peers(&tree)?;
    let keys = load_keys(&tree)?;
    let older = meta.format;
    if older < FORMAT {
        // All of it reads well.
        if !owned {
            migrate::own(&mut engine, meta.incarnation)?;
        }
        // From here on no older program opens the folder, which would miss what is removed now.
        meta.format = FORMAT;
        meta::write(&layout.meta(), &meta)?;
    }
    let removed = migrate::clear(&mut engine, &stored, on_progress)?;
    if older < FORMAT {
        notes.push(format!(
            "the folder was brought from format {older} to {FORMAT}: {removed} rows that follow from its {} blocks were \
             removed; an older raftbankd cannot open it any more",
            state.log().size()
        ));
    }
    let opened = Opened {
        meta: meta.clone(),
        durable: Durable {
            hard,
            terms: runs.as_slice().to_vec(),
            last_index: end.last_index,
            committed: applied.index,
            tail: end.tail,
        },
        applied: applied.index,
        state,
        peers,
        keys,
        notes,
    };
    // All of this is durable: the engine synced what it found. From here on the mark vouches for it.
    mark.write(Mark {
        incarnation: meta.incarnation,
        term: hard.term,
        vote: hard.vote.map(|node| node.0),
        last_index: end.last_index,
        last_digest: end.last_digest,
        committed: applied.index,
        closed: false,
    })?;
    mark.sync()?;

    let shared = Arc::new(RwLock::new(shared));
    let reader = SledReader {
        tree,
        shared: Arc::clone(&shared),
        cluster_id: meta.cluster_id,
        difficulty: genesis.header.difficulty,
    };
    let store = SledStore {
        engine,
        mark,
        layout,
        meta,
        shared,
        hard,
        runs,
        last_digest: end.last_digest,
        applied,
        promise_pending: false,
        clear_rejoining: false,
        written: false,
        failed: false,
    };
    Ok((store, reader, opened))
}

/// Reads whose folder it is, before anything is opened that might change.
pub(super) fn identify(layout: &Layout, expected: Option<&Expected>) -> Result<Meta, StoreError> {
    match layout.standing()? {
        Standing::Folder => {}
        Standing::Nothing | Standing::Unfinished | Standing::Foreign => {
            return Err(StoreError::Missing { dir: layout.shown.clone() });
        }
    }
    let Some(meta) = meta::read(&layout.meta(), &layout.shown)? else {
        return Err(StoreError::corrupt(format!(
            "the file meta is missing in the data folder {}",
            layout.shown.display()
        )));
    };
    if let Some(expected) = expected {
        meta::check(&meta, &layout.shown, &expected.cluster_id, &expected.node)?;
    }
    Ok(meta)
}

fn load_genesis(tree: &Tree, meta: &Meta) -> Result<Block, StoreError> {
    let entry = log::read_record(tree, 0)?.and_then(|(record, _)| record.entry);
    let block = entry
        .and_then(|entry| Block::decode(&entry).ok())
        .ok_or_else(|| tree.corrupt("record 0, the genesis block, is missing or damaged"))?;
    if block.hash() != meta.cluster_id {
        return Err(tree.corrupt(format!(
            "record 0 is the genesis block of cluster {}, but the folder is of cluster {}",
            block.hash(),
            meta.cluster_id
        )));
    }
    Ok(block)
}

/// Whether the rows say whose they are, as they do since format 3. Banks begin with the same block, and nodes of one bank
/// may hold the same log, term and vote: only this tells sled's files from those of another folder of the bank.
fn check_owner(tree: &Tree, meta: &Meta) -> Result<bool, StoreError> {
    let Some(value) = tree.get(&[rows::OWNER])? else {
        return if meta.format < FORMAT_OWNED {
            Ok(false)
        } else {
            Err(tree.corrupt("the row that says whose rows these are is missing"))
        };
    };
    match rows::unseal_number(&[rows::OWNER], &value) {
        Some(incarnation) if incarnation == meta.incarnation => Ok(true),
        Some(_) => Err(tree.corrupt("sled's files are those of another folder")),
        None => Err(tree.corrupt("the row that says whose rows these are is damaged")),
    }
}

fn load_hard(tree: &Tree) -> Result<HardState, StoreError> {
    tree.get(&[rows::HARD])?
        .and_then(|value| rows::unseal_hard(&value))
        .ok_or_else(|| tree.corrupt("term and vote are missing or damaged"))
}

fn load_runs(tree: &Tree) -> Result<Runs, StoreError> {
    let damaged = || tree.corrupt("the table of terms is damaged");
    let mut runs = Vec::new();
    for row in tree.scan_prefix(&[rows::RUN])? {
        let (key, value) = row?;
        let first = rows::parse_number_key(rows::RUN, &key).ok_or_else(damaged)?;
        let term = rows::unseal_number(&key, &value).ok_or_else(damaged)?;
        runs.push(TermRun { first, term });
    }
    Runs::from_stored(runs).ok_or_else(damaged)
}

fn load_peers(tree: &Tree) -> Result<BTreeMap<NodeId, u64>, StoreError> {
    let mut peers = BTreeMap::new();
    for row in tree.scan_prefix(&[rows::PEER])? {
        let (key, value) = row?;
        match (&key[..], rows::unseal_number(&key, &value)) {
            ([_, node], Some(incarnation)) => {
                peers.insert(NodeId(*node), incarnation);
            }
            _ => return Err(tree.corrupt("the incarnation of a peer is damaged")),
        }
    }
    Ok(peers)
}

fn load_keys(tree: &Tree) -> Result<BTreeMap<NodeId, [u8; 32]>, StoreError> {
    let mut keys = BTreeMap::new();
    for row in tree.scan_prefix(&[rows::KEY])? {
        let (key, value) = row?;
        match (&key[..], rows::unseal_32(&key, &value)) {
            ([_, node], Some(public)) => {
                keys.insert(NodeId(*node), public);
            }
            _ => return Err(tree.corrupt("the public key of a member is damaged")),
        }
    }
    Ok(keys)
}

/// Compares the table of terms with the records that were read. Returns the runs of a torn tail, already taken out.
fn check_runs(tree: &Tree, runs: &mut Runs, end: &log::End, applied: &Applied) -> Result<Vec<Index>, StoreError> {
    let forgotten = runs.cut(end.last_index + 1);
    if !forgotten.is_empty() && end.torn.is_empty() {
        return Err(tree.corrupt(format!(
            "the table of terms speaks of record {}, but the log ends at {}",
            forgotten.first().copied().unwrap_or_default(),
            end.last_index
        )));
    }
    for (index, term) in &end.checked {
        if runs.term_at(*index) != *term {
            return Err(tree.corrupt(format!(
                "record {index} has term {term}, but the table of terms says {}",
                runs.term_at(*index)
            )));
        }
    }
    if applied.index > end.last_index {
        return Err(tree.corrupt(format!(
            "the state was computed from record {}, but the log ends at {}",
            applied.index, end.last_index
        )));
    }
    if runs.term_at(applied.index) != applied.term {
        return Err(tree.corrupt(format!(
            "the state was computed from record {} of term {}, but the log has term {} there",
            applied.index,
            applied.term,
            runs.term_at(applied.index)
        )));
    }
    Ok(forgotten)
}

/// sled must hold at least what the mark says was promised.
fn check_promises(
    tree: &Tree,
    promised: &Mark,
    hard: &HardState,
    end: &log::End,
    runs: &Runs,
) -> Result<(), StoreError> {
    if planted!(MarkNotChecked | DamageTakenForTornTail) {
        return Ok(());
    }
    let vote = hard.vote.map(|node| node.0);
    let vote_lost = hard.term == promised.term && promised.vote.is_some() && vote != promised.vote;
    if hard.term < promised.term || vote_lost {
        return Err(tree.corrupt(format!(
            "term {} with vote {:?} was promised, but term {} with vote {vote:?} is stored: promises were lost",
            promised.term, promised.vote, hard.term
        )));
    }
    // After a clean stop the next start rewrites the mark before anything else.
    if promised.closed && (end.last_index > promised.last_index || hard.term > promised.term) {
        return Err(tree.corrupt(format!(
            "the node stopped cleanly at record {} in term {}, but the log reaches record {}, and the term is {}: mark and \
             log are not of the same time or node",
            promised.last_index, promised.term, end.last_index, hard.term
        )));
    }
    if end.last_index < promised.last_index {
        return Err(tree.corrupt(format!(
            "records up to {} were synced, but the log ends at {}: acknowledged records were lost",
            promised.last_index, end.last_index
        )));
    }
    if promised.committed > promised.last_index {
        return Err(tree.corrupt(format!(
            "the high-water mark says that record {} is committed, and that the log ends at {}",
            promised.committed, promised.last_index
        )));
    }
    let found = log::read_record(tree, promised.last_index)?.map(|(_, digest)| digest);
    if found != Some(promised.last_digest) {
        return Err(tree.corrupt(format!("record {} is not the one that was synced there", promised.last_index)));
    }
    if runs.term_at(end.last_index) > hard.term {
        return Err(tree.corrupt(format!(
            "the last record has term {}, but the node's own term is {}",
            runs.term_at(end.last_index),
            hard.term
        )));
    }
    Ok(())
}
