//! `hunt`: looks for one planted bug, or for none. Started by `mutants`; only built with the bugs compiled in.

use anyhow::{Context, Result};
use clap::Parser;
use raftbank_planted::Bug;
use raftbank_tests::mutants::{Hunter, Limits, hunt, table};

/// Plants one bug into this process and lets its hunters look for it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The bug; without it nothing is planted and every hunter looks.
    #[arg(long)]
    bug: Option<String>,
    /// Only this hunter.
    #[arg(long)]
    by: Option<String>,
    /// How long each hunter may look.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many seeds each hunter may look at.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
}

fn main() -> Result<()> {
    let Arguments { bug, by, seconds, seeds } = Arguments::parse();
    let bug = bug.map(|name| Bug::find(&name).with_context(|| format!("no bug is called {name}"))).transpose()?;
    let by = by.map(|name| Hunter::find(&name).with_context(|| format!("no hunter is called {name}"))).transpose()?;
    let hunters = match by {
        Some(hunter) => vec![hunter],
        None => bug.map_or(Hunter::ALL.to_vec(), |bug| table::hunters(bug).to_vec()),
    };
    raftbank_planted::select(bug);
    // A failed assertion is a violation like any other.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{}", serde_json::to_string(&hunt(&hunters, Limits { seconds, seeds }))?);
    Ok(())
}
