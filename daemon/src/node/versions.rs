//! Which software the members run: each tells the others when they meet, and then rarely, for it changes only with a
//! restart.
//!
//! Before a block may have a verb that version 0.1.0 does not know, every member must have told that it runs a version
//! that does: one that cannot read a committed block stands still for ever. What a member has told holds for its data
//! folder, not only for its process: its version has brought the folder to a format that no older one opens.
//! So it holds while the member is down, too, and ends with its incarnation. And a committed block with such a verb is
//! proof enough, whoever is down: its leader had heard it of all.

use raftbank_consensus::{Engine, NodeId};
use raftbank_wire::api::{SOFTWARE_BYTES_MAX, printable, version_of};

use super::Node;
use super::calls::{CallId, Kind};
use super::message::Body;

/// How often everyone is told again, in case it was lost. An older node drops it with a warning each time.
const TELL_EVERY_MS: u64 = 60_000;
/// The same for those that have not told theirs.
const ASK_EVERY_MS: u64 = 5_000;
/// The first version, major and minor, that knows linked and pending transfers.
const NEW_VERBS_SINCE: (u32, u32) = (0, 2);

/// Whether software of this name and version surely knows linked and pending transfers, and batches.
fn knows_new_verbs(software: &str) -> bool {
    version_of(software).is_some_and(|version| version >= NEW_VERBS_SINCE)
}

impl<E: Engine> Node<E> {
    pub(super) fn tell_version(&mut self, to: NodeId) {
        let software = printable(&self.config.software, SOFTWARE_BYTES_MAX);
        let asks = self.peers.get(&to).is_some_and(|peer| peer.software.is_none());
        self.send(to, Body::Version { software, asks });
    }

    /// The same to everyone.
    pub(super) fn tell_versions(&mut self) {
        self.told_version_ms = self.now.mono_ms;
        self.asked_version_ms = self.now.mono_ms;
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.tell_version(peer);
        }
    }

    pub(super) fn versions_tick(&mut self) {
        let now = self.now.mono_ms;
        if !self.linked {
            return;
        }
        if now.saturating_sub(self.told_version_ms) >= TELL_EVERY_MS {
            self.tell_versions();
        }
        if now.saturating_sub(self.asked_version_ms) >= ASK_EVERY_MS {
            self.asked_version_ms = now;
            let silent = self.reachable().into_iter().filter(|(_, peer)| peer.software.is_none());
            let silent: Vec<NodeId> = silent.map(|(id, _)| id).collect();
            for peer in silent {
                self.tell_version(peer);
            }
        }
    }

    /// A peer tells its own.
    pub(super) fn version_told(&mut self, from: NodeId, software: &str, asks: bool) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.software = Some(printable(software, SOFTWARE_BYTES_MAX));
        }
        if asks {
            // The answer asks nothing, for the peer's is known now.
            self.tell_version(from);
        }
    }

    /// Whether a member reads batches; they came with the new verbs.
    pub(super) fn reads_batches(&self, member: NodeId) -> bool {
        self.peers.get(&member).and_then(|peer| peer.software.as_deref()).is_some_and(knows_new_verbs)
    }

    /// A member that does not know linked and pending transfers, as far as this node knows, with a sentence about it.
    pub(super) fn not_supported_by(&self) -> Option<String> {
        if self.new_verbs || !self.state.pendings().rows().is_empty() || planted!(NewVerbsToAnyone) {
            return None;
        }
        self.peers.iter().find_map(|(id, peer)| match peer.software.as_deref() {
            Some(software) if knows_new_verbs(software) => None,
            Some(software) => Some(format!(
                "{} runs {software}, which does not know linked and pending transfers: upgrade it first",
                self.name(*id)
            )),
            None => Some(format!(
                "{} has not told yet which version it runs, and one before 0.2 would not know linked and pending \
                 transfers: see that it runs 0.2 or later and is reached, and ask again",
                self.name(*id)
            )),
        })
    }

    /// Why a call must not be executed yet: it has a new verb, and a member might not know it. What is in the chain
    /// already is only answered.
    pub(super) fn not_supported_yet(&self, id: CallId) -> Option<String> {
        let call = self.calls.get(&id)?;
        let is_new = match &call.kind {
            Kind::Write(request) => !request.operation.is_basic() && self.state.decide(request).is_none(),
            Kind::Many(many) => {
                let is_known = || many.requests().is_ok() && many.known(&self.state).is_some();
                self.not_supported_by().is_some() && many.has_new_verbs() && !is_known()
            }
            Kind::Read(_) => false,
        };
        if is_new { self.not_supported_by() } else { None }
    }
}
