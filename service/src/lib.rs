//! What the daemons share: configuration from a file and the environment, logs, signals, and word to the supervisor.
#![forbid(unsafe_code)]

pub mod config;
pub mod log;
pub mod notify;
pub mod signals;
