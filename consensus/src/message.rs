//! What members say to each other. Opaque to the driver, which only needs its kind (to log it), its term, its records.

use serde::{Deserialize, Serialize};

use crate::{Index, Record, Term};

/// A message between two members. Serializable with any serde format; both sides must use the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub(crate) term: Term,
    pub(crate) body: Body,
}

impl Message {
    /// The records it carries; empty for all kinds but `append`.
    pub fn records(&self) -> &[Record] {
        match &self.body {
            Body::Append(append) => &append.records,
            _ => &[],
        }
    }

    /// Its kind in words, for logs.
    pub fn kind(&self) -> &'static str {
        match &self.body {
            Body::PreVote(_) => "pre-vote",
            Body::PreVoteReply { granted: true, .. } => "pre-vote-granted",
            Body::PreVoteReply { granted: false, .. } => "pre-vote-refused",
            Body::Vote(_) => "vote",
            Body::VoteReply { granted: true } => "vote-granted",
            Body::VoteReply { granted: false } => "vote-refused",
            Body::Append(append) if append.records.is_empty() => "heartbeat",
            Body::Append(_) => "append",
            Body::AppendReply(reply) if reply.conflict.is_some() => "append-conflict",
            Body::AppendReply(_) => "append-reply",
            Body::Stale => "stale",
            Body::TimeoutNow(_) => "timeout-now",
            Body::TransferVote(_) => "transfer-vote",
        }
    }

    /// The last record that this message promises to be durable at its sender; `None` if it promises no records.
    pub fn acknowledged(&self) -> Option<Index> {
        match &self.body {
            Body::AppendReply(reply) => Some(reply.acknowledged),
            _ => None,
        }
    }

    /// The sender's term; for a pre-vote, the term it would campaign in.
    pub fn term(&self) -> Term {
        self.term
    }
}

/// Kinds of messages. The order is part of the encoding: append new ones at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// "Would you vote for me in `term`?" Changes nothing at the receiver (Raft thesis §9.6).
    PreVote(LogEnd),
    /// Answer; `asked` is the term of the question, the message's term is the voter's own.
    PreVoteReply { asked: Term, granted: bool },
    /// RequestVote (§3.4).
    Vote(LogEnd),
    /// Answer, of the same term.
    VoteReply { granted: bool },
    /// AppendEntries (§3.5).
    Append(Append),
    /// Answer of a follower that recognizes the leader of this very term.
    AppendReply(AppendReply),
    /// "There is a newer term than yours." Carries no round: it must not vouch for anything.
    Stale,
    /// A leader to a follower whose log ends like its own: "campaign at once" (§3.10). One that comes late names another
    /// end, or another term, and is ignored.
    TimeoutNow(LogEnd),
    /// A vote request of a candidate whom the leader itself told to campaign: it is heard although a leader was (§4.2.3).
    TransferVote(LogEnd),
}

/// How far a candidate's log reaches; decides whether it is up to date (§3.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogEnd {
    // The order of the fields makes the derived order the one of §3.6.1.
    pub last_term: Term,
    pub last_index: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Append {
    /// The record before the first one carried (or the last known to match).
    pub prev_index: Index,
    pub prev_term: Term,
    /// The leader's commit index.
    pub commit: Index,
    /// Number of the leader's heartbeat round, from 1 in each term. An answer proves that the leader was recognized
    /// after this round began (§6.4).
    pub round: u64,
    /// The leader's last index, so that a rejoining node knows what "everything" is.
    pub last_index: Index,
    /// The newest nonce that the receiver, rejoining, has sent; else 0.
    pub rejoin_nonce: u64,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppendReply {
    /// Up to here the follower's log is known to equal the leader's (not necessarily durable).
    pub verified: Index,
    /// The part of `verified` that is durable: what the leader may count.
    pub acknowledged: Index,
    /// The round it answers.
    pub round: u64,
    /// The record before those carried did not match.
    pub conflict: Option<Conflict>,
    /// The follower disputes this record.
    pub disputed: Option<Index>,
    /// The follower lost its disk and promises nothing. A nonce, or 0 if it does not know the others' terms yet.
    pub rejoining: Option<u64>,
}

/// Where the logs may still agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conflict {
    /// The `prev_index` that was refused.
    pub refused: Index,
    /// The follower's last index at or before `refused` whose term is not above `prev_term`.
    pub index: Index,
    /// Its term.
    pub term: Term,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Entry;

    /// Hex of the message's encoding, which must decode to the same message.
    fn hex(term: Term, body: Body) -> String {
        let message = Message { term, body };
        let bytes = raftbank_codec::encode(&message);
        assert_eq!(raftbank_codec::decode::<Message>(&bytes, 1 << 20).unwrap(), message);
        for cut in 0..bytes.len() {
            assert!(raftbank_codec::decode::<Message>(&bytes[..cut], 1 << 20).is_err());
        }
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // Term, then the kind as u32, then its fields; all little-endian.
    const TERM_5: &str = "0500000000000000";

    #[test]
    fn golden_bytes_of_elections() {
        let end = LogEnd { last_term: 3, last_index: 0x0102 };
        let end_hex = "03000000000000000201000000000000";
        assert_eq!(hex(5, Body::PreVote(end)), format!("{TERM_5}00000000{end_hex}"));
        assert_eq!(
            hex(5, Body::PreVoteReply { asked: 6, granted: true }),
            format!("{TERM_5}01000000060000000000000001")
        );
        assert_eq!(hex(5, Body::Vote(end)), format!("{TERM_5}02000000{end_hex}"));
        assert_eq!(hex(5, Body::VoteReply { granted: false }), format!("{TERM_5}0300000000"));
        assert_eq!(hex(5, Body::Stale), format!("{TERM_5}06000000"));
        assert_eq!(hex(5, Body::TimeoutNow(end)), format!("{TERM_5}07000000{end_hex}"));
        assert_eq!(hex(5, Body::TransferVote(end)), format!("{TERM_5}08000000{end_hex}"));
    }

    #[test]
    fn golden_bytes_of_appends() {
        let append = Append {
            prev_index: 1,
            prev_term: 2,
            commit: 3,
            round: 4,
            last_index: 6,
            rejoin_nonce: 7,
            records: vec![
                Record { index: 2, term: 5, entry: None },
                Record { index: 3, term: 5, entry: Some(Entry::from(vec![0xaa, 0xbb])) },
            ],
        };
        assert_eq!(
            hex(5, Body::Append(append)),
            [
                TERM_5,
                "04000000",
                "0100000000000000",
                "0200000000000000",
                "0300000000000000",
                "0400000000000000",
                "0600000000000000",
                "0700000000000000",
                "0200000000000000",                 // two records
                "02000000000000000500000000000000", /* no entry */
                "00",
                "03000000000000000500000000000000", /* an entry of two bytes */
                "010200000000000000aabb",
            ]
            .concat()
        );
        let conflict = Conflict { refused: 9, index: 8, term: 2 };
        let reply = AppendReply {
            verified: 1,
            acknowledged: 2,
            round: 3,
            conflict: Some(conflict),
            disputed: None,
            rejoining: Some(4),
        };
        assert_eq!(
            hex(5, Body::AppendReply(reply)),
            [
                TERM_5,
                "05000000",
                "0100000000000000",
                "0200000000000000",
                "0300000000000000",
                "01090000000000000008000000000000000200000000000000",
                "00",
                "010400000000000000",
            ]
            .concat()
        );
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut bytes = raftbank_codec::encode(&Message { term: 5, body: Body::Stale });
        bytes[8] = 4; // an append without its fields
        assert!(raftbank_codec::decode::<Message>(&bytes, 1 << 20).is_err());
        bytes.extend([0; 48]);
        bytes.extend(u64::MAX.to_le_bytes()); // that many records
        assert!(raftbank_codec::decode::<Message>(&bytes, 1 << 20).is_err());
    }
}
