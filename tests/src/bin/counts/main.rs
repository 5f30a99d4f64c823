//! Counts what a transfer costs, and compares it with what was recorded. `tests/src/counts` says how.

mod allocator;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use raftbank_tests::counts::{
    Counts, Execution, Load, Meter, Verdict, available, compare, instructions, measure, table,
};

/// What stands in the recorded file.
const NOTE: &str = "Per transfer. Made by tests/counts/run --record";

/// Count what a transfer costs, and compare it with what was recorded. Exit code 0: nothing grew; 1: something grew, or
/// is missing. Build with --release.
#[derive(Parser)]
struct Args {
    /// Compare with this file.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "tests/counts.json")]
    check: Option<PathBuf>,
    /// Record in this file instead.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "tests/counts.json", conflicts_with = "check")]
    record: Option<PathBuf>,
    /// Leave valgrind out.
    #[arg(long)]
    no_valgrind: bool,
    /// Only run this load of the ledger, and print nothing: what valgrind is told to run.
    #[arg(long, value_enum)]
    only: Option<Execution>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(execution) = args.only {
        return execution.run().map(|()| ExitCode::SUCCESS);
    }
    if cfg!(debug_assertions) {
        bail!("this is a debug build, which allocates otherwise: use tests/counts/run");
    }
    let valgrind = !args.no_valgrind && available();
    let now = count(valgrind)?;
    if let Some(file) = args.record {
        if !valgrind {
            bail!("without valgrind (Debian: valgrind) not everything can be recorded");
        }
        now.write(&file)?;
        println!("recorded {} counts in {}", now.counts.len(), file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let recorded = args.check.unwrap_or_else(|| PathBuf::from("tests/counts.json"));
    let rows = compare(&Counts::read(&recorded)?, &now, |name| !valgrind && name.ends_with("/instructions"));
    print!("{}", table(&rows));
    let count = |wanted: fn(Verdict) -> bool| rows.iter().filter(|row| wanted(row.verdict)).count();
    let (failed, fell) = (count(Verdict::fails), count(|verdict| verdict == Verdict::Fell));
    if fell > 0 {
        println!("{fell} fell far below their record: tighten it with tests/counts/run --record");
    }
    if failed > 0 {
        println!("{failed} failed. If that is meant, record anew with tests/counts/run --record, and say why");
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count(valgrind: bool) -> Result<Counts> {
    let mut counts = Counts { note: NOTE.to_owned(), ..Counts::default() };
    let meter = Meter { allocated: allocator::so_far };
    for load in Load::ALL {
        let (measured, in_a_block) = measure(load, meter)?;
        println!("{}: {in_a_block:.1} transfers in a block", load.name);
        counts.extend(measured);
    }
    if !valgrind {
        println!("instructions are skipped: valgrind is not there (Debian: valgrind), or was left out");
        return Ok(counts);
    }
    let program = std::env::current_exe()?;
    for execution in Execution::ALL {
        let name = execution.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        counts.set(format!("{name}/instructions"), instructions(&program, execution)?);
    }
    Ok(counts)
}
