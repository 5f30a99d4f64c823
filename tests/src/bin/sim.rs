//! `sim`: runs the consensus simulator over many seeds, or shows one.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use raftbank_tests::sim::{Counts, run_seed};

/// Simulates clusters of the shipping consensus engine under faults that each seed decides.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  sim --seeds 20000\n  sim --seeds 1 --first 2386 --trace")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Print what happened, event by event, when a seed fails (with one seed: always print its hash).
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let Arguments { seeds, first, trace } = Arguments::parse();
    // A failed assertion is reported with its seed; the default hook would print it without.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let mut counts = Counts::default();
    for seed in first..first.saturating_add(seeds) {
        match run_seed(seed, trace) {
            Ok(summary) => {
                counts += summary.counts;
                if seeds == 1 {
                    println!("seed {seed}: every rule held; trace hash {:016x}", summary.trace_hash);
                }
            }
            Err(failure) => {
                for line in &failure.trace {
                    println!("{line}");
                }
                println!("FAILED {failure}");
                println!("replay: cargo run --release -p raftbank-tests --bin sim -- --seeds 1 --first {seed} --trace");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{seeds} seeds from {first} in {seconds:.1} s: every rule held");
    for (name, count) in counts.all() {
        println!("{count:>12} {name}");
    }
    println!("{:>12} ms: the longest recovery after all faults had ended", counts.recovery_ms_max);
    let missing = counts.missing();
    if seeds >= 100 && !missing.is_empty() {
        println!("FAILED: this run never saw: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
