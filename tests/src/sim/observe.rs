//! What must hold at every step of every run, seen from outside of the nodes. What must hold in the end is
//! [`crate::history`]'s.
//!
//! - **One leader per term** (Raft thesis §3.2), also across restarts.
//! - **Committed once and for all**: whoever applies a record applies the same one; the first to do so finds it durable
//!   on a majority of the disks.
//! - **Promises are durable**: a term or vote before it leaves the machine, a record before it is acknowledged.
//! - **A leader that hears no majority makes way**, and **a node that hears nobody does not raise its term** (check-quorum
//!   and pre-vote, thesis §6.2 and §9.6).
//! - **Signed heads** are those of the chain, see [`super::heads`].
//! - **Nobody stops without a reason**: exit code 6 only where something was damaged, 7 only where a sync failed.

use std::collections::{BTreeMap, BTreeSet};

use raftbank_codec::decode;
use raftbank_consensus::{NodeId, Role, Term};
use raftbank_ledger::Hash;
use raftbank_store::StateWrite;
use raftbankd::node::message::{Body, Envelope, FRAME_BYTES_MAX};

use super::Violation;
use super::heads::Heads;
use super::machine::{Machine, TICK_MS, TIMERS};
use crate::consensus_sim::Promises;

/// Breaks a rule.
macro_rules! violated {
    ($($text:tt)*) => { return Err(crate::history::Violation(format!($($text)*))) };
}
pub(super) use violated;

/// After that long without a majority nobody leads any more; after that long without anyone no term grows. An election
/// timeout is 300 ms at most; what is left covers slow ticks and what was under way.
const ALONE_US: u64 = 4 * TIMERS.election_ticks_max as u64 * TICK_MS * 1_000;

/// What one machine heard of the others.
#[derive(Clone, Debug)]
struct Ear {
    /// When it last heard each other member; its own start at first.
    heard_us: Vec<u64>,
    /// Its term when it had heard nobody for [`ALONE_US`].
    alone_term: Option<Term>,
}

/// The observer of one run.
#[derive(Debug)]
pub struct Observer {
    members: usize,
    /// Each record that anyone has applied, from index 1: its term and the hash of its block.
    applied: Vec<(Term, Option<Hash>)>,
    leaders: BTreeMap<Term, NodeId>,
    promises: Promises,
    ears: Vec<Ear>,
    /// Records that were durable on a disk that is gone: they may have been acknowledged before.
    gone: BTreeSet<(u64, Term, NodeId)>,
    /// Signed heads.
    pub heads: Heads,
}

impl Observer {
    /// Of a bank with so many members.
    pub fn new(cluster_id: Hash, members: usize) -> Self {
        let ear = Ear { heard_us: vec![0; members], alone_term: None };
        Self {
            members,
            applied: Vec::new(),
            leaders: BTreeMap::new(),
            promises: Promises::default(),
            ears: vec![ear; members],
            gone: BTreeSet::new(),
            heads: Heads::new(cluster_id, members),
        }
    }

    /// How many blocks anyone has applied.
    pub fn blocks(&self) -> u64 {
        self.applied.iter().filter(|(_, block)| block.is_some()).count() as u64
    }

    /// Index of the last record that anyone has applied.
    pub fn last_applied(&self) -> u64 {
        self.applied.len() as u64
    }

    /// A node has applied a record.
    pub fn applied(&mut self, node: NodeId, write: &StateWrite, machines: &[Machine]) -> Result<(), Violation> {
        let found = (write.term, write.delta.as_ref().map(|delta| delta.tip.hash));
        let Some(at) = (write.index as usize).checked_sub(1) else { violated!("{node:?} applies record 0") };
        match self.applied.get(at) {
            Some(known) if *known == found => Ok(()),
            Some(known) => violated!("{node:?} applies {found:?} as record {}, others applied {known:?}", write.index),
            None if at > self.applied.len() => {
                violated!("{node:?} applies record {}, only {} were committed", write.index, self.applied.len())
            }
            None => {
                let holds = |machine: &&Machine| {
                    machine.disk.synced_term(write.index) == Some(write.term)
                        || self.gone.contains(&(write.index, write.term, machine.id))
                };
                let copies = machines.iter().filter(holds).count();
                if copies * 2 <= self.members {
                    violated!(
                        "{node:?} commits record {} of term {}, which is durable on {copies} of {} disks",
                        write.index,
                        write.term,
                        self.members
                    );
                }
                found.1.into_iter().for_each(|hash| self.heads.block(hash));
                self.applied.push(found);
                Ok(())
            }
        }
    }

    /// A disk is about to be lost or rolled back.
    pub fn loses(&mut self, machine: &Machine) {
        let (_, last_index) = machine.disk.synced_promises();
        for index in self.last_applied() + 1..=last_index {
            self.gone.extend(machine.disk.synced_term(index).map(|term| (index, term, machine.id)));
        }
    }

    /// A node says what it is.
    pub fn role(&mut self, node: NodeId, role: Role, term: Term) -> Result<(), Violation> {
        if role == Role::Leader
            && let Some(other) = self.leaders.insert(term, node)
            && other != node
        {
            violated!("{other:?} and {node:?} both lead in term {term}");
        }
        Ok(())
    }

    /// A frame leaves a machine.
    pub fn leaves(&mut self, machine: &Machine, to: NodeId, payload: &[u8]) -> Result<(), Violation> {
        let envelope: Envelope = match decode(payload, FRAME_BYTES_MAX) {
            Ok(envelope) => envelope,
            Err(error) => violated!("{:?} sends what nobody can read: {error}", machine.id),
        };
        let message = match envelope.body {
            Body::Raft(message) => message,
            Body::HeadSigned { size, signature } => return self.heads.leaves(machine, size, &signature),
            _ => return Ok(()),
        };
        let (hard, last_index) = machine.disk.synced_promises();
        self.promises
            .leaves((machine.id, machine.incarnation), to, &message, hard, last_index)
            .map_err(|violation| Violation(violation.0))
    }

    /// A process begins, or goes on after a pause: it has had no chance to hear anyone.
    pub fn begins(&mut self, node: NodeId, now_us: u64) {
        let ear = &mut self.ears[usize::from(node.0)];
        ear.heard_us.fill(now_us);
        ear.alone_term = None;
    }

    /// A frame arrives at a node.
    pub fn hears(&mut self, node: NodeId, from: NodeId, now_us: u64) {
        let ear = &mut self.ears[usize::from(node.0)];
        ear.heard_us[usize::from(from.0)] = now_us;
        ear.alone_term = None;
    }

    /// A node's clock ticks.
    pub fn ticks(&mut self, node: NodeId, role: Role, term: Term, now_us: u64) -> Result<(), Violation> {
        let ear = &mut self.ears[usize::from(node.0)];
        let own = usize::from(node.0);
        let recent = |(other, heard): (usize, &u64)| other == own || now_us - heard <= ALONE_US;
        let heard = ear.heard_us.iter().enumerate().filter(|(other, heard)| recent((*other, heard))).count();
        if role == Role::Leader && heard * 2 <= self.members {
            violated!("{node:?} leads in term {term} and has heard no majority for {ALONE_US} µs");
        }
        if heard == 1 && self.members > 1 {
            let since = *ear.alone_term.get_or_insert(term);
            if term != since {
                violated!("{node:?} hears nobody and raised its term from {since} to {term}");
            }
        }
        Ok(())
    }
}
