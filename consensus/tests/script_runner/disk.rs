//! A tiny disk: what is durable, and the writes on their way there. A crash forgets the latter.

use std::collections::VecDeque;

use raftbank_consensus::{Durable, Group, HardState, Index, Message, NodeId, Record, TermRun, Write};

/// Term, vote and records.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub hard: HardState,
    /// From index 1.
    pub records: Vec<Record>,
    /// The state that was saved with it covers records up to here. 0 in most scripts: the commit index is volatile.
    pub applied: Index,
}

impl Image {
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Hard(hard) => self.hard = *hard,
            Write::Splice { from, records } => {
                self.records.truncate(*from as usize - 1);
                self.records.extend(records.iter().cloned());
            }
        }
    }

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
}

/// One group of writes, with the messages that wait for it.
#[derive(Debug)]
pub struct Unsynced {
    pub group: Group,
    pub writes: Vec<Write>,
    pub gated: Vec<(NodeId, Message)>,
}

/// What is durable, and what is not yet.
#[derive(Debug, Default)]
pub struct Disk {
    pub durable: Image,
    pub queue: VecDeque<Unsynced>,
}

impl Disk {
    /// What the process sees.
    pub fn visible(&self) -> Image {
        let mut image = self.durable.clone();
        self.queue.iter().flat_map(|unsynced| &unsynced.writes).for_each(|write| image.write(write));
        image
    }

    /// The oldest group becomes durable.
    pub fn sync(&mut self) -> Option<Unsynced> {
        let unsynced = self.queue.pop_front()?;
        unsynced.writes.iter().for_each(|write| self.durable.write(write));
        Some(unsynced)
    }
}
