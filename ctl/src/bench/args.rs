//! The flags of `bankctl bench`, with their bounds.

use std::fmt;

use clap::{Args, ValueEnum};

/// Lowest and highest `--rate`.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=1_000_000.0;

/// What to measure.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  bankctl bench                                          64 clients, one transfer each at a time, for 10 seconds
  bankctl bench --mode batch --clients 4                 transfers in batches of 8000
  bankctl bench --mode read --skew zipf                  linearizable balances
  bankctl bench --rate 500 --seconds 60                  500 transfers a second: latency under this load
  bankctl --socket n1.sock --socket n2.sock bench        clients spread over two nodes
  bankctl -o json bench --yes

What is written stays in the chain for ever: measure a bank that you can throw away, or accept the blocks.")]
pub struct BenchArgs {
    /// What a request is.
    #[arg(long, value_enum, value_name = "MODE", default_value = "single")]
    pub mode: Mode,
    /// Clients with one request under way each, 1 to 10000; with --rate the most requests under way.
    #[arg(
        long, value_name = "N", allow_negative_numbers = true,
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=10_000),
    )]
    pub clients: u32,
    /// Transfers in a batch, 1 to 100000.
    #[arg(
        long, value_name = "N", allow_negative_numbers = true,
        default_value_t = 8_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000),
    )]
    pub batch: u32,
    /// Accounts, 2 to 10000000; those that do not exist are opened and credited first.
    #[arg(
        long, value_name = "N", allow_negative_numbers = true,
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(2..=10_000_000),
    )]
    pub accounts: u32,
    /// Requests that fall due each second in all, 0.01 to 1000000, however slow the answers are; without it each client
    /// asks again as soon as it is answered.
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = rate)]
    pub rate: Option<f64>,
    /// How long to measure, 1 to 86400, after one second of warm-up that is not counted.
    #[arg(
        long, value_name = "S", allow_negative_numbers = true,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=86_400),
    )]
    pub seconds: u32,
    /// Which accounts are chosen.
    #[arg(long, value_enum, value_name = "SKEW", default_value = "uniform")]
    pub skew: Skew,
    /// Do not ask on a terminal whether to begin.
    #[arg(long)]
    pub yes: bool,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One transfer.
    Single,
    /// A batch of transfers, done when the last is.
    Batch,
    /// A linearizable balance.
    Read,
}

/// Which accounts are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Skew {
    /// Half of all requests touch one account.
    Hot,
    /// The k-th account is chosen in proportion to 1/k.
    Zipf,
    /// All alike.
    Uniform,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "single",
            Self::Batch => "batch",
            Self::Read => "read",
        })
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::Zipf => "zipf",
            Self::Uniform => "uniform",
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number; requests a second, such as 500 or 0.5".to_owned())?;
    if RATES.contains(&rate) { Ok(rate) } else { Err(format!("{text} is not in {}..={}", RATES.start(), RATES.end())) }
}
