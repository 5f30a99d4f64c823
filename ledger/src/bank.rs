//! Execution of a batch: what it does to balances, values, pending transfers and ids, computed over the bank without
//! touching it.

mod ahead;
mod moves;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::accounts::Accounts;
use crate::amount::{BALANCE_MAX, Balance};
use crate::block::{BLOCK_REQUESTS_MAX, Entry, Header, entries_of, put_entry};
use crate::hash::Hash;
use crate::ids::Ids;
use crate::merkle;
use crate::names::{Account, RequestId};
use crate::outcome::{Outcome, Refusal};
use crate::pending::{self, Pending, PendingChanges, PendingRun, Pendings};
use crate::request::{Operation, Request};
use crate::smt::{Smt, StateProof, TreeUpdate};
use crate::table::Table;
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
    new_verbs: bool,
    /// Canonical bytes of the block's entries, each after its length; empty if the block was made elsewhere.
    body: Vec<u8>,
    accounts: Table<Account, Slot>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    ids: Table<RequestId, IdRecord>,
    tree: TreeUpdate,
}

/// An account's balance while a block is executed.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The account's number; `None` for one that was not there, or is there by a block that is not adopted yet.
    number: Option<u32>,
    /// Before the block; `None` for an account that was not there.
    before: Option<Balance>,
    /// What the block has made of it, if anything.
    after: Option<Balance>,
}

/// Where and when a batch is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Height of its block.
    pub height: u64,
    /// Time of its block.
    pub time_ms: u64,
    /// What nobody knew when the requests were made up.
    pub seed: u64,
}

impl Place {
    /// For the block behind the one with this hash.
    pub fn behind(hash: &Hash, height: u64, time_ms: u64, salt: u64) -> Self {
        // Its first bits are zero, by its difficulty.
        let [.., a, b, c, d, e, f, g, h] = hash.0;
        Self { height, time_ms, seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ salt }
    }
}

impl Executed {
    /// The accounts whose balance changes, with that before and that after. In no particular order.
    pub fn accounts_changed(&self) -> impl Iterator<Item = (&Account, Option<Balance>, Balance)> {
        changed(&self.accounts).map(|(account, slot, after)| (account, slot.before, after))
    }

    /// How many requests are in the block: repeats and reused ids are left out.
    pub fn requests(&self) -> usize {
        self.ids.rows().len()
    }

    /// True if a request of the block has a verb that version 0.1.0 does not know.
    pub fn has_new_verbs(&self) -> bool {
        self.new_verbs
    }

    /// Canonical bytes of the block with this header.
    ///
    /// # Panics
    /// If this is what a block does that was made elsewhere.
    pub fn block_bytes(&self, header: &Header) -> Vec<u8> {
        assert!(!self.body.is_empty(), "a block that was made here");
        let mut bytes = header.encode();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The block's entries. Empty if the block was made elsewhere.
    pub fn entries(&self) -> Vec<Entry> {
        entries_of(&self.body).expect("what was just written")
    }
}

fn changed(accounts: &Table<Account, Slot>) -> impl Iterator<Item = (&Account, &Slot, Balance)> {
    accounts.rows().iter().filter_map(|(account, slot)| slot.after.map(|after| (account, slot, after)))
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
    pub accounts: Accounts,
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub ids: Ids,
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
        ids: Ids,
        pendings: BTreeMap<RequestId, Pending>,
    ) -> Self {
        let accounts = Accounts::salted(accounts, ids.salt_of());
        let mut tree = Smt::default();
        tree.set(leaves(accounts.rows(), &values, &pendings));
        let ids = if planted!(IdsLostAtRestart) { Ids::default() } else { ids };
        Self { accounts, values, ids, pendings: Pendings::new(pendings), tree }
    }

    /// An account's balance; `world` always has one.
    pub fn balance(&self, account: &Account) -> Option<Balance> {
        self.accounts.get(account).or_else(|| account.is_world().then_some(0))
    }

    /// The account's balance in the state tree, or that it is not there, with the hashes that lead to the root.
    pub fn prove(&self, account: &Account) -> (Option<Balance>, StateProof) {
        (self.accounts.get(account), self.tree.prove(&account_key(account)))
    }

    /// The state root.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Executes a batch as the next block, on top of the blocks before it that are executed and not yet adopted (the oldest
    /// first). `root` is the transaction root of a block that was made elsewhere; without it the block is made here.
    pub fn run<R: Borrow<Request>>(
        &self,
        place: Place,
        under: &[&Executed],
        batch: impl IntoIterator<Item = R>,
        root: Option<Hash>,
    ) -> Executed {
        let Place { height, time_ms, seed } = place;
        let batch: Vec<R> = batch.into_iter().collect();
        let capacity = batch.len().min(BLOCK_REQUESTS_MAX);
        let digests = Request::digests(batch.iter().map(Borrow::borrow));
        self.fetch(batch.iter().map(Borrow::borrow));
        let pendings = PendingRun::new(&self.pendings, under, time_ms);
        let accounts = Table::new(seed, capacity.saturating_mul(2).min(self.accounts.len() + capacity));
        let mut run = Run { bank: self, under, accounts, values: BTreeMap::new(), pendings };
        let mut ids: Table<RequestId, IdRecord> = Table::new(seed, capacity);
        let mut decisions = Vec::with_capacity(capacity);
        let mut places = Vec::new();
        let mut body = Vec::new();
        let mut new_verbs = false;
        for (request, digest) in batch.iter().zip(digests) {
            let request = request.borrow();
            let earlier = ids.get(&request.id).filter(|_| !planted!(RepeatInBlockTwice));
            let known = earlier.or_else(|| {
                under.iter().rev().find_map(|below| below.ids.get(&request.id)).or_else(|| self.ids.get(&request.id))
            });
            if let Some(record) = known {
                decisions.push(repeat(record, digest));
                continue;
            }
            new_verbs |= !request.operation.is_basic();
            let outcome = match run.apply(request) {
                Ok(()) => Outcome::Committed,
                Err(refusal) => Outcome::Refused(refusal),
            };
            let index = u32::try_from(ids.rows().len()).expect("batches are bounded");
            if root.is_none() {
                let begin = put_entry(&mut body, request, outcome);
                places.push(begin..body.len());
            }
            ids.push(request.id.clone(), IdRecord { height, index, digest, outcome });
            decisions.push(Decision::Included { index, outcome });
        }
        let Run { accounts, values, pendings: PendingRun { changes: pendings, .. }, .. } = run;
        let balances = changed(&accounts).map(|(account, _, after)| (account, after));
        let changed = leaves(balances, &values, &pendings.rows);
        let below: Vec<&TreeUpdate> = under.iter().map(|below| &below.tree).collect();
        let tree = self.tree.plan(&below, changed);
        Executed {
            transaction_root: root.unwrap_or_else(|| root_of(&body, places)),
            state_root: tree.root(),
            body,
            decisions,
            height,
            time_ms,
            pendings,
            new_verbs,
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
        self.check_holds(&executed)?;
        let mut accounts = Vec::with_capacity(executed.accounts.rows().len());
        let mut moved: Balance = 0;
        for (account, slot, after) in changed(&executed.accounts) {
            // One that was opened by a block below this one has no number in the slot, and has one by now.
            let number = slot.number.or_else(|| self.accounts.find(account));
            moved += after - number.map_or(0, |number| self.accounts.at(number));
            accounts.push((account.clone(), after, number));
        }
        if moved != 0 {
            return Err(Violation::Unbalanced(moved));
        }
        let set = |(account, after, number): (Account, Balance, Option<u32>)| {
            match number {
                Some(number) => self.accounts.set(number, after),
                None => self.accounts.insert(&account, after),
            }
            (account, after)
        };
        let accounts: Vec<(Account, Balance)> = accounts.into_iter().map(set).collect();
        self.tree.apply(executed.tree);
        let values: Vec<_> = executed.values.into_iter().collect();
        let ids = executed.ids.into_rows();
        self.values.extend(values.iter().cloned());
        for (id, record) in &ids {
            assert!(self.ids.insert(id, record.clone()), "an id stands for one request");
        }
        if planted!(IdExpires) {
            let mut ids = std::mem::take(&mut self.ids).sorted();
            ids.retain(|(_, record)| record.height + 8 > executed.height);
            self.ids = ids.into_iter().collect();
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
        for account in changed(&executed.accounts).map(|row| row.0).chain(changes.held.keys()) {
            let held = changes.held.get(account).copied().unwrap_or_else(|| self.pendings.held(account));
            let after = executed.accounts.get(account).and_then(|slot| slot.after);
            let balance = after.or_else(|| self.balance(account)).unwrap_or(0);
            pending::within(account, balance, held)?;
        }
        Ok(())
    }
}

/// The transaction root of the entries that are at these places.
fn root_of(body: &[u8], places: Vec<Range<usize>>) -> Hash {
    let mut leaves = Vec::with_capacity(places.len());
    merkle::leaf_hashes(places.into_iter().map(|place| &body[place]), &mut leaves);
    merkle::root(&leaves)
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
fn leaves<'a>(
    accounts: impl Iterator<Item = (&'a Account, Balance)>,
    values: &BTreeMap<Vec<u8>, Vec<u8>>,
    pendings: &BTreeMap<RequestId, Pending>,
) -> Vec<(Hash, Hash)> {
    let balances = accounts.map(|(account, balance)| (account_key(account), balance_hash(balance)));
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
    accounts: Table<Account, Slot>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    pendings: PendingRun<'a>,
}

impl Run<'_> {
    /// Where the account's balance stands in this run; it is looked up in the bank once.
    fn slot(&mut self, account: &Account) -> usize {
        if let Some(place) = self.accounts.place(account) {
            return place;
        }
        let below = self.under.iter().rev().find_map(|below| below.accounts.get(account)?.after);
        let number = self.bank.accounts.find(account);
        let there = || number.map(|number| self.bank.accounts.at(number)).or_else(|| account.is_world().then_some(0));
        let before = below.or_else(there);
        self.accounts.push(account.clone(), Slot { number, before, after: None })
    }

    fn at(&self, slot: usize) -> Option<Balance> {
        let Slot { before, after, .. } = self.accounts.at(slot);
        after.or(*before)
    }

    fn set(&mut self, slot: usize, balance: Balance) {
        self.accounts.at_mut(slot).after = Some(balance);
    }

    fn apply(&mut self, request: &Request) -> Result<(), Refusal> {
        match &request.operation {
            Operation::Open { account } => {
                let slot = self.slot(account);
                if self.at(slot).is_some() {
                    return Err(Refusal::AccountExists);
                }
                self.set(slot, 0);
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
        let [(from, payer), (to, payee)] = self.check_transfer(from, to, amount)?;
        self.set(from, payer - amount);
        self.set(to, payee + amount);
        Ok(())
    }

    /// Place and balance of both, if this much can be moved between them.
    fn check_transfer(
        &mut self,
        from: &Account,
        to: &Account,
        amount: Balance,
    ) -> Result<[(usize, Balance); 2], Refusal> {
        if from == to {
            return Err(Refusal::SameAccount);
        }
        let from_slot = self.slot(from);
        let payer = self.at(from_slot).ok_or(Refusal::UnknownAccount)?;
        if planted!(RefusalByChance, flips) && payer < amount && !from.is_world() {
            return Err(Refusal::InsufficientFunds);
        }
        let to_slot = self.slot(to);
        let payee = self.at(to_slot).ok_or(Refusal::UnknownAccount)?;
        let funds = if planted!(FundsOfBlockBefore) { self.bank.balance(from).unwrap_or(0) } else { payer };
        if !from.is_world() && funds - self.pendings.held(from) < amount {
            return Err(Refusal::InsufficientFunds);
        }
        if payee + amount > BALANCE_MAX {
            return Err(Refusal::BalanceOverflow);
        }
        Ok([(from_slot, payer), (to_slot, payee)])
    }
}
