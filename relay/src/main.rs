//! `raftbank-relayd`: the relay of a raftbank. Parses, runs, and tells the supervisor how it ended.

use std::process::ExitCode;

use clap::Parser;
use raftbank_relayd::args::Args;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match raftbank_relayd::server::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{}raftbank-relayd: {failure}", raftbank_service::journal::error_prefix());
            ExitCode::from(failure.exit_code())
        }
    }
}
