//! Why a block does not belong into the chain.

use crate::bytes::DecodeError;
use crate::hash::Hash;

/// What is wrong with a block, or with stored state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Its bytes are not canonical.
    #[error("not a block: {0}")]
    Decode(#[from] DecodeError),
    /// It belongs to another cluster.
    #[error("the block belongs to cluster {found}, not {expected}")]
    Cluster {
        /// This cluster.
        expected: Hash,
        /// The block's.
        found: Hash,
    },
    /// The difficulty is not that of the genesis file.
    #[error("difficulty {found} instead of {expected}")]
    Difficulty {
        /// The genesis file's.
        expected: u8,
        /// The block's.
        found: u8,
    },
    /// The hash has too few leading zero bits.
    #[error("the hash {hash} does not meet difficulty {difficulty}")]
    ProofOfWork {
        /// The block's hash.
        hash: Hash,
        /// What it has to meet.
        difficulty: u8,
    },
    /// The number of entries is not that of the header, or is out of bounds.
    #[error("{found} requests where the header says {expected}")]
    Count {
        /// The header's.
        expected: u32,
        /// Those there are.
        found: usize,
    },
    /// The entries are not those that the header speaks of.
    #[error("transaction root {found} instead of {expected}")]
    TransactionRoot {
        /// Of the entries.
        expected: Hash,
        /// The header's.
        found: Hash,
    },
    /// It is not the next block.
    #[error("height {found} where {expected} is next")]
    Height {
        /// The next.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// It extends another chain.
    #[error("it extends {found}, but the chain's head is {expected}")]
    Previous {
        /// The head.
        expected: Hash,
        /// What the block extends.
        found: Hash,
    },
    /// The term is not that of the record that carries it.
    #[error("term {found} in a record of term {expected}")]
    Term {
        /// The record's.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// Terms never fall along the chain.
    #[error("term {found} after term {previous}")]
    TermFell {
        /// Of the block before.
        previous: u64,
        /// The block's.
        found: u64,
    },
    /// It is older than the block before.
    #[error("time {found} ms is before the block before it ({previous} ms)")]
    Time {
        /// Of the block before.
        previous: u64,
        /// The block's.
        found: u64,
    },
    /// The same id twice.
    #[error("the id {0} is in the chain already")]
    IdTwice(String),
    /// Executing the request gives another outcome.
    #[error("request {index} ({id}): outcome {found} where execution gives {expected}")]
    Outcome {
        /// Position in the block.
        index: usize,
        /// The request's id.
        id: String,
        /// Of our execution.
        expected: &'static str,
        /// The block's.
        found: &'static str,
    },
    /// Executing the block gives another state.
    #[error("state root {found} where execution gives {expected}")]
    StateRoot {
        /// Of our execution.
        expected: Hash,
        /// The block's.
        found: Hash,
    },
    /// The postings of a block do not add up to zero.
    #[error("the block's postings add up to {0} instead of 0: a balance is not the one that the chain gives")]
    Unbalanced(i128),
    /// What an account holds for pending transfers is not the sum of those.
    #[error("{account} holds {held} for pending transfers that add up to {expected}")]
    Held {
        /// The account.
        account: String,
        /// What it holds.
        held: i128,
        /// The sum of its open pending transfers.
        expected: i128,
    },
    /// An account holds more than it has.
    #[error("{account} has {balance} and holds {held} of it for pending transfers")]
    Overdrawn {
        /// The account.
        account: String,
        /// Its balance.
        balance: i128,
        /// What it holds.
        held: i128,
    },
    /// A block with nothing in it.
    #[error("the block is empty")]
    Empty,
    /// Block 0 is not one that a genesis file makes.
    #[error("block 0 is no genesis block: {0}")]
    Genesis(String),
    /// The log tree has another number of blocks than the chain.
    #[error("the log tree holds {found} blocks where the chain has {expected}")]
    LogSize {
        /// Of the chain.
        expected: u64,
        /// In the tree.
        found: u64,
    },
    /// Something stored differs from what the chain gives.
    #[error("{what} is stored as {stored}, but the chain gives {expected}")]
    Stored {
        /// What: an account, an id, a key.
        what: String,
        /// As stored.
        stored: String,
        /// As the chain gives.
        expected: String,
    },
}
