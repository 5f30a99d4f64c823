//! What the tests of the ledger share: a small bank and its leader.
#![allow(clippy::unwrap_used)]

mod chain;
mod format;
mod history;
mod hostile;
mod rules;
mod two_phase;

use proptest::prelude::*;

use crate::*;

fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

fn amount(value: u64) -> Amount {
    Amount::new(value).unwrap()
}

fn request(id: &str, operation: Operation) -> Request {
    Request::new(RequestId::parse(id).unwrap(), operation).unwrap()
}

fn open(name: &str) -> Operation {
    Operation::Open { account: account(name) }
}

fn credit(name: &str, value: u64) -> Operation {
    Operation::Credit { account: account(name), amount: amount(value) }
}

fn debit(name: &str, value: u64) -> Operation {
    Operation::Debit { account: account(name), amount: amount(value) }
}

fn transfer(from: &str, to: &str, value: u64) -> Operation {
    Operation::Transfer { from: account(from), to: account(to), amount: amount(value), memo: "rent".into() }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into() }
}

fn genesis() -> Genesis {
    Genesis {
        name: "test".into(),
        salt: "pepper".into(),
        members: ["n1", "n2", "n3"].map(|name| NodeName::parse(name).unwrap()).to_vec(),
        difficulty: 4,
        time_ms: 1_000,
        accounts: vec![
            GenesisAccount { name: account("alice"), balance: 100 },
            GenesisAccount { name: account("bob"), balance: 0 },
        ],
        transfers: vec![GenesisTransfer { from: account("alice"), to: account("bob"), amount: 40 }],
    }
}

fn fresh() -> State {
    State::new(&genesis().block().unwrap()).unwrap().0
}

fn leg(from: &str, to: &str, value: u64) -> Leg {
    Leg { from: account(from), to: account(to), amount: amount(value), memo: "leg".into() }
}

fn pending(from: &str, to: &str, value: u64, timeout_ms: u64) -> Operation {
    let (from, to, amount) = (account(from), account(to), amount(value));
    Operation::Pending { from, to, amount, timeout_ms, memo: "hold".into() }
}

/// All of it if the value is 0.
fn post(id: &str, value: u64) -> Operation {
    Operation::Post { pending: RequestId::parse(id).unwrap(), amount: Amount::new(value).ok() }
}

fn void(id: &str) -> Operation {
    Operation::Void { pending: RequestId::parse(id).unwrap() }
}

/// Executes, mines and commits a batch as a leader would.
fn push(state: &mut State, batch: Vec<Request>) -> (Block, Vec<Decision>) {
    push_at(state, 2_000, batch)
}

/// The same with a clock that shows this.
fn push_at(state: &mut State, time_ms: u64, batch: Vec<Request>) -> (Block, Vec<Decision>) {
    let executed = state.execute(batch, time_ms);
    let header = executed.seal(state, 3, NodeName::parse("n2").unwrap());
    let nonce = pow::mine(&header, 0, 1 << 20).unwrap();
    let block = Block { header: Header { nonce, ..header }, entries: executed.entries() };
    let decisions = executed.decisions.clone();
    state.commit(executed, &block.header).unwrap();
    (block, decisions)
}

fn rows(state: &State) -> StateRows {
    StateRows {
        accounts: state.accounts().map(|(account, balance)| (account.clone(), balance)).collect(),
        values: state.values().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
        ids: state.ids().clone(),
        pendings: state.pendings().rows().clone(),
        log: state.log().clone(),
        tip: state.tip().clone(),
        cluster_id: state.cluster_id(),
        difficulty: state.difficulty(),
    }
}

fn outcomes(decisions: &[Decision]) -> Vec<&'static str> {
    decisions
        .iter()
        .map(|decision| match decision {
            Decision::Included { outcome, .. } => outcome.code(),
            Decision::Duplicate { .. } => "duplicate",
            Decision::IdReused => "id_reused",
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let name = || (0_u8..5).prop_map(|n| ["alice", "bob", "carol", "dave", "world"][usize::from(n)]);
    prop_oneof![
        name().prop_map(open),
        (name(), name(), 1_u64..80).prop_map(|(from, to, value)| transfer(from, to, value)),
        (name(), 1_u64..80).prop_map(|(name, value)| credit(name, value)),
        (name(), 1_u64..80).prop_map(|(name, value)| debit(name, value)),
        ("[a-c]", "[a-z]{0,5}").prop_map(|(key, value)| put(&key, &value)),
        prop::collection::vec((name(), name(), 1_u64..40), LEGS_MIN..5).prop_map(|legs| Operation::Linked {
            legs: legs.into_iter().map(|(from, to, value)| leg(from, to, value)).collect(),
        }),
        (name(), name(), 1_u64..80, 1_u64..50)
            .prop_map(|(from, to, value, timeout_ms)| pending(from, to, value, timeout_ms)),
        ("id[0-9]{1,2}", 0_u64..80).prop_map(|(id, value)| post(&id, value)),
        "id[0-9]{1,2}".prop_map(|id| void(&id)),
    ]
}
