//! Clients that wait for a signed head of some size.

use raftbank_consensus::Engine;
use raftbank_wire::api::{ApiReply, FailKind};

use super::super::Node;
use super::super::answers::failed;
use super::super::calls::TIMEOUT_MS_MAX;

/// Most clients that wait for a head.
const WAITERS_MAX: usize = 1_024;

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    size_min: u64,
    deadline_ms: u64,
}

impl<E: Engine> Node<E> {
    /// A client asks for a head that covers so many blocks.
    pub(in crate::node) fn checkpoint(&mut self, token: u64, size_min: u64, timeout_ms: u32) {
        if let Some(reply) = self.head_reply(size_min) {
            return self.reply(token, reply);
        }
        if timeout_ms == 0 {
            let reply = self.no_checkpoint(size_min);
            return self.reply(token, reply);
        }
        if self.heads.waiters.len() >= WAITERS_MAX {
            let message = "too many clients wait for a checkpoint at this node; ask again in a moment";
            return self.reply(token, failed(FailKind::NotExecuted, "overloaded", message));
        }
        let deadline_ms = self.now.mono_ms.saturating_add(u64::from(timeout_ms).min(TIMEOUT_MS_MAX));
        self.heads.waiters.insert(token, Waiter { size_min, deadline_ms });
    }

    pub(super) fn serve_waiters(&mut self) {
        let size = self.heads.newest_size();
        self.answer_waiters(|waiter| waiter.size_min <= size);
    }

    pub(super) fn expire_waiters(&mut self) {
        let now = self.now.mono_ms;
        self.answer_waiters(|waiter| waiter.deadline_ms <= now);
    }

    /// This process is about to end.
    pub(in crate::node) fn fail_waiters(&mut self) {
        self.answer_waiters(|_| true);
    }

    /// The client is gone.
    pub(in crate::node) fn forget_waiter(&mut self, token: u64) {
        self.heads.waiters.remove(&token);
    }

    fn answer_waiters(&mut self, over: impl Fn(&Waiter) -> bool) {
        if self.heads.waiters.is_empty() {
            return;
        }
        let all = self.heads.waiters.iter();
        let answered: Vec<(u64, u64)> =
            all.filter(|(_, waiter)| over(waiter)).map(|(token, waiter)| (*token, waiter.size_min)).collect();
        for (token, size_min) in answered {
            self.heads.waiters.remove(&token);
            let reply = self.head_reply(size_min).unwrap_or_else(|| self.no_checkpoint(size_min));
            self.reply(token, reply);
        }
    }

    /// Why there is no such head.
    fn no_checkpoint(&self, size_min: u64) -> ApiReply {
        let size = self.state.log().size();
        let newest = match self.heads.newest_size() {
            0 => "none is known here".to_owned(),
            newest => format!("the newest one here covers {newest}"),
        };
        let why = if size < size_min {
            format!("this node's chain has only {size} blocks")
        } else if let Some(round) = &self.heads.round {
            let signed: Vec<&str> = round.signatures.keys().map(|id| self.name(*id)).collect();
            let (signed, majority, members) = (signed.join(", "), self.majority(), self.config.names.len());
            format!("{majority} of {members} members must sign, so far signed: {signed}")
        } else if self.config.checkpoint_ms == 0 {
            "checkpoints are off at this node (checkpoints.interval_ms = 0)".to_owned()
        } else if !self.has_leader() {
            "no leader is known here, and so no majority".to_owned()
        } else {
            "the leader has told of none yet".to_owned()
        };
        let message = format!("no checkpoint covers {size_min} blocks, {newest}: {why}");
        failed(FailKind::NotExecuted, "no_checkpoint", &message)
    }
}
