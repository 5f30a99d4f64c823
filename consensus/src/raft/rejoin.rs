//! A node that lost its disk no longer knows what it has promised. It may vote again once nothing that it could have
//! promised matters any more:
//! - it has adopted the highest term that any other member has durably seen. Whatever it voted for before was a term
//!   that its candidate had seen durably;
//! - it holds, durably, everything that a leader of that term or a later one had *after* that. Whatever it helped to
//!   commit before is part of it. A nonce, drawn after the terms were collected and echoed by the leader, proves
//!   "after": a delayed message could name an older end of the log.

use rand_chacha::rand_core::Rng;

use super::{NUMBER_MAX, Raft, State};
use crate::message::Append;
use crate::{Event, Index, Term};

#[derive(Debug, Default)]
pub(super) struct Rejoin {
    /// 0 until the others' terms are known.
    nonce: u64,
    /// What has to be held, as the leader of that term said.
    target: Option<(Term, Index)>,
    complete: bool,
}

impl Raft {
    pub(super) fn rejoin_nonce(&self) -> Option<u64> {
        self.rejoin.as_ref().map(|rejoin| rejoin.nonce)
    }

    pub(super) fn rejoin_terms(&mut self, term: Term) {
        if self.rejoin.is_none() || term > NUMBER_MAX {
            return;
        }
        if term > self.hard.term {
            self.become_follower(term, None);
        }
        // It may have voted in that term, for whomever: so it votes for nobody else.
        self.hard.vote = Some(self.id);
        let nonce = self.rng.next_u64() | 1;
        if let Some(rejoin) = self.rejoin.as_mut() {
            *rejoin = Rejoin { nonce, ..Rejoin::default() };
        }
    }

    pub(super) fn note_rejoin_target(&mut self, append: &Append) {
        let term = self.hard.term;
        let Some(rejoin) = self.rejoin.as_mut() else { return };
        // A newer leader may have cut what an older one had: its word replaces the older one's.
        if rejoin.nonce != 0
            && append.rejoin_nonce == rejoin.nonce
            && rejoin.target.is_none_or(|(of_term, _)| of_term != term)
        {
            rejoin.target = Some((term, append.last_index));
        }
    }

    pub(super) fn check_rejoined(&mut self) {
        let (Some(rejoin), State::Follower(follower)) = (self.rejoin.as_mut(), &self.state) else { return };
        if let Some((term, index)) = rejoin.target
            && !rejoin.complete
            && term == self.hard.term
            && self.hard_synced == self.hard
            && follower.verified.min(self.log.synced()) >= index
        {
            rejoin.complete = true;
            self.out.events.push(Event::RejoinComplete);
        }
    }

    pub(super) fn promote(&mut self) {
        if self.rejoin.as_ref().is_some_and(|rejoin| rejoin.complete) {
            self.rejoin = None;
            self.reset_election_timer();
        }
    }
}
