//! A node that must not lead hands its leadership over: one whose clock is wrong, and one that is asked to stop. The
//! latter leaves when nobody waits for it any more.
//!
//! Such a leader proposes nothing new. Its block in flight is finished, a member that holds everything takes over at once
//! (Raft thesis §3.10), and what still waits here goes to the new leader on the usual way (`calls`). Without a successor
//! the node just steps down, and the others elect one.

use raftbank_consensus::{Engine, Input, NodeId};

use super::{Node, Notice};

/// How long a clean stop may take, in milliseconds.
pub(super) const SHUTDOWN_MS: u64 = 2_000;

/// Where a node is on its way out of the leadership, or of the cluster.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// When the node was asked to stop.
    since: Option<u64>,
    /// Consensus was asked to transfer the leadership, and has neither done so nor given up.
    handing_over: bool,
    /// Handed over since it was asked to stop: it stays until it knows who leads.
    awaits_successor: bool,
    /// Consensus was told that this node does not lead.
    ineligible: bool,
}

impl<E: Engine> Node<E> {
    pub(super) fn is_stopping(&self) -> bool {
        self.leaving.since.is_some()
    }

    fn may_lead(&self) -> bool {
        !self.is_stopping() && !self.clock_skew
    }

    /// This node takes blocks into its log.
    pub(super) fn proposes(&self) -> bool {
        self.serving && self.may_lead() && !self.leaving.handing_over
    }

    fn block_in_flight(&self) -> bool {
        !self.proposals.is_empty() || self.mining.is_some() || self.ahead.is_some()
    }

    /// Somebody can take over, and answer what waits here. Never true for a single member.
    fn others_make_progress(&self) -> bool {
        let others = self.reachable().len();
        others > 0 && (others + 1) * 2 > self.config.names.len()
    }

    pub(super) fn shutdown(&mut self) {
        self.leaving.since.get_or_insert(self.now.mono_ms);
    }

    /// Tells consensus whether this node may lead. A leader that may not is asked to hand over first.
    pub(super) fn adjust_leadership(&mut self) {
        if self.may_lead() {
            if std::mem::take(&mut self.leaving.ineligible) {
                self.inputs.push_back(Input::Eligible(true));
            }
        } else if !self.leads() {
            self.lead_no_more();
        } else if !self.leaving.handing_over {
            let stays = self.block_in_flight() || !self.others_make_progress() || planted!(LeavesWithoutHandover);
            if self.is_stopping() && stays {
                return;
            }
            self.leaving.handing_over = true;
            self.leaving.awaits_successor = self.is_stopping();
            self.inputs.push_back(Input::TransferLeadership);
        }
    }

    fn lead_no_more(&mut self) {
        if !std::mem::replace(&mut self.leaving.ineligible, true) {
            self.inputs.push_back(Input::Eligible(false));
        }
    }

    /// A member was told to take over.
    pub(super) fn handing_over(&mut self, to: NodeId) {
        self.actions.push(super::Action::Notice(Notice::HandingOver { to }));
    }

    pub(super) fn transfer_failed(&mut self) {
        self.leaving.handing_over = false;
        if !self.may_lead() {
            self.info("nobody took over the leadership; stepping down".to_owned());
            self.lead_no_more();
        }
    }

    /// The role has changed: a leadership that has ended is handed over no more.
    pub(super) fn note_role(&mut self) {
        self.leaving.handing_over &= self.leads();
    }

    /// Ends a stopping node when nobody waits for it, or its time is over.
    pub(super) fn stop_if_done(&mut self) {
        let Some(since) = self.leaving.since else { return };
        let is_late = self.now.mono_ms.saturating_sub(since) >= SHUTDOWN_MS;
        let is_needed =
            self.leads() || self.leaving.awaits_successor && self.leader.is_none() || !self.calls_by_token.is_empty();
        let waits = is_needed && self.others_make_progress() && !planted!(LeavesWithoutHandover);
        if is_late || !self.block_in_flight() && !waits {
            self.stop(0, "stopped as asked".to_owned());
        }
    }
}
