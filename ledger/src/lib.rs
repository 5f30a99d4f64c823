//! The ledger of a raftbank: accounts, requests, outcomes and the chain of blocks. Pure: no clock, no I/O, no threads.
//!
//! `docs/format.md` describes every hashed byte. [`State`] executes and checks, [`Block`] is what is agreed on,
//! [`Genesis`] is where a chain begins, [`Verifier`] checks a whole chain.
#![forbid(unsafe_code)]
// What `clippy.toml` lists is banned, not frowned upon: every node must compute the same.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::float_arithmetic)]

#[macro_use]
mod planted;

mod accounts;
mod amount;
mod bank;
mod block;
mod bytes;
pub mod counts;
mod genesis;
mod hash;
mod history;
mod ids;
mod index;
pub mod log_tree;
pub mod merkle;
mod names;
mod outcome;
mod pending;
pub mod pow;
mod request;
mod slab;
mod smt;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod verify;
mod violation;

pub use amount::{Amount, AmountError, BALANCE_MAX, Balance};
pub use bank::{Decision, Executed, IdRecord, account_key, balance_hash};
pub use block::{
    BLOCK_BYTES_MAX, BLOCK_REQUESTS_MAX, Block, Entry, HEADER_VERSION, Header, header_hash_of, transaction_root,
};
pub use bytes::DecodeError;
pub use genesis::{GENESIS_KEY, Genesis, GenesisAccount, GenesisError, GenesisInfo, GenesisTransfer, MEMBERS_MAX};
pub use hash::{Hash, HashError};
pub use history::{Books, effect, postings, touches};
pub use ids::Ids;
pub use log_tree::{LogNode, LogTree};
pub use merkle::MerkleError;
pub use names::{Account, NameError, NodeName, RequestId};
pub use outcome::{Outcome, Refusal};
pub use pending::{EXPIRED_PER_BLOCK, Pending, PendingStatus, Pendings, pending_key};
pub use request::{
    KEY_BYTES_MAX, LEGS_MAX, LEGS_MIN, Leg, MEMO_BYTES_MAX, Operation, Request, TIMEOUT_MS_MAX, VALUE_BYTES_MAX,
};
pub use smt::{PlaceInTree, Smt, StateProof, StateProofError, TreeUpdate};
pub use state::{Delta, State, StateRows, Tip};
pub use verify::Verifier;
pub use violation::Violation;
