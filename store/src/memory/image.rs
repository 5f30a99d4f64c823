//! The contents of the disk in memory, and the steps that change them.

use super::name;
use crate::{
    error::StoreError,
    meta::Meta,
    shape::{Reach, Runs, log_has},
    types::{Opened, StateWrite},
};
use raftbank_consensus::{Durable, Entry, HardState, Index, NodeId, Record, Term};
use raftbank_ledger::{
    Account, Balance, Block, Delta, Hash, Ids, LogTree, Pending, RequestId, State, StateRows, Tip,
    log_tree::peak_places,
};
use std::collections::BTreeMap;

/// The smallest changes a power cut can tell apart.
pub(super) enum Step {
    Hard(HardState),
    Cut(Index),
    Append(Record),
    Peer(NodeId, u64),
    Key(NodeId, [u8; 32]),
    /// Results of records go to the disk, or without `place` only what they changed.
    State {
        writes: Vec<StateWrite>,
        place: bool,
    },
    ClearRejoining,
}

/// The contents of a disk.
#[derive(Clone)]
pub(super) struct Image {
    pub meta: Meta,
    pub hard: HardState,
    pub records: BTreeMap<Index, Record>,
    pub runs: Runs,
    pub reach: Reach,
    applied_term: Term,
    tip: Tip,
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    ids: Ids,
    pendings: BTreeMap<RequestId, Pending>,
    pub blocks: BTreeMap<u64, Index>,
    log: BTreeMap<(u8, u64), Hash>,
    peers: BTreeMap<NodeId, u64>,
    keys: BTreeMap<NodeId, [u8; 32]>,
    difficulty: u8,
}

impl Image {
    pub fn new(meta: &Meta, genesis: &Block) -> Result<Image, StoreError> {
        let cluster_id = genesis.hash();
        if meta.cluster_id != cluster_id {
            return Err(StoreError::Mismatch {
                dir: name(),
                what: "cluster id",
                expected: cluster_id.to_string(),
                found: meta.cluster_id.to_string(),
            });
        }
        let (_, delta) = State::new(genesis)
            .map_err(|error| StoreError::corrupt(format!("the genesis block does not execute: {error}")))?;
        let record = Record { index: 0, term: 0, entry: Some(Entry::from(genesis.encode())) };
        let mut image = Image {
            meta: meta.clone(),
            hard: HardState { term: 0, vote: None },
            records: BTreeMap::from([(0, record)]),
            runs: Runs::default(),
            reach: Reach { last_index: 0, applied: 0, height: 0 },
            applied_term: 0,
            tip: delta.tip.clone(),
            accounts: BTreeMap::new(),
            values: BTreeMap::new(),
            ids: Ids::default(),
            pendings: BTreeMap::new(),
            blocks: BTreeMap::new(),
            log: BTreeMap::new(),
            peers: BTreeMap::new(),
            keys: BTreeMap::new(),
            difficulty: genesis.header.difficulty,
        };
        image.apply_delta(&delta, 0);
        Ok(image)
    }

    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Hard(hard) => self.hard = *hard,
            Step::Cut(from) => {
                self.records.split_off(from);
                self.runs.cut(*from);
                self.reach.last_index = from - 1;
            }
            Step::Append(record) => {
                self.runs.push(record.index, record.term);
                self.reach.last_index = record.index;
                self.records.insert(record.index, record.clone());
            }
            Step::Peer(node, incarnation) => {
                self.peers.insert(*node, *incarnation);
            }
            Step::Key(node, key) => {
                self.keys.insert(*node, *key);
            }
            Step::State { writes, place } => {
                for write in writes {
                    let (reach, term, tip) = (self.reach, self.applied_term, self.tip.clone());
                    self.advance(write);
                    if !place {
                        (self.reach, self.applied_term, self.tip) = (reach, term, tip);
                    }
                }
            }
            Step::ClearRejoining => self.meta.rejoining = false,
        }
    }

    /// The results of the next record.
    pub fn advance(&mut self, write: &StateWrite) {
        self.reach.advance(write);
        self.applied_term = write.term;
        if let Some(delta) = &write.delta {
            self.apply_delta(delta, write.index);
        }
    }

    fn apply_delta(&mut self, delta: &Delta, index: Index) {
        self.accounts.extend(delta.accounts.iter().cloned());
        self.values.extend(delta.values.iter().cloned());
        for (id, record) in &delta.ids {
            self.ids.insert(id, record.clone());
        }
        self.pendings.extend(delta.pendings.iter().cloned());
        self.log.extend(delta.log.iter().map(|node| ((node.level, node.index), node.hash)));
        self.blocks.insert(delta.tip.height, index);
        self.tip = delta.tip.clone();
    }

    /// A node of the log tree; `None` while it is not complete.
    pub fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        if !log_has(self.tip.height, level, index) {
            return Ok(None);
        }
        match self.log.get(&(level, index)) {
            Some(hash) => Ok(Some(*hash)),
            None => Err(StoreError::corrupt(format!("node {index} at level {level} of the log tree is missing"))),
        }
    }

    pub fn state_rows(&self) -> Result<StateRows, StoreError> {
        let size = self.tip.height + 1;
        let mut peaks = Vec::new();
        for (level, index) in peak_places(size) {
            peaks.extend(self.log_node(level, index)?);
        }
        Ok(StateRows {
            accounts: self.accounts.clone(),
            values: self.values.clone(),
            ids: self.ids.clone(),
            pendings: self.pendings.clone(),
            log: LogTree::from_peaks(size, peaks).expect("a hash for each peak"),
            tip: self.tip.clone(),
            cluster_id: self.meta.cluster_id,
            difficulty: self.difficulty,
        })
    }

    /// The state as far as it is stored.
    pub fn state(&self) -> Result<State, StoreError> {
        State::restore(self.state_rows()?)
            .map_err(|error| StoreError::corrupt(format!("the stored state is not the one that was written: {error}")))
    }

    /// What a node finds; `state` is that of this image.
    pub fn opened(&self, state: State) -> Opened {
        let applied = self.reach.applied;
        Opened {
            meta: self.meta.clone(),
            durable: Durable {
                hard: self.hard,
                terms: self.runs.as_slice().to_vec(),
                last_index: self.reach.last_index,
                committed: applied,
                tail: self.records.range(applied + 1..).map(|(_, record)| record.clone()).collect(),
            },
            applied,
            state,
            peers: self.peers.clone(),
            keys: self.keys.clone(),
            notes: Vec::new(),
        }
    }
}
