//! Signed heads: the leader asks the members to sign the root of the log tree, a majority's signatures make a checkpoint,
//! and everyone is told of it.
//!
//! A node signs only roots of its own applied chain, which has one root for each size: it cannot sign two for one. A
//! signature promises nothing to consensus, and a head is kept in memory only: whatever is lost is asked for again.

mod keys;
mod waiters;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raftbank_consensus::{Engine, NodeId};
use raftbank_ledger::{Hash, LogTree};
use raftbank_proofs::{Checkpoint, Head, SignatureLine};
use raftbank_wire::api::ApiReply;

use self::waiters::Waiter;
use super::Node;
use super::message::Body;

/// So many of the newest roots of its own tree a node knows.
const ROOTS_MAX: usize = 4_096;
/// Heads of a majority that wait for this node's own chain to reach them.
const AHEAD_MAX: usize = 8;
/// A head is asked for so many election time-outs long before a newer one takes its place: an answer that takes longer
/// would not do for consensus either. It must not be asked for much longer, for a member that has restarted since may
/// not know that size any more.
const PATIENCE_ELECTIONS: u64 = 2;
/// A peer whose head did not hold is not listened to for so long: checking signatures costs.
const REFUSE_MS: u64 = 100;

/// A root of this node's own tree, with its signature once somebody has asked for it.
#[derive(Debug)]
struct Own {
    root: Hash,
    signature: Option<Vec<u8>>,
}

/// What a node can say of its own tree at a size.
enum At {
    /// It is not known any more.
    Old,
    /// This is the root.
    Root(Hash),
    /// The chain has not come there yet.
    Ahead,
}

/// A head that the leader has asked signatures for.
#[derive(Debug)]
struct Round {
    head: Head,
    begun_ms: u64,
    signatures: BTreeMap<NodeId, Vec<u8>>,
    /// Whose signature did not hold since they were last asked.
    wrong: BTreeSet<NodeId>,
}

/// Everything about signed heads.
#[derive(Debug)]
pub(super) struct Heads {
    /// The newest roots of the own tree; the last is that of the tip.
    own: VecDeque<Own>,
    /// Size of the tree at the first of them.
    own_from: u64,
    /// The newest head that a majority has signed.
    newest: Option<Checkpoint>,
    /// Such heads that are newer than this node's chain, ascending.
    ahead: VecDeque<Checkpoint>,
    /// What each peer wants signed when this node's chain comes there: the latest only.
    wanted: BTreeMap<NodeId, (u64, Hash)>,
    round: Option<Round>,
    /// When signatures were last asked for.
    asked_ms: Option<u64>,
    /// When key and newest head were last told to everyone.
    told_ms: u64,
    /// When a peer's head last did not hold.
    refused_ms: BTreeMap<NodeId, u64>,
    waiters: BTreeMap<u64, Waiter>,
}

impl Heads {
    pub fn new(log: &LogTree) -> Self {
        Self {
            own: VecDeque::from([Own { root: log.root(), signature: None }]),
            own_from: log.size(),
            newest: None,
            ahead: VecDeque::new(),
            wanted: BTreeMap::new(),
            round: None,
            asked_ms: None,
            told_ms: 0,
            refused_ms: BTreeMap::new(),
            waiters: BTreeMap::new(),
        }
    }

    /// Takes over the own tree after it has grown by a block.
    pub fn grown(&mut self, log: &LogTree) {
        assert_eq!(log.size(), self.own_from + self.own.len() as u64, "one root for each size");
        self.own.push_back(Own { root: log.root(), signature: None });
        if self.own.len() > ROOTS_MAX {
            self.own.pop_front();
            self.own_from += 1;
        }
    }

    fn own_at(&self, size: u64) -> At {
        let Some(place) = size.checked_sub(self.own_from) else { return At::Old };
        match usize::try_from(place).ok().and_then(|place| self.own.get(place)) {
            Some(own) => At::Root(own.root),
            None => At::Ahead,
        }
    }

    fn own_mut(&mut self, size: u64) -> Option<&mut Own> {
        let place = size.checked_sub(self.own_from)?;
        self.own.get_mut(usize::try_from(place).ok()?)
    }

    /// Nobody waits for a head, and no signatures are being gathered.
    pub fn is_at_rest(&self) -> bool {
        self.round.is_none() && self.waiters.is_empty()
    }

    fn newest_size(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.head.size)
    }
}

impl<E: Engine> Node<E> {
    /// The newest head that a majority has signed and that is one of this node's own chain.
    pub fn head(&self) -> Option<&Checkpoint> {
        self.heads.newest.as_ref()
    }

    /// Asks for signatures if there is something new, and repeats what may have been lost.
    pub(super) fn heads_tick(&mut self) {
        self.expire_waiters();
        self.tell_now_and_then();
        if !self.leads() || self.is_rejoining() || self.config.checkpoint_ms == 0 {
            self.heads.round = None;
            return;
        }
        let now = self.now.mono_ms;
        let size = self.state.log().size();
        if size <= self.heads.newest_size() {
            self.heads.round = None;
            return;
        }
        if self.heads.asked_ms.is_some_and(|asked| now.saturating_sub(asked) < self.config.checkpoint_ms) {
            return;
        }
        self.heads.asked_ms = Some(now);
        let patience = PATIENCE_ELECTIONS * self.election_ms();
        let goes_on = self.heads.round.as_ref().is_some_and(|round| {
            round.head.size > self.heads.newest_size()
                && (round.head.size == size || now.saturating_sub(round.begun_ms) < patience)
        });
        if !goes_on {
            self.begin_round(size);
        }
        self.ask_signatures();
        self.complete_round();
    }

    fn begin_round(&mut self, size: u64) {
        let head = Head { cluster_id: self.state.cluster_id(), size, root: self.state.log().root() };
        let signatures = self.signature(size).map(|signature| (self.config.id, signature));
        let begun_ms = self.now.mono_ms;
        let signatures = signatures.into_iter().collect();
        self.heads.round = Some(Round { head, begun_ms, signatures, wrong: BTreeSet::new() });
    }

    fn ask_signatures(&mut self) {
        let Some(round) = self.heads.round.as_mut() else { return };
        round.wrong.clear();
        let (size, root) = (round.head.size, round.head.root.0);
        let missing: Vec<NodeId> =
            self.peers.keys().filter(|peer| !round.signatures.contains_key(peer)).copied().collect();
        for peer in missing {
            self.send(peer, Body::SignHead { size, root });
        }
    }

    /// This node's signature of its own head at a size; made once.
    fn signature(&mut self, size: u64) -> Option<Vec<u8>> {
        let cluster_id = self.state.cluster_id();
        let signer = &self.config.signer;
        let own = self.heads.own_mut(size)?;
        let text = Head { cluster_id, size, root: own.root }.text();
        Some(own.signature.get_or_insert_with(|| signer.sign(&text, 0)).clone())
    }

    /// A peer wants a head signed.
    pub(super) fn sign_head(&mut self, from: NodeId, size: u64, root: Hash) {
        if self.is_rejoining() {
            return;
        }
        match self.heads.own_at(size) {
            At::Old => {}
            At::Ahead => drop(self.heads.wanted.insert(from, (size, root))),
            At::Root(own) if own == root => {
                if let Some(signature) = self.signature(size) {
                    self.send(from, Body::HeadSigned { size, signature });
                }
            }
            At::Root(own) => self.other_root(from, size, root, own),
        }
    }

    fn other_root(&mut self, from: NodeId, size: u64, root: Hash, own: Hash) {
        self.warn_impossible(
            from,
            &format!("that the log tree over {size} blocks has the root {root}, but here it is {own}"),
        );
    }

    /// A peer has signed.
    pub(super) fn head_signed(&mut self, from: NodeId, size: u64, signature: Vec<u8>) {
        let key = self.peers.get(&from).and_then(|peer| peer.key.as_ref());
        let (Some(key), Some(round)) = (key, self.heads.round.as_mut()) else { return };
        if round.head.size != size || round.signatures.contains_key(&from) || round.wrong.contains(&from) {
            return;
        }
        if key.verify(&round.head.text(), &signature) {
            round.signatures.insert(from, signature);
            self.complete_round();
        } else {
            // Of an earlier key, or made up: it is asked again.
            round.wrong.insert(from);
        }
    }

    /// Makes the checkpoint once a majority has signed, and tells everyone.
    fn complete_round(&mut self) {
        let majority = self.majority();
        let Some(round) = self.heads.round.take_if(|round| round.signatures.len() >= majority) else { return };
        let signatures = round.signatures.into_iter().take(majority);
        let lines = signatures.filter_map(|(id, signature)| {
            let (name, id) = self.key_of(id).map(|key| (key.name().to_owned(), key.id()))?;
            Some(SignatureLine { name, id, signature })
        });
        let checkpoint = Checkpoint { head: round.head, signatures: lines.collect() };
        self.adopt(checkpoint);
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.tell_head(peer);
        }
    }

    /// So many members must sign.
    pub(super) fn majority(&self) -> usize {
        self.config.names.len() / 2 + 1
    }

    /// Tells a peer the newest head.
    pub(super) fn tell_head(&mut self, to: NodeId) {
        if let Some(newest) = &self.heads.newest {
            let note = newest.to_string();
            self.send(to, Body::Head { note });
        }
    }

    /// A peer tells of a head that a majority has signed. What cannot be checked, for want of a key, is told again.
    pub(super) fn head_told(&mut self, from: NodeId, note: &str) {
        let now = self.now.mono_ms;
        if self.heads.refused_ms.get(&from).is_some_and(|last| now.saturating_sub(*last) < REFUSE_MS) {
            return;
        }
        let checkpoint = match Checkpoint::parse(note) {
            Ok(checkpoint) if checkpoint.head.cluster_id == self.state.cluster_id() => checkpoint,
            _ => {
                self.heads.refused_ms.insert(from, now);
                return self.warn_peer(from, format!("{} told of a head that is none of this bank", self.name(from)));
            }
        };
        let size = checkpoint.head.size;
        let known = self.heads.ahead.iter().any(|ahead| ahead.head.size == size);
        if size <= self.heads.newest_size() || known || !self.has_all_keys(&checkpoint) {
            return;
        }
        if !self.holds(&checkpoint) {
            self.heads.refused_ms.insert(from, now);
            return;
        }
        match self.heads.own_at(size) {
            At::Root(own) if own != checkpoint.head.root => {
                let root = checkpoint.head.root;
                self.warn_impossible(
                    from,
                    &format!(
                        "with a majority's signatures that the log tree over {size} blocks has the root {root}, but \
                         here it is {own}"
                    ),
                );
            }
            At::Root(_) | At::Old => self.adopt(checkpoint),
            At::Ahead => {
                if self.heads.ahead.len() == AHEAD_MAX {
                    self.heads.ahead.pop_back();
                }
                let place = self.heads.ahead.partition_point(|ahead| ahead.head.size < size);
                self.heads.ahead.insert(place, checkpoint);
            }
        }
    }

    /// True if each signature line is of a key that this node knows.
    fn has_all_keys(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.signatures.iter().all(|line| self.member_of(line).is_some())
    }

    /// Whose key a signature line names.
    fn member_of(&self, line: &SignatureLine) -> Option<NodeId> {
        let members = (0..self.config.names.len()).map(super::member);
        members
            .into_iter()
            .find(|id| self.key_of(*id).is_some_and(|key| key.name() == line.name && key.id() == line.id))
    }

    /// True if exactly a majority of the members has signed, in the order of the genesis file.
    fn holds(&self, checkpoint: &Checkpoint) -> bool {
        let text = checkpoint.head.text();
        let mut last = None;
        checkpoint.signatures.len() == self.majority()
            && checkpoint.signatures.iter().all(|line| {
                let Some(id) = self.member_of(line) else { return false };
                let ordered = last.is_none_or(|last| last < id);
                last = Some(id);
                ordered && self.key_of(id).is_some_and(|key| key.verify(&text, &line.signature))
            })
    }

    fn adopt(&mut self, checkpoint: Checkpoint) {
        let size = checkpoint.head.size;
        self.heads.ahead.retain(|ahead| ahead.head.size > size);
        self.heads.newest = Some(checkpoint);
        self.serve_waiters();
    }

    /// The own chain has grown: what waited for it is worked off.
    pub(super) fn heads_settle(&mut self) {
        let size = self.state.log().size();
        let (mut reached, mut newest) = (Vec::new(), None);
        self.heads.wanted.retain(|from, (wanted, root)| {
            let wait = *wanted > size;
            if !wait {
                reached.push((*from, *wanted, *root));
            }
            wait
        });
        for (from, size, root) in reached {
            self.sign_head(from, size, root);
        }
        while self.heads.ahead.front().is_some_and(|ahead| ahead.head.size <= size) {
            let ahead = self.heads.ahead.pop_front();
            newest = ahead.filter(|ahead| self.agrees(&ahead.head)).or(newest);
        }
        if let Some(newest) = newest {
            self.adopt(newest);
        }
    }

    fn agrees(&mut self, head: &Head) -> bool {
        let At::Root(own) = self.heads.own_at(head.size) else { return true };
        if own != head.root {
            let (size, root) = (head.size, head.root);
            self.warn(format!(
                "impossible: a majority has signed that the log tree over {size} blocks has the root {root}, but here \
                 it is {own}: stop this node and let `raftbankd --verify` tell whether its records are damaged"
            ));
        }
        own == head.root
    }

    /// Answers from what this node has.
    fn head_reply(&self, size_min: u64) -> Option<ApiReply> {
        let newest = self.heads.newest.as_ref().filter(|newest| newest.head.size >= size_min)?;
        Some(ApiReply::Checkpoint { note: newest.to_string() })
    }
}
