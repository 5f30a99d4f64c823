//! What a node tells about itself: `status` and `watch`.

use raftbank_consensus::{Engine, NodeId, Role};
use raftbank_ledger::{Account, Balance, Hash};
use raftbank_wire::api::{ApiReply, FailKind, MemberStatus, NodeRole, StatusReply, WatchEvent};

use super::{Action, Node};

/// Most watchers of one node.
const WATCHERS_MAX: usize = 64;

impl<E: Engine> Node<E> {
    pub(super) fn status(&self) -> ApiReply {
        let reachable = self.reachable();
        let tip = self.state.tip();
        let engine = self.engine.status();
        let members = self
            .config
            .names
            .iter()
            .zip(0_u8..)
            .map(|(name, position)| {
                let id = NodeId(position);
                let (reachable, height) = if id == self.config.id {
                    (true, tip.height)
                } else {
                    (reachable.contains_key(&id), self.peers.get(&id).map_or(0, |peer| peer.height))
                };
                MemberStatus { id: name.as_str().to_owned(), reachable, height }
            })
            .collect();
        ApiReply::Status(StatusReply {
            node: self.name(self.config.id).to_owned(),
            role: role(self.role),
            leader: self.leader.map(|leader| self.name(leader).to_owned()),
            term: self.term,
            height: tip.height,
            head: tip.hash.0,
            members,
            last_index: engine.last_index,
            commit_index: engine.committed,
            applied_index: self.applied,
            pending: u64::try_from(self.calls.len()).unwrap_or(u64::MAX),
            condition: self.condition().map(str::to_owned),
            cluster_id: self.state.cluster_id().0,
            incarnation: self.config.incarnation,
            software: self.config.software.clone(),
            uptime_ms: self.now.mono_ms.saturating_sub(self.started_mono_ms),
        })
    }

    /// What keeps this node from its full duty, as `status` spells it.
    pub(crate) fn condition(&self) -> Option<&'static str> {
        if self.is_rejoining() {
            Some("rejoining")
        } else if self.clock_skew {
            Some("clock_skew")
        } else if !self.linked && self.config.names.len() > 1 {
            Some("no_relay")
        } else {
            None
        }
    }

    pub(super) fn watch(&mut self, token: u64) {
        if self.watchers.len() >= WATCHERS_MAX {
            let message = "too many clients watch this node already";
            let reply = super::answers::failed(FailKind::NotExecuted, "overloaded", message);
            return self.reply(token, reply);
        }
        self.watchers.insert(token);
        let event = self.role_event();
        self.actions.push(Action::Reply { token, reply: ApiReply::Event(event), last: false });
    }

    pub(super) fn watch_role(&mut self) {
        let event = self.role_event();
        self.tell_watchers(&event);
    }

    pub(super) fn watch_block(
        &mut self,
        height: u64,
        hash: Hash,
        requests: usize,
        balances: &[(Account, Option<Balance>, Balance)],
    ) {
        if self.watchers.is_empty() {
            return;
        }
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.tell_watchers(&WatchEvent::Block { height, hash: hash.0, requests });
        for (account, _, balance) in balances {
            let account = account.as_str().to_owned();
            self.tell_watchers(&WatchEvent::Balance { account, balance: *balance, height });
        }
    }

    fn role_event(&self) -> WatchEvent {
        WatchEvent::Role {
            role: role(self.role),
            leader: self.leader.map(|leader| self.name(leader).to_owned()),
            term: self.term,
        }
    }

    fn tell_watchers(&mut self, event: &WatchEvent) {
        for token in &self.watchers {
            let reply = ApiReply::Event(event.clone());
            self.actions.push(Action::Reply { token: *token, reply, last: false });
        }
    }
}

fn role(role: Role) -> NodeRole {
    match role {
        Role::Leader => NodeRole::Leader,
        Role::Candidate => NodeRole::Candidate,
        Role::Follower => NodeRole::Follower,
    }
}
