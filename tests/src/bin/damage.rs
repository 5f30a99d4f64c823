//! Damages a stopped node's files at random, and says whether each damage was found.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use raftbank_tests::damage::pool;
use raftbank_tests::damage::run::{Options, run};

/// Damage a stopped node's files again and again. Each damage must be found and refused with advice, or be without any
/// effect; a node must never answer wrongly or start for ever, and `--rejoin` must bring it back.
#[derive(Parser)]
#[command(after_help = "Examples:\n  damage --count 10000\n  damage --seed 7 --first 123 --count 1 --templates DIR")]
struct Args {
    /// How many damages.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Chooses them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Undamaged folders to begin with; made there if there are none. The same damage needs the same folders.
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// Every so many-th damage is put before the real programs.
    #[arg(long, default_value_t = 50)]
    real_every: u64,
    /// So many damaged nodes are brought back in a bank of three.
    #[arg(long, default_value_t = 20)]
    rejoins: u64,
    /// Every so many-th stored row is altered on purpose; 0: none.
    #[arg(long)]
    rows_every: Option<usize>,
    /// Judge what standard input names.
    #[arg(long, hide = true, value_name = "WORK", requires = "templates")]
    worker: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Args { count, seed, first, templates, real_every, rejoins, rows_every, worker } = Args::parse();
    if let (Some(work), Some(templates)) = (&worker, &templates) {
        pool::serve(templates, seed, work)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("seed {seed}");
    let begun = Instant::now();
    // A replay of one damage is about that one only.
    let rows_every = rows_every.unwrap_or(usize::from(count > 1));
    let program = std::env::current_exe()?;
    let report = run(&Options { count, seed, first, templates, program, real_every, rejoins, rows_every }).await?;
    print!("{}", report.told());
    for failure in &report.failures {
        println!("FAILED {failure}");
    }
    println!("{count} damages in {:.0?}: {} did not hold", begun.elapsed(), report.failures.len());
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
