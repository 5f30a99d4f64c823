//! What simulated clients ask for: every verb, on few names, so that refusals and conflicts are common.

use raftbank_ledger::{Account, Amount, Genesis, GenesisAccount, Leg, NodeName, Operation, Request, RequestId};
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

/// Every so many requests of a client one is pending, as a rule: those that post and void find them by their numbers.
const PENDING_EACH: u64 = 5;

/// A write under the id of a client's request of that number. The `prefix` is what all ids of that client begin with.
pub fn write(dice: &mut Dice, prefix: &str, number: u64) -> Request {
    let operation = match dice.below(30) {
        _ if number % PENDING_EACH == 2 && dice.chance(800) => {
            let (from, to) = (any_account(dice), any_account(dice));
            let timeout_ms = dice.pick(&[1, 100, 1_000, 5_000, 60_000]);
            Operation::Pending { from, to, amount: amount(dice), timeout_ms, memo: String::new() }
        }
        20..23 => {
            let legs = dice.range(2, 5);
            let leg = |dice: &mut Dice| {
                let (from, to) = (any_account(dice), any_account(dice));
                Leg { from, to, amount: amount(dice), memo: String::new() }
            };
            Operation::Linked { legs: (0..legs).map(|_| leg(dice)).collect() }
        }
        23.. => {
            let nearby = (number / PENDING_EACH).saturating_sub(dice.below(3)) * PENDING_EACH + 2;
            let pending = id(prefix, nearby);
            if dice.chance(500) {
                Operation::Void { pending }
            } else {
                let amount = if dice.chance(500) { None } else { Some(amount(dice)) };
                Operation::Post { pending, amount }
            }
        }
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
    Request { id: id(prefix, number), operation }
}

fn id(prefix: &str, number: u64) -> RequestId {
    RequestId::parse(&format!("{prefix}{number}")).expect("a valid id")
}

/// A read.
pub fn read(dice: &mut Dice, local: bool, timeout_ms: u32) -> ApiRequest {
    match dice.below(10) {
        0..2 => ApiRequest::Accounts { local, timeout_ms },
        2..4 => ApiRequest::Get { key: format!("k{}", dice.below(KEYS)).into_bytes(), local, timeout_ms },
        4..7 => ApiRequest::Funds { account: any_account(dice).as_str().to_owned(), local, timeout_ms },
        _ => ApiRequest::Balance { account: any_account(dice).as_str().to_owned(), local, timeout_ms },
    }
}
