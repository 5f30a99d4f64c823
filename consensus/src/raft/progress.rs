//! Replication to one peer: finding where the logs agree, then keeping a bounded window of records in flight.
//!
//! While *probing*, one append at a time looks for the last common record; an answer either agrees or names a conflict
//! that moves `next` back over whole terms. Once found, appends are *pipelined* within a window. A lost message shows in
//! three ways: a later append no longer fits (conflict), the answer to a round begun two heartbeats after the send still
//! lacks it, or the driver reports a broken link.

use std::collections::VecDeque;

use super::{Raft, State};
use crate::log::{Log, record_bytes};
use crate::message::{Append, AppendReply, Body};
use crate::{Index, Load, NodeId, Record};

/// Appends with records in flight to one peer.
const INFLIGHT_MESSAGES_MAX: usize = 64;
/// Bytes in flight to one peer, in chunks; a chunk is begun while less than this is under way.
const INFLIGHT_CHUNKS_MAX: usize = 4;
/// Heartbeats after which an unanswered append is looked into, and after which a load is asked for again.
const HEARTBEATS_PATIENCE: u32 = 2;
const LOAD_HEARTBEATS_MAX: u32 = 100;

#[derive(Debug)]
pub(super) struct Progress {
    /// Durable there and equal to this leader's log. Never goes back, but for a peer that lost its disk.
    pub matched: Index,
    /// The next record to send.
    next: Index,
    /// Looking for the last common record.
    probing: bool,
    /// While probing: the question is under way.
    asked: bool,
    /// Last index and bytes of each append that is not acknowledged.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    /// Heartbeats since the last record was sent, while some are not acknowledged.
    heartbeats: u32,
    /// An answer to this round or a later one that lacks records proves them lost.
    suspect_from: Option<u64>,
    /// Waits for the driver to load records from here, since that many heartbeats.
    loading: Option<(Index, u32)>,

    /// The newest round that it answered.
    pub round: u64,
    /// When it last answered.
    pub heard: u64,
    /// It lost its disk: this nonce is echoed, and it counts for nothing.
    pub rejoining: Option<u64>,
    /// The record whose result it disputes.
    pub disputed: Option<Index>,
    /// It gets an append in this step, if only an empty one.
    pub poked: bool,
    /// The commit index that the last message named.
    pub told_commit: Index,
}

impl Progress {
    pub fn new(next: Index, now: u64) -> Self {
        Self {
            matched: 0,
            next,
            probing: true,
            asked: false,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            heartbeats: 0,
            suspect_from: None,
            loading: None,
            round: 0,
            heard: now,
            rejoining: None,
            disputed: None,
            poked: false,
            told_commit: 0,
        }
    }

    /// A heartbeat interval has passed.
    pub fn heartbeat(&mut self, round: u64) {
        // Also for what a probe carried, and what the peer held in memory when it crashed.
        if !self.probing && self.next > self.matched + 1 {
            self.heartbeats += 1;
            if self.heartbeats == HEARTBEATS_PATIENCE {
                self.suspect_from = Some(round);
            }
        }
        if let Some((_, heartbeats)) = &mut self.loading {
            *heartbeats += 1;
            if *heartbeats > LOAD_HEARTBEATS_MAX {
                self.loading = None;
            }
        }
    }

    fn probe(&mut self, next: Index) {
        self.next = next;
        self.probing = true;
        self.asked = false;
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.heartbeats = 0;
        self.suspect_from = None;
        self.loading = None;
    }

    fn sent(&mut self, records: &[Record]) {
        let Some(last) = records.last() else { return };
        let bytes = records.iter().map(record_bytes).sum();
        self.next = last.index + 1;
        self.inflight.push_back((last.index, bytes));
        self.inflight_bytes += bytes;
        self.heartbeats = 0;
        self.suspect_from = None;
    }

    fn window_open(&self, chunk_bytes_max: usize) -> bool {
        self.inflight.len() < INFLIGHT_MESSAGES_MAX
            && self.inflight_bytes < chunk_bytes_max.saturating_mul(INFLIGHT_CHUNKS_MAX)
    }

    pub fn answered(&mut self, reply: &AppendReply, now: u64, log: &Log) {
        self.heard = self.heard.max(now);
        if reply.rejoining.is_some() || reply.round >= self.round {
            self.rejoining = reply.rejoining;
        }
        if reply.disputed.is_some() || reply.round >= self.round {
            self.disputed = reply.disputed;
        }
        self.round = self.round.max(reply.round);
        if reply.rejoining.is_some() {
            // It holds less than it once acknowledged.
            self.matched = reply.acknowledged;
        }
        match reply.conflict {
            Some(conflict) => {
                // One that was refused for an older question is answered already.
                let current =
                    if self.probing { conflict.refused + 1 == self.next } else { conflict.refused < self.next };
                if current && conflict.refused > self.matched {
                    let agree = log.last_not_above(conflict.index, conflict.term).last_index;
                    assert!(agree < self.next);
                    self.probe(agree.max(self.matched) + 1);
                }
            }
            None => self.agreed(reply),
        }
    }

    fn agreed(&mut self, reply: &AppendReply) {
        self.matched = self.matched.max(reply.acknowledged);
        while let Some((last, bytes)) = self.inflight.front().copied()
            && last <= self.matched
        {
            self.inflight.pop_front();
            self.inflight_bytes -= bytes;
        }
        if reply.verified + 1 >= self.next {
            self.probing = false;
            self.next = reply.verified + 1;
        } else if self.suspect_from.is_some_and(|round| reply.round >= round) {
            self.probe(reply.verified.max(self.matched) + 1);
        }
    }
}

impl Raft {
    /// Sends every peer what it lacks and the window allows, and an empty append to those that were poked.
    pub(super) fn replicate(&mut self) {
        if !matches!(self.state, State::Leader(_)) {
            return;
        }
        for peer in self.peers.clone() {
            while let Some(records) = self.next_chunk(peer) {
                self.send_append(peer, records);
            }
            let State::Leader(leader) = &self.state else { return };
            if leader.peer(peer).poked {
                self.send_append(peer, Vec::new());
            }
        }
    }

    /// The records to send now. Empty while probing blindly: what to load is known only once the logs agree somewhere.
    fn next_chunk(&mut self, id: NodeId) -> Option<Vec<Record>> {
        let State::Leader(leader) = &mut self.state else { return None };
        let peer = leader.peers.get_mut(&id)?;
        // One that disputes a record does not take it before it is committed; it still hears what is.
        let commit = self.log.commit();
        let settled = peer.disputed.is_none_or(|disputed| peer.next < disputed || commit >= disputed);
        if peer.probing {
            let ask = !std::mem::replace(&mut peer.asked, true);
            let chunk = || self.log.chunk(peer.next, self.chunk_bytes_max).filter(|_| settled).unwrap_or_default();
            return ask.then(chunk);
        }
        if !settled
            || peer.loading.is_some()
            || peer.next > self.log.last_index()
            || !peer.window_open(self.chunk_bytes_max)
        {
            return None;
        }
        let chunk = self.log.chunk(peer.next, self.chunk_bytes_max);
        if chunk.is_none() {
            peer.loading = Some((peer.next, 0));
            self.out.loads.push(Load { peer: id, from: peer.next, bytes_max: self.chunk_bytes_max });
        }
        chunk
    }

    fn send_append(&mut self, to: NodeId, records: Vec<Record>) {
        let State::Leader(leader) = &mut self.state else { return };
        let round = leader.round;
        let Some(peer) = leader.peers.get_mut(&to) else { return };
        peer.poked = false;
        peer.told_commit = self.log.commit();
        // An empty one goes where the logs are known to agree, so that it always fits; it may overtake records.
        let prev_index = if records.is_empty() && !peer.probing { peer.matched } else { peer.next - 1 };
        let rejoin_nonce = peer.rejoining.unwrap_or(0);
        if !peer.probing {
            peer.sent(&records);
        }
        let prev_term = self.log.term_at(prev_index).expect("a leader sends what follows its own records");
        let (mut commit, last_index) = (self.log.commit(), self.log.last_index());
        if planted!(FollowersOneBehind) && records.is_empty() {
            commit = 0;
        }
        self.eager(
            to,
            Body::Append(Append { prev_index, prev_term, commit, round, last_index, rejoin_nonce, records }),
        );
    }

    /// The driver has read records that the cache had dropped.
    pub(super) fn loaded(&mut self, id: NodeId, from: Index, records: Vec<Record>) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&id) else { return };
        if peer.loading.take_if(|(wanted, _)| *wanted == from).is_none() || peer.probing || peer.next != from {
            return; // of an earlier leadership, or no longer what the peer needs
        }
        let records: Vec<Record> = records
            .into_iter()
            .zip(from..=self.log.commit())
            .take_while(|(record, index)| record.index == *index && self.log.term_at(*index) == Some(record.term))
            .map(|(record, _)| record)
            .collect();
        if records.is_empty() {
            peer.loading = Some((from, LOAD_HEARTBEATS_MAX)); // asked again with the next heartbeat
            return;
        }
        self.send_append(id, records);
    }

    /// What was in flight to this peer is probably lost.
    pub(super) fn link_reset(&mut self, id: NodeId) {
        match &mut self.state {
            State::Leader(leader) => {
                if let Some(peer) = leader.peers.get_mut(&id) {
                    let next = if peer.probing { peer.next } else { peer.matched + 1 };
                    peer.probe(next);
                }
            }
            // The last answer may be lost, too: the leader's probe asks for it again.
            State::Follower(follower) if follower.leader == Some(id) => follower.forget_told(),
            State::PreCandidate(_) | State::Candidate(_) if self.peers.contains(&id) => self.ask(id),
            _ => {}
        }
    }
}
