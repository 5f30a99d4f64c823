//! A node whose disk was lost comes back without its memory of votes and acknowledgements. Until every other member has
//! told it its durable term, and it holds everything a leader had after that, it promises nothing (`--rejoin`).

use std::collections::BTreeMap;

use raftbank_consensus::{Engine, Input, NodeId, Term};

use super::message::Body;
use super::{AwaitedGroup, Node, Then};

/// Where a rejoining node stands.
#[derive(Debug, Default)]
pub(super) struct Rejoin {
    terms: BTreeMap<NodeId, Term>,
    /// All have answered; the engine is catching up.
    collected: bool,
    /// Caught up; the flag is being cleared on disk.
    completing: bool,
    last_asked_ms: Option<u64>,
}

impl<E: Engine> Node<E> {
    /// Asks those that have not answered yet, each ten heartbeats.
    pub(super) fn rejoin_tick(&mut self) {
        let every = 10 * self.heartbeat_ms();
        let now = self.now.mono_ms;
        let Some(rejoin) = self.rejoin.as_mut() else { return };
        if rejoin.collected || !self.linked || rejoin.last_asked_ms.is_some_and(|last| now.saturating_sub(last) < every)
        {
            return;
        }
        rejoin.last_asked_ms = Some(now);
        let silent: Vec<NodeId> = self.peers.keys().filter(|id| !rejoin.terms.contains_key(id)).copied().collect();
        for id in silent {
            self.send(id, Body::Rejoin { proof: 0 });
        }
    }

    /// A peer lost its disk and says so. A new incarnation has to prove that it is alive, and is stored before it is
    /// answered.
    pub(super) fn rejoin_announced(&mut self, from: NodeId, incarnation: u64, proof: u64) {
        // What this node has promised so far is durable before the group that stores the incarnation is.
        let term = self.engine.status().term;
        match self.peers.get(&from).and_then(|peer| peer.incarnation) {
            Some(known) if known == incarnation => {
                let awaited =
                    AwaitedGroup { then: vec![Then::AnswerRejoin(from, incarnation, term)], ..AwaitedGroup::default() };
                self.persist(Vec::new(), awaited, Vec::new(), false);
            }
            Some(_) if proof != self.challenge(from) && !planted!(LateRejoinTaken) => {
                let challenge = self.challenge(from);
                self.send(from, Body::RejoinChallenge { incarnation, challenge });
            }
            _ => {
                self.info(format!("{} lost its disk and rejoins with a new data folder", self.name(from)));
                self.store_incarnation(from, incarnation, Some(term));
            }
        }
    }

    /// What a new incarnation of this peer has to repeat: unlike any that an earlier one was told.
    fn challenge(&self, peer: NodeId) -> u64 {
        let changes = self.peers.get(&peer).map_or(0, |peer| peer.changes);
        let mixed =
            (self.config.seed ^ (u64::from(peer.0) << 56)).wrapping_add(changes.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed.max(1)
    }

    /// A peer wants proof that this incarnation is alive.
    pub(super) fn rejoin_challenged(&mut self, from: NodeId, incarnation: u64, challenge: u64) {
        if self.is_rejoining() && incarnation == self.config.incarnation {
            self.send(from, Body::Rejoin { proof: challenge });
        }
    }

    /// True for what a peer can only send after it has heard this folder's own announcement.
    pub(super) fn answers_announcement(&self, body: &Body) -> bool {
        match body {
            Body::RejoinTerm { incarnation, .. } | Body::RejoinChallenge { incarnation, .. } => {
                *incarnation == self.config.incarnation
            }
            _ => false,
        }
    }

    pub(super) fn answer_rejoin(&mut self, to: NodeId, incarnation: u64, term: Term) {
        self.send(to, Body::RejoinTerm { incarnation, term });
        self.inputs.push_back(Input::LinkReset(to));
    }

    pub(super) fn rejoin_term(&mut self, from: NodeId, incarnation: u64, term: Term) {
        let others = self.peers.len();
        let Some(rejoin) = self.rejoin.as_mut() else { return };
        if incarnation != self.config.incarnation || rejoin.collected {
            return;
        }
        rejoin.terms.insert(from, term);
        if rejoin.terms.len() == others {
            rejoin.collected = true;
            let highest = rejoin.terms.values().copied().max().unwrap_or(0);
            self.inputs.push_back(Input::RejoinTerms(highest));
            self.info(format!("every other member has told its term (highest: {highest}); catching up"));
        }
    }

    pub(super) fn rejoin_complete(&mut self) {
        let Some(rejoin) = self.rejoin.as_mut() else { return };
        if !rejoin.completing {
            rejoin.completing = true;
            let awaited = AwaitedGroup { then: vec![Then::Promote], ..AwaitedGroup::default() };
            self.persist(Vec::new(), awaited, Vec::new(), true);
        }
    }

    pub(super) fn promote(&mut self) {
        self.rejoin = None;
        self.inputs.push_back(Input::Promote);
        self.info("this node has rejoined: it votes and acknowledges again".to_owned());
    }

    /// True while this node promises nothing.
    pub(super) fn is_rejoining(&self) -> bool {
        self.rejoin.is_some()
    }
}
