//! Durable state of a node: term and vote, the log, the ledger's rows, and whose they are.
//!
//! [`SledStore`] keeps them in a folder, [`MemoryDisk`] in memory for simulations; both keep the same promises, which
//! one suite of tests checks on both. The promises, the formats and their reasons are in `docs/storage.md`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod planted;

mod chain;
pub mod counts;
mod crashsafe;
mod engine;
mod error;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod mark;
mod memory;
mod meta;
mod progress;
#[cfg(test)]
mod properties;
mod quiet;
mod record;
mod replay;
mod rows;
mod shape;
mod sled_store;
mod types;

#[doc(hidden)]
pub use engine::sled_for_tests;
pub use engine::{Limits, Tuning};
pub use error::StoreError;
pub use fault::DiskFault;
pub use memory::{MemoryDisk, MemoryImage, MemoryReader, MemoryStore};
pub use meta::{FORMAT, Meta};
pub use progress::Progress;
pub use sled_store::{FolderCopy, Salvage, SledReader, SledStore};
pub use types::{Batch, Expected, Opened, Reader, StateWrite, Store, StoredRows, Walk};
