//! Writes that travel as batches: what a client asks for, once more behind it, and an old request of the same client now
//! and then. The first counts as if it had been sent alone; the others must be told as repeats.

use raftbank_ledger::Request;
use raftbank_wire::api::{ApiReply, ApiRequest, Many, ManyResult};

use super::Violation;
use super::observe::violated;

/// The batch with this request at its front.
pub(super) fn pack(request: &Request, old: Option<&Request>, timeout_ms: u32) -> ApiRequest {
    let mut many = Many::default();
    for request in [Some(request), Some(request), old].into_iter().flatten() {
        assert!(many.push(&request.encode()), "far below the bounds");
    }
    ApiRequest::WriteMany { requests: many.into_bytes(), timeout_ms }
}

/// What a batch's answer says of the request at its front.
pub(super) fn first(request: &Request, reply: ApiReply) -> Result<ApiReply, Violation> {
    let ApiReply::WrittenMany { results } = reply else { return Ok(reply) };
    let [first, second, rest @ ..] = &results[..] else {
        violated!("a batch of at least two is answered by {results:?}");
    };
    let is_repeat = match (first, second) {
        (
            ManyResult::Written { outcome, height, index, .. },
            ManyResult::Written { outcome: again, height: at, index: place, duplicate: true },
        ) => (outcome, height, index) == (again, at, place),
        (ManyResult::Failed { .. }, _) => first == second,
        _ => false,
    };
    if !is_repeat {
        violated!("the second of two equal requests of a batch is no repeat of the first: {results:?}");
    }
    if let Some(old) = rest.iter().find(|old| !matches!(old, ManyResult::Written { duplicate: true, .. })) {
        violated!("an old request at the end of a batch is told as {old:?}");
    }
    Ok(match first.clone() {
        ManyResult::Written { outcome, height, index, duplicate } => {
            ApiReply::Written { id: request.id.as_str().to_owned(), outcome, height, index, duplicate }
        }
        ManyResult::Failed { kind, code, message } => ApiReply::Failed { kind, code, message },
    })
}
