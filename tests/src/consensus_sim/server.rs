//! One simulated node: a shipping engine, its disk, and what its driver would know.

use std::collections::BTreeMap;

use raftbank_consensus::{BarrierId, Config, Engine, Index, NodeId, Output, Raft, Record, Role, Status, Term, Write};

use super::check::{GENESIS, Violation, chain_after, violated};
use super::disk::{Disk, Item};
use super::world::Event;

/// A member of the simulated cluster.
#[derive(Debug)]
pub struct Server {
    pub id: NodeId,
    /// None while it is down.
    pub engine: Option<Raft>,
    pub disk: Disk,
    /// Counts starts, so that what was meant for an earlier process is dropped.
    pub epoch: u64,
    /// Counts disks.
    pub incarnation: u64,
    /// Newest incarnation of each member that this one has stored.
    pub known: Vec<u64>,
    /// While stopped: what waits for it.
    pub paused: Option<Vec<Event>>,
    pub role: Role,
    pub term: Term,
    /// Term and chain hash of each record of the visible log, from index 0.
    pub terms: Vec<Term>,
    pub chain: Vec<u64>,
    pub applied: Index,
    /// Reads in flight, with what had to be visible to each.
    pub reads: BTreeMap<BarrierId, Index>,
    pub next_read: BarrierId,
    /// Rejoining: the terms collected so far; `None` once all are known.
    pub collecting: Option<BTreeMap<NodeId, Term>>,
    /// It has disputed a record since it was started.
    pub disputed: bool,
    /// Its clock runs a little fast or slow.
    pub tick_us: u64,
    /// How long a sync takes, at least and at most.
    pub sync_us: (u64, u64),
    /// The same while the disk is well.
    pub healthy_sync_us: (u64, u64),
}

impl Server {
    pub fn new(id: NodeId, members: usize, tick_us: u64, sync_us: (u64, u64)) -> Self {
        Self {
            id,
            engine: None,
            disk: Disk::new(false),
            epoch: 0,
            incarnation: 1,
            known: vec![1; members],
            paused: None,
            role: Role::Follower,
            term: 0,
            terms: vec![0],
            chain: vec![GENESIS],
            applied: 0,
            reads: BTreeMap::new(),
            next_read: 1,
            collecting: None,
            disputed: false,
            tick_us,
            sync_us,
            healthy_sync_us: sync_us,
        }
    }

    pub fn up(&self) -> bool {
        self.engine.is_some()
    }

    /// Up and not stopped.
    pub fn runs(&self) -> bool {
        self.up() && self.paused.is_none()
    }

    pub fn status(&self) -> Option<Status> {
        self.engine.as_ref().map(Raft::status)
    }

    /// Starts the process on what its disk holds.
    pub fn start(&mut self, config: Config) -> Output {
        assert!(self.engine.is_none(), "started twice");
        let image = self.disk.durable.clone();
        (self.terms, self.chain) = (vec![0], vec![GENESIS]);
        for record in &image.records {
            self.terms.push(record.term);
            self.chain.push(chain_after(self.chain[self.chain.len() - 1], record));
        }
        self.applied = image.applied;
        self.role = Role::Follower;
        self.term = image.hard.term;
        self.collecting = image.rejoining.then(BTreeMap::new);
        self.sync_us = self.healthy_sync_us;
        self.disputed = false;
        let (engine, output) = Raft::open(config, image.durable());
        self.engine = Some(engine);
        output
    }

    /// The process ends with a power cut. Returns true if the disk forgot something.
    pub fn crash(&mut self, survive: usize) -> bool {
        self.engine = None;
        self.paused = None;
        self.epoch += 1;
        self.reads.clear();
        self.role = Role::Follower;
        self.disk.crash(survive)
    }

    /// Follows a write in the visible log. Returns how many records it cut off.
    pub fn follow(&mut self, write: &Write) -> Result<u64, Violation> {
        let Write::Splice { from, records } = write else { return Ok(0) };
        let keep = *from as usize;
        if keep > self.terms.len() || *from <= self.applied {
            violated!(
                "{:?} splices at {from}: log of {} records, {} applied",
                self.id,
                self.terms.len() - 1,
                self.applied
            );
        }
        let cut = self.terms.len() - keep;
        self.terms.truncate(keep);
        self.chain.truncate(keep);
        for record in records {
            self.terms.push(record.term);
            self.chain.push(chain_after(self.chain[self.chain.len() - 1], record));
        }
        Ok(cut as u64)
    }

    /// Takes note that records are applied.
    pub fn apply(&mut self, record: &Record) -> Result<(), Violation> {
        if record.index != self.applied + 1 {
            violated!("{:?} commits {} after {}: each exactly once, in order", self.id, record.index, self.applied);
        }
        self.applied = record.index;
        self.disk.write(Item { applied: Some(record.index), ..Item::default() });
        Ok(())
    }
}
