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
            self.send(id, Body::Rejoin);
        }
    }

    /// A peer lost its disk and says so. Its new incarnation is stored before it is answered.
    pub(super) fn rejoin_announced(&mut self, from: NodeId, incarnation: u64) {
        // What this node has promised so far is durable before the group that stores the incarnation is.
        let term = self.engine.status().term;
        match self.peers.get(&from).and_then(|peer| peer.incarnation) {
            Some(known) if known == incarnation => {
                let awaited =
                    AwaitedGroup { then: vec![Then::AnswerRejoin(from, incarnation, term)], ..AwaitedGroup::default() };
                self.persist(Vec::new(), awaited, Vec::new(), false);
            }
            _ => {
                self.info(format!("{} lost its disk and rejoins with a new data folder", self.name(from)));
                self.store_incarnation(from, incarnation, Some(term));
            }
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
