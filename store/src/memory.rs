//! A store in memory with the disk's bad habits: what was not synced can be lost, any beginning of it can survive, and
//! a sync can fail. Results of records are written back late, as in a folder: every end of a process loses those that were
//! not, and the next one executes the records again that are known to be committed. It can be rolled back to an older image of itself, as by a restored backup; as in a folder, the
//! high-water mark stands beside the image and is not rolled back with it.
//!
//! The disk outlives the store, as a real one does: [`MemoryDisk`] is kept by the test, [`MemoryStore`] by the node.

mod image;

use crate::{
    error::StoreError,
    meta::{self, Meta},
    replay::execute,
    shape::check_hard,
    types::{Batch, Expected, Opened, Reader, StateWrite, Store, StoredRows},
};
use image::{Image, Step};
use raftbank_consensus::{Entry, HardState, Index, Record, Term, Write};
use raftbank_ledger::{Block, Hash};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A disk that forgets.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

/// The writing side.
pub struct MemoryStore {
    disk: MemoryDisk,
    life: u64,
    failed: bool,
}

/// The reading side.
#[derive(Clone)]
pub struct MemoryReader(MemoryDisk);

/// What a disk held at some time.
#[derive(Clone)]
pub struct MemoryImage(Image);

/// Results of so many records are written back at once. Far fewer than in a folder: short histories should see it.
const OVERLAY_RECORDS_MAX: usize = 6;

/// What the disk must hold at least, and up to where that is known to be committed: the high-water mark.
#[derive(Clone, Copy, Default)]
struct Mark {
    hard: HardState,
    last_index: Index,
    committed: Index,
}

struct Inner {
    /// What survives a power cut for certain.
    synced: Image,
    /// What the running node sees.
    current: Image,
    /// The way from `synced` to `current`, but for `overlay`.
    unsynced: Vec<Step>,
    /// Results that are not written back.
    overlay: Vec<StateWrite>,
    /// Something was written since the last [`sync_mark`](Store::sync_mark).
    written: bool,
    /// Raised by every crash and close: a store of an earlier life can do nothing any more.
    life: u64,
    in_use: bool,
    syncs: u64,
    fail_next_sync: bool,
    /// The mark as the last process wrote it, and what of it survives a power cut.
    mark: Mark,
    synced_mark: Mark,
}

impl MemoryDisk {
    /// A disk with a finished data folder.
    ///
    /// # Errors
    /// `Mismatch` if `meta` names another cluster than `genesis` makes, `Corrupt` if `genesis` does not execute.
    pub fn create(meta: &Meta, genesis: &Block) -> Result<MemoryDisk, StoreError> {
        let image = Image::new(meta, genesis)?;
        Ok(MemoryDisk(Arc::new(Mutex::new(Inner {
            synced: image.clone(),
            current: image,
            unsynced: Vec::new(),
            overlay: Vec::new(),
            written: false,
            life: 0,
            in_use: false,
            syncs: 0,
            fail_next_sync: false,
            mark: Mark::default(),
            synced_mark: Mark::default(),
        }))))
    }

    /// Opens the store on it.
    ///
    /// # Errors
    /// `InUse` while another store is open, `Mismatch`, `Corrupt`.
    pub fn open(&self, expected: &Expected) -> Result<(MemoryStore, MemoryReader, Opened), StoreError> {
        let mut inner = self.lock();
        if inner.in_use {
            return Err(StoreError::InUse { dir: name() });
        }
        meta::check(&inner.current.meta, &name(), &expected.cluster_id, &expected.node)?;
        inner.check_mark()?;
        let opened = inner.replayed()?;
        // What an open hands out counts as durable, so it is made durable, as on a real disk.
        inner.settle();
        inner.in_use = true;
        let store = MemoryStore { disk: self.clone(), life: inner.life, failed: false };
        Ok((store, MemoryReader(self.clone()), opened))
    }

    /// Cuts the power. `keep` is told how many steps were not synced and says how many of them, from the oldest on,
    /// reached the disk all the same. Returns how many were lost. The open store, if any, is dead from here on.
    pub fn crash(&self, keep: impl FnOnce(usize) -> usize) -> usize {
        let mut inner = self.lock();
        let steps = std::mem::take(&mut inner.unsynced);
        let kept = keep(steps.len()).min(steps.len());
        for step in &steps[..kept] {
            inner.synced.apply(step);
        }
        inner.mark = inner.synced_mark;
        inner.end_life();
        steps.len() - kept
    }

    /// What a power cut would leave for certain.
    #[must_use]
    pub fn image(&self) -> MemoryImage {
        MemoryImage(self.lock().synced.clone())
    }

    /// Puts an older image of this disk in the place of what it holds. The open store, if any, is dead from here on.
    pub fn roll_back(&self, image: MemoryImage) {
        let mut inner = self.lock();
        inner.unsynced.clear();
        inner.synced = image.0;
        inner.end_life();
    }

    /// Term, vote and last record that a power cut would leave for certain.
    #[must_use]
    pub fn synced_promises(&self) -> (HardState, Index) {
        let inner = self.lock();
        (inner.synced.hard, inner.synced.reach.last_index)
    }

    /// The same as far as the high-water mark knows it after a power cut.
    #[must_use]
    pub fn marked_promises(&self) -> (HardState, Index) {
        let inner = self.lock();
        (inner.synced_mark.hard, inner.synced_mark.last_index)
    }

    /// The node on this disk has not caught up since its former disk was lost.
    #[must_use]
    pub fn is_rejoining(&self) -> bool {
        self.lock().synced.meta.rejoining
    }

    /// Takes back [`fail_next_sync`](Self::fail_next_sync).
    pub fn mend(&self) {
        self.lock().fail_next_sync = false;
    }

    /// Term of a record, if a power cut would leave it for certain.
    #[must_use]
    pub fn synced_term(&self, index: Index) -> Option<Term> {
        let inner = self.lock();
        (index <= inner.synced.reach.last_index).then(|| inner.synced.runs.term_at(index))
    }

    /// Kills the process: the page cache survives, so nothing is lost that was handed over. The open store is dead from here on.
    pub fn kill(&self) {
        self.lock().end_life();
    }

    /// The next sync that has something to do fails, as on a device that reports an error.
    pub fn fail_next_sync(&self) {
        self.lock().fail_next_sync = true;
    }

    /// How many steps a power cut could lose now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// How many syncs had something to do, since the disk was made.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryImage {
    /// Term, vote and last record.
    #[must_use]
    pub fn promises(&self) -> (HardState, Index) {
        (self.0.hard, self.0.reach.last_index)
    }
}

impl Inner {
    fn settle(&mut self) {
        for step in std::mem::take(&mut self.unsynced) {
            self.synced.apply(&step);
        }
        let (hard, last_index) = (self.synced.hard, self.synced.reach.last_index);
        self.mark = Mark { hard, last_index, committed: self.current.reach.applied };
        // A promise's mark is synced at once, a record's later (`sync_mark`).
        self.synced_mark.hard = self.mark.hard;
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if !self.unsynced.is_empty() {
            if std::mem::take(&mut self.fail_next_sync) {
                return Err(refused("injected failure of a sync"));
            }
            self.syncs += 1;
        }
        if !planted!(SyncDoesNothing) {
            self.settle();
        }
        Ok(())
    }

    /// Hands over to the disk what it does not have of the state.
    fn write_back(&mut self) {
        let writes = std::mem::take(&mut self.overlay);
        if writes.is_empty() {
            return;
        }
        if planted!(AppliedIndexApart) {
            let writes = writes.iter().map(|write| StateWrite { delta: None, ..write.clone() }).collect();
            self.unsynced.push(Step::State { writes, place: true });
        }
        self.unsynced.push(Step::State { writes, place: !planted!(StateRowsWithoutPlace) });
    }

    /// What a process finds: the stored state, and on it the records that are known to be committed.
    fn replayed(&mut self) -> Result<Opened, StoreError> {
        let mut state = self.current.state()?;
        let known = if planted!(ReplaySkipped) { 0 } else { self.mark.committed };
        for index in self.current.reach.applied + 1..=known {
            let Some(record) = self.current.records.get(&index) else {
                return Err(StoreError::corrupt(format!("record {index} is committed and missing")));
            };
            let write = execute(&mut state, record).map_err(|why| {
                StoreError::corrupt(format!("record {index} is committed, and cannot be executed: {why}"))
            })?;
            self.current.advance(&write);
            self.overlay.push(write);
        }
        Ok(self.current.opened(state))
    }

    fn check_mark(&self) -> Result<(), StoreError> {
        if planted!(MarkNotChecked) {
            return Ok(());
        }
        let (hard, promised) = (self.current.hard, self.mark.hard);
        let vote_lost = hard.term == promised.term && promised.vote.is_some() && hard.vote != promised.vote;
        if hard.term < promised.term || vote_lost || self.current.reach.last_index < self.mark.last_index {
            return Err(StoreError::corrupt("the disk holds less than its high-water mark says".to_owned()));
        }
        Ok(())
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.in_use = false;
        self.fail_next_sync = false;
        // What was only in the process's memory is gone with it.
        self.overlay.clear();
        self.current = self.synced.clone();
        for step in &self.unsynced {
            self.current.apply(step);
        }
    }

    fn take(&mut self, step: Step) {
        self.current.apply(&step);
        self.unsynced.push(step);
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.written = true;
        for write in &batch.writes {
            match write {
                Write::Hard(hard) => {
                    check_hard(&self.current.hard, hard)?;
                    self.take(Step::Hard(*hard));
                }
                Write::Splice { from, records } => {
                    let before = self.current.runs.term_at(from.saturating_sub(1));
                    self.current.reach.check_splice(*from, records, before)?;
                    if *from <= self.current.reach.last_index {
                        for mark in [&mut self.mark, &mut self.synced_mark] {
                            mark.last_index = mark.last_index.min(from - 1);
                        }
                        self.take(Step::Cut(*from));
                    }
                    for record in records {
                        self.take(Step::Append(record.clone()));
                    }
                }
            }
        }
        for (node, incarnation) in &batch.peers {
            self.take(Step::Peer(*node, *incarnation));
        }
        for (node, key) in &batch.keys {
            self.take(Step::Key(*node, *key));
        }
        for write in &batch.state {
            self.current.reach.check_state(write, self.current.runs.term_at(write.index))?;
            self.current.advance(write);
            self.overlay.push(write.clone());
            if self.overlay.len() >= OVERLAY_RECORDS_MAX {
                self.write_back();
            }
        }
        if batch.clear_rejoining {
            self.take(Step::ClearRejoining);
        }
        Ok(())
    }
}

impl MemoryStore {
    fn attempt(&mut self, work: impl FnOnce(&mut Inner) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut inner = self.disk.lock();
        if self.failed || inner.life != self.life {
            return Err(refused("the store stopped at its first error or its machine crashed"));
        }
        let result = work(&mut inner);
        self.failed = result.is_err();
        result
    }
}

impl Store for MemoryStore {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.attempt(|inner| inner.write(batch))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.attempt(Inner::sync)
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.attempt(|inner| {
            if !std::mem::take(&mut inner.written) {
                inner.write_back();
            }
            inner.sync()?;
            inner.synced_mark = inner.mark;
            Ok(())
        })
    }

    fn close(mut self) -> Result<(), StoreError> {
        self.attempt(|inner| {
            inner.write_back();
            inner.sync()?;
            inner.synced_mark = inner.mark;
            Ok(())
        })
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut inner = self.disk.lock();
        if inner.life == self.life {
            inner.end_life();
        }
    }
}

impl Reader for MemoryReader {
    fn records(&self, from: Index, bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        let inner = self.0.lock();
        let mut bytes = 0_usize;
        let mut records = Vec::new();
        for record in inner.current.records.range(from..).map(|(_, record)| record) {
            bytes = bytes.saturating_add(record.entry.as_ref().map_or(0, |entry| entry.len()));
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Ok(records)
    }

    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError> {
        let inner = self.0.lock();
        let Some(index) = inner.current.blocks.get(&height) else {
            return Ok(None);
        };
        Ok(inner.current.records.get(index).and_then(|record| record.entry.clone()))
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        let inner = self.0.lock();
        Ok(StoredRows { applied: inner.current.reach.applied, rows: inner.current.state_rows()? })
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        self.0.lock().current.log_node(level, index)
    }
}

fn name() -> PathBuf {
    PathBuf::from("(memory)")
}

fn refused(why: &'static str) -> StoreError {
    StoreError::io("writing to", Path::new("(memory)"), io::Error::other(why))
}
