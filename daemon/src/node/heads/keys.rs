//! The public keys of the members: each tells its own to the others, and they keep it.

use raftbank_consensus::{Engine, NodeId};
use raftbank_proofs::{KeyKind, VerifierKey, node_key_name};
use raftbank_store::Batch;
use raftbank_wire::api::ApiReply;

use super::super::message::Body;
use super::super::{Action, Node};

/// Key and newest head are told to everyone each so many heartbeats, but not less often than each
/// [`TELL_MS_MAX`]: any of them may have been lost.
const TELL_BEATS: u64 = 20;
const TELL_MS_MAX: u64 = 5_000;
/// A member's key is replaced at most this often: each time costs a write.
const KEY_MS: u64 = 1_000;

impl<E: Engine> Node<E> {
    /// A member's key, this node's own included, as far as it is known.
    pub(super) fn key_of(&self, id: NodeId) -> Option<&VerifierKey> {
        if id == self.config.id { Some(&self.own_key) } else { self.peers.get(&id)?.key.as_ref() }
    }

    /// The key that a member tells of; `None` if it is none.
    pub(in crate::node) fn verifier(&self, id: NodeId, public: &[u8; 32]) -> Option<VerifierKey> {
        let name = self.config.names.get(usize::from(id.0))?;
        VerifierKey::new(&node_key_name(&self.state.cluster_id(), name), KeyKind::Node, public).ok()
    }

    /// Tells a peer this node's key.
    pub(in crate::node) fn tell_key(&mut self, to: NodeId) {
        let public = self.own_key.public();
        self.send(to, Body::Key { public });
    }

    /// Tells everyone this node's key and, if it leads, the newest head, in case they were lost.
    pub(super) fn tell_now_and_then(&mut self) {
        let every = TELL_BEATS.saturating_mul(self.heartbeat_ms()).min(TELL_MS_MAX);
        if self.linked && self.now.mono_ms.saturating_sub(self.heads.told_ms) >= every {
            self.tell_all();
        }
    }

    /// The same at once.
    pub(in crate::node) fn tell_all(&mut self) {
        self.heads.told_ms = self.now.mono_ms;
        let leads = self.leads();
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.tell_key(peer);
            if leads {
                self.tell_head(peer);
            }
        }
    }

    /// A peer tells its key.
    pub(in crate::node) fn key_told(&mut self, from: NodeId, public: &[u8; 32]) {
        let now = self.now.mono_ms;
        let Some(peer) = self.peers.get(&from) else { return };
        if peer.key.as_ref().is_some_and(|known| known.public() == *public)
            || peer.key_ms.is_some_and(|last| now.saturating_sub(last) < KEY_MS)
        {
            return;
        }
        let Some(key) = self.verifier(from, public) else {
            let text = format!("{} told of a key that is not good for signatures; it was dropped", self.name(from));
            return self.warn_peer(from, text);
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.key_ms = Some(now);
            if peer.key.replace(key).is_some() {
                let name = self.name(from);
                self.warn(format!("{name} signs with another key now: auditors need a new keys file (bankctl keys)"));
                self.forget_signatures(from);
            } else {
                // It may have dropped ours, because it did not know this node yet.
                self.tell_key(from);
            }
        }
        // What is lost with a power cut is told again.
        let batch = Batch { keys: vec![(from, *public)], ..Batch::default() };
        self.actions.push(Action::Persist { group: None, batch });
    }

    /// Drops what a member has signed with a key that nobody will know any more, so that it is asked for again.
    fn forget_signatures(&mut self, of: NodeId) {
        if let Some(round) = &mut self.heads.round {
            round.signatures.remove(&of);
            round.wrong.remove(&of);
        }
        let Some(name) = self.key_of(of).map(|key| key.name().to_owned()) else { return };
        let signed = |checkpoint: &super::Checkpoint| checkpoint.signatures.iter().any(|line| line.name == name);
        self.heads.newest.take_if(|newest| signed(newest));
        self.heads.ahead.retain(|ahead| !signed(ahead));
    }

    /// All keys, for auditors.
    pub(in crate::node) fn keys_reply(&self) -> ApiReply {
        let members = self.config.names.iter().zip(0_u8..).map(|(name, position)| {
            let key = self.key_of(NodeId(position));
            (name.as_str().to_owned(), key.map(VerifierKey::public))
        });
        ApiReply::Keys { members: members.collect() }
    }
}
