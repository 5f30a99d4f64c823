//! Cuts the power of a running bank's disks, and says whether anything that was acknowledged is lost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use raftbank_tests::powercut::{Options, obstacle, run};

/// Cut the power of a running bank's disks under load. Needs root and loop devices.
#[derive(Parser)]
struct Args {
    /// How often.
    #[arg(long, default_value_t = 20)]
    cuts: u32,
    /// Nodes that do not sync: then something must be lost.
    #[arg(long)]
    without_sync: bool,
    /// Chooses nodes, moments and transfers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Args { cuts, without_sync, seed } = Args::parse();
    if let Some(obstacle) = obstacle() {
        eprintln!("power cannot be cut on this machine: {obstacle}");
        return Ok(ExitCode::from(2));
    }
    println!("seed {seed}");
    let report = run(Options { cuts, seed, without_sync }).await?;
    println!(
        "{} cuts of all nodes and {} of one, {} transfers acknowledged",
        report.total, report.single, report.acknowledged
    );
    match &report.lost {
        Some(lost) => println!("LOST {lost}"),
        None => println!("nothing is lost"),
    }
    Ok(if report.lost.is_some() == without_sync { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
