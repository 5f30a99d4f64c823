//! What simulated clients ask for: every verb, on few names, so that refusals and conflicts are common.

use raftbank_ledger::{Account, Amount, Genesis, GenesisAccount, NodeName, Operation, Request, RequestId};
use raftbank_wire::api::ApiRequest;

use crate::consensus_sim::Dice;

/// Accounts `a0` to `a5`; the first ones stand in the genesis file.
const ACCOUNTS: u64 = 6;
/// How many of them the genesis file opens.
const OPENED: usize = 3;
/// What each of those begins with.
const BALANCE: u64 = 1_000;
/// Keys `k0`, `k1`, …
const KEYS: u64 = 3;

/// The genesis file of a bank with so many members.
pub fn genesis(members: usize, difficulty: u8) -> Genesis {
    Genesis {
        name: "sim".to_owned(),
        salt: "salt".to_owned(),
        members: (1..=members).map(|n| name(&format!("n{n}"))).collect(),
        difficulty,
        time_ms: 1_000,
        accounts: (0..OPENED).map(|n| GenesisAccount { name: account(n as u64), balance: BALANCE }).collect(),
        transfers: Vec::new(),
    }
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a valid name")
}

/// An account by its number.
pub fn account(number: u64) -> Account {
    Account::parse(&format!("a{number}")).expect("a valid name")
}

fn any_account(dice: &mut Dice) -> Account {
    account(dice.below(ACCOUNTS))
}

fn amount(dice: &mut Dice) -> Amount {
    let amount = match dice.below(20) {
        0 => i64::MAX as u64,
        1..4 => dice.range(500, 3_000),
        _ => dice.range(1, 200),
    };
    Amount::new(amount).expect("above zero")
}

/// A write under this id.
pub fn write(dice: &mut Dice, id: &str) -> Request {
    let operation = match dice.below(20) {
        0..2 => Operation::Open { account: any_account(dice) },
        2..4 => Operation::Credit { account: any_account(dice), amount: amount(dice) },
        4..6 => Operation::Debit { account: any_account(dice), amount: amount(dice) },
        6..8 => {
            let key = format!("k{}", dice.below(KEYS)).into_bytes();
            let value = vec![dice.below(256) as u8; dice.pick(&[0, 1, 40, 400])];
            Operation::Put { key, value }
        }
        _ => {
            let (from, to) = (any_account(dice), any_account(dice));
            Operation::Transfer { from, to, amount: amount(dice), memo: String::new() }
        }
    };
    Request { id: RequestId::parse(id).expect("a valid id"), operation }
}

/// A read.
pub fn read(dice: &mut Dice, local: bool, timeout_ms: u32) -> ApiRequest {
    match dice.below(10) {
        0..2 => ApiRequest::Accounts { local, timeout_ms },
        2..4 => ApiRequest::Get { key: format!("k{}", dice.below(KEYS)).into_bytes(), local, timeout_ms },
        _ => ApiRequest::Balance { account: any_account(dice).as_str().to_owned(), local, timeout_ms },
    }
}
