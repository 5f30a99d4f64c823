//! `bankctl`: the command line of a raftbank.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bankctl::run())
}
