//! Tests of the whole: simulator, crash and power-cut harness, benchmarks.

pub mod sim;
