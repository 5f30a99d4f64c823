//! A leader: appends, counts what is durable where, commits, and steps down when it no longer hears a majority.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::progress::Progress;
use super::reads::Read;
use super::transfer::Transfer;
use super::{Raft, State};
use crate::message::{AppendReply, Conflict};
use crate::{Entry, Event, Index, NodeId, Record, Role, Term};

#[derive(Debug)]
pub(super) struct Leader {
    /// Index of the no-op: the first record of this term.
    pub first_index: Index,
    pub peers: BTreeMap<NodeId, Progress>,
    /// The newest heartbeat round.
    pub round: u64,
    heartbeat_due: u64,
    /// Oldest first.
    pub reads: VecDeque<Read>,
    /// Already told to the driver.
    contradicted: BTreeSet<Index>,
    /// Somebody else is to lead.
    pub transfer: Option<Transfer>,
}

impl Leader {
    pub fn peer(&self, id: NodeId) -> &Progress {
        self.peers.get(&id).expect("every peer has its progress")
    }

    /// Begins a round: every peer hears from this leader in this step.
    pub fn new_round(&mut self) {
        self.round += 1;
        self.poke_all();
    }

    /// Every peer gets at least an empty append in this step.
    pub fn poke_all(&mut self) {
        for peer in self.peers.values_mut() {
            peer.poked = true;
        }
    }

    /// The highest value that `quorum` members have reached, this node at `own`. Rejoining peers have reached nothing.
    pub fn reached(&self, quorum: usize, own: u64, of: impl Fn(&Progress) -> u64) -> u64 {
        let counts = |peer: &Progress| peer.rejoining.is_none() || planted!(RejoinVotesAtOnce);
        let peers = self.peers.values().map(|peer| if counts(peer) { of(peer) } else { 0 });
        let mut values: Vec<u64> = peers.chain([own]).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values[quorum - 1]
    }
}

impl Raft {
    /// This node leads, and the no-op of its term is committed: it knows all that is committed.
    pub(super) fn serves(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.first_index <= self.log.commit())
    }

    pub(super) fn become_leader(&mut self) {
        assert!(self.role() == Role::Candidate && self.hard_synced == self.hard, "elected by votes that are durable");
        let first_index = self.log.last_index() + 1;
        let peers = self.peers.iter().map(|id| (*id, Progress::new(first_index, self.now))).collect();
        let mut leader = Leader {
            first_index,
            peers,
            round: 0,
            heartbeat_due: self.now + u64::from(self.timers.heartbeat_ticks),
            reads: VecDeque::new(),
            contradicted: BTreeSet::new(),
            transfer: None,
        };
        leader.new_round();
        self.state = State::Leader(Box::new(leader));
        self.splice(vec![Record { index: first_index, term: self.hard.term, entry: None }]);
    }

    /// When [`Raft::leader_tick`] has to look again, if nothing else happens before.
    pub(super) fn leader_due(&self, leader: &Leader) -> u64 {
        if leader.transfer.is_some() || leader.peers.values().any(|peer| peer.told_commit < self.log.commit()) {
            return self.now;
        }
        let heard = leader.reached(self.quorum, u64::MAX, |peer| peer.heard);
        leader.heartbeat_due.min(heard.saturating_add(u64::from(self.timers.election_ticks_max)))
    }

    pub(super) fn leader_tick(&mut self) {
        let now = self.now;
        let timeout = u64::from(self.timers.election_ticks_max);
        let State::Leader(leader) = &mut self.state else { return };
        let heard = leader.reached(self.quorum, now, |peer| peer.heard);
        if now - heard >= timeout && !planted!(NoCheckQuorum) {
            // Check-quorum (§6.2): whoever still asks this node should look for another leader.
            return self.become_follower(self.hard.term, None);
        }
        // No records have followed that would have told it.
        let commit = self.log.commit();
        for peer in leader.peers.values_mut() {
            peer.poked |= peer.told_commit < commit;
        }
        if now >= leader.heartbeat_due {
            leader.heartbeat_due = now + u64::from(self.timers.heartbeat_ticks);
            leader.new_round();
            let round = leader.round;
            for peer in leader.peers.values_mut() {
                peer.heartbeat(round);
            }
            if let Some(transfer) = &mut leader.transfer {
                transfer.repeat();
            }
        }
        self.transfer_tick();
    }

    pub(super) fn tell_commits(&mut self, peer: NodeId) {
        let commit = self.log.commit();
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(peer) = leader.peers.get_mut(&peer) {
            peer.poked |= peer.told_commit < commit;
        }
    }

    pub(super) fn propose(&mut self, term: Term, last_index: Index, entry: Entry) {
        if !self.serves() || self.is_transferring() || term != self.hard.term || last_index != self.log.last_index() {
            self.out.events.push(Event::Refused(entry));
            return;
        }
        self.splice(vec![Record { index: last_index + 1, term, entry: Some(entry) }]);
        if planted!(LeaderCountsUnsynced) {
            self.count_commit();
        }
    }

    /// A follower has answered an append of this term.
    pub(super) fn append_answered(&mut self, from: NodeId, reply: &AppendReply) {
        let last_index = self.log.last_index();
        let State::Leader(leader) = &mut self.state else { return };
        let round_possible = reply.round <= leader.round || planted!(StaleReplyVouches);
        let asked = |conflict: Conflict| conflict.index <= conflict.refused && conflict.refused <= last_index;
        let possible = reply.verified <= last_index
            && reply.acknowledged <= reply.verified
            && round_possible
            && reply.conflict.is_none_or(asked);
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if !possible {
            return;
        }
        peer.answered(reply, self.now, &self.log);
        self.count_commit();
        self.confirm_reads();
        self.count_disputes();
    }

    /// Moves the commit index to what a majority holds durably, if that is a record of this term: an older one could
    /// still be replaced (§3.6.2, figure 3.7).
    pub(super) fn count_commit(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let own = if planted!(LeaderCountsUnsynced) { self.log.last_index() } else { self.log.synced() };
        let index = leader.reached(self.quorum, own, |peer| peer.matched);
        let of_this_term = planted!(OlderTermCommit) || self.log.term_at(index) == Some(self.hard.term);
        if index > self.log.commit() && of_this_term {
            if !self.tells_commits_late {
                leader.poke_all();
            }
            self.commit_to(index);
        }
    }

    /// A majority that computed another result than this leader says that the leader is wrong.
    fn count_disputes(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let disputed: Vec<Index> = leader.peers.values().filter_map(|peer| peer.disputed).collect();
        for index in &disputed {
            let count = disputed.iter().filter(|other| *other == index).count();
            if count >= self.quorum && leader.contradicted.insert(*index) {
                self.out.events.push(Event::Contradicted(*index));
            }
        }
    }
}
