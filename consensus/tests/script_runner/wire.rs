//! Messages as a reader sees them. Their fields are private to the crate, so they are read back from their bytes, as
//! another member would do it.

use raftbank_consensus::{Index, Message, NodeId, Record, Term};
use serde::Deserialize;

#[derive(Deserialize)]
struct Seen {
    _term: Term,
    body: Body,
}

#[derive(Deserialize)]
enum Body {
    PreVote(LogEnd),
    PreVoteReply { asked: Term, _granted: bool },
    Vote(LogEnd),
    VoteReply { _granted: bool },
    Append(Append),
    AppendReply(AppendReply),
    Stale,
    TimeoutNow(LogEnd),
    TransferVote(LogEnd),
}

#[derive(Deserialize)]
struct LogEnd {
    last_term: Term,
    last_index: Index,
}

#[derive(Deserialize)]
struct Append {
    prev_index: Index,
    prev_term: Term,
    commit: Index,
    round: u64,
    last_index: Index,
    rejoin_nonce: u64,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct AppendReply {
    verified: Index,
    acknowledged: Index,
    round: u64,
    conflict: Option<Conflict>,
    disputed: Option<Index>,
    rejoining: Option<u64>,
}

#[derive(Deserialize)]
struct Conflict {
    refused: Index,
    index: Index,
    term: Term,
}

/// `n1`, `n2`, …
pub fn name(id: NodeId) -> String {
    format!("n{}", id.0 + 1)
}

/// `4@2=x`: index, term, payload. A no-op has no payload.
pub fn record(record: &Record) -> String {
    let payload = record.entry.as_ref().map(|entry| String::from_utf8_lossy(entry).trim_end_matches('.').to_owned());
    format!("{}@{}{}", record.index, record.term, payload.map(|text| format!("={text}")).unwrap_or_default())
}

/// Records, one after the other.
pub fn records(records: &[Record]) -> String {
    records.iter().map(record).collect::<Vec<_>>().join(" ")
}

/// Prints messages; remembers nonces, which are random, so that they read 1, 2, 3.
#[derive(Default)]
pub struct Reader {
    nonces: Vec<u64>,
}

impl Reader {
    fn nonce(&mut self, nonce: u64) -> usize {
        if nonce == 0 {
            return 0;
        }
        let known = self.nonces.iter().position(|known| *known == nonce);
        1 + known.unwrap_or_else(|| {
            self.nonces.push(nonce);
            self.nonces.len() - 1
        })
    }

    /// Kind, term, and all that matters of the rest.
    pub fn message(&mut self, message: &Message) -> String {
        let bytes = raftbank_codec::encode(message);
        let Seen { body, .. } =
            raftbank_codec::decode(&bytes, bytes.len() as u64).expect("what was encoded can be decoded");
        let mut text = format!("{} t={}", message.kind(), message.term());
        match body {
            Body::PreVote(end) | Body::Vote(end) | Body::TimeoutNow(end) | Body::TransferVote(end) => {
                text += &format!(" end={}@{}", end.last_index, end.last_term);
            }
            Body::PreVoteReply { asked, .. } => text += &format!(" asked={asked}"),
            Body::VoteReply { .. } | Body::Stale => {}
            Body::Append(append) => {
                text += &format!(" prev={}@{}", append.prev_index, append.prev_term);
                if !append.records.is_empty() {
                    text += &format!(" [{}]", records(&append.records));
                }
                text += &format!(" commit={} round={}", append.commit, append.round);
                if append.rejoin_nonce != 0 {
                    text += &format!(" last={} nonce={}", append.last_index, self.nonce(append.rejoin_nonce));
                }
            }
            Body::AppendReply(reply) => {
                text += &format!(" verified={} durable={}", reply.verified, reply.acknowledged);
                text += &format!(" round={}", reply.round);
                if let Some(Conflict { refused, index, term }) = reply.conflict {
                    text += &format!(" refused={refused} has={index}@{term}");
                }
                if let Some(index) = reply.disputed {
                    text += &format!(" disputed={index}");
                }
                if let Some(nonce) = reply.rejoining {
                    text += &format!(" rejoining nonce={}", self.nonce(nonce));
                }
            }
        }
        text
    }
}
