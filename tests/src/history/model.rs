//! A bank that is not the shipping one: what each request must do, written from the contract, with every balance at
//! every height. It shares the request's types with the ledger, and nothing of its execution.

use std::collections::BTreeMap;

use raftbank_ledger::Operation;

/// The most that an account may hold.
const MOST: i128 = (1 << 63) - 1;
/// The only account that may go below zero.
const WORLD: &str = "world";

/// Values over time: (first height at which it holds, value), ascending.
type Times<T> = Vec<(u64, T)>;

/// All balances and values at all heights.
#[derive(Debug, Default)]
pub struct Model {
    accounts: BTreeMap<String, Times<i128>>,
    values: BTreeMap<Vec<u8>, Times<Vec<u8>>>,
    height: u64,
    sum: i128,
}

impl Model {
    /// Height of the last block executed.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Sum of all balances now.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// Executes a request of the block at `height`; returns `committed`, or the code of the refusal.
    pub fn execute(&mut self, height: u64, operation: &Operation) -> &'static str {
        self.height = height;
        match operation {
            Operation::Open { account } => {
                let name = account.as_str();
                if name == WORLD || self.accounts.contains_key(name) {
                    return "account_exists";
                }
                self.set(name, 0);
                "committed"
            }
            Operation::Transfer { from, to, amount, .. } => self.pay(from.as_str(), to.as_str(), amount.get()),
            Operation::Credit { account, amount } => self.pay(WORLD, account.as_str(), amount.get()),
            Operation::Debit { account, amount } => self.pay(account.as_str(), WORLD, amount.get()),
            Operation::Put { key, value } => {
                set_at(self.values.entry(key.clone()).or_default(), height, value.clone());
                "committed"
            }
        }
    }

    fn pay(&mut self, from: &str, to: &str, amount: u64) -> &'static str {
        if from == to {
            return "same_account";
        }
        let known = |name: &str| self.now(name).or((name == WORLD).then_some(0));
        let (Some(payer), Some(payee)) = (known(from), known(to)) else { return "unknown_account" };
        let amount = i128::from(amount);
        if from != WORLD && payer < amount {
            return "insufficient_funds";
        }
        if to != WORLD && payee + amount > MOST {
            return "balance_overflow";
        }
        self.set(from, payer - amount);
        self.set(to, payee + amount);
        "committed"
    }

    fn now(&self, account: &str) -> Option<i128> {
        self.accounts.get(account).and_then(|times| times.last()).map(|(_, balance)| *balance)
    }

    fn set(&mut self, account: &str, balance: i128) {
        self.sum += balance - self.now(account).unwrap_or(0);
        set_at(self.accounts.entry(account.to_owned()).or_default(), self.height, balance);
    }

    /// A balance at a height; `world` always has one.
    pub fn balance_at(&self, account: &str, height: u64) -> Option<i128> {
        self.accounts.get(account).and_then(|times| at(times, height)).or((account == WORLD).then_some(0))
    }

    /// All balances at a height, in order of name; `world` once it was used.
    pub fn accounts_at(&self, height: u64) -> Vec<(String, i128)> {
        self.accounts
            .iter()
            .filter_map(|(account, times)| at(times, height).map(|balance| (account.clone(), balance)))
            .collect()
    }

    /// A value at a height.
    pub fn value_at(&self, key: &[u8], height: u64) -> Option<Vec<u8>> {
        self.values.get(key).and_then(|times| at(times, height))
    }
}

fn set_at<T>(times: &mut Times<T>, height: u64, value: T) {
    match times.last_mut() {
        Some((last, kept)) if *last == height => *kept = value,
        _ => times.push((height, value)),
    }
}

fn at<T: Clone>(times: &Times<T>, height: u64) -> Option<T> {
    let after = times.partition_point(|(first, _)| *first <= height);
    after.checked_sub(1).map(|last| times[last].1.clone())
}
