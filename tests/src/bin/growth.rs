//! What becomes of throughput, memory, start-up and disk as the chain and the accounts grow.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use raftbank_tests::growth::{Options, run};
use tokio::signal::unix::{SignalKind, signal};

/// Measure banks of growing size, in turns with one of the smallest size. Build with --release, or use
/// tests/growth/run. Exit code 0 says that all sizes were measured, or skipped with a reason.
#[derive(Parser)]
struct Args {
    /// Sizes of the chain in blocks, separated by commas; 0: none.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    blocks: Vec<u64>,
    /// Numbers of accounts, separated by commas; 0: none.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000,10000000")]
    accounts: Vec<u64>,
    /// Seconds of each turn under load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Turns of each size, and as many of the smallest beside it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pairs: u16,
    /// How often each bank is started; less often one that takes long.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    starts: u16,
    /// Longest time in minutes for making a folder, and for a start. A size that would take longer is skipped.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=600))]
    minutes: u16,
    /// Where the figures go, as JSON, for tests/growth/plot.py.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say little");
    }
    let sizes = |sizes: Vec<u64>| sizes.into_iter().filter(|size| *size > 0).collect();
    let options = Options {
        blocks: sizes(args.blocks),
        accounts: sizes(args.accounts),
        time: Duration::from_secs(args.seconds.into()),
        pairs: args.pairs.into(),
        starts: args.starts.into(),
        patience: Duration::from_secs(60 * u64::from(args.minutes)),
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // When a signal comes, `run` is dropped; with it go the processes and their folders.
    let report = tokio::select! {
        report = run(&options) => report?,
        // Without waiting for the thread that may be making a folder.
        _ = interrupt.recv() => std::process::exit(130),
        _ = terminate.recv() => std::process::exit(143),
    };
    print!("{report}");
    if let Some(file) = args.out {
        let text = serde_json::to_string_pretty(&report).context("the report")? + "\n";
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
