//! Benchmarks: raftbank beside etcd, PostgreSQL and the floors of the machine, measured in turns.
//!
//! A round measures everything once (A B C, A B C, …), so that whatever else the machine does meets all of them; ratios are taken within a round, and told as median and range over the rounds. Nothing here
//! judges a time: whether a goal is reached is printed, not asserted.

mod bank;
mod etcd;
pub(crate) mod figures;
mod floors;
mod goals;
pub(crate) mod host;
mod leader;
mod postgres;
mod report;
mod rounds;
mod running;

pub use self::report::Report;
pub use self::rounds::{Group, Options, run};
