//! What becomes of a bank as it grows: throughput, memory, start-up and disk, over the blocks of its chain and over its
//! accounts.
//!
//! Data folders are made by code, without consensus: the ledger executes blocks and the store takes them in large groups.
//! Then a real cluster starts on them. Throughput is measured in turns with a bank of the smallest size that runs beside
//! it, so that whatever else the machine does meets both; only the ratio counts.

mod folder;
mod load;
mod machine;
mod measure;
mod report;

pub use self::measure::{Axis, Options, run};
pub use self::report::{Point, Report, Skipped};
