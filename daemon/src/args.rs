//! The command line of `raftbankd`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::verify::Against;

/// Where the configuration is looked for when `--config` is not given.
pub const CONFIG_PATH: &str = "/etc/raftbank/raftbankd.toml";

const EXAMPLES: &str = "\
Examples:
  raftbankd --config n1.toml --check-config     say what is wrong with the configuration, change nothing
  raftbankd --config n1.toml --init             make the data folder, once
  raftbankd --config n1.toml                    run the node
  raftbankd --config n1.toml --init --rejoin    make a new folder after its disk was lost; then run the node
  raftbankd --config n1.toml --rejoin           both at once
  raftbankd --verify /var/lib/raftbank/n1       check a stopped node's books without changing a byte
  RAFTBANKD_LOG__LEVEL=debug raftbankd --config n1.toml

Exit codes:
  0  done    1  internal error    2  wrong usage or configuration; data folder missing, in use or of another node
  6  corruption found    7  the disk failed a write or a sync

Signals: SIGTERM and SIGINT stop cleanly; SIGHUP reloads the log level and rebuilds the log writers.";

/// One node of a raftbank: a replicated ledger whose blocks anyone can check.
#[derive(Clone, Debug, Parser)]
#[command(name = "raftbankd", version, after_help = EXAMPLES)]
pub struct Args {
    /// The node's configuration, in TOML. Each key can be overridden: RAFTBANKD_NODE__ID=n1 sets `id` of `[node]`.
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    pub config: PathBuf,

    /// Validate the configuration and the genesis file, print what they say, and exit.
    #[arg(long, group = "action")]
    pub check_config: bool,

    /// Make the data folder from the genesis file, and exit. An existing folder is refused.
    #[arg(long, group = "action")]
    pub init: bool,

    /// Come back after the disk was lost: make a new data folder and run without a vote until caught up. With `--init`,
    /// only make the folder and exit: a plain start goes on from there.
    #[arg(long, conflicts_with_all = ["check_config", "verify", "import", "dump"])]
    pub rejoin: bool,

    /// Re-execute every block of a stopped node's data folder and compare it with what is stored.
    #[arg(long, value_name = "DIR", groups = ["action", "printing"])]
    pub verify: Option<PathBuf>,

    /// The head that `--verify` must find in the chain: the size of its log tree and its root.
    #[arg(long, value_name = "SIZE:ROOT", requires = "verify", value_parser = against)]
    pub against: Option<Against>,

    /// Make the data folder from a complete export of this bank's chain, and exit.
    #[arg(long, value_name = "FILE", groups = ["action", "printing"])]
    pub import: Option<PathBuf>,

    /// Print all that is in a stopped node's data folder as JSON lines, without changing a byte of it.
    #[arg(long, value_name = "DIR", group = "action")]
    pub dump: Option<PathBuf>,

    /// How `--verify` and `--import` print their result.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table", requires = "printing")]
    pub output: Output,
}

/// Reads `SIZE:ROOT`.
fn against(text: &str) -> Result<Against, String> {
    let parts = text.split_once(':').and_then(|(size, root)| Some((size.parse().ok()?, root.parse().ok()?)));
    let (size, root) = parts.ok_or("give a size and a root, such as 12:64 hexadecimal digits")?;
    Ok(Against { size, root })
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One JSON object, as in the contract.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Args, Output};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_has_examples() {
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("Examples:") && help.contains("--rejoin"), "{help}");
    }

    #[test]
    fn only_one_thing_at_a_time() {
        let args = Args::try_parse_from(["raftbankd", "--init", "--rejoin"]).expect("the one pair");
        assert!(args.init && args.rejoin);
        for other in [&["--check-config"][..], &["--verify", "d"], &["--import", "f"], &["--dump", "d"]] {
            for first in ["--init", "--rejoin"] {
                let line = ["raftbankd", first].into_iter().chain(other.iter().copied());
                assert!(Args::try_parse_from(line).is_err(), "{first} {other:?}");
            }
        }
        assert!(Args::try_parse_from(["raftbankd", "--init", "--verify", "d"]).is_err());
        let error = Args::try_parse_from(["raftbankd", "--bogus"]).expect_err("unknown flag");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn output_belongs_to_verify_and_import() {
        assert!(Args::try_parse_from(["raftbankd", "-o", "json"]).is_err());
        assert!(Args::try_parse_from(["raftbankd", "--init", "-o", "json"]).is_err());
        assert!(Args::try_parse_from(["raftbankd", "--import", "f", "--verify", "d"]).is_err());
        let args = Args::try_parse_from(["raftbankd", "--import", "f", "-o", "json"]).expect("valid");
        assert_eq!(args.output, Output::Json);
        let args = Args::try_parse_from(["raftbankd", "--verify", "d", "-o", "json"]).expect("valid");
        assert_eq!(args.output, Output::Json);
    }
}
