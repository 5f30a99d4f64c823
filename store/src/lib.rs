//! Durable state of a node in sled, and a memory store that models crashes.
#![forbid(unsafe_code)]
mod crashsafe;
mod engine;
mod error;
mod mark;
mod quiet;
pub use engine::Tuning;
pub use error::StoreError;
