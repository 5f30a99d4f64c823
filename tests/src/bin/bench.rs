//! How fast a bank of three nodes is on this machine, beside what its disk can do and beside etcd and PostgreSQL.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use raftbank_tests::bench::{Group, Options, Report, run};
use tokio::signal::unix::{SignalKind, signal};

/// Measure a bank of three nodes, its peers and the machine's floors in turns. Build with --release, or use
/// tests/bench/run. Exit code 0 says that all ran, whatever the figures; 1 that something did not.
#[derive(Parser)]
struct Args {
    /// Rounds; each measures everything once, in the same order.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    runs: u16,
    /// Seconds of each load; the idle processes are watched for at least ten.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Only these parts, separated by commas. A goal needs all parts that it compares.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    only: Vec<Group>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people, in Markdown.
    Table,
    /// For programs: conditions, every round, goals.
    Json,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say little");
    }
    let groups = Group::value_variants();
    let only = groups.iter().copied().filter(|group| args.only.is_empty() || args.only.contains(group)).collect();
    let time = Duration::from_secs(u64::from(args.seconds));
    let options = Options { runs: usize::from(args.runs), time, only };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // When a signal comes, `run` is dropped; with it go the processes and their folders.
    let report = tokio::select! {
        report = run(&options) => report,
        _ = interrupt.recv() => return Ok(interrupted(libc::SIGINT)),
        _ = terminate.recv() => return Ok(interrupted(libc::SIGTERM)),
    };
    print(&report, args.output)?;
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, output: Output) -> Result<()> {
    match output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(report).context("the report")?),
    }
    Ok(())
}

/// As a shell tells it: 128 and the signal's number.
fn interrupted(signal: i32) -> ExitCode {
    eprintln!("ended by a signal; all processes are ended and all folders removed");
    ExitCode::from(128 + u8::try_from(signal).unwrap_or(0))
}
