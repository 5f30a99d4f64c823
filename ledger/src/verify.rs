//! Re-executes a chain from block 0, trusting nothing but the genesis block's hash, and compares what a node has stored
//! with what the chain gives.

use crate::amount::Balance;
use crate::bank::IdRecord;
use crate::block::Block;
use crate::hash::Hash;
use crate::ids::Ids;
use crate::log_tree::{LogNode, LogTree};
use crate::names::{Account, RequestId};
use crate::pending::Pending;
use crate::state::{State, Tip};
use crate::violation::Violation;

/// A chain while it is verified.
#[derive(Debug)]
pub struct Verifier {
    state: State,
    log_nodes: Vec<LogNode>,
    blocks: u64,
    transactions: u64,
}

impl Verifier {
    /// Begins with the bytes of block 0.
    ///
    /// # Errors
    /// It is none that a genesis file makes, or its state root is wrong.
    pub fn new(genesis: &[u8]) -> Result<Self, Violation> {
        let block = Block::decode(genesis)?;
        let (state, delta) = State::new(&block)?;
        Ok(Self { state, log_nodes: delta.log, blocks: 1, transactions: count(&block) })
    }

    /// As [`State::salt_tables`]; right after [`Verifier::new`].
    pub fn salt_tables(&mut self, salt: u64) {
        self.state.salt_tables(salt);
    }

    /// Checks and executes the next block.
    ///
    /// # Errors
    /// The first thing that is wrong with it. The verifier stays at the block before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let block = self.state.read_block(bytes)?;
        let executed = self.state.check(&block)?;
        self.log_nodes = self.state.commit(executed, &block.header)?.log;
        self.blocks += 1;
        self.transactions += count(&block);
        Ok(())
    }

    /// The state that the chain gives so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The nodes of the log tree that are complete with the last block.
    pub fn log_nodes(&self) -> &[LogNode] {
        &self.log_nodes
    }

    /// Blocks verified, block 0 included.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Requests in them.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Compares every stored balance, value, id and pending transfer with those of the chain, in both directions, adds
    /// up all balances, and what is held. Each comes in ascending order of its key, as a map gives it.
    ///
    /// # Errors
    /// The first difference, a sum that is not 0, or an account that holds more than it has.
    pub fn compare<'a>(
        &'a self,
        accounts: impl IntoIterator<Item = (&'a Account, Balance)>,
        values: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        ids: &Ids,
        pendings: impl IntoIterator<Item = (&'a RequestId, &'a Pending)>,
    ) -> Result<(), Violation> {
        let mut sum: Balance = 0;
        // A damaged balance can be anything: no overflow may end the verification.
        let accounts = accounts.into_iter().map(|(name, balance)| {
            sum = sum.wrapping_add(balance);
            (name, balance)
        });
        same("the balance of", accounts, self.state.accounts(), |name| name.to_string(), Balance::to_string)?;
        let key = |key: &&[u8]| key.escape_ascii().to_string();
        let value = |value: &&[u8]| format!("{} bytes with hash {}", value.len(), Hash::of(&[value]));
        if !planted!(VerifySkipsValues) {
            same("the value of", values.into_iter(), self.state.values(), key, value)?;
        }
        let record = |record: &IdRecord| {
            let IdRecord { height, index, digest, outcome } = record;
            format!("{} at height {height}, index {index}, digest {digest}", outcome.code())
        };
        if ids != self.state.ids() {
            let (stored, expected) = (ids.sorted().into_iter(), self.state.ids().sorted().into_iter());
            same("the record of id", stored, expected, |id| id.to_string(), record)?;
        }
        let show = |pending: &&Pending| format!("{pending:?}");
        let expected = self.state.pendings().rows().iter();
        same("the pending transfer", pendings.into_iter(), expected, |id| id.to_string(), show)?;
        self.state.pendings().check(|account| self.state.balance(account).unwrap_or(0))?;
        if sum != 0 {
            let (stored, expected) = (sum.to_string(), "0".to_owned());
            return Err(Violation::Stored { what: "the sum of all balances".to_owned(), stored, expected });
        }
        Ok(())
    }

    /// Compares the stored tip with the chain's last block: a chain whose end was cut off, or whose last block was
    /// altered, still links up to there.
    ///
    /// # Errors
    /// They differ.
    pub fn compare_tip(&self, stored: &Tip) -> Result<(), Violation> {
        let show = |tip: &Tip| {
            let Tip { height, hash, time_ms, term, state_root } = tip;
            format!("height {height}, hash {hash}, time {time_ms} ms, term {term}, state root {state_root}")
        };
        let tip = self.state.tip();
        if stored == tip {
            return Ok(());
        }
        Err(Violation::Stored { what: "the head".to_owned(), stored: show(stored), expected: show(tip) })
    }

    /// Compares the stored log tree with that of the chain.
    ///
    /// # Errors
    /// They differ.
    pub fn compare_log(&self, stored: &LogTree) -> Result<(), Violation> {
        let log = self.state.log();
        if stored == log {
            return Ok(());
        }
        let show = |log: &LogTree| format!("{} blocks with root {}", log.size(), log.root());
        Err(Violation::Stored { what: "the log tree".to_owned(), stored: show(stored), expected: show(log) })
    }
}

fn count(block: &Block) -> u64 {
    u64::try_from(block.entries.len()).unwrap_or(u64::MAX)
}

/// Walks both in step; both come in ascending order of keys. Keys and values are compared as they are, and written out
/// only where they differ.
fn same<K: Ord, V: PartialEq>(
    what: &str,
    mut stored: impl Iterator<Item = (K, V)>,
    mut expected: impl Iterator<Item = (K, V)>,
    key: impl Fn(&K) -> String,
    value: impl Fn(&V) -> String,
) -> Result<(), Violation> {
    let nothing = || "nothing".to_owned();
    loop {
        let (name, stored, expected) = match (stored.next(), expected.next()) {
            (None, None) => return Ok(()),
            (Some(stored), Some(expected)) if stored == expected => continue,
            (Some((name, stored)), Some((other, expected))) if name == other => {
                (name, value(&stored), value(&expected))
            }
            (Some((name, stored)), Some((other, _))) if name < other => (name, value(&stored), nothing()),
            (Some((name, stored)), None) => (name, value(&stored), nothing()),
            (_, Some((name, expected))) => (name, nothing(), value(&expected)),
        };
        return Err(Violation::Stored { what: format!("{what} {}", key(&name)), stored, expected });
    }
}
