//! What nodes say to each other. Every frame stands for itself: it names the cluster and its sender's incarnation, so
//! a lost, late or reordered one needs no session.

use raftbank_consensus::Message;
use raftbank_wire::api::ApiReply;
use serde::{Deserialize, Serialize};

/// Longest frame a node accepts from a peer, in bytes.
pub const FRAME_BYTES_MAX: u64 = 8 << 20;

/// One frame between two nodes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Cluster id: the hash of block 0. Frames of another cluster are refused.
    pub cluster: [u8; 32],
    /// The random number the sender's data folder was born with.
    pub incarnation: u64,
    /// The sender's wall clock, in Unix milliseconds.
    pub wall_ms: u64,
    /// The content.
    pub body: Body,
}

/// The content of a frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Body {
    /// Consensus.
    Raft(Message),
    /// A client's request on its way to the leader.
    Forward {
        /// The sender's number for it.
        call: CallName,
        /// What is asked.
        ask: Ask,
        /// How long the client still waits, in milliseconds.
        timeout_ms: u32,
    },
    /// The leader's answer to `Forward`.
    Answer {
        /// The asker's number.
        call: CallName,
        /// `None`: not led here, and not executed through this frame.
        reply: Option<ApiReply>,
    },
    /// Sent to every peer now and then, so that each knows who is there.
    Beacon {
        /// The sender's applied height.
        height: u64,
    },
    /// "My disk was lost; this is my new incarnation. What is your durable term?"
    Rejoin {
        /// The challenge of the node that is asked, once it is known; else 0.
        proof: u64,
    },
    /// "I know you under another incarnation. Say it again with this number": so that a late announcement of an
    /// incarnation that is gone replaces nothing.
    RejoinChallenge {
        /// The incarnation that was announced.
        incarnation: u64,
        /// Valid once, and never 0.
        challenge: u64,
    },
    /// The answer, once the new incarnation is stored durably.
    RejoinTerm {
        /// The incarnation that is answered.
        incarnation: u64,
        /// The sender's durable term.
        term: u64,
    },
    /// The key that the sender signs heads with, now and then.
    Key {
        /// An Ed25519 public key.
        public: [u8; 32],
    },
    /// "Sign this head, if it is one of your chain."
    SignHead {
        /// Size of the log tree.
        size: u64,
        /// Its root.
        root: [u8; 32],
    },
    /// The answer.
    HeadSigned {
        /// Size of the log tree.
        size: u64,
        /// What stands in the signature line after the key's id.
        signature: Vec<u8>,
    },
    /// A head that a majority has signed.
    Head {
        /// A signed note, see docs/format.md.
        note: String,
    },
    /// What the sender runs, when nodes meet and then rarely. For operators, and before anything that an older program
    /// cannot read.
    Version {
        /// Name and version, such as `raftbankd/0.1.0`.
        software: String,
        /// "And what do you run?"
        asks: bool,
    },
}

/// A call between two nodes. A process numbers its calls from 1, so it takes a random number of the process as well: a
/// late answer to an earlier process must not be taken for one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallName {
    /// Random, drawn when the asking process began.
    pub life: u64,
    /// The asker's number, unique in that life.
    pub number: u64,
}

/// What a client may ask the leader through another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Canonical bytes of a ledger request.
    Write(#[serde(with = "raftbank_wire::bytes")] Vec<u8>),
    /// The balance of an account.
    Balance(String),
    /// All balances.
    Accounts,
    /// The value of a key.
    Get(Vec<u8>),
    /// A batch of requests, as its client packed it.
    WriteMany(#[serde(with = "raftbank_wire::bytes")] Vec<u8>),
    /// The balance of an account, and what it holds. Only once all members know this.
    Funds(String),
}

#[cfg(test)]
mod tests {
    use super::{Ask, Body};

    #[test]
    fn golden_bytes_of_what_was_added_last() {
        let bytes = raftbank_codec::encode(&Body::Version { software: "s".into(), asks: true });
        assert_eq!(raftbank_codec::encode(&Ask::Funds("a".into())), [5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a']);
        assert_eq!(bytes, [&[11, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0], b"s", &[1]].concat());
    }
}
