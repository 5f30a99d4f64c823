//! A node's part of its diagnosis: what it knows of its peers. Disk and relay are the runtime's to add.

use raftbank_consensus::{Engine, NodeId};
use raftbank_wire::api::{ApiReply, Diagnosis, MemberDiagnosis, Refused, RelayConnection};

use super::Node;
use super::peers::{Peer, Refusal};

impl<E: Engine> Node<E> {
    pub(super) fn diagnosis(&self) -> ApiReply {
        let reachable = self.reachable();
        let members = self.config.names.iter().zip(0_u8..).map(|(name, position)| {
            let id = NodeId(position);
            let member = match self.peers.get(&id) {
                Some(peer) => self.peer_diagnosis(peer, reachable.contains_key(&id)),
                None => MemberDiagnosis {
                    own: true,
                    reachable: true,
                    height: self.state.tip().height,
                    clock_offset_ms: Some(0),
                    software: Some(self.config.software.clone()),
                    heard_ms: Some(0),
                    incarnation: Some(self.config.incarnation),
                    ..MemberDiagnosis::default()
                },
            };
            MemberDiagnosis { id: name.as_str().to_owned(), ..member }
        });
        ApiReply::Diagnosis(Box::new(Diagnosis {
            node: self.name(self.config.id).to_owned(),
            software: self.config.software.clone(),
            cluster_id: self.state.cluster_id().0,
            condition: self.condition().map(str::to_owned),
            leader: self.leader.map(|leader| self.name(leader).to_owned()),
            uptime_ms: self.now.mono_ms.saturating_sub(self.started_mono_ms),
            relay: RelayConnection { connected: self.linked, ..RelayConnection::default() },
            members: members.collect(),
            ..Diagnosis::default()
        }))
    }

    fn peer_diagnosis(&self, peer: &Peer, reachable: bool) -> MemberDiagnosis {
        let ago = |then: u64| self.now.mono_ms.saturating_sub(then);
        MemberDiagnosis {
            reachable,
            height: peer.height,
            clock_offset_ms: peer.last_heard_ms.map(|_| peer.clock_offset_ms),
            software: peer.software.clone(),
            heard_ms: peer.last_heard_ms.map(ago),
            incarnation: peer.incarnation,
            refused: peer.refused.map(|(refusal, then)| Refused {
                code: refusal.code().to_owned(),
                message: refusal.message().to_owned(),
                ago_ms: ago(then),
            }),
            ..MemberDiagnosis::default()
        }
    }
}

impl Refusal {
    /// For programs.
    fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::OtherCluster => "other_cluster",
            Self::OtherIncarnation => "other_incarnation",
        }
    }

    /// For people.
    fn message(self) -> &'static str {
        match self {
            Self::Unreadable => "its last frame could not be read: it may run a newer version",
            Self::OtherCluster => "it belongs to another cluster: compare the genesis files of both nodes",
            Self::OtherIncarnation => {
                "it came back with another data folder: if its disk was lost, start it with --rejoin on a new folder"
            }
        }
    }
}
