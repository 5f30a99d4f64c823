//! What goes into a store and what comes out: batches, the two traits, and what a node finds at start.

use crate::{error::StoreError, meta::Meta};
use raftbank_consensus::{Durable, Entry, Index, NodeId, Record, Term, Write};
use raftbank_ledger::{Delta, Hash, NodeName, State, StateRows};
use std::collections::BTreeMap;

/// Everything to be written together. Writes of consensus come first, in their order, then the state.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Hard states and splices of the log, applied in order.
    pub writes: Vec<Write>,
    /// Results of applied records, one each, without a gap, ascending.
    pub state: Vec<StateWrite>,
    /// Incarnations of other members that this node has accepted.
    pub peers: Vec<(NodeId, u64)>,
    /// Public keys that other members sign checkpoints with.
    pub keys: Vec<(NodeId, [u8; 32])>,
    /// The node has caught up: it is no longer rejoining once this batch is synced.
    pub clear_rejoining: bool,
}

impl Batch {
    /// True if there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let rows = self.writes.is_empty() && self.state.is_empty() && self.peers.is_empty() && self.keys.is_empty();
        rows && !self.clear_rejoining
    }
}

/// One applied record. What it changes reaches the disk late, together with later ones, but always as a whole: what a
/// disk holds is the state after some record, and a start executes again what is known to be committed.
#[derive(Clone, Debug)]
pub struct StateWrite {
    /// Index of the record, the one after the last applied.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// Height of its block; `None` for a no-op.
    pub height: Option<u64>,
    /// What the block changed; `None` for a no-op.
    pub delta: Option<Delta>,
}

/// Whose folder a node expects to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Hash of block 0, from the genesis file.
    pub cluster_id: Hash,
    /// The node's own id, from its configuration.
    pub node: NodeName,
}

/// What a node finds when it opens its store. All of it is durable.
#[derive(Debug)]
pub struct Opened {
    /// Identity of the folder.
    pub meta: Meta,
    /// Where consensus continues. `committed` is `applied`; `tail` holds every record after it. All records that the
    /// high-water mark knows to be committed are applied.
    pub durable: Durable,
    /// Index of the last record whose results are in `state`.
    pub applied: Index,
    /// The ledger at `applied`, its root recomputed and compared.
    pub state: State,
    /// Incarnations of other members.
    pub peers: BTreeMap<NodeId, u64>,
    /// Public keys that other members sign checkpoints with.
    pub keys: BTreeMap<NodeId, [u8; 32]>,
    /// Sentences for the log: what was found unusual and is fine, such as a torn tail that was
    /// cut, or a folder of an older format that was brought up to date.
    pub notes: Vec<String>,
}

/// The stored rows at one moment, for comparing with a re-execution of the chain.
#[derive(Debug)]
pub struct StoredRows {
    /// Index of the last record whose results are in the rows.
    pub applied: Index,
    /// Accounts, values, ids and tip.
    pub rows: StateRows,
}

/// The writing side of a store: one per node, used from one thread.
///
/// An error of any call is final: every later call fails, too. The process reports it and exits with
/// [`StoreError::exit_code`]; a failed sync is never tried again.
pub trait Store: Send {
    /// Takes a batch over. Nothing of it is promised before the next [`sync`](Store::sync), but readers see it.
    ///
    /// # Errors
    /// `Io` from the disk; `Corrupt` if the batch contradicts what is stored, for example replaces an applied record.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes everything written so far durable. Only after it returned may a vote, a vote request or an acknowledgement
    /// that rests on it leave the node. Costs nothing when nothing was written.
    ///
    /// # Errors
    /// `Io` from the disk.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Syncs everything, and makes the high-water mark durable, which [`sync`](Store::sync) only overwrites unless a term
    /// or vote changed. If nothing was written since the last call, results that are only in memory are written back
    /// first, so that the next start finds them. The store has no clock: call it once a second until two calls have
    /// followed the last [`write`](Store::write). Costs nothing when nothing changed.
    ///
    /// # Errors
    /// `Io` from the disk.
    fn sync_mark(&mut self) -> Result<(), StoreError>;

    /// True while [`sync_mark`](Store::sync_mark) has begun something that further calls go on with, each for some
    /// milliseconds.
    fn has_work(&self) -> bool {
        false
    }

    /// Syncs everything, notes a clean stop, and lets the folder go.
    ///
    /// # Errors
    /// `Io` from the disk.
    fn close(self) -> Result<(), StoreError>
    where
        Self: Sized;
}

/// The reading side of a store: any number, from any thread, while the writer works.
pub trait Reader: Send + Sync + Clone {
    /// Records from index `from` on, in order without a gap: as many as fit into `bytes_max` bytes of entries, but at
    /// least one if there is one. Index 0 is the genesis block. Each is checked against its digest.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    fn records(&self, from: Index, bytes_max: usize) -> Result<Vec<Record>, StoreError>;

    /// The bytes of an applied block, `None` above the last one.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError>;

    /// All rows at one moment. The writer waits meanwhile.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    fn rows(&self) -> Result<StoredRows, StoreError>;

    /// The hash of a complete subtree of the log tree, over blocks `index << level` up to, but not including,
    /// `(index + 1) << level`; `None` while not all of those are applied.
    ///
    /// # Errors
    /// `Io`, or `Corrupt`: also if it should be there and is not.
    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError>;

    /// Every record from `from` on, read in portions of about `portion_bytes` bytes, to the end of the log at that time.
    fn walk(&self, from: Index, portion_bytes: usize) -> Walk<Self> {
        Walk { reader: self.clone(), next: from, portion_bytes, portion: Vec::new().into_iter(), ended: false }
    }
}

/// Iterator over records, see [`Reader::walk`]. Ends after the first error.
pub struct Walk<R: Reader> {
    reader: R,
    next: Index,
    portion_bytes: usize,
    portion: std::vec::IntoIter<Record>,
    ended: bool,
}

impl<R: Reader> Iterator for Walk<R> {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.portion.len() == 0 && !self.ended {
            match self.reader.records(self.next, self.portion_bytes) {
                Ok(records) => {
                    self.ended = records.is_empty();
                    self.portion = records.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        let record = self.portion.next()?;
        self.next = record.index + 1;
        Some(Ok(record))
    }
}
