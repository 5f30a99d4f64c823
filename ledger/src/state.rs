//! The state of the bank: balances, values, and every id that was ever used with its outcome.
//!
//! Execution is pure: [`State::execute`] computes what a batch does without touching the state, [`State::commit`] makes
//! it so. One block is in flight at a time, so there is one overlay and nothing is ever rolled back.

use std::collections::BTreeMap;

use crate::amount::{BALANCE_MAX, Balance};
use crate::block::{Block, Entry, HEADER_VERSION, Header, transaction_root};
use crate::genesis::Genesis;
use crate::hash::Hash;
use crate::names::{Account, NodeName, RequestId};
use crate::pow;
use crate::request::{Operation, Outcome, Refusal, Request};
use crate::smt::Smt;
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

/// The last applied block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its time, in Unix milliseconds.
    pub time_ms: u64,
    /// Its term.
    pub term: u64,
    /// The root of the state after it.
    pub state_root: Hash,
}

/// New values of everything that a block changed, for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// New balances.
    pub accounts: Vec<(Account, Balance)>,
    /// New values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Used ids.
    pub ids: Vec<(RequestId, IdRecord)>,
    /// The new tip.
    pub tip: Tip,
}

/// Everything that a store keeps of a state.
#[derive(Clone, Debug)]
pub struct StateRows {
    /// All balances, `world`'s included once it was used.
    pub accounts: BTreeMap<Account, Balance>,
    /// All values.
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All ids.
    pub ids: BTreeMap<RequestId, IdRecord>,
    /// The tip.
    pub tip: Tip,
    /// Hash of block 0.
    pub cluster_id: Hash,
    /// The genesis file's difficulty.
    pub difficulty: u8,
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
    height: u64,
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    ids: BTreeMap<RequestId, IdRecord>,
    tree: Smt,
}

impl Executed {
    /// The header of the block that does this, with nonce 0. Its time is never before that of the block before.
    pub fn seal(&self, state: &State, term: u64, proposer: NodeName, time_ms: u64) -> Header {
        Header {
            version: HEADER_VERSION,
            cluster_id: state.cluster_id,
            height: self.height,
            previous: state.tip.hash,
            term,
            proposer,
            time_ms: time_ms.max(state.tip.time_ms),
            request_count: u32::try_from(self.entries.len()).expect("batches are bounded"),
            transaction_root: self.transaction_root,
            state_root: self.state_root,
            difficulty: state.difficulty,
            nonce: 0,
        }
    }

    /// The accounts whose balance changes, in order.
    pub fn accounts_changed(&self) -> impl Iterator<Item = &Account> {
        self.accounts.keys()
    }
}

/// New balances, values and ids.
type Changes = (Vec<(Account, Balance)>, Vec<(Vec<u8>, Vec<u8>)>, Vec<(RequestId, IdRecord)>);

/// Balances, values and ids, without a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bank {
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    ids: BTreeMap<RequestId, IdRecord>,
    tree: Smt,
}

impl Bank {
    fn decide(&self, request: &Request) -> Option<Decision> {
        self.ids.get(&request.id).map(|record| repeat(record, request))
    }

    /// Executes a batch as the block at `height`.
    pub fn run(&self, height: u64, batch: Vec<Request>) -> Executed {
        let mut run = Run { bank: self, accounts: BTreeMap::new(), values: BTreeMap::new() };
        let mut ids: BTreeMap<RequestId, IdRecord> = BTreeMap::new();
        let (mut entries, mut decisions) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for request in batch {
            if let Some(record) = ids.get(&request.id).or_else(|| self.ids.get(&request.id)) {
                decisions.push(repeat(record, &request));
                continue;
            }
            let outcome = match run.apply(&request.operation) {
                Ok(()) => Outcome::Committed,
                Err(refusal) => Outcome::Refused(refusal),
            };
            let index = u32::try_from(entries.len()).expect("batches are bounded");
            ids.insert(request.id.clone(), IdRecord { height, index, digest: request.digest(), outcome });
            decisions.push(Decision::Included { index, outcome });
            entries.push(Entry { request, outcome });
        }
        let Run { accounts, values, .. } = run;
        let balances = accounts.iter().map(|(account, balance)| account_leaf(account, *balance));
        let tree = self.tree.update(balances.chain(values.iter().map(|(key, value)| value_leaf(key, value))).collect());
        Executed {
            transaction_root: transaction_root(&entries),
            state_root: tree.root(),
            entries,
            decisions,
            height,
            accounts,
            values,
            ids,
            tree,
        }
    }

    fn adopt(&mut self, executed: Executed) -> Changes {
        // Double entry: what one account gains another loses.
        let moved: Balance = executed
            .accounts
            .iter()
            .map(|(account, balance)| balance - self.accounts.get(account).copied().unwrap_or(0))
            .sum();
        assert_eq!(moved, 0, "a block's deltas sum to zero");
        self.tree = executed.tree;
        let accounts: Vec<_> = executed.accounts.into_iter().collect();
        let values: Vec<_> = executed.values.into_iter().collect();
        let ids: Vec<_> = executed.ids.into_iter().collect();
        self.accounts.extend(accounts.iter().cloned());
        self.values.extend(values.iter().cloned());
        self.ids.extend(ids.iter().cloned());
        (accounts, values, ids)
    }
}

fn repeat(record: &IdRecord, request: &Request) -> Decision {
    if record.digest == request.digest() {
        Decision::Duplicate { height: record.height, index: record.index, outcome: record.outcome }
    } else {
        Decision::IdReused
    }
}

fn account_leaf(account: &Account, balance: Balance) -> (Hash, Hash) {
    (Hash::of(&[ACCOUNT_DOMAIN, account.as_str().as_bytes()]), Hash::of(&[&balance.to_be_bytes()]))
}

fn value_leaf(key: &[u8], value: &[u8]) -> (Hash, Hash) {
    (Hash::of(&[VALUE_DOMAIN, key]), Hash::of(&[value]))
}

/// A batch while it is executed: what it has changed so far, over the bank.
struct Run<'a> {
    bank: &'a Bank,
    accounts: BTreeMap<Account, Balance>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Run<'_> {
    fn balance(&self, account: &Account) -> Option<Balance> {
        let found = self.accounts.get(account).or_else(|| self.bank.accounts.get(account)).copied();
        found.or_else(|| account.is_world().then_some(0))
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Open { account } => {
                if self.balance(account).is_some() {
                    return Err(Refusal::AccountExists);
                }
                self.accounts.insert(account.clone(), 0);
                Ok(())
            }
            Operation::Transfer { from, to, amount, .. } => self.transfer(from, to, (*amount).into()),
            Operation::Credit { account, amount } => self.transfer(&Account::world(), account, (*amount).into()),
            Operation::Debit { account, amount } => self.transfer(account, &Account::world(), (*amount).into()),
            Operation::Put { key, value } => {
                self.values.insert(key.clone(), value.clone());
                Ok(())
            }
        }
    }

    fn transfer(&mut self, from: &Account, to: &Account, amount: Balance) -> Result<(), Refusal> {
        if from == to {
            return Err(Refusal::SameAccount);
        }
        let payer = self.balance(from).ok_or(Refusal::UnknownAccount)?;
        let payee = self.balance(to).ok_or(Refusal::UnknownAccount)?;
        if !from.is_world() && payer < amount {
            return Err(Refusal::InsufficientFunds);
        }
        if payee + amount > BALANCE_MAX {
            return Err(Refusal::BalanceOverflow);
        }
        self.accounts.insert(from.clone(), payer - amount);
        self.accounts.insert(to.clone(), payee + amount);
        Ok(())
    }
}

/// The state after the last applied block.
#[derive(Clone, Debug)]
pub struct State {
    bank: Bank,
    tip: Tip,
    cluster_id: Hash,
    difficulty: u8,
}

impl State {
    /// The state after block 0, and what it changed.
    ///
    /// # Errors
    /// The block is none that a genesis file makes.
    pub fn new(genesis: &Block) -> Result<(Self, Delta), Violation> {
        let info = Genesis::from_block(genesis)?;
        let mut bank = Bank::default();
        let executed = bank.run(0, genesis.entries.iter().map(|entry| entry.request.clone()).collect());
        compare(genesis, &executed)?;
        let hash = genesis.hash();
        let tip = Tip { height: 0, hash, time_ms: info.time_ms, term: 0, state_root: executed.state_root };
        let (accounts, values, ids) = bank.adopt(executed);
        let state = Self { bank, tip: tip.clone(), cluster_id: hash, difficulty: info.difficulty };
        Ok((state, Delta { accounts, values, ids, tip }))
    }

    /// The state that a store has kept.
    ///
    /// # Errors
    /// Its rows do not give the state root of its tip.
    pub fn restore(rows: StateRows) -> Result<Self, Violation> {
        let StateRows { accounts, values, ids, tip, cluster_id, difficulty } = rows;
        let balances = accounts.iter().map(|(account, balance)| account_leaf(account, *balance));
        let leaves = balances.chain(values.iter().map(|(key, value)| value_leaf(key, value))).collect();
        let tree = Smt::default().update(leaves);
        if tree.root() != tip.state_root {
            return Err(Violation::StateRoot { expected: tree.root(), found: tip.state_root });
        }
        Ok(Self { bank: Bank { accounts, values, ids, tree }, tip, cluster_id, difficulty })
    }

    /// The last applied block.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Hash of block 0.
    pub fn cluster_id(&self) -> Hash {
        self.cluster_id
    }

    /// Leading zero bits of every block's hash.
    pub fn difficulty(&self) -> u8 {
        self.difficulty
    }

    /// An account's balance; `world` always has one.
    pub fn balance(&self, account: &Account) -> Option<Balance> {
        let found = self.bank.accounts.get(account).copied();
        found.or_else(|| account.is_world().then_some(0))
    }

    /// A key's value.
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.bank.values.get(key).map(Vec::as_slice)
    }

    /// What is kept of a request.
    pub fn request(&self, id: &RequestId) -> Option<&IdRecord> {
        self.bank.ids.get(id)
    }

    /// All accounts with their balances, in order of name, `world` included once it was used.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.bank.accounts.iter().map(|(account, balance)| (account, *balance))
    }

    /// All values, in order of key.
    pub fn values(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bank.values.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = (&RequestId, &IdRecord)> {
        self.bank.ids.iter()
    }

    /// What the applied state knows of a request: its first outcome, or that its id stands for another one.
    pub fn decide(&self, request: &Request) -> Option<Decision> {
        self.bank.decide(request)
    }

    /// What this batch would do as the next block.
    pub fn execute(&self, batch: Vec<Request>) -> Executed {
        self.bank.run(self.tip.height + 1, batch)
    }

    /// Checks that a block is the next one and that its outcomes and its state root are those of our own execution.
    /// What needs no state is checked by [`Block::check_static`].
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, block: &Block) -> Result<Executed, Violation> {
        let (header, tip) = (&block.header, &self.tip);
        if header.height != tip.height + 1 {
            return Err(Violation::Height { expected: tip.height + 1, found: header.height });
        }
        if header.previous != tip.hash {
            return Err(Violation::Previous { expected: tip.hash, found: header.previous });
        }
        if header.cluster_id != self.cluster_id {
            return Err(Violation::Cluster { expected: self.cluster_id, found: header.cluster_id });
        }
        if header.time_ms < tip.time_ms {
            return Err(Violation::Time { previous: tip.time_ms, found: header.time_ms });
        }
        if header.term < tip.term {
            return Err(Violation::TermFell { previous: tip.term, found: header.term });
        }
        let executed = self.execute(block.entries.iter().map(|entry| entry.request.clone()).collect());
        compare(block, &executed)?;
        Ok(executed)
    }

    /// Makes it so. Returns what changed, for the store.
    ///
    /// # Panics
    /// If `executed` was not executed on this very state, or if money came from nowhere.
    pub fn commit(&mut self, executed: Executed, header: &Header) -> Delta {
        assert_eq!(executed.height, self.tip.height + 1, "executed on this state");
        assert_eq!(executed.state_root, header.state_root, "the block that was executed");
        assert_eq!(header.previous, self.tip.hash, "a block extends the one before");
        let tip = Tip {
            height: executed.height,
            hash: header.hash(),
            time_ms: header.time_ms,
            term: header.term,
            state_root: executed.state_root,
        };
        let (accounts, values, ids) = self.bank.adopt(executed);
        self.tip = tip.clone();
        Delta { accounts, values, ids, tip }
    }

    /// Damages a balance without touching the tree, as a flipped bit in memory would. For tests that a damaged node
    /// cannot do harm.
    #[doc(hidden)]
    pub fn corrupt_balance_for_tests(&mut self, account: &Account, balance: Balance) {
        self.bank.accounts.insert(account.clone(), balance);
    }
}

impl Block {
    /// Checks all that needs no state: proof-of-work, counts, transaction root, cluster and difficulty. Not for block 0.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_static(&self, difficulty: u8, cluster_id: Hash) -> Result<(), Violation> {
        let header = &self.header;
        if header.cluster_id != cluster_id {
            return Err(Violation::Cluster { expected: cluster_id, found: header.cluster_id });
        }
        if header.difficulty != difficulty {
            return Err(Violation::Difficulty { expected: difficulty, found: header.difficulty });
        }
        let hash = header.hash();
        if !pow::meets(&hash, difficulty) {
            return Err(Violation::ProofOfWork { hash, difficulty });
        }
        if self.entries.is_empty() {
            return Err(Violation::Empty);
        }
        if usize::try_from(header.request_count).ok() != Some(self.entries.len()) {
            return Err(Violation::Count { expected: header.request_count, found: self.entries.len() });
        }
        let root = transaction_root(&self.entries);
        if header.transaction_root != root {
            return Err(Violation::TransactionRoot { expected: root, found: header.transaction_root });
        }
        Ok(())
    }
}

/// Compares what a block says with what its requests do.
fn compare(block: &Block, executed: &Executed) -> Result<(), Violation> {
    for (index, (entry, decision)) in block.entries.iter().zip(&executed.decisions).enumerate() {
        let id = || entry.request.id.to_string();
        match decision {
            Decision::Included { outcome, .. } if *outcome == entry.outcome => {}
            Decision::Included { outcome, .. } => {
                let (expected, found) = (outcome.code(), entry.outcome.code());
                return Err(Violation::Outcome { index, id: id(), expected, found });
            }
            Decision::Duplicate { .. } | Decision::IdReused => return Err(Violation::IdTwice(id())),
        }
    }
    if executed.state_root != block.header.state_root {
        return Err(Violation::StateRoot { expected: executed.state_root, found: block.header.state_root });
    }
    Ok(())
}
