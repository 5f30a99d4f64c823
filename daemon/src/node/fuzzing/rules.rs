//! What clients ask, and which answers belong to it.

use raftbank_ledger::{Account, Amount, Leg, Operation, Request, RequestId};
use raftbank_proofs::Checkpoint;
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, HELD_ROWS_MAX, Many, SOFTWARE_BYTES_MAX, unpack};

use super::{MEMBERS, Program};

/// One of few accounts, so that they meet.
pub(super) fn account(program: &mut Program<'_>) -> Account {
    let name = ["alice", "bob", "carol", "world"][usize::from(program.byte() % 4)];
    Account::parse(name).expect("a name")
}

/// One of few ids, so that they are repeated.
pub(super) fn id(program: &mut Program<'_>) -> RequestId {
    RequestId::parse(&format!("id-{}", program.byte() % 32)).expect("an id")
}

/// A request that a ledger takes.
pub(super) fn write(program: &mut Program<'_>) -> Request {
    let id = id(program);
    let money = |program: &mut Program<'_>| match program.byte() {
        0 => Amount::new(Amount::MAX).expect("an amount"),
        amount => Amount::new(amount.into()).expect("an amount"),
    };
    let operation = match program.byte() % 9 {
        0 => Operation::Open { account: account(program) },
        1 => Operation::Transfer {
            from: account(program),
            to: account(program),
            amount: money(program),
            memo: String::new(),
        },
        2 => Operation::Credit { account: account(program), amount: money(program) },
        3 => Operation::Debit { account: account(program), amount: money(program) },
        5 => {
            let leg = |program: &mut Program<'_>| Leg {
                from: account(program),
                to: account(program),
                amount: money(program),
                memo: String::new(),
            };
            Operation::Linked { legs: (0..2 + program.byte() % 3).map(|_| leg(program)).collect() }
        }
        6 => Operation::Pending {
            from: account(program),
            to: account(program),
            amount: money(program),
            timeout_ms: 1 + 100 * u64::from(program.byte()),
            memo: String::new(),
        },
        7 => Operation::Post { pending: self::id(program), amount: Amount::new(program.byte().into()).ok() },
        8 => Operation::Void { pending: self::id(program) },
        _ => Operation::Put { key: vec![program.byte() % 4], value: program.chunk().to_vec() },
    };
    Request::new(id, operation).expect("within the bounds")
}

/// A batch of up to seven requests; now and then its end is missing, or it has none.
pub(super) fn many(program: &mut Program<'_>) -> Vec<u8> {
    let byte = program.byte();
    let mut many = Many::default();
    for _ in 0..byte % 8 {
        assert!(many.push(&write(program).encode()), "far below the bounds");
    }
    let mut bytes = many.into_bytes();
    if byte >= 240 {
        bytes.pop();
    }
    bytes
}

/// A request that a client may send.
pub(super) fn request(program: &mut Program<'_>) -> ApiRequest {
    let kind = program.byte();
    let timeout_ms = match program.byte() {
        255 => u32::MAX,
        byte => u32::from(byte) * 20,
    };
    let local = kind & 64 != 0;
    match kind % 16 {
        0..4 => ApiRequest::Write { request: write(program).encode(), timeout_ms },
        4 => ApiRequest::Balance { account: account(program).to_string(), local, timeout_ms },
        5 => ApiRequest::Accounts { local, timeout_ms },
        6 => ApiRequest::Get { key: vec![program.byte() % 4], local, timeout_ms },
        7 if local => ApiRequest::Status,
        7 => ApiRequest::Watch,
        8 => ApiRequest::Find { id: id(program).to_string() },
        9 => ApiRequest::Checkpoint { size_min: program.near(2), timeout_ms },
        10 => ApiRequest::Diagnose,
        11 => ApiRequest::WriteMany { requests: many(program), timeout_ms },
        12 => ApiRequest::Funds { account: account(program).to_string(), local, timeout_ms },
        13 => ApiRequest::Held {
            account: local.then(|| account(program).to_string()),
            after: (program.byte() % 2 == 1).then(|| (program.near(2_000), id(program).to_string())),
        },
        14 => ApiRequest::HeldById { ids: (0..program.byte() % 4).map(|_| id(program).to_string()).collect() },
        _ => ApiRequest::Keys,
    }
}

/// # Panics
/// If the reply does not belong to the request.
pub(super) fn check_reply(request: &ApiRequest, reply: &ApiReply, last: bool) {
    assert!(last || matches!(request, ApiRequest::Watch), "{request:?} got more than one reply");
    if let ApiReply::Failed { kind, code, message } = reply {
        assert!(!code.is_empty() && !message.is_empty());
        let malformed = match request {
            ApiRequest::Write { request, .. } => Request::decode(request).is_err(),
            ApiRequest::WriteMany { requests, .. } => unpack(requests).is_err(),
            ApiRequest::Balance { account, .. } | ApiRequest::Funds { account, .. } => Account::parse(account).is_err(),
            ApiRequest::Find { id } => RequestId::parse(id).is_err(),
            ApiRequest::Accounts { .. }
            | ApiRequest::Get { .. }
            | ApiRequest::Status
            | ApiRequest::Watch
            | ApiRequest::Checkpoint { .. }
            | ApiRequest::Diagnose
            | ApiRequest::Held { .. }
            | ApiRequest::HeldById { .. }
            | ApiRequest::Keys => false,
            _ => true,
        };
        assert!(!malformed || matches!(kind, FailKind::Usage | FailKind::NotExecuted), "{request:?}: {reply:?}");
        return;
    }
    let fits = match (request, reply) {
        (ApiRequest::Write { request, .. }, ApiReply::Written { id, .. }) => {
            Request::decode(request).expect("only a well-formed request is executed").id.as_str() == id
        }
        (ApiRequest::WriteMany { requests, .. }, ApiReply::WrittenMany { results }) => {
            unpack(requests).expect("only a well-formed batch is executed").len() == results.len()
        }
        (
            ApiRequest::Balance { account, local, .. },
            ApiReply::Balance { account: answered, local: from_state, .. },
        ) => account == answered && local == from_state,
        // A node that is not sure of the others asks for the balance alone.
        (ApiRequest::Funds { account, local, .. }, ApiReply::Balance { account: answered, local: from_state, .. }) => {
            account == answered && !local && !from_state
        }
        (
            ApiRequest::Funds { account, local, .. },
            ApiReply::Funds { account: answered, local: from_state, balance, held, .. },
        ) => account == answered && local == from_state && (account == "world" || (0..=*balance).contains(held)),
        (ApiRequest::Held { .. } | ApiRequest::HeldById { .. }, ApiReply::Held { rows, .. }) => {
            rows.len() <= HELD_ROWS_MAX
        }
        (ApiRequest::Accounts { .. }, ApiReply::Accounts { .. }) => true,
        (ApiRequest::Get { key, .. }, ApiReply::Value { key: answered, .. }) => key == answered,
        (ApiRequest::Status, ApiReply::Status(_)) => true,
        (ApiRequest::Watch, ApiReply::Event(_)) => !last,
        (ApiRequest::Find { .. }, ApiReply::Found { height, .. }) => *height > 0,
        (ApiRequest::Checkpoint { size_min, .. }, ApiReply::Checkpoint { note }) => {
            Checkpoint::parse(note).expect("a checkpoint can be read").head.size >= *size_min
        }
        (ApiRequest::Diagnose, ApiReply::Diagnosis(diagnosis)) => {
            let bounded = |member: &raftbank_wire::api::MemberDiagnosis| {
                member.software.as_ref().is_none_or(|software| software.len() <= SOFTWARE_BYTES_MAX)
            };
            diagnosis.members.len() == usize::from(MEMBERS) && diagnosis.members.iter().all(bounded)
        }
        (ApiRequest::Keys, ApiReply::Keys { members }) => members.len() == usize::from(MEMBERS),
        _ => false,
    };
    assert!(fits, "{request:?} got {reply:?}");
}
