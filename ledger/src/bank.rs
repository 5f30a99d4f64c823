//! Execution of a batch: what it does to balances, values, pending transfers and ids, computed over the bank without touching it.

mod moves;

use std::collections::BTreeMap;

use crate::amount::{BALANCE_MAX, Balance};
use crate::block::Entry;
use crate::hash::Hash;
use crate::merkle;
use crate::names::{Account, RequestId};
use crate::outcome::{Outcome, Refusal};
use crate::pending::{self, Pending, PendingChanges, PendingRun, Pendings};
use crate::request::{Operation, Request};
use crate::smt::{Smt, StateProof};
use crate::violation::Violation;

const ACCOUNT_DOMAIN: &[u8] = b"raftbank/account/1\n";
const VALUE_DOMAIN: &[u8] = b"raftbank/value/1\n";

/// What is kept of a request for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRecord {
    /// Height of its block.
    pub height: u64,
    /// Position in its block.
    pub index: u32,
    /// Digest of its verb and arguments.
    pub digest: Hash,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in the block, at this position.
    Included {
        /// Position in the block.
        index: u32,
        /// Its outcome.
        outcome: Outcome,
    },
    /// The same request was there before, in the chain or earlier in the batch.
    Duplicate {
        /// Height of the first one's block.
        height: u64,
        /// Its position there.
        index: u32,
        /// Its outcome.
        outcome: Outcome,
    },
    /// Its id stands for another request.
    IdReused,
}

/// What a batch does to a state, not yet done.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The block's entries: repeats and reused ids are left out.
    pub entries: Vec<Entry>,
    /// One for each request of the batch, in its order.
    pub decisions: Vec<Decision>,
    /// RFC 6962 root of the entries.
    pub transaction_root: Hash,
    /// State root after the block.
    pub state_root: Hash,
    pub(crate) height: u64,
    /// Time of the block: it decides which pending transfers have expired.
    pub(crate) time_ms: u64,
    pub(crate) pendings: PendingChanges,
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    ids: BTreeMap<RequestId, IdRecord>,
    tree: Smt,
}

impl Executed {
    /// The accounts whose balance changes, in order.
    pub fn accounts_changed(&self) -> impl Iterator<Item = &Account> {
        self.accounts.keys()
    }
}

/// What a batch has changed.
pub(crate) struct Changes {
    pub accounts: Vec<(Account, Balance)>,
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    pub ids: Vec<(RequestId, IdRecord)>,
    pub pendings: Vec<(RequestId, Pending)>,
}

/// Balances, values, pending transfers and ids, without a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bank {
    pub accounts: BTreeMap<Account, Balance>,
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub ids: BTreeMap<RequestId, IdRecord>,
    pub pendings: Pendings,
    tree: Smt,
}

impl Bank {
    /// What is known of a request.
    pub fn decide(&self, request: &Request) -> Option<Decision> {
        self.ids.get(&request.id).map(|record| repeat(record, request.digest()))
    }

    /// The bank that a store has kept.
    pub fn restore(
        accounts: BTreeMap<Account, Balance>,
        values: BTreeMap<Vec<u8>, Vec<u8>>,
        ids: BTreeMap<RequestId, IdRecord>,
        pendings: BTreeMap<RequestId, Pending>,
    ) -> Self {
        let tree = Smt::default().update(leaves(&accounts, &values, &pendings));
        let ids = if planted!(IdsLostAtRestart) { BTreeMap::new() } else { ids };
        Self { accounts, values, ids, pendings: Pendings::new(pendings), tree }
    }

    /// An account's balance; `world` always has one.
    pub fn balance(&self, account: &Account) -> Option<Balance> {
        self.accounts.get(account).copied().or_else(|| account.is_world().then_some(0))
    }

    /// The account's balance in the state tree, or that it is not there, with the hashes that lead to the root.
    pub fn prove(&self, account: &Account) -> (Option<Balance>, StateProof) {
        (self.accounts.get(account).copied(), self.tree.prove(&account_key(account)))
    }

    /// The state root.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Executes a batch as the block at `height` of this time, on top of the blocks before it that are executed and not yet adopted
    /// (the oldest first).
    pub fn run(&self, height: u64, time_ms: u64, under: &[&Executed], batch: Vec<Request>) -> Executed {
        let pendings = PendingRun::new(&self.pendings, under, time_ms);
        let mut run = Run { bank: self, under, accounts: BTreeMap::new(), values: BTreeMap::new(), pendings };
        let mut ids: BTreeMap<RequestId, IdRecord> = BTreeMap::new();
        let (mut entries, mut decisions) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut leaves_hashed = Vec::with_capacity(batch.len());
        let mut bytes = Vec::new();
        for request in batch {
            let earlier = ids.get(&request.id).filter(|_| !planted!(RepeatInBlockTwice));
            let known = earlier.or_else(|| {
                under.iter().rev().find_map(|below| below.ids.get(&request.id)).or_else(|| self.ids.get(&request.id))
            });
            if let Some(record) = known {
                decisions.push(repeat(record, request.digest()));
                continue;
            }
            let outcome = match run.apply(&request) {
                Ok(()) => Outcome::Committed,
                Err(refusal) => Outcome::Refused(refusal),
            };
            let index = u32::try_from(entries.len()).expect("batches are bounded");
            ids.insert(request.id.clone(), IdRecord { height, index, digest: request.digest(), outcome });
            decisions.push(Decision::Included { index, outcome });
            let entry = Entry { request, outcome };
            bytes.clear();
            entry.encode_into(&mut bytes);
            leaves_hashed.push(merkle::leaf_hash(&bytes));
            entries.push(entry);
        }
        let Run { accounts, values, pendings: PendingRun { changes: pendings, .. }, .. } = run;
        let changed = leaves(&accounts, &values, &pendings.rows);
        let tree = under.last().map_or(&self.tree, |below| &below.tree).update(changed);
        Executed {
            transaction_root: merkle::root(&leaves_hashed),
            state_root: tree.root(),
            entries,
            decisions,
            height,
            time_ms,
            pendings,
            accounts,
            values,
            ids,
            tree,
        }
    }

    /// Makes it so. Returns what changed.
    ///
    /// # Errors
    /// Money came from nowhere: a balance is not the one on which the batch was executed; or an account holds what it
    /// does not have. Nothing is changed then.
    pub fn adopt(&mut self, executed: Executed) -> Result<Changes, Violation> {
        // Double entry: what one account gains another loses.
        let moved: Balance = executed
            .accounts
            .iter()
            .map(|(account, balance)| balance - self.accounts.get(account).copied().unwrap_or(0))
            .sum();
        if moved != 0 {
            return Err(Violation::Unbalanced(moved));
        }
        self.check_holds(&executed)?;
        self.tree = executed.tree;
        let accounts: Vec<_> = executed.accounts.into_iter().collect();
        let values: Vec<_> = executed.values.into_iter().collect();
        let ids: Vec<_> = executed.ids.into_iter().collect();
        self.accounts.extend(accounts.iter().cloned());
        self.values.extend(values.iter().cloned());
        self.ids.extend(ids.iter().cloned());
        if planted!(IdExpires) {
            self.ids.retain(|_, record| record.height + 8 > executed.height);
        }
        Ok(Changes { accounts, values, ids, pendings: self.pendings.adopt(executed.pendings) })
    }

    /// No block leaves an account with less than it holds, and what it holds is the sum of its pending transfers.
    fn check_holds(&self, executed: &Executed) -> Result<(), Violation> {
        let changes = &executed.pendings;
        if changes.rows.is_empty() && self.pendings.open().next().is_none() {
            return Ok(());
        }
        self.pendings.check_changes(changes)?;
        for account in executed.accounts.keys().chain(changes.held.keys()) {
            let held = changes.held.get(account).copied().unwrap_or_else(|| self.pendings.held(account));
            let balance = executed.accounts.get(account).copied().or_else(|| self.balance(account)).unwrap_or(0);
            pending::within(account, balance, held)?;
        }
        Ok(())
    }
}

fn repeat(record: &IdRecord, digest: Hash) -> Decision {
    if record.digest == digest {
        let outcome = if planted!(DuplicateSaysCommitted) { Outcome::Committed } else { record.outcome };
        Decision::Duplicate { height: record.height, index: record.index, outcome }
    } else {
        Decision::IdReused
    }
}

/// The leaves of the state tree for these accounts, values and pending transfers.
fn leaves(
    accounts: &BTreeMap<Account, Balance>,
    values: &BTreeMap<Vec<u8>, Vec<u8>>,
    pendings: &BTreeMap<RequestId, Pending>,
) -> Vec<(Hash, Hash)> {
    let balances = accounts.iter().map(|(account, balance)| (account_key(account), balance_hash(*balance)));
    let values = values.iter().map(|(key, value)| (value_key(key), Hash::of(&[value])));
    balances.chain(values).chain(pending::leaves(pendings)).collect()
}

/// An account's key in the state tree.
pub fn account_key(account: &Account) -> Hash {
    Hash::of(&[ACCOUNT_DOMAIN, account.as_str().as_bytes()])
}

/// What the state tree has of a balance.
pub fn balance_hash(balance: Balance) -> Hash {
    Hash::of(&[&balance.to_be_bytes()])
}

/// The key in the state tree of a key of the key-value store.
pub(crate) fn value_key(key: &[u8]) -> Hash {
    Hash::of(&[VALUE_DOMAIN, key])
}

/// A batch while it is executed: what it has changed so far, over the bank.
struct Run<'a> {
    bank: &'a Bank,
    under: &'a [&'a Executed],
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    pendings: PendingRun<'a>,
}

impl Run<'_> {
    fn balance(&self, account: &Account) -> Option<Balance> {
        let below = || self.under.iter().rev().find_map(|below| below.accounts.get(account).copied());
        self.accounts.get(account).copied().or_else(below).or_else(|| self.bank.balance(account))
    }

    fn set(&mut self, account: &Account, balance: Balance) {
        match self.accounts.get_mut(account) {
            Some(slot) => *slot = balance,
            None => drop(self.accounts.insert(account.clone(), balance)),
        }
    }

    fn apply(&mut self, request: &Request) -> Result<(), Refusal> {
        match &request.operation {
            Operation::Open { account } => {
                if self.balance(account).is_some() {
                    return Err(Refusal::AccountExists);
                }
                self.set(account, 0);
                Ok(())
            }
            Operation::Transfer { from, to, amount, .. } => self.transfer(from, to, (*amount).into()),
            Operation::Credit { account, amount } => self.transfer(&Account::world(), account, (*amount).into()),
            Operation::Debit { account, amount } => self.transfer(account, &Account::world(), (*amount).into()),
            Operation::Put { key, value } => {
                self.values.insert(key.clone(), value.clone());
                Ok(())
            }
            Operation::Linked { legs } => self.linked(legs),
            Operation::Pending { from, to, amount, timeout_ms, .. } => {
                self.pending(&request.id, (from, to), *amount, *timeout_ms)
            }
            Operation::Post { pending, amount } => self.post(pending, *amount),
            Operation::Void { pending } => self.void(pending),
        }
    }

    fn transfer(&mut self, from: &Account, to: &Account, amount: Balance) -> Result<(), Refusal> {
        let (payer, payee) = self.check_transfer(from, to, amount)?;
        self.set(from, payer - amount);
        self.set(to, payee + amount);
        Ok(())
    }

    /// The balances of both, if this much can be moved between them.
    fn check_transfer(&self, from: &Account, to: &Account, amount: Balance) -> Result<(Balance, Balance), Refusal> {
        if from == to {
            return Err(Refusal::SameAccount);
        }
        let payer = self.balance(from).ok_or(Refusal::UnknownAccount)?;
        if planted!(RefusalByChance, flips) && payer < amount && !from.is_world() {
            return Err(Refusal::InsufficientFunds);
        }
        let payee = self.balance(to).ok_or(Refusal::UnknownAccount)?;
        let funds = if planted!(FundsOfBlockBefore) { self.bank.balance(from).unwrap_or(0) } else { payer };
        if !from.is_world() && funds - self.pendings.held(from) < amount {
            return Err(Refusal::InsufficientFunds);
        }
        if payee + amount > BALANCE_MAX {
            return Err(Refusal::BalanceOverflow);
        }
        Ok((payer, payee))
    }
}
