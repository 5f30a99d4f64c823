//! `sim`: runs the simulator over many seeds, or shows one.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use raftbank_tests::{consensus_sim, sim};

/// Simulates whole banks of the shipping code under faults that each seed decides.
#[derive(Clone, Copy, Debug, Parser)]
#[command(after_help = "Examples:\n  sim --seeds 20000\n  sim --seeds 1 --first 2386 --trace")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Print what happened, event by event, when a seed fails; with one seed, always.
    #[arg(long)]
    trace: bool,
    /// Consensus alone: finer faults, no ledger and no clients of a bank.
    #[arg(long)]
    consensus: bool,
    /// Seeds that run side by side; as many as there are processors if not given.
    #[arg(long)]
    threads: Option<usize>,
}

/// A seed that failed.
struct Failed {
    seed: u64,
    what: String,
    trace: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { seeds, first, trace, consensus, .. } = arguments;
    // A failed assertion is reported with its seed; the default hook would print it without.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let (counts, failed) = if consensus {
        let run = |seed| {
            consensus_sim::run_seed(seed, trace)
                .map(|summary| (summary.counts, summary.trace_hash, Vec::new()))
                .map_err(|failure| Failed { seed, what: failure.violation.to_string(), trace: failure.trace })
        };
        let (sum, failed) = all::<consensus_sim::Counts>(arguments, run);
        (Told { sums: sum.all().to_vec(), missing: Vec::new(), recovery_ms_max: sum.recovery_ms_max }, failed)
    } else {
        let run = |seed| {
            sim::run_traced(seed, trace)
                .map(|(summary, lines)| (summary.counts, summary.trace_hash, lines))
                .map_err(|failure| Failed { seed, what: failure.violation.to_string(), trace: failure.trace })
        };
        let (sum, failed) = all::<sim::Counts>(arguments, run);
        (Told { sums: sum.all(), missing: sum.missing(), recovery_ms_max: sum.recovery_ms_max }, failed)
    };
    if let Some(Failed { seed, what, trace }) = failed {
        for line in &trace {
            println!("{line}");
        }
        let kind = if consensus { "--consensus " } else { "" };
        println!("FAILED seed {seed}: {what}");
        println!("replay: cargo run --release -p raftbank-tests --bin sim -- {kind}--seeds 1 --first {seed} --trace");
        return ExitCode::FAILURE;
    }
    for (name, count) in &counts.sums {
        println!("{count:>12} {name}");
    }
    println!("{:>12} ms: the longest recovery after all faults had ended", counts.recovery_ms_max);
    println!("{seeds} seeds from {first} in {:.1} s: every rule held", began.elapsed().as_secs_f64());
    if seeds >= 1_000 && !counts.missing.is_empty() {
        println!("FAILED: this run never saw: {}", counts.missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What happened, for people.
struct Told {
    sums: Vec<(&'static str, u64)>,
    missing: Vec<&'static str>,
    recovery_ms_max: u64,
}

/// Runs all seeds on a few threads and adds up; stops at a failure and returns the one with the lowest seed.
fn all<C: Default + std::ops::AddAssign + Send>(
    arguments: Arguments,
    run: impl Fn(u64) -> Result<(C, u64, Vec<String>), Failed> + Sync,
) -> (C, Option<Failed>) {
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(arguments.first);
    let end = arguments.first.saturating_add(arguments.seeds);
    let outcome: Mutex<(C, Option<Failed>)> = Mutex::new((C::default(), None));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = run(seed);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok((counts, hash, lines)) => {
                            outcome.0 += counts;
                            if arguments.seeds == 1 {
                                lines.iter().for_each(|line| println!("{line}"));
                                println!("seed {seed}: trace hash {hash:016x}");
                            }
                        }
                        Err(failed) => {
                            next.store(end, Ordering::Relaxed);
                            if outcome.1.as_ref().is_none_or(|other| failed.seed < other.seed) {
                                outcome.1 = Some(failed);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}
