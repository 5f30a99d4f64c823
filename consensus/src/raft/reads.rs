//! Linearizable reads without a write (ReadIndex, Raft thesis §6.4): a read may be answered from any state that
//! includes the commit index of the moment it was asked, once a majority has recognized this leader *after* that
//! moment. Rounds order those moments; they count within a term, and only an answer of that term vouches for them.

use super::leader::Leader;
use super::{Raft, State};
use crate::{BarrierId, Event, Index};

/// Reads in flight; more are refused.
const READS_MAX: usize = 1024;

/// A read that waits for its round to be confirmed.
#[derive(Debug)]
pub(super) struct Read {
    id: BarrierId,
    index: Index,
    round: u64,
}

impl Raft {
    pub(super) fn read_barrier(&mut self, id: BarrierId) {
        let commit = self.log.commit();
        // Before its no-op is committed a leader does not know the commit index (§6.4, step 1).
        let serves = self.serves() || planted!(ReadBeforeNoop);
        match &mut self.state {
            State::Leader(leader) if serves && leader.reads.len() < READS_MAX => {
                leader.new_round();
                let silent = self.now - leader.reached(self.quorum, self.now, |peer| peer.heard);
                let leased = planted!(LeaseRead) && silent < u64::from(self.timers.election_ticks_min);
                let round = if planted!(ReadWithoutQuorum) || leased { 0 } else { leader.round };
                leader.reads.push_back(Read { id, index: commit, round });
                self.confirm_reads();
            }
            _ => self.out.events.push(Event::ReadRefused(id)),
        }
    }

    /// Releases the reads whose round a majority has answered.
    pub(super) fn confirm_reads(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let confirmed = leader.reached(self.quorum, leader.round, |peer| peer.round);
        while leader.reads.front().is_some_and(|read| read.round <= confirmed) {
            if let Some(Read { id, index, .. }) = leader.reads.pop_front() {
                self.out.events.push(Event::ReadReady { id, index });
            }
        }
    }
}

impl Leader {
    /// What becomes of the reads in flight when the leadership ends.
    pub(super) fn refuse_reads(&self) -> impl Iterator<Item = Event> + '_ {
        self.reads.iter().map(|read| Event::ReadRefused(read.id))
    }
}
