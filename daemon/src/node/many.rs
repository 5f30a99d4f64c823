//! Batches of clients: many requests in one frame, each with an outcome of its own.
//!
//! A batch is one call: it waits, travels to the leader, is queued and ends as a whole, and all of it goes into one block.
//! So what it costs beside its execution does not grow with its requests. Only the leader reads it; the other nodes pass
//! its bytes on.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use raftbank_ledger::{Account, Balance, Decision, Operation, Outcome, Request, State, postings};
use raftbank_wire::api::{ApiReply, FailKind, ManyError, ManyResult, WriteOutcome, unpack};

use super::answers::id_reused;

/// A batch.
#[derive(Clone, Debug)]
pub(super) struct Many {
    packed: Vec<u8>,
    count: usize,
    requests: OnceCell<Vec<Request>>,
    /// What it would do to balances; made when somebody asks.
    moved: OnceCell<BTreeMap<Account, Balance>>,
}

impl Many {
    /// Takes a client's bytes.
    ///
    /// # Errors
    /// They are no batch.
    pub fn new(packed: Vec<u8>) -> Result<Self, ManyError> {
        let count = unpack(&packed)?.len();
        Ok(Self { packed, count, requests: OnceCell::new(), moved: OnceCell::new() })
    }

    /// How many requests it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Its bytes.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Its requests, read once.
    ///
    /// # Errors
    /// A sentence about the first that is malformed: then none may be executed.
    pub fn requests(&self) -> Result<&[Request], String> {
        if let Some(requests) = self.requests.get() {
            return Ok(requests);
        }
        let mut requests = Vec::with_capacity(self.count);
        for (place, bytes) in unpack(&self.packed).map_err(|error| error.to_string())?.into_iter().enumerate() {
            let request = Request::decode(bytes);
            requests.push(request.map_err(|error| format!("request {place} of the batch (counted from 0): {error}"))?);
        }
        Ok(self.requests.get_or_init(|| requests))
    }

    /// True if a request has a verb that version 0.1.0 does not know.
    pub fn has_new_verbs(&self) -> bool {
        let requests = unpack(&self.packed).unwrap_or_default();
        // The verb comes first.
        requests.iter().any(|bytes| bytes.first().is_some_and(|verb| *verb > Operation::BASIC_VERB_MAX))
    }

    /// The results, if the state knows every id: then no block is needed.
    pub fn known(&self, state: &State) -> Option<Vec<ManyResult>> {
        let decisions: Option<Vec<Decision>> =
            self.requests.get()?.iter().map(|request| state.decide(request)).collect();
        Some(self.results(state.tip().height, &decisions?))
    }

    /// What each request will hear of the block at `height`.
    pub fn results(&self, height: u64, decisions: &[Decision]) -> Vec<ManyResult> {
        let requests = self.requests.get().map_or(&[][..], Vec::as_slice);
        requests.iter().zip(decisions).map(|(request, decision)| result(request, height, decision)).collect()
    }

    /// What it would do to an account's balance, if nothing of it is refused.
    pub fn moved(&self, account: &Account) -> Balance {
        let moved = self.moved.get_or_init(|| {
            let mut moved = BTreeMap::new();
            for request in self.requests().unwrap_or_default() {
                postings(&request.operation, None, |account, change| {
                    *moved.entry(account.clone()).or_insert(0) += change;
                });
            }
            moved
        });
        moved.get(account).copied().unwrap_or(0)
    }
}

fn result(request: &Request, height: u64, decision: &Decision) -> ManyResult {
    match decision {
        Decision::Included { index, outcome } => written(*outcome, height, *index, false),
        Decision::Duplicate { height, index, outcome } => written(*outcome, *height, *index, true),
        Decision::IdReused => {
            let message = id_reused(&request.id);
            ManyResult::Failed { kind: FailKind::Refused, code: "id_reused".to_owned(), message }
        }
    }
}

fn written(outcome: Outcome, height: u64, index: u32, duplicate: bool) -> ManyResult {
    ManyResult::Written { outcome: recorded(outcome), height, index, duplicate }
}

/// A recorded outcome as clients see it.
pub(super) fn recorded(outcome: Outcome) -> WriteOutcome {
    match outcome {
        Outcome::Committed => WriteOutcome::Committed,
        Outcome::Refused(refusal) => {
            WriteOutcome::Refused { code: refusal.code().to_owned(), message: refusal.to_string() }
        }
    }
}

/// The answer to a batch.
pub(super) fn answer(results: Vec<ManyResult>) -> ApiReply {
    ApiReply::WrittenMany { results }
}
