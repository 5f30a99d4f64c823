//! `raftbankd`: one node of a raftbank. Parses, runs, and tells the supervisor how it ended.

use std::process::ExitCode;

use clap::Parser;
use raftbankd::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match raftbankd::server::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{}raftbankd: {failure}", raftbank_service::journal::error_prefix());
            ExitCode::from(failure.exit_code())
        }
    }
}
