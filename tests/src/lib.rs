//! Tests of the whole: simulator, crash and power-cut harness, benchmarks.

pub mod ask;
pub mod bench;
pub mod binaries;
pub mod cluster;
pub mod consensus_sim;
pub mod counts;
pub mod ctl;
pub mod damage;
pub mod growth;
pub mod history;
pub mod load;
pub mod mutants;
pub mod powercut;
pub mod process;
pub mod sim;
pub mod torture;
pub mod vectors;
pub mod volume;
