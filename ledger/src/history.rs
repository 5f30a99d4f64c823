//! The past, read from blocks that are known to be good: balances at a height, and what a request did to an account.
//!
//! Nothing is executed: a block says what became of each request, and whoever does not trust that verifies the chain first
//! ([`Verifier`](crate::Verifier)).

use std::collections::BTreeMap;

use crate::amount::Balance;
use crate::bank::{account_key, balance_hash, value_key};
use crate::block::{Block, Entry};
use crate::hash::Hash;
use crate::names::Account;
use crate::request::{Operation, Outcome};
use crate::smt::{Smt, StateProof};

/// Balances and values after the blocks that were applied, from block 0 on without a gap.
#[derive(Clone, Debug, Default)]
pub struct Books {
    accounts: BTreeMap<Account, Balance>,
    /// Keys in the state tree, with the hashes of their values.
    values: BTreeMap<Hash, Hash>,
}

impl Books {
    /// Enters what the committed requests of a block did.
    pub fn apply(&mut self, block: &Block) {
        for entry in block.entries.iter().filter(|entry| entry.outcome == Outcome::Committed) {
            match &entry.request.operation {
                Operation::Open { account } => drop(self.accounts.insert(account.clone(), 0)),
                Operation::Put { key, value } => drop(self.values.insert(value_key(key), Hash::of(&[value]))),
                operation => {
                    for (account, change) in moved(operation).into_iter().flatten() {
                        let balance = self.accounts.entry(account).or_insert(0);
                        *balance = balance.wrapping_add(change);
                    }
                }
            }
        }
    }

    /// An account's balance; `None` if it does not exist yet. `world` exists from its first use on.
    pub fn balance(&self, account: &Account) -> Option<Balance> {
        self.accounts.get(account).copied()
    }

    /// All balances, in order of the accounts' names.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.accounts.iter().map(|(account, balance)| (account, *balance))
    }

    /// The SHA-256 of the value under a key of the key-value store.
    pub fn value_hash(&self, key: &[u8]) -> Option<Hash> {
        self.values.get(&value_key(key)).copied()
    }

    /// How many keys the key-value store has.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The state tree, to be compared with the last block's state root and to prove balances. Costs in all keys.
    pub fn tree(&self) -> Smt {
        let balances = self.accounts.iter().map(|(account, balance)| (account_key(account), balance_hash(*balance)));
        let values = self.values.iter().map(|(key, value)| (*key, *value));
        Smt::default().update(balances.chain(values).collect())
    }

    /// What proves an account's balance, or that there is none, in such a tree.
    pub fn prove(tree: &Smt, account: &Account) -> StateProof {
        tree.prove(&account_key(account))
    }
}

/// What a request did to an account: 0 if nothing, or if it was refused.
pub fn effect(entry: &Entry, account: &Account) -> Balance {
    if entry.outcome != Outcome::Committed {
        return 0;
    }
    let moved = moved(&entry.request.operation).into_iter().flatten();
    moved.filter(|(name, _)| name == account).map(|(_, change)| change).sum()
}

/// True if the request names the account, whatever became of it.
pub fn touches(entry: &Entry, account: &Account) -> bool {
    match &entry.request.operation {
        Operation::Open { account: opened } => opened == account,
        Operation::Put { .. } => false,
        operation => moved(operation).into_iter().flatten().any(|(name, _)| name == *account),
    }
}

/// Both sides of what moves money; the payer first.
fn moved(operation: &Operation) -> Option<[(Account, Balance); 2]> {
    let (from, to, amount) = match operation {
        Operation::Transfer { from, to, amount, .. } => (from.clone(), to.clone(), amount),
        Operation::Credit { account, amount } => (Account::world(), account.clone(), amount),
        Operation::Debit { account, amount } => (account.clone(), Account::world(), amount),
        Operation::Open { .. } | Operation::Put { .. } => return None,
    };
    let amount = Balance::from(amount.get());
    Some([(from, -amount), (to, amount)])
}
