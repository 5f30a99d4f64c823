//! The node's configuration: one TOML file, each key of which an environment variable can override.
//!
//! `RAFTBANKD_NODE__ID=n1` overrides `id` of `[node]`. Unknown keys are errors. Every error names the file and the key.

use std::path::{Path, PathBuf};

use raftbank_consensus::Timers as Ticks;
use raftbank_ledger::NodeName;
use raftbank_service::config as service;
use serde::Deserialize;
use thiserror::Error;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "RAFTBANKD";
/// Longest path of a Unix socket, in bytes (`sockaddr_un` less its final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest timer, in milliseconds.
const TIMER_MS_MAX: u64 = 600_000;

/// Longest time between two signed heads, in milliseconds.
const CHECKPOINTS_MS_MAX: u64 = 60_000;

/// Why a configuration cannot be used. Each message names the file and the key.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file or a variable cannot be read, has another shape, or has an unknown key.
    #[error(transparent)]
    Read(#[from] service::ConfigError),
    /// A value is out of its range.
    #[error("configuration {}: {key} {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Section and key.
        key: &'static str,
        /// What is wrong, with the value.
        what: String,
    },
}

/// A valid configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this node is and where its files are.
    pub node: Node,
    /// The relay.
    pub relay: Relay,
    /// Timers of the consensus.
    #[serde(default)]
    pub timers: Timers,
    /// Bounds of a block.
    #[serde(default)]
    pub batch: Batch,
    /// Signed heads.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Logging.
    #[serde(default)]
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// This node's name in the genesis file.
    pub id: String,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// The Unix socket for `bankctl`.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
}

/// `[relay]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// `host:port` of the relay.
    pub address: String,
}

/// `[timers]`, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// The clock of all other timers.
    pub tick_ms: u64,
    /// How often a leader is heard.
    pub heartbeat_ms: u64,
    /// Shortest silence after which a node campaigns.
    pub election_min_ms: u64,
    /// Longest silence after which a node campaigns.
    pub election_max_ms: u64,
}

/// `[batch]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Most requests in a block.
    pub requests_max: usize,
    /// Most bytes of requests in a block.
    pub bytes_max: usize,
}

/// `[checkpoints]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoints {
    /// How often a leader lets a new head be signed, in milliseconds; 0: never.
    pub interval_ms: u64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`.
    pub level: String,
    /// Folder of the rolling log files; empty: standard error only.
    pub dir: String,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/raftbank/raftbankd.sock")
}

impl Default for Timers {
    fn default() -> Self {
        Self { tick_ms: 10, heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300 }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { requests_max: 8192, bytes_max: 1 << 20 }
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { interval_ms: 100 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), dir: String::new() }
    }
}

impl Timers {
    /// The consensus timers in ticks, rounded up.
    pub fn ticks(&self) -> Ticks {
        let ticks = |ms: u64| u32::try_from(ms.div_ceil(self.tick_ms.max(1))).unwrap_or(u32::MAX);
        Ticks {
            heartbeat_ticks: ticks(self.heartbeat_ms),
            election_ticks_min: ticks(self.election_min_ms),
            election_ticks_max: ticks(self.election_max_ms),
        }
    }
}

impl Log {
    /// The folder of the log files, if any.
    pub fn dir(&self) -> Option<&Path> {
        (!self.dir.is_empty()).then(|| Path::new(&self.dir))
    }
}

impl Config {
    /// Reads `path` and the environment, and checks every value.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        service::load::<Self>(path, ENV_PREFIX, &[])?.checked(path)
    }

    /// As [`Config::load`], with `text` in place of the file's and `variables` in place of the environment's.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        service::load_text::<Self>(path, text, ENV_PREFIX, &[], variables)?.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, ConfigError> {
        self.check(path)?;
        Ok(self)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let value = |key: &'static str, what: String| ConfigError::Value { path: path.to_owned(), key, what };
        NodeName::parse(&self.node.id)
            .map_err(|error| value("node.id", format!("= \"{}\" is not a node name: {error}", self.node.id)))?;
        for (key, file) in [
            ("node.data_dir", &self.node.data_dir),
            ("node.genesis", &self.node.genesis),
            ("node.socket", &self.node.socket),
        ] {
            if file.as_os_str().is_empty() {
                return Err(value(key, "is empty: give a path".to_owned()));
            }
        }
        let length = self.node.socket.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            let what = format!("is {length} bytes long: a socket's path may have {SOCKET_PATH_BYTES_MAX}");
            return Err(value("node.socket", what));
        }
        check_address(&self.relay.address)
            .map_err(|what| value("relay.address", format!("= \"{}\" {what}", self.relay.address)))?;
        self.check_timers().map_err(|(key, what)| value(key, what))?;
        let (requests, bytes) = (self.batch.requests_max, self.batch.bytes_max);
        if !(1..=raftbank_ledger::BLOCK_REQUESTS_MAX).contains(&requests) {
            let what = format!("= {requests} is not in 1..={}", raftbank_ledger::BLOCK_REQUESTS_MAX);
            return Err(value("batch.requests_max", what));
        }
        // A block must hold the largest request, and stay below the largest block with its outcomes and lengths.
        let (least, most) = (BATCH_BYTES_LEAST, raftbank_ledger::BLOCK_BYTES_MAX / 2);
        if !(least..=most).contains(&bytes) {
            return Err(value("batch.bytes_max", format!("= {bytes} is not in {least}..={most}")));
        }
        let interval_ms = self.checkpoints.interval_ms;
        if interval_ms > CHECKPOINTS_MS_MAX {
            let what = format!("= {interval_ms} is not in 0..={CHECKPOINTS_MS_MAX} milliseconds (0: never)");
            return Err(value("checkpoints.interval_ms", what));
        }
        raftbank_service::log::check_level(&self.log.level)
            .map_err(|what| value("log.level", format!("= \"{}\" {what}", self.log.level)))
    }

    fn check_timers(&self) -> Result<(), (&'static str, String)> {
        let Timers { tick_ms, heartbeat_ms, election_min_ms, election_max_ms } = self.timers;
        if !(1..=1_000).contains(&tick_ms) {
            return Err(("timers.tick_ms", format!("= {tick_ms} is not in 1..=1000 milliseconds")));
        }
        if heartbeat_ms < tick_ms {
            return Err(("timers.heartbeat_ms", format!("= {heartbeat_ms} is shorter than one tick ({tick_ms})")));
        }
        if election_max_ms > TIMER_MS_MAX {
            return Err((
                "timers.election_max_ms",
                format!("= {election_max_ms} is longer than {TIMER_MS_MAX} milliseconds"),
            ));
        }
        let ticks = self.timers.ticks();
        if heartbeat_ms >= election_min_ms || ticks.heartbeat_ticks >= ticks.election_ticks_min {
            return Err((
                "timers.election_min_ms",
                format!(
                    "= {election_min_ms} must be at least a tick ({tick_ms}) longer than heartbeat_ms = {heartbeat_ms}"
                ),
            ));
        }
        if election_min_ms >= election_max_ms || ticks.election_ticks_min >= ticks.election_ticks_max {
            return Err((
                "timers.election_max_ms",
                format!(
                    "= {election_max_ms} must be at least a tick ({tick_ms}) longer than election_min_ms = \
                     {election_min_ms}"
                ),
            ));
        }
        Ok(())
    }
}

/// The largest request (a key-value pair of full size, with its id) fits into this many bytes.
const BATCH_BYTES_LEAST: usize = 68 * 1024;

/// `host:port`, `1.2.3.4:port` or `[v6]:port`. Names are resolved at each attempt to connect.
fn check_address(address: &str) -> Result<(), String> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("has no port: write host:port, as in 127.0.0.1:7400".to_owned());
    };
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => {}
        _ => return Err("has a port that is not in 1..=65535: write host:port, as in 127.0.0.1:7400".to_owned()),
    }
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match plain {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("has no IPv6 address between its brackets".to_owned()),
        None if host.contains(':') => Err("looks like IPv6: write it in brackets, as in [::1]:7400".to_owned()),
        None if host.is_empty() => Err("has no host: write host:port, as in 127.0.0.1:7400".to_owned()),
        None if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) => Ok(()),
        None => Err("is not a host name with a port: write host:port, as in 127.0.0.1:7400".to_owned()),
    }
}

#[cfg(test)]
mod tests;
