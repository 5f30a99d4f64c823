//! A follower: takes records from the leader of its term, and acknowledges what it has verified and made durable.

use super::{NUMBER_MAX, Raft, State};
use crate::message::{Append, AppendReply, Body, Conflict};
use crate::{Event, Index, NodeId, Record, Term, Write};

#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The leader of the current term, once it was heard.
    pub leader: Option<NodeId>,
    /// Up to here the log is known to equal that leader's. Not the last index: what lies beyond may be a relic.
    pub verified: Index,
    /// What that leader was last told, or will be told with the next sync.
    told: Option<AppendReply>,
}

/// A record for which this node computed another result than its leader. It was cut off and never acknowledged, as if
/// it had been lost on its way, so it stands in nobody's way: this node may vote and campaign without it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disputed {
    index: Index,
    term: Term,
    /// Only the leader of this term is told.
    told_in: Term,
}

impl Follower {
    pub fn new(leader: Option<NodeId>) -> Self {
        Self { leader, ..Self::default() }
    }

    /// What it was told last may not have arrived.
    pub fn forget_told(&mut self) {
        self.told = None;
    }
}

impl Raft {
    /// AppendEntries (§3.5).
    pub(super) fn append(&mut self, from: NodeId, term: Term, append: Append) {
        let term = if planted!(OlderTermAccepted) { term.max(self.hard.term) } else { term };
        if term < self.hard.term {
            // Depose it; but vouch for nothing, not even for having heard it.
            self.eager(from, Body::Stale);
            if planted!(StaleReplyVouches) {
                self.answer_append(from, append.round, None, true, true);
            }
            return;
        }
        if !well_formed(term, &append) {
            return;
        }
        if let Some(what) = self.contradiction(from, term, &append) {
            self.out.events.push(Event::Impossible { from, what });
            return;
        }
        if term > self.hard.term || self.leader() != Some(from) {
            self.become_follower(term, Some(from));
        }
        self.leader_heard = Some(self.now);
        self.reset_election_timer();
        self.note_rejoin_target(&append);

        let (round, carries) = (append.round, !append.records.is_empty());
        let committed = self.log.commit();
        match self.log.term_at(append.prev_index) {
            Some(own) if own == append.prev_term => self.take(append),
            _ => {
                let end = self.log.last_not_above(append.prev_index, append.prev_term);
                let conflict = Conflict { refused: append.prev_index, index: end.last_index, term: end.last_term };
                return self.answer_append(from, round, Some(conflict), true, false);
            }
        }
        // A leader also writes when its commit index moves. That asks nothing; records, probes and heartbeats do.
        let asks = carries || self.log.commit() == committed;
        self.answer_append(from, round, None, asks, carries);
        self.check_rejoined();
    }

    /// What no leader of `term` can have sent if all members are honest and none has lost its memory (§3.2, figure 3.2:
    /// one leader in a term, which only appends to its log and has every committed record). To drop it is always allowed,
    /// and nothing else would be safe; to stop would let one bad member stop all others.
    fn contradiction(&self, from: NodeId, term: Term, append: &Append) -> Option<String> {
        let verified = match (&self.state, self.leader()) {
            (_, Some(leader)) if term == self.hard.term && leader != from => {
                return Some(format!("to lead in term {term}, which has another leader"));
            }
            (State::Follower(follower), Some(_)) if term == self.hard.term => follower.verified,
            _ => 0,
        };
        let certain = verified.max(self.log.commit());
        let records = append.records.iter().map(|record| (record.index, record.term));
        let mut named = [(append.prev_index, append.prev_term)].into_iter().chain(records);
        let (index, term) = named.find(|(index, term)| *index <= certain && self.log.term_at(*index) != Some(*term))?;
        let what = if index <= self.log.commit() { "is committed" } else { "it has sent before" };
        Some(format!("a record {index} of term {term} in place of one that {what}"))
    }

    /// Takes records that fit. Those already held are not written again: a delayed message must not cut off what came
    /// after it.
    fn take(&mut self, mut append: Append) {
        self.leave_out_disputed(&mut append);
        let State::Follower(follower) = &mut self.state else { unreachable!("made a follower just now") };
        let end = append.prev_index + append.records.len() as u64;
        // A leader has every committed record (leader completeness, §3.6.3): they need no comparison.
        let verified = follower.verified.max(end).max(self.log.commit());
        let held = |record: &&Record| match planted!(AppendTruncates) {
            true => record.index <= self.log.commit(),
            false => self.log.term_at(record.index) == Some(record.term),
        };
        let held = append.records.iter().take_while(held).count();
        let new: Vec<Record> = append.records.into_iter().skip(held).collect();
        let verified = if planted!(AppendTruncates) && !new.is_empty() { end } else { verified };
        if let Some(first) = new.first().filter(|_| !planted!(AppendTruncates)) {
            assert!(first.index > follower.verified, "a leader contradicts its own log at {}", first.index);
        }
        follower.verified = verified;
        self.splice(new);
        let known = if planted!(HeartbeatCommits) { self.log.last_index() } else { verified };
        let commit = append.commit.min(known);
        if commit > self.log.commit() {
            self.commit_to(commit);
        }
    }

    /// Answers the leader: at once if that promises nothing that is not durable, else together with the next sync. One that
    /// does not ask is not told the same again.
    fn answer_append(&mut self, to: NodeId, round: u64, conflict: Option<Conflict>, asks: bool, carries_records: bool) {
        let (rejoining, own_hard) = (self.rejoin_nonce(), self.hard_synced == self.hard);
        let State::Follower(follower) = &mut self.state else { return };
        let believes = planted!(AckLastIndex) && conflict.is_none();
        let verified = if believes { self.log.last_index() } else { follower.verified };
        let mine = verified;
        let durable = mine.min(self.log.synced());
        // A heartbeat is answered at once even while records are being synced, so that a slow disk deposes nobody.
        let hasty = planted!(AckBeforeSync);
        let at_once = hasty || own_hard && (durable == mine || !carries_records);
        let reply = AppendReply {
            verified,
            acknowledged: if at_once && !hasty { durable } else { mine },
            round,
            conflict,
            disputed: self
                .disputed
                .filter(|disputed| disputed.told_in == self.hard.term)
                .map(|disputed| disputed.index),
            rejoining,
        };
        let repeats = |told: &AppendReply| {
            reply.acknowledged <= told.acknowledged
                && AppendReply { acknowledged: told.acknowledged, ..reply.clone() } == *told
        };
        if !asks && rejoining.is_none() && follower.told.as_ref().is_some_and(repeats) {
            return;
        }
        follower.told = Some(reply.clone());
        if at_once {
            self.eager(to, Body::AppendReply(reply));
        } else {
            self.gated(to, Body::AppendReply(reply));
        }
    }

    /// The driver computed another result for a record than its leader did, and withholds the acknowledgement.
    pub(super) fn dispute(&mut self, index: Index) {
        if index <= self.log.commit() || index > self.log.last_index() {
            return; // decided already (the driver will find out), or cut off meanwhile
        }
        if index <= self.log.synced() {
            return; // it may be acknowledged, and what is acknowledged stays: applying it will show who is wrong
        }
        let Some(term) = self.log.term_at(index) else { return };
        let State::Follower(follower) = &mut self.state else { return };
        follower.verified = follower.verified.min(index - 1);
        let leader = follower.leader;
        self.disputed = Some(Disputed { index, term, told_in: self.hard.term });
        self.cut(index);
        self.out.writes.push(Write::Splice { from: index, records: Vec::new() });
        if let Some(leader) = leader {
            self.answer_append(leader, 0, None, true, false);
        }
    }

    /// Does not take a disputed record again, unless the others have committed it: then it is this node that is wrong,
    /// and applying it will show that.
    fn leave_out_disputed(&mut self, append: &mut Append) {
        let Some(disputed) = &mut self.disputed else { return };
        let Some(position) = append.records.iter().position(|record| record.index == disputed.index) else { return };
        if append.records[position].term != disputed.term || append.commit >= disputed.index {
            self.disputed = None; // replaced by another record, or decided
        } else {
            disputed.told_in = self.hard.term;
            append.records.truncate(position);
        }
    }
}

/// What an honest leader of `term` could send.
fn well_formed(term: Term, append: &Append) -> bool {
    let mut last = append.prev_term;
    append.prev_index <= NUMBER_MAX
        && append.commit <= NUMBER_MAX
        && (append.prev_index == 0) == (append.prev_term == 0)
        && append.records.iter().zip(append.prev_index + 1..).all(|(record, index)| {
            let fits = record.index == index && record.term >= last && record.term > 0;
            last = record.term;
            fits
        })
        && last <= term
}
