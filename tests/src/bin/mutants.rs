//! `mutants`: plants bugs that real systems shipped, one at a time, and sees whether our own checks catch each.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use raftbank_planted::Bug;
use raftbank_tests::mutants::{Hunter, Limits, suite, table};
use raftbank_tests::{binaries, powercut};

/// Plants bugs that real systems shipped, one at a time, and sees whether our own checks catch each.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  mutants --bounded\n  mutants --only vote-not-synced")]
struct Arguments {
    /// Small limits: all of it within three minutes.
    #[arg(long)]
    bounded: bool,
    /// Plant only this bug.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Let only this hunter look, for every bug: to see what it can find.
    #[arg(long, value_name = "HUNTER")]
    by: Option<String>,
    /// List the bugs, and what cannot be planted here.
    #[arg(long)]
    list: bool,
    /// Hunts at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> Result<ExitCode> {
    let Arguments { bounded, only, by, list, jobs } = Arguments::parse();
    if list {
        for bug in Bug::ALL {
            let hunters: Vec<_> = table::hunters(bug).iter().map(|hunter| hunter.name()).collect();
            println!("{:<26} {} [{}]", bug.name(), bug.describe(), hunters.join(", "));
        }
        not_possible();
        return Ok(ExitCode::SUCCESS);
    }
    let bugs = match only {
        Some(name) => vec![Bug::find(&name).with_context(|| format!("no bug is called {name}; see --list"))?],
        None => Bug::ALL.to_vec(),
    };
    let by = by.map(|name| Hunter::find(&name).with_context(|| format!("no hunter is called {name}"))).transpose()?;
    let mut hunts: Vec<(Bug, Option<Hunter>)> = bugs.into_iter().map(|bug| (bug, by)).collect();
    let (limits, control) = if bounded {
        // The rarest two need some 25,000 and 35,000 seeds of the consensus simulator.
        (Limits { seconds: 400, seeds: 60_000 }, Limits { seconds: 5, seeds: 1_000 })
    } else {
        let real = hunts.iter().filter(|(bug, by)| by.is_none() && table::ON_REAL_DISKS.contains(bug));
        let real: Vec<_> = real.map(|(bug, _)| (*bug, Some(Hunter::PowerCut))).collect();
        match powercut::obstacle() {
            Some(obstacle) => println!("not on real disks: {obstacle}"),
            None => hunts.extend(real),
        }
        (Limits { seconds: 600, seeds: 1_000_000 }, Limits { seconds: 120, seeds: 20_000 })
    };
    println!("building the hunter with all bugs compiled in");
    let hunter = binaries::hunter(hunts.iter().any(|(_, by)| *by == Some(Hunter::PowerCut)))?;
    let well = suite::run(&hunter, &suite::Plan { hunts, limits, control, jobs })?;
    not_possible();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn not_possible() {
    for (what, why) in table::IMPOSSIBLE {
        println!("not possible here: {what}: {why}");
    }
}
