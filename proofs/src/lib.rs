//! What anyone can check without a server: checkpoints, receipts, balance and consistency proofs, as text files.
//!
//! `docs/format.md` specifies every byte; `docs/verify.py` checks the same files without any of this code. Whatever is
//! parsed here is printed again and compared, so that each file has one spelling and no altered bit goes unseen.
#![forbid(unsafe_code)]

mod balance;
mod checkpoint;
mod consistency;
mod error;
mod export;
mod json;
mod key;
mod keys;
mod log_proof;
mod receipt;
#[cfg(test)]
mod tests;
mod text;

pub use balance::{BalanceProof, ProvenBalance};
pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, Head, SignatureLine};
pub use consistency::ConsistencyProof;
pub use error::ProofError;
pub use export::{Export, ExportError};
pub use json::{block_json, entry_json, parse_block, parse_entry};
pub use key::{KeyKind, SignerKey, VerifierKey, node_key_name, origin};
pub use keys::{KEYS_BYTES_MAX, Keys};
pub use log_proof::LogProof;
pub use receipt::{PROOF_BYTES_MAX, ProvenReceipt, RECEIPT_BYTES_MAX, Receipt, ReceiptRequest};
