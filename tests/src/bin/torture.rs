//! `torture`: real clusters under load and every fault there is, for minutes or hours.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use raftbank_tests::torture::{Options, kinds, run};

/// Tortures real clusters and judges what their clients were told. Disk faults need root, failing system calls strace.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  torture --minutes 120\n  torture --minutes 0 --seed 17    (one round)")]
struct Arguments {
    /// No new round begins after so many minutes; at least one round runs.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Of the first round; each round has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults go on in a round, in seconds.
    #[arg(long, default_value_t = 45)]
    round_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { minutes, seed, round_seconds } = Arguments::parse();
    let options = Options { time: Duration::from_secs(60 * minutes), round: Duration::from_secs(round_seconds), seed };
    let report = match run(options).await {
        Ok(report) => report,
        Err(error) => {
            println!("FAILED {error:#}");
            return ExitCode::FAILURE;
        }
    };
    for skipped in &report.skipped {
        println!("skipped: {skipped}");
    }
    for kind in kinds() {
        println!("{:>10} {kind}", report.faults.get(kind).copied().unwrap_or(0));
    }
    let sum = &report.summary;
    println!("{:>10} processes ended", report.ended);
    println!("{:>10} blocks", sum.blocks);
    println!("{:>10} requests acknowledged, {} of them on asking again", sum.committed + sum.refused, sum.asked_again);
    println!("{:>10} requests not executed, {} unknown to their client", sum.not_executed, sum.unknown);
    println!("{:>10} reads, {} of them local", sum.reads + sum.local_reads, sum.local_reads);
    println!("{:>10} ms: the longest time without service after healing", report.recovery_max.as_millis());
    println!("{} rounds from seed {seed}: every rule held", report.rounds);
    ExitCode::SUCCESS
}
