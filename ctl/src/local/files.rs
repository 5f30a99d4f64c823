//! Configuration and genesis files as far as a bystander needs them. Whether they are right is the daemons' to say
//! (`--check-config`); this only finds what they name.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;
use toml::{Table, Value};

/// A longer file is no configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The salt of the sample that is installed.
const SAMPLE_SALT: &str = "replace me";

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unseen {
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// It is there, but not for this user.
    #[error("{} may not be read by this user", .0.display())]
    Denied(PathBuf),
    /// It cannot be read, or is not what it should be.
    #[error("{}: {what}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What a node's configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFile {
    /// `node.id`.
    pub id: Option<String>,
    /// `node.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `node.genesis`.
    pub genesis: Option<PathBuf>,
    /// `node.socket`.
    pub socket: Option<PathBuf>,
    /// `relay.address`.
    pub relay: Option<String>,
    /// `log.dir`, if it is not empty.
    pub log_dir: Option<PathBuf>,
}

/// What a relay's configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayFile {
    /// `relay.listen`.
    pub listen: Option<String>,
    /// `relay.members`.
    pub members: Vec<String>,
    /// `relay.socket`.
    pub socket: Option<PathBuf>,
    /// `relay.cluster`, if it is not empty.
    pub cluster: Option<String>,
}

/// What a genesis file says of the cluster; not what is in the bank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenesisFile {
    /// The members.
    pub members: Vec<String>,
    /// The salt is that of the sample, or missing.
    pub sample_salt: bool,
}

/// Reads a text file of a bounded length.
///
/// # Errors
/// It says nothing.
pub fn text(path: &Path) -> Result<String, Unseen> {
    let wrong = |what: String| Unseen::Wrong { path: path.to_owned(), what };
    // A pipe without a writer would hold up the opening for ever.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unseen::Missing(path.to_owned()),
        ErrorKind::PermissionDenied => Unseen::Denied(path.to_owned()),
        _ => wrong(error.to_string()),
    })?;
    if file.metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(wrong("is no file".to_owned()));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Reads a TOML file.
///
/// # Errors
/// It says nothing.
pub fn table(path: &Path) -> Result<Table, Unseen> {
    text(path)?.parse().map_err(|error: toml::de::Error| {
        // Not the whole error: it quotes the line, which may be a salt.
        Unseen::Wrong { path: path.to_owned(), what: error.message().to_owned() }
    })
}

/// Reads a node's configuration.
///
/// # Errors
/// It says nothing.
pub fn node(path: &Path) -> Result<NodeFile, Unseen> {
    let table = table(path)?;
    Ok(NodeFile {
        id: string(&table, "node", "id"),
        data_dir: string(&table, "node", "data_dir").map(PathBuf::from),
        genesis: string(&table, "node", "genesis").map(PathBuf::from),
        socket: string(&table, "node", "socket").map(PathBuf::from),
        relay: string(&table, "relay", "address"),
        log_dir: string(&table, "log", "dir").filter(|dir| !dir.is_empty()).map(PathBuf::from),
    })
}

/// Reads a relay's configuration.
///
/// # Errors
/// It says nothing.
pub fn relay(path: &Path) -> Result<RelayFile, Unseen> {
    let table = table(path)?;
    Ok(RelayFile {
        listen: string(&table, "relay", "listen"),
        members: table.get("relay").and_then(|relay| relay.get("members")).map(strings).unwrap_or_default(),
        socket: string(&table, "relay", "socket").map(PathBuf::from),
        cluster: string(&table, "relay", "cluster").filter(|cluster| !cluster.is_empty()),
    })
}

/// Reads a genesis file.
///
/// # Errors
/// It says nothing.
pub fn genesis(path: &Path) -> Result<GenesisFile, Unseen> {
    let table = table(path)?;
    let salt = table.get("salt").and_then(Value::as_str);
    Ok(GenesisFile {
        members: table.get("members").map(strings).unwrap_or_default(),
        sample_salt: salt.is_none_or(|salt| salt.trim().to_lowercase().starts_with(SAMPLE_SALT)),
    })
}

/// Reads the variables of an environment file of systemd: `NAME=value` lines. One that cannot be read has none.
pub fn environment(path: &Path) -> Vec<(String, String)> {
    let Ok(text) = text(path) else { return Vec::new() };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())).collect()
}

fn string(table: &Table, section: &str, key: &str) -> Option<String> {
    Some(table.get(section)?.get(key)?.as_str()?.to_owned())
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
}
