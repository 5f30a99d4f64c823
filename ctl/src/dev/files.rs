//! The folder of a development cluster: configurations, sockets, data, logs, and `cluster.json`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use raftbank_ledger::{Genesis, NodeName};
use serde::Serialize;

use crate::failure::Failure;

/// The socket that `dev start` talks to.
pub const CONTROL_SOCKET: &str = "dev.sock";
/// Longest path of a Unix socket on Linux, without the closing zero.
const SOCKET_PATH_MAX: usize = 107;

/// Where everything of a cluster is.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// The nodes' ids, in the order of the genesis file.
    pub nodes: Vec<String>,
    /// The relay's TCP port on loopback.
    port: u16,
}

/// `cluster.json`.
#[derive(Debug, Serialize)]
pub struct ClusterFile {
    /// The relay.
    pub relay: RelayEntry,
    /// The nodes, in the order of the genesis file.
    pub nodes: Vec<NodeEntry>,
}

/// The relay in `cluster.json`.
#[derive(Debug, Serialize)]
pub struct RelayEntry {
    /// Its process id; null while it is down.
    pub pid: Option<u32>,
    /// Its Unix socket.
    pub socket: PathBuf,
}

/// A node in `cluster.json`.
#[derive(Debug, Serialize)]
pub struct NodeEntry {
    /// Its id.
    pub id: String,
    /// Its process id; null while it is down.
    pub pid: Option<u32>,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Its data folder.
    pub data_dir: PathBuf,
}

impl Layout {
    /// Makes the folder if need be, and reads or writes the genesis file.
    ///
    /// # Errors
    /// The folder cannot be used, or holds a cluster of another size.
    pub fn prepare(dir: &Path, nodes: Option<u8>) -> Result<Self, Failure> {
        let trouble = |error: std::io::Error| Failure::internal(format!("{}: {error}", dir.display()));
        fs::create_dir_all(dir.join("logs")).map_err(trouble)?;
        let dir = dir.canonicalize().map_err(trouble)?;
        let genesis = dir.join("genesis.toml");
        let nodes = if genesis.exists() {
            let found = members(&genesis)?;
            if nodes.is_some_and(|wanted| usize::from(wanted) != found.len()) {
                let message = format!("{} holds a cluster of {} nodes", dir.display(), found.len());
                return Err(Failure::usage("other_cluster", message).hint("leave out -n, or give another --dir"));
            }
            found
        } else {
            let names: Vec<String> = (1..=nodes.unwrap_or(3)).map(|number| format!("n{number}")).collect();
            write(&genesis, &genesis_text(&names)?)?;
            names
        };
        let layout = Self { dir, nodes, port: free_port()? };
        for node in &layout.nodes {
            let socket = layout.socket(node);
            if socket.as_os_str().len() > SOCKET_PATH_MAX {
                let message = format!(
                    "{} is too long for a Unix socket ({} of at most {SOCKET_PATH_MAX} bytes)",
                    socket.display(),
                    socket.as_os_str().len()
                );
                return Err(Failure::usage("path_too_long", message).hint("give a shorter --dir, such as /tmp/bank"));
            }
        }
        Ok(layout)
    }

    /// A node's Unix socket.
    pub fn socket(&self, node: &str) -> PathBuf {
        self.dir.join(format!("{node}.sock"))
    }

    /// The relay's Unix socket.
    pub fn relay_socket(&self) -> PathBuf {
        self.dir.join("relay.sock")
    }

    /// A node's data folder.
    pub fn data_dir(&self, node: &str) -> PathBuf {
        self.dir.join(node)
    }

    /// The configuration of a node, or of `relay`.
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir.join(if name == "relay" { "relayd.toml".to_owned() } else { format!("{name}.toml") })
    }

    /// What a process prints goes here.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// Writes the configurations of relay and nodes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_configs(&self, slow: bool) -> Result<(), Failure> {
        let address = format!("127.0.0.1:{}", self.port);
        let members: Vec<String> = self.nodes.iter().map(|node| quoted(node)).collect();
        let relay = format!(
            "[relay]\nlisten = {}\nmembers = [{}]\nsocket = {}\n\n[log]\nlevel = \"info\"\n",
            quoted(&address),
            members.join(", "),
            quoted_path(&self.relay_socket())?
        );
        write(&self.config("relay"), &relay)?;
        // A message may take 5 s each way: an answer takes up to 10 s, a heartbeat comes each 2 s.
        let timers = if slow {
            "\n[timers]\ntick_ms = 50\nheartbeat_ms = 2000\nelection_min_ms = 10000\nelection_max_ms = 20000\n"
        } else {
            ""
        };
        for node in &self.nodes {
            let text = format!(
                "[node]\nid = {}\ndata_dir = {}\ngenesis = {}\nsocket = {}\n\n[relay]\naddress = {}\n{timers}\n[log]\nlevel = \"info\"\n",
                quoted(node),
                quoted_path(&self.data_dir(node))?,
                quoted_path(&self.dir.join("genesis.toml"))?,
                quoted_path(&self.socket(node))?,
                quoted(&address),
            );
            write(&self.config(node), &text)?;
        }
        Ok(())
    }

    /// Writes `cluster.json`: a reader finds the old one or the new one, never half of one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_cluster_file(&self, pid: impl Fn(&str) -> Option<u32>) -> Result<(), Failure> {
        let nodes = self
            .nodes
            .iter()
            .map(|node| NodeEntry {
                id: node.clone(),
                pid: pid(node),
                socket: self.socket(node),
                data_dir: self.data_dir(node),
            })
            .collect();
        let file = ClusterFile { relay: RelayEntry { pid: pid("relay"), socket: self.relay_socket() }, nodes };
        let text = serde_json::to_string_pretty(&file).map_err(|error| Failure::internal(error.to_string()))?;
        write(&self.dir.join("cluster.json"), &(text + "\n"))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let aside = path.with_extension("new");
    fs::write(&aside, text)
        .and_then(|()| fs::rename(&aside, path))
        .map_err(|error| Failure::internal(format!("{}: {error}", path.display())))
}

fn free_port() -> Result<u16, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::internal(format!("no free port on loopback: {error}")))
}

fn genesis_text(names: &[String]) -> Result<String, Failure> {
    let members: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let time_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
    let genesis = Genesis {
        name: "raftbank-dev".to_owned(),
        salt: format!("{:032x}", rand::random::<u128>()),
        members: names.iter().filter_map(|name| NodeName::parse(name).ok()).collect(),
        difficulty: 8,
        time_ms,
        accounts: Vec::new(),
        transfers: Vec::new(),
    };
    genesis.validate().map_err(|error| Failure::internal(error.to_string()))?;
    Ok(format!(
        "# The first block of this development cluster. It cannot be changed once a node has started.\n\
         name = {}\nsalt = {}\nmembers = [{}]\ndifficulty = {}\ntime_ms = {time_ms}\n",
        quoted(&genesis.name),
        quoted(&genesis.salt),
        members.join(", "),
        genesis.difficulty
    ))
}

/// Reads the members from a genesis file that `dev up` has written.
fn members(genesis: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |what: String| Failure::usage("bad_genesis", format!("{}: {what}", genesis.display()));
    let text = fs::read_to_string(genesis).map_err(|error| wrong(error.to_string()))?;
    let list = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("members")?.trim_start().strip_prefix('='))
        .ok_or_else(|| wrong("no members on one line".to_owned()))?;
    let names: Result<Vec<String>, Failure> = list
        .trim()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty())
        .map(|name| NodeName::parse(name).map(|name| name.to_string()).map_err(|error| wrong(error.to_string())))
        .collect();
    names
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(quoted)
        .ok_or_else(|| Failure::usage("bad_path", format!("{} is not UTF-8; give another --dir", path.display())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Layout;

    #[test]
    fn a_folder_is_resumed_with_its_own_members() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::prepare(dir.path(), Some(5)).unwrap();
        assert_eq!(first.nodes, ["n1", "n2", "n3", "n4", "n5"]);
        let salt = std::fs::read_to_string(dir.path().join("genesis.toml")).unwrap();
        let again = Layout::prepare(dir.path(), None).unwrap();
        assert_eq!(again.nodes, first.nodes);
        assert_eq!(std::fs::read_to_string(dir.path().join("genesis.toml")).unwrap(), salt);
        assert!(Layout::prepare(dir.path(), Some(3)).unwrap_err().message.contains("5 nodes"));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Layout::prepare(&dir.path().join("x".repeat(100)), None).unwrap_err();
        assert_eq!((failure.exit_code(), failure.code.as_str()), (2, "path_too_long"));
    }
}
