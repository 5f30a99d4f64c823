//! Which software the members run: each tells the others when they meet, and then rarely, for it changes only with a
//! restart. Nothing depends on it but what operators are shown.

use raftbank_consensus::{Engine, NodeId};
use raftbank_wire::api::{SOFTWARE_BYTES_MAX, printable};

use super::Node;
use super::message::Body;

/// How often everyone is told again, in case it was lost. An older node drops it with a warning each time.
const TELL_EVERY_MS: u64 = 60_000;

impl<E: Engine> Node<E> {
    pub(super) fn tell_version(&mut self, to: NodeId) {
        let software = printable(&self.config.software, SOFTWARE_BYTES_MAX);
        let asks = self.peers.get(&to).is_some_and(|peer| peer.software.is_none());
        self.send(to, Body::Version { software, asks });
    }

    /// The same to everyone.
    pub(super) fn tell_versions(&mut self) {
        self.told_version_ms = self.now.mono_ms;
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.tell_version(peer);
        }
    }

    pub(super) fn versions_tick(&mut self) {
        if self.linked && self.now.mono_ms.saturating_sub(self.told_version_ms) >= TELL_EVERY_MS {
            self.tell_versions();
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
}
