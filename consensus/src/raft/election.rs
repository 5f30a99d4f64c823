//! Elections (Raft thesis §3.4, §3.6.1): first the question whether this node would win (pre-vote, §9.6), then, in a
//! new term, the votes themselves.
//!
//! A node that has heard a leader within the minimum election timeout refuses both (§4.2.3), so a node that cannot
//! hear the leader never deposes it for those who can. The one exception is a candidate whom the leader itself told to
//! campaign (§3.10, `transfer.rs`): it asks with a kind of request of its own.

use std::collections::BTreeSet;

use super::{NUMBER_MAX, Raft, State};
use crate::message::{Body, LogEnd};
use crate::{HardState, NodeId, Term};

/// Who is for this node.
#[derive(Debug)]
pub(super) struct Poll {
    /// Without this node itself.
    granted: BTreeSet<NodeId>,
    /// When those who have not granted are asked again: the question may be lost, or their lease may have run out.
    ask_again: u64,
    /// The leader told this node to campaign: its requests pass where a leader was heard lately.
    transfer: bool,
}

impl Raft {
    /// A rejoining node must not lead, an ineligible one has been told not to.
    pub(super) fn may_campaign(&self) -> bool {
        self.eligible && self.rejoin.is_none()
    }

    /// True while a leader is known to be alive: it was heard within the minimum election timeout.
    fn leader_is_alive(&self) -> bool {
        matches!(self.state, State::Leader(_))
            || self.leader_heard.is_some_and(|heard| self.now - heard < u64::from(self.timers.election_ticks_min))
    }

    /// A candidate's log lacks nothing that this node's has (§3.6.1).
    fn is_up_to_date(&self, end: LogEnd) -> bool {
        end >= self.log.end() || planted!(NoLogCheck)
    }

    pub(super) fn election_timeout(&mut self) {
        if !self.may_campaign() {
            self.become_follower(self.hard.term, None);
            self.reset_election_timer();
        } else if matches!(self.state, State::Candidate(_)) && self.hard_synced != self.hard {
            // Nobody was asked yet, because this node's own vote is still on its way to a slow disk. Another campaign
            // would wait behind this one.
            self.reset_election_timer();
        } else if self.peers.is_empty() || planted!(NoPreVote) {
            self.campaign(false);
        } else {
            self.ask_pre_votes();
        }
    }

    fn new_poll(&self, transfer: bool) -> Poll {
        Poll { granted: BTreeSet::new(), ask_again: self.now + u64::from(self.timers.heartbeat_ticks), transfer }
    }

    fn ask_pre_votes(&mut self) {
        self.state = State::PreCandidate(self.new_poll(false));
        self.reset_election_timer();
        for peer in self.peers.clone() {
            self.ask(peer);
        }
    }

    /// Asks for votes in a new term.
    pub(super) fn campaign(&mut self, transfer: bool) {
        if self.hard.term >= NUMBER_MAX {
            return; // only a member that lies brings anybody here
        }
        self.hard = HardState { term: self.hard.term + 1, vote: Some(self.id) };
        self.state = State::Candidate(self.new_poll(transfer));
        self.reset_election_timer();
        for peer in self.peers.clone() {
            self.ask(peer);
        }
    }

    /// Asks one peer for its pre-vote or vote.
    pub(super) fn ask(&mut self, peer: NodeId) {
        let end = self.log.end();
        match &self.state {
            State::PreCandidate(_) => {
                let message = crate::Message { term: self.hard.term + 1, body: Body::PreVote(end) };
                self.out.eager.push((peer, message));
            }
            State::Candidate(_) if planted!(VoteRequestNotSynced) => self.eager(peer, Body::Vote(end)),
            State::Candidate(poll) if poll.transfer => self.gated(peer, Body::TransferVote(end)),
            State::Candidate(_) => self.gated(peer, Body::Vote(end)),
            State::Follower(_) | State::Leader(_) => {}
        }
    }

    /// Repeats the question to those who have not said yes.
    pub(super) fn poll_tick(&mut self) {
        let again = self.now + u64::from(self.timers.heartbeat_ticks);
        let (State::PreCandidate(poll) | State::Candidate(poll)) = &mut self.state else { return };
        if self.now < poll.ask_again {
            return;
        }
        poll.ask_again = again;
        let silent: Vec<NodeId> = self.peers.iter().filter(|id| !poll.granted.contains(id)).copied().collect();
        for peer in silent {
            self.ask(peer);
        }
    }

    pub(super) fn pre_vote_asked(&mut self, from: NodeId, asked: Term, end: LogEnd) {
        if self.rejoin.is_some() && !planted!(RejoinVotesAtOnce) {
            return;
        }
        let granted = asked > self.hard.term && self.is_up_to_date(end) && !self.leader_is_alive();
        self.eager(from, Body::PreVoteReply { asked, granted });
    }

    pub(super) fn pre_vote_answered(&mut self, from: NodeId, term: Term, asked: Term, granted: bool) {
        let State::PreCandidate(poll) = &mut self.state else { return };
        if asked != self.hard.term + 1 {
            return;
        }
        if granted {
            poll.granted.insert(from);
            if poll.granted.len() + 1 >= self.quorum {
                self.campaign(false);
            }
        } else if term > self.hard.term {
            // This node slept through elections. Ask again for the term after the newest.
            self.become_follower(term, None);
            self.ask_pre_votes();
        }
    }

    /// `transfer`: the leader told this candidate to campaign, so that it is no reason to refuse that the leader is alive.
    /// In all else its request is one like any other.
    pub(super) fn vote_asked(&mut self, from: NodeId, term: Term, end: LogEnd, transfer: bool) {
        if (self.rejoin.is_some() && !planted!(RejoinVotesAtOnce)) || (self.leader_is_alive() && !transfer) {
            return;
        }
        if term < self.hard.term {
            self.eager(from, Body::Stale);
            return;
        }
        if term > self.hard.term {
            self.become_follower(term, None);
        }
        let free = match self.hard.vote {
            _ if transfer && planted!(TransferVotesTwice) => !matches!(self.state, State::Leader(_)),
            Some(candidate) => candidate == from,
            None => self.leader().is_none(), // that term already has a leader: no use in another candidate
        };
        if free && self.is_up_to_date(end) {
            self.become_follower(term, None); // a node that asks for itself stops asking
            self.hard.vote = Some(from);
            self.reset_election_timer();
            if planted!(VoteNotSynced) {
                return self.eager(from, Body::VoteReply { granted: true });
            }
            self.gated(from, Body::VoteReply { granted: true });
        } else {
            self.eager(from, Body::VoteReply { granted: false });
        }
    }

    pub(super) fn vote_answered(&mut self, from: NodeId, term: Term, granted: bool) {
        let State::Candidate(poll) = &mut self.state else { return };
        if granted && term == self.hard.term {
            poll.granted.insert(from);
            self.count_votes();
        }
    }

    /// Wins with a majority of votes; this node's own counts once it is durable.
    pub(super) fn count_votes(&mut self) {
        let State::Candidate(poll) = &self.state else { return };
        let own = usize::from(self.hard_synced == self.hard);
        if own == 1 && poll.granted.len() + own >= self.quorum {
            self.become_leader();
        }
    }
}
