//! Leadership transfer (Raft thesis §3.10): a leader that is to leave lets another member take over at once, so that
//! nobody has to wait for an election timeout.
//!
//! It takes no more proposals, waits until a voter holds its whole log durably, and tells that one to campaign
//! ("timeout-now"): without pre-vote, and with vote requests that pass where a leader was heard lately. All else is an
//! ordinary election, so nothing here can harm safety; the word may be lost, late or repeated. Whoever does not take over
//! within half an election timeout (it is told by its driver not to lead, or too old to know the word) is passed over for
//! the next.

use super::leader::Leader;
use super::{Raft, State};
use crate::message::{Body, LogEnd};
use crate::{Event, NodeId, Term};

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// When the leader gives up.
    until: u64,
    /// Who was told to campaign last, and when first.
    told: Option<(NodeId, u64)>,
    /// Say it again: it may have been lost.
    again: bool,
    /// Told, and did not take over.
    passed_over: Vec<NodeId>,
}

impl Transfer {
    /// A heartbeat interval has passed.
    pub fn repeat(&mut self) {
        self.again = true;
    }
}

impl Raft {
    pub(super) fn is_transferring(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.transfer.is_some())
    }

    pub(super) fn transfer_leadership(&mut self) {
        let until = self.now + u64::from(self.timers.election_ticks_max);
        if !matches!(self.state, State::Leader(_)) || self.is_transferring() {
            return;
        }
        if self.successors().is_empty() {
            self.out.events.push(Event::TransferFailed);
            return;
        }
        if let State::Leader(leader) = &mut self.state {
            leader.transfer = Some(Transfer { until, told: None, again: false, passed_over: Vec::new() });
        }
    }

    /// The voters that this leader has heard within check-quorum's window, the most up-to-date first.
    fn successors(&self) -> Vec<NodeId> {
        let State::Leader(leader) = &self.state else { return Vec::new() };
        let window = u64::from(self.timers.election_ticks_max);
        let mut peers: Vec<_> = leader
            .peers
            .iter()
            .filter(|(_, peer)| peer.rejoining.is_none() && peer.disputed.is_none() && self.now - peer.heard < window)
            .map(|(id, peer)| (peer.matched, peer.heard, *id))
            .collect();
        // Of equals the first member.
        peers.sort_by_key(|(matched, heard, id)| (std::cmp::Reverse((*matched, *heard)), *id));
        peers.into_iter().map(|(.., id)| id).collect()
    }

    /// Gives up in time, and passes over a successor that does not take over.
    pub(super) fn transfer_tick(&mut self) {
        let (now, patience) = (self.now, u64::from(self.timers.election_ticks_max.div_ceil(2)));
        let State::Leader(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        if now >= transfer.until {
            leader.transfer = None;
            self.out.events.push(Event::TransferFailed);
        } else if let Some((told, since)) = transfer.told
            && now - since >= patience
        {
            transfer.passed_over.push(told);
            transfer.told = None;
        }
    }

    /// Once a successor holds everything, it is told to campaign, and again with each heartbeat.
    pub(super) fn tell_successor(&mut self) {
        if !self.is_transferring() {
            return;
        }
        let (end, now, successors) = (self.log.end(), self.now, self.successors());
        let State::Leader(leader) = &mut self.state else { return };
        let Leader { peers, transfer: Some(transfer), .. } = &mut **leader else { return };
        let to = match transfer.told {
            Some((told, _)) if transfer.again => told,
            Some(_) => return,
            None => {
                let is_ready = |id: &NodeId| peers.get(id).is_some_and(|peer| peer.matched == end.last_index);
                let ready = successors.into_iter().filter(is_ready);
                let Some(next) = ready.into_iter().find(|id| !transfer.passed_over.contains(id)) else { return };
                transfer.told = Some((next, now));
                self.out.events.push(Event::HandingOver(next));
                next
            }
        };
        transfer.again = false;
        self.eager(to, Body::TimeoutNow(end));
    }

    /// The leader wants this node to take over. Only the leader that this node follows can mean it, in the term in which
    /// it leads, and only while this node's log is all that the leader's is.
    pub(super) fn told_to_campaign(&mut self, from: NodeId, term: Term, end: LogEnd) {
        let State::Follower(follower) = &self.state else { return };
        let is_current = term == self.hard.term && follower.leader == Some(from) && end == self.log.end();
        if (is_current || planted!(StaleTimeoutNow)) && self.may_campaign() {
            self.campaign(true);
        }
    }
}
