//! Frames from and to peers: cluster, incarnation, reachability.

use std::collections::BTreeMap;

use raftbank_codec::{decode, encode};
use raftbank_consensus::{Engine, Input, Message, NodeId};
use raftbank_ledger::Hash;
use raftbank_proofs::VerifierKey;

use super::message::{Body, Envelope, FRAME_BYTES_MAX};
use super::{Action, AwaitedGroup, LinkChange, Node, Then};

/// Warnings about one peer are repeated at most this often.
const WARN_EVERY_MS: u64 = 10_000;

/// What this node knows of a peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its incarnation, as stored durably.
    pub incarnation: Option<u64>,
    /// An incarnation whose sync is awaited.
    storing: Option<u64>,
    /// When a valid frame of it last arrived.
    pub heard_ms: Option<u64>,
    /// Its height as of its last beacon.
    pub height: u64,
    /// Its wall clock minus ours, when its last frame arrived.
    pub clock_offset_ms: i64,
    warned_ms: Option<u64>,
    /// When it was last warned that this peer claims the impossible.
    impossible_ms: Option<u64>,
    /// How many new incarnations of it were accepted since this process began.
    pub changes: u64,
    /// What it signs heads with, as far as is known.
    pub key: Option<VerifierKey>,
    /// When that was last set.
    pub key_ms: Option<u64>,
    /// What it runs, as it told.
    pub software: Option<String>,
    /// When it was last heard, whatever became of its connection since.
    pub last_heard_ms: Option<u64>,
    /// Why its last frame was not accepted, and when.
    pub refused: Option<(Refusal, u64)>,
}

/// Why a frame was not accepted, for the diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It could not be decoded.
    Unreadable,
    /// Its sender belongs to another cluster.
    OtherCluster,
    /// Its sender has another data folder than before.
    OtherIncarnation,
}

impl Peer {
    pub fn new(incarnation: Option<u64>) -> Self {
        Self {
            incarnation,
            storing: None,
            heard_ms: None,
            height: 0,
            clock_offset_ms: 0,
            warned_ms: None,
            impossible_ms: None,
            changes: 0,
            key: None,
            key_ms: None,
            software: None,
            last_heard_ms: None,
            refused: None,
        }
    }
}

impl<E: Engine> Node<E> {
    pub(super) fn send_raft(&mut self, to: NodeId, message: Message) {
        self.send(to, Body::Raft(message));
    }

    pub(super) fn send(&mut self, to: NodeId, body: Body) {
        let envelope = Envelope {
            cluster: self.state.cluster_id().0,
            incarnation: self.config.incarnation,
            wall_ms: self.now.wall_ms,
            body,
        };
        self.actions.push(Action::Send { to, payload: encode(&envelope) });
    }

    pub(super) fn frame(&mut self, from: NodeId, payload: &[u8]) {
        let Some(peer) = self.peers.get(&from) else {
            return self.warn(format!("a frame from member {}, which does not exist, was dropped", from.0));
        };
        let known = peer.incarnation;
        let envelope: Envelope = match decode(payload, FRAME_BYTES_MAX) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.refused(from, Refusal::Unreadable);
                return self.warn_peer(from, format!("a frame from {} was dropped: {error}", self.name(from)));
            }
        };
        if envelope.cluster != self.state.cluster_id().0 {
            self.refused(from, Refusal::OtherCluster);
            return self.warn_peer(
                from,
                format!("{} belongs to another cluster: compare the genesis files of both nodes", self.name(from)),
            );
        }
        if let Body::Rejoin { proof } = envelope.body {
            return self.rejoin_announced(from, envelope.incarnation, proof);
        }
        match known {
            Some(incarnation) if incarnation == envelope.incarnation || planted!(IncarnationNotChecked) => {}
            Some(_) => {
                self.refused(from, Refusal::OtherIncarnation);
                return self.warn_peer(
                    from,
                    format!(
                        "{} came back with another data folder and was refused: if its disk was lost, start it with \
                         --rejoin on a new folder",
                        self.name(from)
                    ),
                );
            }
            // On a new disk, this might be a late frame of an incarnation that is gone. What answers this node's own
            // announcement is not.
            None if self.is_rejoining() && !self.answers_announcement(&envelope.body) => return,
            // Met for the first time: nothing is accepted before its incarnation is durable here. It is sent again.
            None => return self.store_incarnation(from, envelope.incarnation, None),
        }
        let offset = signed_difference(envelope.wall_ms, self.now.wall_ms);
        let now_ms = self.now.mono_ms;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.heard_ms = Some(now_ms);
            peer.last_heard_ms = Some(now_ms);
            peer.clock_offset_ms = offset;
            peer.refused = None;
        }
        match envelope.body {
            Body::Raft(message) => self.inputs.push_back(Input::Receive { from, message }),
            Body::Forward { call, ask, timeout_ms } => self.forwarded(from, call, ask, timeout_ms),
            Body::Answer { call, reply } => self.answered(from, call, reply),
            Body::Beacon { height } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.height = height;
                }
            }
            Body::RejoinTerm { incarnation, term } => self.rejoin_term(from, incarnation, term),
            Body::RejoinChallenge { incarnation, challenge } => self.rejoin_challenged(from, incarnation, challenge),
            Body::Key { public } => self.key_told(from, &public),
            Body::SignHead { size, root } => self.sign_head(from, size, Hash(root)),
            Body::HeadSigned { size, signature } => self.head_signed(from, size, signature),
            Body::Head { note } => self.head_told(from, &note),
            Body::Version { software, asks } => self.version_told(from, &software, asks),
            Body::Rejoin { .. } => unreachable!("handled above"),
        }
    }

    /// Stores a peer's incarnation, then accepts its frames, and answers its announcement if `term` is given.
    pub(super) fn store_incarnation(&mut self, from: NodeId, incarnation: u64, term: Option<u64>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.storing == Some(incarnation) {
            return;
        }
        peer.storing = Some(incarnation);
        let mut then = vec![Then::PeerKnown(from, incarnation)];
        then.extend(term.map(|term| Then::AnswerRejoin(from, incarnation, term)));
        let awaited = AwaitedGroup { then, ..AwaitedGroup::default() };
        self.persist(Vec::new(), awaited, vec![(from, incarnation)], false);
    }

    pub(super) fn peer_known(&mut self, from: NodeId, incarnation: u64) {
        let now_ms = self.now.mono_ms;
        if let Some(peer) = self.peers.get_mut(&from) {
            if peer.incarnation != Some(incarnation) {
                peer.software = None; // a new folder may be that of an older program
            }
            peer.changes += u64::from(peer.incarnation.is_some());
            peer.incarnation = Some(incarnation);
            // The frame that told it was a valid one.
            peer.heard_ms = Some(now_ms);
            if peer.storing == Some(incarnation) {
                peer.storing = None;
            }
        }
        self.tell_key(from);
        self.tell_version(from);
    }

    pub(super) fn link(&mut self, change: LinkChange) {
        match change {
            LinkChange::Connected => {
                self.linked = true;
                self.send_beacons();
                self.tell_all();
                self.tell_versions();
            }
            LinkChange::Lost => {
                self.linked = false;
                for peer in self.peers.values_mut() {
                    peer.heard_ms = None;
                }
            }
            LinkChange::Up(peer) => {
                if self.peers.contains_key(&peer) {
                    let height = self.state.tip().height;
                    self.send(peer, Body::Beacon { height });
                    self.tell_key(peer);
                    self.tell_version(peer);
                    self.tell_head(peer);
                    self.inputs.push_back(Input::LinkReset(peer));
                }
            }
            LinkChange::Down(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.heard_ms = None;
                }
            }
        }
        self.reroute();
    }

    /// Tells every peer that this node is there, each ten heartbeats, and its height at most a heartbeat after it has
    /// changed.
    pub(super) fn beacon(&mut self) {
        let beats = if self.state.tip().height == self.last_beacon_height { 10 } else { 1 };
        if self.linked && self.now.mono_ms.saturating_sub(self.last_beacon_ms) >= beats * self.heartbeat_ms() {
            self.send_beacons();
        }
    }

    fn send_beacons(&mut self) {
        let height = self.state.tip().height;
        self.last_beacon_ms = self.now.mono_ms;
        self.last_beacon_height = height;
        let ids: Vec<NodeId> = self.peers.keys().copied().collect();
        for id in ids {
            self.send(id, Body::Beacon { height });
        }
    }

    /// Peers heard within the last four beacons.
    pub(super) fn reachable(&self) -> BTreeMap<NodeId, &Peer> {
        let window = 40 * self.heartbeat_ms();
        let now = self.now.mono_ms;
        self.peers
            .iter()
            .filter(|(_, peer)| peer.heard_ms.is_some_and(|heard| now.saturating_sub(heard) <= window))
            .map(|(id, peer)| (*id, peer))
            .collect()
    }

    fn refused(&mut self, from: NodeId, why: Refusal) {
        let now = self.now.mono_ms;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.refused = Some((why, now));
        }
    }

    /// A peer claimed what cannot be. Apart from other warnings, so that none of those keeps the first of these back.
    pub(super) fn warn_impossible(&mut self, from: NodeId, what: &str) {
        let now = self.now.mono_ms;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.impossible_ms.is_none_or(|last| now.saturating_sub(last) >= WARN_EVERY_MS) {
            peer.impossible_ms = Some(now);
            let name = self.name(from);
            self.warn(format!(
                "impossible: {name} claimed {what}; it was ignored. One of the two has lost or damaged records: stop both, \
                 one after the other, and let `raftbankd --verify` tell which"
            ));
        }
    }

    pub(super) fn warn_peer(&mut self, from: NodeId, text: String) {
        let now = self.now.mono_ms;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.warned_ms.is_none_or(|last| now.saturating_sub(last) >= WARN_EVERY_MS) {
            peer.warned_ms = Some(now);
            self.warn(text);
        }
    }
}

fn signed_difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}
