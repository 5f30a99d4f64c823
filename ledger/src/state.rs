//! The state of the bank: balances, values, pending transfers, and every id that was ever used with its outcome.
//!
//! Execution is pure: [`State::execute`] computes what a batch does without touching the state, [`State::commit`] makes
//! it so. One block is in flight at a time, so there is one overlay and nothing is ever rolled back.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::amount::Balance;
use crate::bank::{Bank, Changes, Decision, Executed, IdRecord, Place};
use crate::block::{Block, HEADER_VERSION, Header, transaction_root};
use crate::genesis::Genesis;
use crate::hash::Hash;
use crate::ids::Ids;
use crate::log_tree::{LogNode, LogTree};
use crate::names::{Account, NodeName, RequestId};
use crate::pending::{Pending, Pendings};
use crate::pow;
use crate::request::Request;
use crate::smt::StateProof;
use crate::violation::Violation;

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
    /// Pending transfers that were made or ended.
    pub pendings: Vec<(RequestId, Pending)>,
    /// The nodes of the log tree that are complete with the block.
    pub log: Vec<LogNode>,
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
    pub ids: Ids,
    /// All pending transfers, whatever became of them.
    pub pendings: BTreeMap<RequestId, Pending>,
    /// The log tree over all blocks up to the tip.
    pub log: LogTree,
    /// The tip.
    pub tip: Tip,
    /// Hash of block 0.
    pub cluster_id: Hash,
    /// The genesis file's difficulty.
    pub difficulty: u8,
}

impl Executed {
    /// The header of the block that does this, with nonce 0. Its time is the one with which it was executed.
    pub fn seal(&self, state: &State, term: u64, proposer: NodeName) -> Header {
        self.seal_behind(state.tip.hash, state, term, proposer)
    }

    /// The same for a block behind one with this hash, which is not committed yet.
    pub fn seal_behind(&self, previous: Hash, state: &State, term: u64, proposer: NodeName) -> Header {
        Header {
            version: HEADER_VERSION,
            cluster_id: state.cluster_id,
            height: self.height,
            previous,
            term,
            proposer,
            time_ms: self.time_ms,
            request_count: u32::try_from(self.requests()).expect("batches are bounded"),
            transaction_root: self.transaction_root,
            state_root: self.state_root,
            difficulty: state.difficulty,
            nonce: 0,
        }
    }
}

/// The state after the last applied block.
#[derive(Clone, Debug)]
pub struct State {
    bank: Bank,
    log: LogTree,
    tip: Tip,
    cluster_id: Hash,
    difficulty: u8,
    /// Mixed into the seeds of the tables of a block; decides nothing.
    salt: u64,
}

impl State {
    /// The state after block 0, and what it changed.
    ///
    /// # Errors
    /// The block is none that a genesis file makes.
    pub fn new(genesis: &Block) -> Result<(Self, Delta), Violation> {
        let info = Genesis::from_block(genesis)?;
        let mut bank = Bank::default();
        let place = Place { height: 0, time_ms: info.time_ms, seed: 0 };
        let requests = genesis.entries.iter().map(|entry| &entry.request);
        let executed = bank.run(place, &[], requests, Some(genesis.header.transaction_root));
        compare(genesis, &executed)?;
        let hash = genesis.hash();
        let tip = Tip { height: 0, hash, time_ms: info.time_ms, term: 0, state_root: executed.state_root };
        let Changes { accounts, values, ids, pendings } = bank.adopt(executed)?;
        let mut tree = LogTree::default();
        let log = tree.push(hash);
        let state = Self { bank, log: tree, tip: tip.clone(), cluster_id: hash, difficulty: info.difficulty, salt: 0 };
        Ok((state, Delta { accounts, values, ids, pendings, log, tip }))
    }

    /// The state that a store has kept.
    ///
    /// # Errors
    /// Its rows do not give the state root of its tip, its log tree ends at another block, or an account holds more than
    /// it has.
    pub fn restore(rows: StateRows) -> Result<Self, Violation> {
        let StateRows { accounts, values, ids, pendings, log, tip, cluster_id, difficulty } = rows;
        let bank = Bank::restore(accounts, values, ids, pendings);
        if bank.root() != tip.state_root {
            return Err(Violation::StateRoot { expected: bank.root(), found: tip.state_root });
        }
        if log.size() != tip.height + 1 {
            return Err(Violation::LogSize { expected: tip.height + 1, found: log.size() });
        }
        bank.pendings.check_within(|account| bank.balance(account).unwrap_or(0))?;
        Ok(Self { bank, log, tip, cluster_id, difficulty, salt: 0 })
    }

    /// Mixes a number that nobody else knows into the seeds of hash tables: no choice of names makes them slow. It has no
    /// influence on any result. Accounts and ids that were salted when they were read stay as they are.
    pub fn salt_tables(&mut self, salt: u64) {
        self.salt = salt;
        if self.bank.ids.salt_of() == 0 {
            self.bank.accounts.salt(salt);
            self.bank.ids.salt(salt);
        }
    }

    /// The last applied block.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The log tree over all blocks up to the tip.
    pub fn log(&self) -> &LogTree {
        &self.log
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
        self.bank.balance(account)
    }

    /// An account's balance with the proof that leads to the state root of the tip. `None`, with its proof, for an account
    /// that does not exist; `world` exists from its first use on.
    pub fn prove(&self, account: &Account) -> (Option<Balance>, StateProof) {
        self.bank.prove(account)
    }

    /// A key's value.
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.bank.values.get(key).map(Vec::as_slice)
    }

    /// What is kept of a request.
    pub fn request(&self, id: &RequestId) -> Option<&IdRecord> {
        self.bank.ids.get(id)
    }

    /// How many accounts there are, `world` included once it was used.
    pub fn account_count(&self) -> usize {
        self.bank.accounts.len()
    }

    /// All accounts with their balances, in order of name, `world` included once it was used. Costs in all of them.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.bank.accounts.sorted()
    }

    /// All values, in order of key.
    pub fn values(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bank.values.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// All ids.
    pub fn ids(&self) -> &Ids {
        &self.bank.ids
    }

    /// All pending transfers, and what they hold.
    pub fn pendings(&self) -> &Pendings {
        &self.bank.pendings
    }

    /// What the applied state knows of a request: its first outcome, or that its id stands for another one.
    pub fn decide(&self, request: &Request) -> Option<Decision> {
        self.bank.decide(request)
    }

    /// What this batch would do as the next block, made at this Unix time. A block's time is never before that of the
    /// block before, so that counts if it is later.
    pub fn execute<R: Borrow<Request>>(&self, batch: impl IntoIterator<Item = R>, time_ms: u64) -> Executed {
        let clock_ms = time_ms;
        let time_ms = if planted!(TimeGoesBack) { clock_ms } else { clock_ms.max(self.tip.time_ms) };
        let expiry_ms = if planted!(ExpiryByClock) { clock_ms } else { time_ms };
        let place = Place::behind(&self.tip.hash, self.tip.height + 1, expiry_ms, self.salt);
        let mut executed = self.bank.run(place, &[], batch, None);
        executed.time_ms = time_ms;
        executed
    }

    /// The same as the block behind one that is executed and not committed yet.
    pub fn execute_behind<R: Borrow<Request>>(
        &self,
        (header, executed): (&Header, &Executed),
        batch: impl IntoIterator<Item = R>,
        time_ms: u64,
    ) -> Executed {
        let time_ms = if planted!(TimeGoesBack) { time_ms } else { time_ms.max(header.time_ms) };
        let place = Place::behind(&header.hash(), header.height + 1, time_ms, self.salt);
        self.bank.run(place, &[executed], batch, None)
    }

    /// Reads a block of this chain from its bytes, and checks all of it that needs no execution: canonical form, cluster,
    /// difficulty, proof-of-work, counts, and the transaction root over the bytes as they came.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read_block(&self, bytes: &[u8]) -> Result<Block, Violation> {
        let (block, root) = Block::decode_hashed(bytes)?;
        block.check_static_with(self.difficulty, self.cluster_id, root)?;
        Ok(block)
    }

    /// Checks that a block is the next one and that its outcomes and its state root are those of our own execution.
    /// What needs no state, the transaction root among it, is checked by [`State::read_block`], or by
    /// [`Block::check_static`] for a block that is not at hand as bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, block: &Block) -> Result<Executed, Violation> {
        self.check_after(&[], block)
    }

    /// The same for a block that stands on others, which were checked one after the other and are not committed yet (the
    /// oldest first). The result can be committed once all of those are.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_after(&self, under: &[(&Header, &Executed)], block: &Block) -> Result<Executed, Violation> {
        let below = under.last().map(|(header, executed)| Tip {
            height: header.height,
            hash: header.hash(),
            time_ms: header.time_ms,
            term: header.term,
            state_root: executed.state_root,
        });
        let (header, tip) = (&block.header, below.as_ref().unwrap_or(&self.tip));
        if header.height != tip.height + 1 {
            return Err(Violation::Height { expected: tip.height + 1, found: header.height });
        }
        if header.previous != tip.hash && !planted!(PreviousNotVerified) {
            return Err(Violation::Previous { expected: tip.hash, found: header.previous });
        }
        if header.cluster_id != self.cluster_id {
            return Err(Violation::Cluster { expected: self.cluster_id, found: header.cluster_id });
        }
        if header.time_ms < tip.time_ms && !planted!(TimeGoesBack) {
            return Err(Violation::Time { previous: tip.time_ms, found: header.time_ms });
        }
        if header.term < tip.term {
            return Err(Violation::TermFell { previous: tip.term, found: header.term });
        }
        let under: Vec<&Executed> = under.iter().map(|(_, executed)| *executed).collect();
        let place = Place::behind(&tip.hash, tip.height + 1, header.time_ms, self.salt);
        let requests = block.entries.iter().map(|entry| &entry.request);
        let executed = self.bank.run(place, &under, requests, Some(header.transaction_root));
        compare(block, &executed)?;
        Ok(executed)
    }

    /// Makes it so. Returns what changed, for the store.
    ///
    /// # Errors
    /// A balance has changed since the block was executed: this state is damaged, and is left as it is.
    ///
    /// # Panics
    /// If `executed` was not executed on this very state.
    pub fn commit(&mut self, executed: Executed, header: &Header) -> Result<Delta, Violation> {
        assert_eq!(executed.height, self.tip.height + 1, "executed on this state");
        assert_eq!(executed.state_root, header.state_root, "the block that was executed");
        let extends = header.previous == self.tip.hash || planted!(PreviousNotVerified);
        assert!(extends, "a block extends the one before");
        let tip = Tip {
            height: executed.height,
            hash: header.hash(),
            time_ms: header.time_ms,
            term: header.term,
            state_root: executed.state_root,
        };
        let Changes { accounts, values, ids, pendings } = self.bank.adopt(executed)?;
        let log = self.log.push(tip.hash);
        self.tip = tip.clone();
        Ok(Delta { accounts, values, ids, pendings, log, tip })
    }

    /// Damages a balance without touching the tree, as a flipped bit in memory would. For tests that a damaged node
    /// cannot do harm.
    #[doc(hidden)]
    pub fn corrupt_balance_for_tests(&mut self, account: &Account, balance: Balance) {
        self.bank.accounts.insert(account, balance);
    }
}

impl Block {
    /// Checks all that needs no state: proof-of-work, counts, transaction root, cluster and difficulty. Not for block 0.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_static(&self, difficulty: u8, cluster_id: Hash) -> Result<(), Violation> {
        self.check_static_with(difficulty, cluster_id, transaction_root(&self.entries))
    }

    /// Checks the term against that of the consensus record that carries the block.
    ///
    /// # Errors
    /// They differ.
    pub fn check_term(&self, expected: u64) -> Result<(), Violation> {
        let found = self.header.term;
        if found == expected { Ok(()) } else { Err(Violation::Term { expected, found }) }
    }

    fn check_static_with(&self, difficulty: u8, cluster_id: Hash, root: Hash) -> Result<(), Violation> {
        let header = &self.header;
        if header.cluster_id != cluster_id {
            return Err(Violation::Cluster { expected: cluster_id, found: header.cluster_id });
        }
        if header.difficulty != difficulty {
            return Err(Violation::Difficulty { expected: difficulty, found: header.difficulty });
        }
        let hash = header.hash();
        if !pow::meets(&hash, difficulty) && !planted!(NonceNotVerified) {
            return Err(Violation::ProofOfWork { hash, difficulty });
        }
        if self.entries.is_empty() {
            return Err(Violation::Empty);
        }
        if usize::try_from(header.request_count).ok() != Some(self.entries.len()) {
            return Err(Violation::Count { expected: header.request_count, found: self.entries.len() });
        }
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
