//! Raft (Ongaro's thesis, 2014) as a state machine: this file holds what all roles share — term and vote, the order in
//! which writes become durable, timers, and the way from an input to an output. Each role has a file of its own.
//!
//! Three rules decide what is safe; everything else is about speed:
//! 1. Nothing that *promises* leaves before it is durable: votes, vote requests and acknowledgements are gated, and a
//!    node counts its own vote and its own records only once they are synced.
//! 2. A leader commits by counting only records of its own term (§3.6.2), and counts only what a follower verified
//!    against this very leader's log.
//! 3. Answers prove something only within the term and the round they were given for.

mod election;
mod follower;
mod leader;
mod progress;
mod reads;
mod rejoin;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::election::Poll;
use self::follower::{Disputed, Follower};
use self::leader::Leader;
use self::rejoin::Rejoin;
use crate::log::Log;
use crate::message::Body;
use crate::{
    Config, Durable, Engine, Event, Group, HardState, Index, Input, Message, NodeId, Output, PeerStatus, Record, Role,
    Status, Term, Timers, Write,
};

/// Terms and indexes above this are no honest member's: 2^62 elections take longer than the sun has.
const NUMBER_MAX: u64 = 1 << 62;

/// One member of a Raft cluster.
#[derive(Debug)]
pub struct Raft {
    id: NodeId,
    /// The other members, ascending.
    peers: Vec<NodeId>,
    /// Members that make a majority.
    quorum: usize,
    timers: Timers,
    chunk_bytes_max: usize,
    tells_commits_late: bool,
    rng: ChaCha8Rng,

    hard: HardState,
    /// As last handed to the driver.
    hard_written: HardState,
    /// As last reported durable.
    hard_synced: HardState,
    log: Log,
    /// Groups that the driver has not reported durable yet, oldest first.
    syncing: VecDeque<Syncing>,
    next_group: Group,

    state: State,
    /// Ticks since `open`.
    now: u64,
    /// When an election starts unless something happens.
    election_due: u64,
    /// When a leader was last heard.
    leader_heard: Option<u64>,
    eligible: bool,
    /// A record that this node does not take unless it is committed.
    disputed: Option<Disputed>,
    /// Some while this node promises nothing because it lost its disk.
    rejoin: Option<Rejoin>,

    out: Output,
    announced: (Role, Option<NodeId>, Term),
}

#[derive(Debug)]
enum State {
    Follower(Follower),
    /// Asks whether it would win (§9.6); its term is unchanged.
    PreCandidate(Poll),
    Candidate(Poll),
    Leader(Box<Leader>),
}

/// What becomes true once a group is durable.
#[derive(Debug)]
struct Syncing {
    group: Group,
    last_index: Index,
    hard: HardState,
}

impl Engine for Raft {
    fn open(config: Config, durable: Durable) -> (Self, Output) {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let Config { id, members, seed, timers, chunk_bytes_max, cache_bytes_max, tells_commits_late, rejoining } =
            config;
        let hard = HardState { vote: durable.hard.vote.filter(|_| !planted!(VoteForgotten)), ..durable.hard };
        let log = Log::open(durable, cache_bytes_max);
        assert!(log.last_term() <= hard.term, "a record of term {} in a log of term {}", log.last_term(), hard.term);
        let quorum = if planted!(HalfIsQuorum) { members.len().div_ceil(2) } else { members.len() / 2 + 1 };
        let mut peers: Vec<NodeId> = members.into_iter().filter(|member| *member != id).collect();
        peers.sort_unstable();
        let mut raft = Self {
            id,
            peers,
            quorum,
            timers,
            chunk_bytes_max,
            tells_commits_late,
            rng: ChaCha8Rng::seed_from_u64(seed),
            hard,
            hard_written: hard,
            hard_synced: hard,
            log,
            syncing: VecDeque::new(),
            next_group: 1,
            state: State::Follower(Follower::default()),
            now: 0,
            election_due: 0,
            leader_heard: None,
            eligible: true,
            disputed: None,
            rejoin: rejoining.then(Rejoin::default),
            out: Output::default(),
            announced: (Role::Follower, None, hard.term),
        };
        raft.reset_election_timer();
        if planted!(ReplaysUndecided) {
            raft.commit_to(raft.log.last_index());
        }
        let output = raft.finish();
        (raft, output)
    }

    fn step(&mut self, input: Input) -> Output {
        match input {
            Input::Tick => self.tick(),
            Input::Receive { from, message } => self.receive(from, message),
            Input::LinkReset(peer) => self.link_reset(peer),
            Input::Synced(group) => self.synced(group),
            Input::Propose { term, last_index, entry } => self.propose(term, last_index, entry),
            Input::ReadBarrier(id) => self.read_barrier(id),
            Input::TellCommits(peer) => self.tell_commits(peer),
            Input::Loaded { peer, from, records } => self.loaded(peer, from, records),
            Input::TransferLeadership => self.transfer_leadership(),
            Input::Eligible(eligible) => self.set_eligible(eligible),
            Input::Dispute(index) => self.dispute(index),
            Input::RejoinTerms(term) => self.rejoin_terms(term),
            Input::Promote => self.promote(),
        }
        self.finish()
    }

    fn status(&self) -> Status {
        let peers = self.peers.iter().map(|id| match &self.state {
            State::Leader(leader) => {
                let peer = leader.peer(*id);
                let active = self.now - peer.heard < u64::from(self.timers.election_ticks_max);
                PeerStatus { id: *id, matched: peer.matched, active }
            }
            _ => PeerStatus { id: *id, matched: 0, active: self.leader() == Some(*id) },
        });
        Status {
            role: self.role(),
            leader: self.leader(),
            term: self.hard.term,
            last_index: self.log.last_index(),
            committed: self.log.commit(),
            can_propose: self.serves() && !self.is_transferring(),
            peers: peers.collect(),
        }
    }

    fn quiet_ticks(&self) -> u32 {
        // The tick that reaches this moment does something.
        let due = match &self.state {
            State::Follower(_) => self.election_due,
            State::PreCandidate(_) | State::Candidate(_) => return 0,
            State::Leader(leader) => self.leader_due(leader),
        };
        u32::try_from(due.saturating_sub(self.now + 1)).unwrap_or(u32::MAX)
    }
}

impl Raft {
    fn role(&self) -> Role {
        match &self.state {
            State::Follower(_) => Role::Follower,
            State::PreCandidate(_) | State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    fn leader(&self) -> Option<NodeId> {
        match &self.state {
            State::Follower(follower) => follower.leader,
            State::PreCandidate(_) | State::Candidate(_) => None,
            State::Leader(_) => Some(self.id),
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        match &self.state {
            State::Leader(_) => self.leader_tick(),
            _ if self.now >= self.election_due => self.election_timeout(),
            State::PreCandidate(_) | State::Candidate(_) => self.poll_tick(),
            State::Follower(_) => {}
        }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        let Message { term, body } = message;
        if !self.peers.contains(&from) || term > NUMBER_MAX {
            return;
        }
        match body {
            Body::PreVote(end) => self.pre_vote_asked(from, term, end),
            Body::PreVoteReply { asked, granted } => self.pre_vote_answered(from, term, asked, granted),
            Body::Vote(end) => self.vote_asked(from, term, end, false),
            Body::TransferVote(end) => self.vote_asked(from, term, end, true),
            Body::TimeoutNow(end) => self.told_to_campaign(from, term, end),
            Body::VoteReply { granted } => self.vote_answered(from, term, granted),
            Body::Append(append) => self.append(from, term, append),
            Body::AppendReply(reply) if term == self.hard.term => self.append_answered(from, &reply),
            // Of an older term: it says nothing about this one. Of a newer term: no member answers like that.
            Body::AppendReply(_) => {}
            Body::Stale if term > self.hard.term && planted!(LeaderKeepsLeading) && self.role() == Role::Leader => {
                self.hard = HardState { term, vote: Some(self.id) };
            }
            Body::Stale if term > self.hard.term => self.become_follower(term, None),
            Body::Stale => {}
        }
    }

    /// Adopts the term if it is newer, and follows. The election timer goes on, unless this node led.
    fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.hard.term, "a term never goes back");
        if term > self.hard.term {
            self.hard = HardState { term, vote: None };
        }
        if let State::Leader(leader) = std::mem::replace(&mut self.state, State::Follower(Follower::new(leader))) {
            self.out.events.extend(leader.refuse_reads());
            self.reset_election_timer();
        }
    }

    /// Ineligible nodes step down, and never campaign.
    fn set_eligible(&mut self, eligible: bool) {
        self.eligible = eligible;
        if !eligible && self.role() != Role::Follower {
            self.become_follower(self.hard.term, None);
        }
    }

    fn reset_election_timer(&mut self) {
        let Timers { election_ticks_min, election_ticks_max, .. } = self.timers;
        let ticks = if self.peers.is_empty() {
            1 // nobody to wait for, nobody to collide with
        } else {
            let spread = u64::from(election_ticks_max - election_ticks_min) + 1;
            u64::from(election_ticks_min) + self.rng.next_u64() % spread
        };
        self.election_due = self.now + ticks;
    }

    fn eager(&mut self, to: NodeId, body: Body) {
        self.out.eager.push((to, Message { term: self.hard.term, body }));
    }

    fn gated(&mut self, to: NodeId, body: Body) {
        self.out.gated.push((to, Message { term: self.hard.term, body }));
    }

    /// Cuts the log from the first record's index on if it reaches there, and appends.
    fn splice(&mut self, records: Vec<Record>) {
        let Some(from) = records.first().map(|record| record.index) else { return };
        if from <= self.log.last_index() {
            self.cut(from);
        }
        for record in &records {
            self.log.push(record.clone());
        }
        self.out.writes.push(Write::Splice { from, records });
    }

    fn cut(&mut self, from: Index) {
        self.log.cut(from);
        for syncing in &mut self.syncing {
            syncing.last_index = syncing.last_index.min(from - 1);
        }
    }

    fn commit_to(&mut self, index: Index) {
        let records = self.log.commit_to(index);
        if !records.is_empty() {
            self.out.events.push(Event::Committed(records));
        }
    }

    fn synced(&mut self, group: Group) {
        let syncing = self.syncing.pop_front().expect("a group that was never handed out cannot be durable");
        assert_eq!(syncing.group, group, "groups become durable in order");
        self.hard_synced = syncing.hard;
        // A cut lowers it, and so it may lie below what an older group reached.
        self.log.set_synced(syncing.last_index.max(self.log.synced()));
        match &self.state {
            State::Candidate(_) => self.count_votes(),
            State::Leader(_) => self.count_commit(),
            State::Follower(_) => self.check_rejoined(),
            State::PreCandidate(_) => {}
        }
    }

    /// Turns what has accumulated into the output of a step.
    fn finish(&mut self) -> Output {
        self.replicate();
        self.tell_successor();
        if self.hard != self.hard_written {
            // No step appends records of a term before it adopts that term, so the order among them is this one.
            self.hard_written = self.hard;
            self.out.writes.insert(0, Write::Hard(self.hard));
        }
        if !(self.out.writes.is_empty() && self.out.gated.is_empty()) {
            let group = self.next_group;
            self.next_group += 1;
            self.syncing.push_back(Syncing { group, last_index: self.log.last_index(), hard: self.hard });
            self.out.group = Some(group);
        }
        let now = (self.role(), self.leader(), self.hard.term);
        if now != self.announced {
            self.announced = now;
            let (role, leader, term) = now;
            self.out.events.insert(0, Event::Role { role, leader, term });
        }
        self.check_invariants();
        std::mem::take(&mut self.out)
    }

    /// What must hold after every step, in release builds too.
    fn check_invariants(&self) {
        let log = &self.log;
        assert!(log.commit() <= log.last_index() && log.synced() <= log.last_index());
        assert!(log.first_cached() <= log.commit() + 1, "uncommitted records are in memory");
        assert!(log.last_term() <= self.hard.term, "records are of known terms");
        match &self.state {
            State::Follower(follower) => assert!(follower.verified <= log.last_index()),
            State::PreCandidate(_) => assert!(self.may_campaign()),
            State::Candidate(_) => assert!(self.hard.vote == Some(self.id) && self.may_campaign()),
            State::Leader(leader) => {
                let synced = self.hard_synced.term == self.hard.term || planted!(LeaderKeepsLeading);
                assert!(synced && self.hard.vote == Some(self.id));
                assert!(self.rejoin.is_none() && self.eligible);
                assert!(leader.first_index <= log.last_index(), "a leader has its no-op");
            }
        }
    }
}
