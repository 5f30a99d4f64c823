//! The command line of `raftbank-relayd`.

use std::path::PathBuf;

use clap::Parser;

/// Where the configuration is looked for when `--config` is not given.
pub const CONFIG_PATH: &str = "/etc/raftbank/relayd.toml";

const EXAMPLES: &str = "\
Examples:
  raftbank-relayd --config relayd.toml --check-config     say what is wrong with the configuration, change nothing
  raftbank-relayd --config relayd.toml                    run the relay
  RAFTBANK_RELAYD_RELAY__MEMBERS=n1,n2,n3 raftbank-relayd --config relayd.toml
  bankctl partition set n1,n2/n3 --for 30s                separate n3 for half a minute
  bankctl link delay 1s..5s                               delay each message by its own random time

Exit codes:
  0  stopped as asked    1  internal error; port in use    2  wrong usage or configuration; socket in use

Signals: SIGTERM and SIGINT stop; SIGHUP reads [log] again and rebuilds the log writers.";

/// The relay all nodes of a raftbank talk through: it carries messages by node id, with faults on request.
#[derive(Clone, Debug, Parser)]
#[command(name = "raftbank-relayd", version, after_help = EXAMPLES)]
pub struct Args {
    /// The configuration, in TOML. Each key can be overridden: RAFTBANK_RELAYD_LOG__LEVEL=debug sets `level` of
    /// `[log]`.
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    pub config: PathBuf,

    /// Validate the configuration, print what it says, and exit.
    #[arg(long)]
    pub check_config: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Args;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("Examples:") && help.contains("--check-config"), "{help}");
        let error = Args::try_parse_from(["raftbank-relayd", "--bogus"]).expect_err("unknown flag");
        assert_eq!(error.exit_code(), 2);
    }
}
