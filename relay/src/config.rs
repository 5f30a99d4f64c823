//! The relay's configuration: one TOML file, each key of which an environment variable can override.
//!
//! `RAFTBANK_RELAYD_RELAY__LISTEN=0.0.0.0:7400` overrides `listen` of `[relay]`; `RAFTBANK_RELAYD_RELAY__MEMBERS`
//! separates its items by commas. Unknown keys are errors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use raftbank_service::config::{self, ConfigError};
use raftbank_service::log;
use serde::Deserialize;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "RAFTBANK_RELAYD";
/// Most members of a bank.
pub const MEMBERS_MAX: usize = 7;
/// Longest name of a member, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Longest path of a Unix socket, in bytes (`sockaddr_un` less its final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and for whom.
    pub relay: Relay,
    /// Logging.
    #[serde(default)]
    pub log: Log,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Where nodes connect: an IP address and a port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The members in the order of the genesis file.
    pub members: Vec<String>,
    /// The Unix socket for `bankctl`.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The cluster id in hex. Empty: that of the first node that connects, for as long as any node is connected.
    #[serde(default)]
    pub cluster: String,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`.
    pub level: String,
    /// Folder of the rolling log files; empty: standard error only.
    pub dir: String,
    /// Log every message and what became of it.
    pub messages: bool,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/raftbank/relayd.sock")
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), dir: String::new(), messages: false }
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
    /// One sentence that names the file and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let loaded: Self = config::load(path, ENV_PREFIX, &["relay.members"])?;
        loaded.checked(path)
    }

    /// The cluster id that this relay is bound to, if any.
    pub fn cluster_id(&self) -> Option<[u8; 32]> {
        hash(&self.relay.cluster).ok()
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
        config::load_text::<Self>(path, text, ENV_PREFIX, &["relay.members"], variables)?.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, ConfigError> {
        match self.problem() {
            None => Ok(self),
            Some(what) => Err(ConfigError { path: path.to_owned(), what }),
        }
    }

    fn problem(&self) -> Option<String> {
        let Relay { members, socket, cluster, .. } = &self.relay;
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Some(format!("relay.members names {} nodes: a bank has 1 to {MEMBERS_MAX}", members.len()));
        }
        for (place, member) in members.iter().enumerate() {
            if !is_node_name(member) {
                return Some(format!(
                    "relay.members: \"{member}\" is not a node name: 1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 . _ -"
                ));
            }
            if members[..place].contains(member) {
                return Some(format!("relay.members names \"{member}\" twice"));
            }
        }
        let length = socket.as_os_str().len();
        if length == 0 {
            return Some("relay.socket is empty: give a path".to_owned());
        }
        if length > SOCKET_PATH_BYTES_MAX {
            return Some(format!("relay.socket is {length} bytes long: a path may have {SOCKET_PATH_BYTES_MAX}"));
        }
        if !cluster.is_empty()
            && let Err(what) = hash(cluster)
        {
            return Some(format!("relay.cluster = \"{cluster}\" {what}"));
        }
        log::check_level(&self.log.level).err().map(|what| format!("log.level = \"{}\" {what}", self.log.level))
    }
}

/// The alphabet of node names, as the genesis file has it.
pub fn is_node_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn hash(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "is not a cluster id: 64 hexadecimal digits, as `raftbankd --check-config` prints them";
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(WRONG);
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = text.get(2 * place..2 * place + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or(WRONG)?;
    }
    Ok(hash)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raftbank_service::config::load_from;

    use super::{Config, ENV_PREFIX};

    const GOOD: &str = "[relay]\nlisten = \"127.0.0.1:7400\"\nmembers = [\"n1\", \"n2\", \"n3\"]\n";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relayd.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        load_from::<Config>(&path, ENV_PREFIX, &["relay.members"], variables)
            .and_then(|config| config.checked(&path))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_overrides() {
        let config = read(GOOD, &[]).unwrap();
        assert_eq!(config.relay.socket.to_str(), Some("/run/raftbank/relayd.sock"));
        assert_eq!((config.cluster_id(), config.log.messages, config.log.dir()), (None, false, None));
        let hex = "0f".repeat(32);
        let config = read(
            GOOD,
            &[
                ("RAFTBANK_RELAYD_RELAY__LISTEN", "[::1]:7500"),
                ("RAFTBANK_RELAYD_RELAY__MEMBERS", "a,b"),
                ("RAFTBANK_RELAYD_RELAY__CLUSTER", hex.as_str()),
                ("RAFTBANK_RELAYD_LOG__MESSAGES", "true"),
            ],
        )
        .unwrap();
        assert_eq!(config.relay.members, ["a", "b"]);
        assert_eq!(config.relay.listen.port(), 7500);
        assert_eq!(config.cluster_id(), Some([0x0f; 32]));
        assert!(config.log.messages);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |line: &str| format!("{GOOD}{line}\n");
        let cases = [
            (with("lisen = 1"), "lisen"),
            (with("cluster = \"abc\""), "relay.cluster"),
            (with("socket = \"\""), "relay.socket"),
            (with(&format!("socket = \"/{}\"", "s".repeat(120))), "relay.socket"),
            (with("[log]\nlevel = \"loud\""), "log.level"),
            (GOOD.replace("127.0.0.1:7400", "7400"), "listen"),
            (GOOD.replace("\"n2\"", "\"n1\""), "twice"),
            (GOOD.replace("\"n2\"", "\"n:2\""), "not a node name"),
            (GOOD.replace("\"n2\"", "\"\""), "not a node name"),
            ("[relay]\nlisten = \"127.0.0.1:7400\"\nmembers = []\n".to_owned(), "relay.members"),
            ("[relay]\nlisten = \"127.0.0.1:7400\"\n".to_owned(), "members"),
        ];
        for (text, word) in cases {
            let message = read(&text, &[]).unwrap_err();
            assert!(message.contains("relayd.toml") && message.contains(word), "{message}");
        }
    }

    #[test]
    fn the_shipped_file_is_valid() {
        let config = read(include_str!("../../etc/relayd.toml"), &[]).unwrap();
        assert_eq!(config.relay.members, ["n1", "n2", "n3"]);
    }
}
