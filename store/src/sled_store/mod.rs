//! The store on disk: one folder per node with the files `meta` and `mark` and sled's folder `sled`.
//!
//! Everything is in sled's one default tree, so one batch of sled is one atomic change of anything. What may be
//! promised when is decided here and written down in docs/storage.md.

mod base;
mod copy;
mod create;
mod derive;
mod layout;
mod log;
mod migrate;
mod open;
mod outgoing;
mod overlay;
mod reader;
mod salvage;

pub use copy::FolderCopy;
pub use reader::SledReader;
pub use salvage::Salvage;

use crate::{
    chain::Chain,
    engine::{Engine, Tuning},
    error::StoreError,
    mark::{Mark, MarkFile},
    meta::{self, Meta},
    progress::Progress,
    record::{self, RecordDigest},
    rows::{self, Applied},
    shape::{Reach, Runs, check_hard},
    types::{Batch, Expected, Opened, StateWrite, Store},
};
use layout::Layout;
use outgoing::Outgoing;
use overlay::Overlay;
use raftbank_consensus::{HardState, Index, Record, Write};
use raftbank_ledger::{Block, Tip};
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

/// A batch of sled with records is handed over when it has grown to this.
const SLED_BATCH_BYTES: usize = 2 << 20;

/// The writing side of a data folder.
pub struct SledStore {
    engine: Engine,
    mark: MarkFile,
    layout: Layout,
    meta: Meta,
    /// Locked for writing while rows change, so that a reader never sees half a splice.
    shared: Arc<RwLock<Shared>>,
    hard: HardState,
    runs: Runs,
    last_digest: RecordDigest,
    applied: Applied,
    /// A term or vote was written that the synced mark does not hold.
    promise_pending: bool,
    clear_rejoining: bool,
    /// Something was written since the last [`sync_mark`](Store::sync_mark).
    written: bool,
    failed: bool,
}

/// What the readers need beside sled.
struct Shared {
    /// How far log and state reach.
    reach: Reach,
    /// What of the state is not in sled yet.
    overlay: Overlay,
    chain: Chain,
    /// The last applied block.
    tip: Tip,
}

impl Shared {
    /// Takes over what an applied record has changed. `applied` moves to it.
    fn apply(&mut self, write: &StateWrite, applied: &mut Applied) {
        self.reach.advance(write);
        applied.index = write.index;
        applied.term = write.term;
        if let Some(delta) = &write.delta {
            self.overlay.take(delta);
            self.chain.push(write.index, &delta.log);
            self.tip = delta.tip.clone();
            applied.tip = delta.tip.clone();
        }
    }
}

impl SledStore {
    /// Makes a data folder in `dir`, which must not exist or be empty. When this returns, all of it is durable, its
    /// name in its parents included.
    ///
    /// # Errors
    /// `AlreadyThere` if something stands there, `Mismatch` if `meta` names another cluster than `genesis` makes,
    /// `Corrupt` if `genesis` does not execute, `Io`.
    pub fn create(dir: &Path, meta: &Meta, genesis: &Block) -> Result<(), StoreError> {
        create::create(dir, meta, genesis, Tuning::default())
    }

    /// Opens a data folder and checks it against its mark and itself. One of an older format is brought up to date, which
    /// reads its whole log once.
    ///
    /// # Errors
    /// `Missing`, `Format`, `Mismatch`, `InUse`, `Corrupt`, `Io`.
    pub fn open(dir: &Path, expected: &Expected) -> Result<(SledStore, SledReader, Opened), StoreError> {
        Self::open_watched(dir, expected, |_| ())
    }

    /// [`open`](SledStore::open), which tells how far it has come. It may take minutes.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_watched(
        dir: &Path,
        expected: &Expected,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<(SledStore, SledReader, Opened), StoreError> {
        open::open(Layout::new(dir), Some(expected), Tuning::default(), &mut on_progress)
    }

    /// Reads a stopped node's folder without changing one byte of it: a copy in the system's folder for temporary files
    /// (`TMPDIR`) is opened instead, because opening changes sled's files.
    ///
    /// # Errors
    /// `Missing`, `InUse` while a node runs on it, `Corrupt`, `Io` (also for a full `TMPDIR`).
    pub fn open_copy(dir: &Path) -> Result<FolderCopy, StoreError> {
        copy::open_copy(dir, Tuning::default())
    }

    /// Reads whose folder `dir` is, and of which format it is now, without opening it; also while a node runs on it.
    ///
    /// # Errors
    /// `Missing`, `Format`, `Corrupt`, `Io`.
    pub fn meta(dir: &Path) -> Result<Meta, StoreError> {
        open::identify(&Layout::new(dir), None)
    }

    /// True if [`create`](SledStore::create) would make a folder here: there is nothing, or what an interrupted
    /// creation left.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_vacant(dir: &Path) -> Result<bool, StoreError> {
        let standing = Layout::new(dir).standing()?;
        Ok(matches!(standing, layout::Standing::Nothing | layout::Standing::Unfinished))
    }

    /// [`create`](SledStore::create) with other settings, for measurements.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_tuned(dir: &Path, meta: &Meta, genesis: &Block, tuning: Tuning) -> Result<(), StoreError> {
        create::create(dir, meta, genesis, tuning)
    }

    /// [`open`](SledStore::open) with other settings, for measurements.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_tuned(
        dir: &Path,
        expected: &Expected,
        tuning: Tuning,
    ) -> Result<(SledStore, SledReader, Opened), StoreError> {
        open::open(Layout::new(dir), Some(expected), tuning, &mut |_| ())
    }

    /// Runs one call, and remembers for ever that it failed.
    fn attempt(&mut self, work: impl FnOnce(&mut SledStore) -> Result<(), StoreError>) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::io(
                "writing after an earlier failure to",
                &self.layout.shown,
                std::io::Error::other("the store stopped at its first error"),
            ));
        }
        let result = work(self);
        self.failed = result.is_err();
        result
    }

    fn write_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut shared = shared.write().unwrap_or_else(PoisonError::into_inner);
        let mut pending = Outgoing::default();
        self.written = true;
        let log_bytes = batch.writes.iter().map(bytes_of).sum();
        for write in &batch.writes {
            match write {
                Write::Hard(hard) => self.write_hard(*hard, &mut pending)?,
                Write::Splice { from, records } => self.splice(*from, records, &mut pending, &mut shared)?,
            }
        }
        for (node, incarnation) in &batch.peers {
            let key = [rows::PEER, node.0];
            pending.insert(&key, rows::seal_number(&key, *incarnation));
        }
        for (node, public_key) in &batch.keys {
            let key = [rows::KEY, node.0];
            pending.insert(&key, rows::seal_32(&key, public_key));
        }
        self.clear_rejoining |= batch.clear_rejoining;
        // The records of a state are in sled before the state is.
        pending.hand_over(&mut self.engine)?;
        for write in &batch.state {
            shared.reach.check_state(write, self.runs.term_at(write.index))?;
            shared.apply(write, &mut self.applied);
            if shared.overlay.is_full() {
                shared.overlay.write_back(&self.applied, &mut self.engine)?;
            }
        }
        shared.overlay.step(log_bytes, &mut self.engine)
    }

    /// Hands over to sled what it does not have of the state.
    fn write_back(
        &mut self,
        how: fn(&mut Overlay, &Applied, &mut Engine) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut shared = shared.write().unwrap_or_else(PoisonError::into_inner);
        how(&mut shared.overlay, &self.applied, &mut self.engine)
    }

    fn write_hard(&mut self, hard: HardState, pending: &mut Outgoing) -> Result<(), StoreError> {
        check_hard(&self.hard, &hard)?;
        pending.insert(&[rows::HARD], rows::seal_hard(&hard));
        self.promise_pending |= hard != self.hard;
        self.hard = hard;
        Ok(())
    }

    fn splice(
        &mut self,
        from: Index,
        records: &[Record],
        pending: &mut Outgoing,
        shared: &mut Shared,
    ) -> Result<(), StoreError> {
        let reach = &mut shared.reach;
        reach.check_splice(from, records, self.runs.term_at(from.saturating_sub(1)))?;
        if from <= reach.last_index {
            // What stands before the cut in this batch must be in sled before the mark is lowered for it.
            pending.hand_over(&mut self.engine)?;
            let digest = log::digest_at(self.engine.tree(), from - 1)?;
            if self.mark.current().last_index >= from {
                let lowered = Mark { last_index: from - 1, last_digest: digest, ..*self.mark.current() };
                self.mark.lower(lowered)?;
            }
            for key in log::keys(self.engine.tree(), from, reach.last_index)? {
                pending.remove(&key);
            }
            for first in self.runs.cut(from) {
                pending.remove(&rows::number_key(rows::RUN, first));
            }
            reach.last_index = from - 1;
            self.last_digest = digest;
        }
        for record in records {
            let Some((digest, parts)) = record::rows_of(record) else {
                return Err(StoreError::corrupt(format!("the entry of record {} is too long to store", record.index)));
            };
            for (key, value) in parts {
                pending.append(&key, value);
            }
            if self.runs.push(record.index, record.term) {
                let key = rows::number_key(rows::RUN, record.index);
                pending.insert(&key, rows::seal_number(&key, record.term));
            }
            reach.last_index = record.index;
            shared.overlay.passed(record.entry.as_ref().map_or(0, |entry| entry.len()));
            self.last_digest = digest;
            if pending.bytes() >= SLED_BATCH_BYTES {
                pending.hand_over(&mut self.engine)?;
            }
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Result<(), StoreError> {
        // sled first: the mark must never promise what sled does not hold.
        self.engine.sync()?;
        self.mark.write(self.current_mark(false))?;
        if self.promise_pending {
            self.mark.sync()?;
            self.promise_pending = false;
        }
        if self.clear_rejoining {
            // A voter's promises begin now: all it caught up with is durable, and the mark says so.
            self.mark.sync()?;
            self.meta.rejoining = false;
            meta::write(&self.layout.meta(), &self.meta)?;
            self.clear_rejoining = false;
        }
        Ok(())
    }

    fn current_mark(&self, closed: bool) -> Mark {
        let reach = self.shared.read().unwrap_or_else(PoisonError::into_inner).reach;
        Mark {
            incarnation: self.meta.incarnation,
            term: self.hard.term,
            vote: self.hard.vote.map(|node| node.0),
            last_index: reach.last_index,
            last_digest: self.last_digest,
            committed: reach.applied,
            closed,
        }
    }
}

impl Store for SledStore {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.attempt(|store| store.write_batch(batch))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.attempt(SledStore::sync_all)
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.attempt(|store| {
            // Under load the state waits until there is more of it; once nothing is written any more, no start has to
            // execute again what was committed before.
            if !std::mem::take(&mut store.written) {
                store.write_back(Overlay::rest)?;
            }
            store.sync_all()?;
            store.mark.sync()
        })
    }

    fn has_work(&self) -> bool {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).overlay.has_work()
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.attempt(|store| {
            store.write_back(Overlay::close)?;
            store.sync_all()?;
            store.mark.write(store.current_mark(true))?;
            store.mark.sync()
        })
    }
}

/// Bytes of the log in a write.
fn bytes_of(write: &Write) -> usize {
    match write {
        Write::Hard(_) => 0,
        Write::Splice { records, .. } => {
            records.iter().map(|record| record.entry.as_ref().map_or(0, |entry| entry.len())).sum()
        }
    }
}

#[cfg(test)]
mod tests;
