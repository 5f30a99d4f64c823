//! What the daemons share: configuration from a file and the environment, logs, signals, word to the supervisor and its
//! watchdog.
#![forbid(unsafe_code)]

pub mod config;
pub mod disk;
pub mod journal;
pub mod log;
pub mod notify;
pub mod signals;
pub mod watchdog;
