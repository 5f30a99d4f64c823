//! Answers: what a decision, a failure or a peer's reply is to the client that asked.

use raftbank_consensus::Engine;
use raftbank_ledger::{Decision, Request, RequestId};
use raftbank_wire::api::{ApiReply, FailKind};

use super::calls::{Call, Kind, Place, Read};
use super::{Node, many};

impl<E: Engine> Node<E> {
    /// The answer to a call whose time is up: no more than what is known.
    pub(super) fn expired(&self, call: &Call) -> ApiReply {
        let leader = match self.leader {
            Some(leader) => format!("the leader is {}", self.name(leader)),
            None => "no leader is known here".to_owned(),
        };
        match &call.kind {
            Kind::Read(_) => {
                let message = format!("no majority answered in time ({leader}); ask again, or read with --local");
                failed(FailKind::NotExecuted, "timeout", &message)
            }
            Kind::Write(_) | Kind::Many(_)
                if planted!(NotExecutedLie)
                    || !call.exposed && !matches!(call.place, Place::Mining | Place::Proposed) =>
            {
                let what = if let Kind::Many(_) = call.kind { "batch" } else { "request" };
                let message = format!("not executed: the {what} reached no leader in time ({leader})");
                failed(FailKind::NotExecuted, "no_leader", &message)
            }
            Kind::Write(request) => {
                let message = format!(
                    "the outcome is not known yet ({leader}); it may still commit: ask again with --id {}",
                    request.id.as_str()
                );
                failed(FailKind::Unknown, "outcome_unknown", &message)
            }
            Kind::Many(many) => {
                let message = format!(
                    "the outcome of a batch of {} is not known yet ({leader}); it may still commit: send it again with \
                     the same ids",
                    many.len()
                );
                failed(FailKind::Unknown, "outcome_unknown", &message)
            }
        }
    }
}

/// A failure as the client sees it.
pub(super) fn failed(kind: FailKind, code: &str, message: &str) -> ApiReply {
    ApiReply::Failed { kind, code: code.to_owned(), message: message.to_owned() }
}

/// True for a reply that belongs to the question.
pub(super) fn answers(kind: &Kind, reply: &ApiReply) -> bool {
    match (kind, reply) {
        (_, ApiReply::Failed { .. }) | (Kind::Read(Read::Accounts), ApiReply::Accounts { .. }) => true,
        (Kind::Write(request), ApiReply::Written { id, .. }) => request.id.as_str() == id,
        (Kind::Many(many), ApiReply::WrittenMany { results }) => many.len() == results.len(),
        (Kind::Read(Read::Balance(asked) | Read::Funds(asked)), ApiReply::Balance { account, local: false, .. })
        | (Kind::Read(Read::Funds(asked)), ApiReply::Funds { account, local: false, .. }) => asked.as_str() == account,
        (Kind::Read(Read::Get(asked)), ApiReply::Value { key, .. }) => asked == key,
        _ => false,
    }
}

/// The answer to a write that the ledger has decided; `height` is that of the block that includes it.
pub(super) fn decided(request: &Request, height: u64, decision: &Decision) -> ApiReply {
    let (height, index, outcome, duplicate) = match decision {
        Decision::Included { index, outcome } => (height, *index, outcome, false),
        Decision::Duplicate { height, index, outcome } => (*height, *index, outcome, true),
        Decision::IdReused => return failed(FailKind::Refused, "id_reused", &id_reused(&request.id)),
    };
    let outcome = many::recorded(*outcome);
    ApiReply::Written { id: request.id.as_str().to_owned(), outcome, height, index, duplicate }
}

/// The sentence about an id that stands for another request.
pub(super) fn id_reused(id: &RequestId) -> String {
    format!("the id {id} was used before with other content; a new request needs a new id")
}
