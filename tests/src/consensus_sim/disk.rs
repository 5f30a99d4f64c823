//! A disk that syncs in its own time. What is written is visible to the process at once, and survives a crash only
//! once it is synced — or if the crash leaves a prefix of it behind.

use std::collections::VecDeque;

use raftbank_consensus::{Durable, Group, HardState, Index, Message, NodeId, Record, TermRun, Write};

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Term and vote.
    pub hard: HardState,
    /// Records from index 1.
    pub records: Vec<Record>,
    /// Index of the applied state.
    pub applied: Index,
    /// The node lost its former disk and has not caught up.
    pub rejoining: bool,
}

impl Image {
    /// What an engine opens on.
    pub fn durable(&self) -> Durable {
        let mut terms: Vec<TermRun> = Vec::new();
        for record in &self.records {
            if terms.last().is_none_or(|run| run.term != record.term) {
                terms.push(TermRun { first: record.index, term: record.term });
            }
        }
        Durable {
            hard: self.hard,
            terms,
            last_index: self.records.len() as Index,
            committed: self.applied,
            tail: self.records[self.applied as usize..].to_vec(),
        }
    }

    fn apply(&mut self, item: &Item) {
        for write in &item.writes {
            match write {
                Write::Hard(hard) => self.hard = *hard,
                Write::Splice { from, records } => {
                    assert!(*from > self.applied, "applied record {from} is overwritten");
                    self.records.truncate(*from as usize - 1);
                    self.records.extend(records.iter().cloned());
                }
            }
        }
        if let Some(applied) = item.applied {
            assert!(applied as usize <= self.records.len(), "a state beyond the log");
            self.applied = applied;
        }
        self.rejoining &= !item.promoted;
    }
}

/// One atomic write.
#[derive(Debug, Default)]
pub struct Item {
    /// The engine's group that is durable with it.
    pub group: Option<Group>,
    /// Changes.
    pub writes: Vec<Write>,
    /// The state was applied up to here.
    pub applied: Option<Index>,
    /// The rejoining flag is cleared.
    pub promoted: bool,
    /// Sent once it is durable.
    pub gated: Vec<(NodeId, Message)>,
}

impl Item {
    /// Somebody waits for it to be durable. (A state needs no sync of its own: it can be replayed.)
    fn awaited(&self) -> bool {
        self.group.is_some() || self.promoted
    }
}

/// A disk and the writes on their way to it.
#[derive(Debug, Default)]
pub struct Disk {
    /// What a crash leaves.
    pub durable: Image,
    /// What the process sees.
    pub visible: Image,
    queue: VecDeque<Item>,
    /// Items of the sync under way.
    syncing: usize,
}

impl Disk {
    /// An empty disk.
    pub fn new(rejoining: bool) -> Self {
        let image = Image { rejoining, ..Image::default() };
        Self { durable: image.clone(), visible: image, ..Self::default() }
    }

    /// Writes without waiting.
    pub fn write(&mut self, item: Item) {
        self.visible.apply(&item);
        self.queue.push_back(item);
    }

    /// Begins one sync for all that is queued, if there is need and none is under way.
    pub fn begin_sync(&mut self) -> bool {
        if self.syncing > 0 || !self.queue.iter().any(Item::awaited) {
            return false;
        }
        self.syncing = self.queue.len();
        true
    }

    /// The sync is done: these items are durable, in order.
    pub fn end_sync(&mut self) -> Vec<Item> {
        let items: Vec<Item> = self.queue.drain(..self.syncing).collect();
        self.syncing = 0;
        for item in &items {
            self.durable.apply(item);
        }
        items
    }

    /// Writes that are not durable.
    pub fn unsynced(&self) -> usize {
        self.queue.len()
    }

    /// Power is cut. The first `survive` unsynced items are on the disk nevertheless. Returns true if any change of
    /// term, vote or log is lost.
    pub fn crash(&mut self, survive: usize) -> bool {
        let lost: Vec<Item> = self.queue.drain(survive.min(self.queue.len())..).collect();
        for item in self.queue.drain(..) {
            self.durable.apply(&item);
        }
        self.syncing = 0;
        self.visible = self.durable.clone();
        lost.iter().any(|item| !item.writes.is_empty())
    }
}
