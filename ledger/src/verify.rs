//! Re-executes a chain from block 0, trusting nothing but the genesis block's hash, and compares what a node has stored
//! with what the chain gives.

use crate::amount::Balance;
use crate::block::Block;
use crate::hash::Hash;
use crate::names::{Account, RequestId};
use crate::state::{IdRecord, State};
use crate::violation::Violation;

/// A chain while it is verified.
#[derive(Debug)]
pub struct Verifier {
    state: State,
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
        let (state, _) = State::new(&block)?;
        Ok(Self { state, blocks: 1, transactions: count(&block) })
    }

    /// Checks and executes the next block.
    ///
    /// # Errors
    /// The first thing that is wrong with it. The verifier stays at the block before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let block = Block::decode(bytes)?;
        block.check_static(self.state.difficulty(), self.state.cluster_id())?;
        let executed = self.state.check(&block)?;
        self.state.commit(executed, &block.header);
        self.blocks += 1;
        self.transactions += count(&block);
        Ok(())
    }

    /// The state that the chain gives so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Blocks verified, block 0 included.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Requests in them.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Compares every stored balance, value and id with those of the chain, in both directions, and adds up all
    /// balances.
    ///
    /// # Errors
    /// The first difference, or a sum that is not 0.
    pub fn compare<'a>(
        &self,
        accounts: impl IntoIterator<Item = (&'a Account, Balance)>,
        values: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        ids: impl IntoIterator<Item = (&'a RequestId, &'a IdRecord)>,
    ) -> Result<(), Violation> {
        let accounts = accounts.into_iter().map(|(name, balance)| (name.as_str().to_owned(), balance.to_string()));
        let expected = self.state.accounts().map(|(name, balance)| (name.as_str().to_owned(), balance.to_string()));
        same("the balance of", accounts, expected)?;
        let show = |(key, value): (&[u8], &[u8])| {
            (
                String::from_utf8_lossy(key).into_owned(),
                format!("{} bytes with hash {}", value.len(), Hash::of(&[value])),
            )
        };
        same("the value of", values.into_iter().map(show), self.state.values().map(show))?;
        let show = |(id, record): (&RequestId, &IdRecord)| {
            let IdRecord { height, index, digest, outcome } = record;
            (id.as_str().to_owned(), format!("{} at height {height}, index {index}, digest {digest}", outcome.code()))
        };
        same("the record of id", ids.into_iter().map(show), self.state.ids().map(show))?;
        let sum: Balance = self.state.accounts().map(|(_, balance)| balance).sum();
        if sum != 0 {
            let (stored, expected) = (sum.to_string(), "0".to_owned());
            return Err(Violation::Stored { what: "the sum of all balances".to_owned(), stored, expected });
        }
        Ok(())
    }
}

fn count(block: &Block) -> u64 {
    u64::try_from(block.entries.len()).unwrap_or(u64::MAX)
}

/// Both come in the same order of keys.
fn same(
    what: &str,
    stored: impl Iterator<Item = (String, String)>,
    expected: impl Iterator<Item = (String, String)>,
) -> Result<(), Violation> {
    let (mut stored, mut expected) = (stored, expected);
    loop {
        let (key, stored, expected) = match (stored.next(), expected.next()) {
            (None, None) => return Ok(()),
            (Some(stored), Some(expected)) if stored == expected => continue,
            (Some((key, stored)), Some((other, expected))) if key == other => (key, stored, expected),
            (Some((key, stored)), Some((other, _))) if key < other => (key, stored, "nothing".to_owned()),
            (Some((key, stored)), None) => (key, stored, "nothing".to_owned()),
            (_, Some((key, expected))) => (key, "nothing".to_owned(), expected),
        };
        return Err(Violation::Stored { what: format!("{what} {key}"), stored, expected });
    }
}
