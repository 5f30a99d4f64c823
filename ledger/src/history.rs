//! The past, read from blocks that are known to be good: balances at a height, and what a request did to an account.
//!
//! Nothing is executed: a block says what became of each request, and whoever does not trust that verifies the chain first
//! ([`Verifier`](crate::Verifier)).

use std::collections::BTreeMap;

use crate::amount::{Amount, Balance};
use crate::bank::{account_key, balance_hash, value_key};
use crate::block::{Block, Entry};
use crate::hash::Hash;
use crate::names::Account;
use crate::outcome::Outcome;
use crate::pending::{self, Pending, PendingRun, PendingStatus, Pendings};
use crate::request::Operation;
use crate::smt::{Smt, StateProof};

/// Balances and values after the blocks that were applied, from block 0 on without a gap.
#[derive(Clone, Debug, Default)]
pub struct Books {
    accounts: BTreeMap<Account, Balance>,
    /// Keys in the state tree, with the hashes of their values.
    values: BTreeMap<Hash, Hash>,
    pendings: Pendings,
}

impl Books {
    /// Enters what the committed requests of a block did, after what its time alone did to pending transfers.
    pub fn apply(&mut self, block: &Block) {
        let mut run = PendingRun::new(&self.pendings, &[], block.header.time_ms);
        for entry in block.entries.iter().filter(|entry| entry.outcome == Outcome::Committed) {
            let mut posted = None;
            match &entry.request.operation {
                Operation::Open { account } => drop(self.accounts.insert(account.clone(), 0)),
                Operation::Put { key, value } => drop(self.values.insert(value_key(key), Hash::of(&[value]))),
                Operation::Pending { from, to, amount, timeout_ms, .. } => {
                    run.open(&entry.request.id, from, to, *amount, *timeout_ms);
                }
                Operation::Post { pending, amount } => {
                    posted = run.find(pending).ok();
                    if let Some(Pending { amount: all, .. }) = posted {
                        run.close(pending, PendingStatus::Posted, amount.unwrap_or(all).get());
                    }
                }
                Operation::Void { pending } => run.close(pending, PendingStatus::Voided, 0),
                Operation::Transfer { .. }
                | Operation::Credit { .. }
                | Operation::Debit { .. }
                | Operation::Linked { .. } => {}
            }
            postings(&entry.request.operation, posted.as_ref(), |account, change| {
                let balance = self.accounts.entry(account.clone()).or_insert(0);
                *balance = balance.wrapping_add(change);
            });
        }
        let changes = run.changes;
        self.pendings.adopt(changes);
    }

    /// All pending transfers.
    pub fn pendings(&self) -> &Pendings {
        &self.pendings
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
        let mut tree = Smt::default();
        tree.set(balances.chain(values).chain(pending::leaves(self.pendings.rows())).collect());
        tree
    }

    /// What proves an account's balance, or that there is none, in such a tree.
    pub fn prove(tree: &Smt, account: &Account) -> StateProof {
        tree.prove(&account_key(account))
    }
}

/// What a request did to an account: 0 if nothing, or if it was refused. Whoever asks about a post gives the pending
/// transfer whose id it names: a post does not say whose money it moves.
pub fn effect(entry: &Entry, account: &Account, pending: Option<&Pending>) -> Balance {
    if entry.outcome != Outcome::Committed {
        return 0;
    }
    let mut sum: Balance = 0;
    postings(&entry.request.operation, pending, |name, change| {
        if name == account {
            sum += change;
        }
    });
    sum
}

/// True if the request names the account, whatever became of it; a post or a void also if the pending transfer does
/// whose id it names.
pub fn touches(entry: &Entry, account: &Account, pending: Option<&Pending>) -> bool {
    match &entry.request.operation {
        Operation::Open { account: opened } => opened == account,
        Operation::Put { .. } => false,
        Operation::Pending { from, to, .. } => [from, to].contains(&account),
        Operation::Post { .. } | Operation::Void { .. } => {
            pending.is_some_and(|Pending { from, to, .. }| [from, to].contains(&account))
        }
        operation => {
            let mut named = false;
            postings(operation, None, |name, _| named |= name == account);
            named
        }
    }
}

/// Hands out both sides of everything that a request moves if it is committed, the payer first. Nothing for a post whose
/// pending transfer is not given.
pub fn postings(operation: &Operation, pending: Option<&Pending>, mut each: impl FnMut(&Account, Balance)) {
    let mut move_money = |from: &Account, to: &Account, amount: Amount| {
        each(from, -Balance::from(amount));
        each(to, amount.into());
    };
    match operation {
        Operation::Transfer { from, to, amount, .. } => move_money(from, to, *amount),
        Operation::Credit { account, amount } => move_money(&Account::world(), account, *amount),
        Operation::Debit { account, amount } => move_money(account, &Account::world(), *amount),
        Operation::Linked { legs } => legs.iter().for_each(|leg| move_money(&leg.from, &leg.to, leg.amount)),
        Operation::Post { amount, .. } => {
            if let Some(Pending { from, to, amount: all, .. }) = pending {
                move_money(from, to, amount.unwrap_or(*all));
            }
        }
        Operation::Open { .. } | Operation::Put { .. } | Operation::Pending { .. } | Operation::Void { .. } => {}
    }
}
