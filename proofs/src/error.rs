//! Why a file is not accepted.

use raftbank_ledger::{MerkleError, StateProofError};

/// Why a proof, a checkpoint or a key is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is not spelled as docs/format.md says.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// The file or the part of it.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The keys file is none, or is of another bank.
    #[error("{0}")]
    Keys(String),
    /// The checkpoint does not count.
    #[error("{0}")]
    Signature(String),
    /// The hashes do not prove what is claimed.
    #[error("not proven: {0}")]
    NotProven(String),
}

impl ProofError {
    pub(crate) fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }
}

impl From<MerkleError> for ProofError {
    fn from(error: MerkleError) -> Self {
        Self::NotProven(error.to_string())
    }
}

impl From<StateProofError> for ProofError {
    fn from(error: StateProofError) -> Self {
        Self::NotProven(error.to_string())
    }
}
