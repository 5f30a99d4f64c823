//! What must hold at every step of every run, seen from outside of the engines.
//!
//! - **Election safety**: at most one leader per term (Raft thesis §3.2), also across restarts.
//! - **Log matching**: a record is named by index and term; wherever it stands, its payload and the term before it are
//!   the same. By induction, so is everything before it.
//! - **Leader completeness**: a new leader holds every record that anyone has seen committed.
//! - **Committed prefixes** are equal everywhere, and each payload extends the one before it (it carries its hash).
//! - **Durability**: what a node promises is on its disk when the promise leaves it: terms and votes before votes and
//!   vote requests, records before their acknowledgement; a committed record was durable on a majority.
//! - **Linearizable reads**: a read includes everything that anyone had seen committed when it was asked.

use std::collections::BTreeMap;

use raftbank_consensus::{HardState, Index, Message, NodeId, Record, Term};

/// A rule that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Breaks a rule.
macro_rules! violated {
    ($($text:tt)*) => { return Err(crate::consensus_sim::check::Violation(format!($($text)*))) };
}
pub(super) use violated;

/// FNV-1a: quick, and stable.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Chain hash of the genesis record.
pub const GENESIS: u64 = 1;

/// Bytes of an entry before its padding: the operation, and the hash of the entry before.
pub const ENTRY_BYTES_MIN: usize = 16;

/// The chain after a record: a no-op leaves it as it is.
pub fn chain_after(chain: u64, record: &Record) -> u64 {
    record.entry.as_ref().map_or(chain, |entry| hash(entry))
}

/// The hash that an entry says it extends.
pub fn extends(entry: &[u8]) -> Option<u64> {
    entry.get(8..ENTRY_BYTES_MIN)?.try_into().ok().map(u64::from_be_bytes)
}

#[derive(Debug)]
struct Known {
    payload: Option<u64>,
    term_before: Term,
    /// Members that ever held it durably, one bit each.
    durable: u8,
}

/// A record that some node has seen committed.
#[derive(Debug)]
struct Committed {
    term: Term,
    /// Hash of the chain up to it.
    chain: u64,
    /// Term of the leader that committed it.
    by: Term,
}

/// The observer.
#[derive(Debug)]
pub struct Checker {
    quorum: u32,
    /// Each committed record, from index 0.
    committed: Vec<Committed>,
    known: BTreeMap<(Index, Term), Known>,
    leaders: BTreeMap<Term, NodeId>,
    /// What left the nodes.
    pub promises: Promises,
}

/// What nodes have promised to each other.
#[derive(Debug, Default)]
pub struct Promises {
    /// Each vote, with the incarnation of the disk that remembers it.
    votes: BTreeMap<(NodeId, Term), (NodeId, u64)>,
}

impl Checker {
    /// An observer of a cluster of that many members.
    pub fn new(members: usize) -> Self {
        Self {
            quorum: members as u32 / 2 + 1,
            committed: vec![Committed { term: 0, chain: GENESIS, by: 0 }],
            known: BTreeMap::new(),
            leaders: BTreeMap::new(),
            promises: Promises::default(),
        }
    }

    /// The last index that anyone has seen committed.
    pub fn committed(&self) -> Index {
        self.committed.len() as Index - 1
    }

    /// A node writes a record behind one of `term_before` and chain hash `chain_before`.
    pub fn written(
        &mut self,
        node: NodeId,
        record: &Record,
        term_before: Term,
        chain_before: u64,
    ) -> Result<(), Violation> {
        let Record { index, term, entry } = record;
        if let Some(previous) = entry.as_ref().and_then(|entry| extends(entry))
            && previous != chain_before
        {
            violated!("node {node:?} writes record {index} of term {term}, which does not extend its predecessor");
        }
        let payload = entry.as_ref().map(|entry| hash(entry));
        let known = self.known.entry((*index, *term)).or_insert(Known { payload, term_before, durable: 0 });
        if (known.payload, known.term_before) != (payload, term_before) {
            violated!(
                "log matching: node {node:?} writes record {index} of term {term} with another payload or behind term \
                 {term_before} instead of {}",
                known.term_before
            );
        }
        Ok(())
    }

    /// A node's disk now holds a record.
    pub fn durable(&mut self, node: NodeId, index: Index, term: Term) {
        if let Some(known) = self.known.get_mut(&(index, term)) {
            known.durable |= 1 << node.0;
        }
    }

    /// A node in term `by` reports a record as committed. The first to do so is always the leader that committed it.
    pub fn commit(&mut self, node: NodeId, by: Term, record: &Record) -> Result<(), Violation> {
        let Record { index, term, .. } = record;
        let Some(before) = (*index as usize).checked_sub(1).and_then(|at| self.committed.get(at)) else {
            violated!("node {node:?} commits record {index} while only {} are committed", self.committed());
        };
        let before = before.chain;
        let chain = chain_after(before, record);
        match self.committed.get(*index as usize) {
            Some(committed) if (committed.term, committed.chain) == (*term, chain) => Ok(()),
            Some(Committed { term: other, .. }) => {
                violated!("committed prefixes differ at {index}: node {node:?} has term {term}, others have {other}")
            }
            None => {
                if let Some(previous) = record.entry.as_ref().and_then(|entry| extends(entry))
                    && previous != before
                {
                    violated!("committed record {index} does not extend its predecessor");
                }
                let copies = self.known.get(&(*index, *term)).map_or(0, |known| known.durable.count_ones());
                if copies < self.quorum {
                    violated!(
                        "node {node:?} commits record {index} of term {term}, durable on {copies} of {} needed",
                        self.quorum
                    );
                }
                self.committed.push(Committed { term: *term, chain, by });
                Ok(())
            }
        }
    }

    /// A node becomes leader; `terms` and `chain` describe its log from index 0.
    pub fn elected(&mut self, node: NodeId, term: Term, terms: &[Term], chain: &[u64]) -> Result<(), Violation> {
        if let Some(other) = self.leaders.insert(term, node) {
            violated!("election safety: {other:?} and {node:?} both lead in term {term}");
        }
        for (index, committed) in self.committed.iter().enumerate() {
            let held = terms.get(index).copied().zip(chain.get(index).copied());
            // What a newer leader has committed meanwhile is none of this one's business: it will be deposed.
            if committed.by < term && held != Some((committed.term, committed.chain)) {
                violated!("leader completeness: {node:?} leads in term {term} without committed record {index}");
            }
        }
        Ok(())
    }

    /// A read that was asked when `floor` records were known to be committed is answered from a state at `index`.
    pub fn read(&self, node: NodeId, floor: Index, index: Index) -> Result<(), Violation> {
        if index < floor {
            violated!("stale read: {node:?} answers from record {index}, {floor} was committed before the read began");
        }
        if index > self.committed() {
            violated!("{node:?} answers a read from record {index}, which nobody has seen committed");
        }
        Ok(())
    }
}

impl Promises {
    /// A message leaves a node whose disk, the `incarnation`th, holds `hard` and `last_index` records.
    pub fn leaves(
        &mut self,
        (node, incarnation): (NodeId, u64),
        to: NodeId,
        message: &Message,
        hard: HardState,
        last_index: Index,
    ) -> Result<(), Violation> {
        let (kind, term) = (message.kind(), message.term());
        if let Some(index) = message.acknowledged()
            && index > last_index
            && hard.term <= term
        {
            violated!("{node:?} acknowledges record {index} while its disk ends at {last_index}");
        }
        let vote = match kind {
            "vote-granted" => to,
            "vote" | "transfer-vote" => node,
            _ => return Ok(()),
        };
        // A later term on disk is as good: no promise of this term can be broken any more.
        if hard.term < term || (hard.term == term && hard.vote != Some(vote)) {
            violated!("{node:?} sends a {kind} of term {term} for {vote:?} while its disk says {hard:?}");
        }
        match self.votes.insert((node, term), (vote, incarnation)) {
            // A vote for itself may be lost with a disk: if anyone else had seen that term durably, the node would have
            // adopted it while rejoining; and if nobody had, nobody voted for it.
            Some((earlier, disk)) if earlier != vote && !(disk < incarnation && earlier == node) => {
                violated!("{node:?} votes for {earlier:?} and {vote:?} in term {term}")
            }
            _ => Ok(()),
        }
    }
}
