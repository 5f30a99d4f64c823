//! What can be seen of an installation on this machine without asking any daemon: files, units, users.
//!
//! Nothing here changes anything, waits without a deadline, or reads without a bound.

pub mod absent;
pub mod command;
pub mod files;
pub mod people;
pub mod unit;

use std::path::{Path, PathBuf};

/// Where one node of this machine has its things, as the packages lay them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Its configuration; none: it cannot be told from the socket.
    pub config: Option<PathBuf>,
    /// Its systemd unit; none: it is not run by one, as far as can be told.
    pub unit: Option<String>,
}

impl Place {
    /// The node that listens at `socket`, in a system below `root` (`/`, but for tests).
    ///
    /// `/run/raftbank/raftbankd.sock` belongs to `raftbankd.service`, `/run/raftbank/NAME/raftbankd.sock` to
    /// `raftbankd@NAME.service`; `n1.sock` in a folder of `bankctl dev up` has `n1.toml` beside it.
    pub fn of_socket(socket: &Path, root: &Path) -> Self {
        let run = root.join("run/raftbank");
        let etc = root.join("etc/raftbank");
        let place = |config, unit| Self { socket: socket.to_owned(), config, unit };
        if socket == run.join("raftbankd.sock") {
            return place(Some(etc.join("raftbankd.toml")), Some("raftbankd.service".to_owned()));
        }
        if socket.file_name().is_some_and(|name| name == "raftbankd.sock")
            && let Some(folder) = socket.parent()
            && folder.parent() == Some(&run)
            && let Some(name) = folder.file_name().and_then(|name| name.to_str())
        {
            return place(Some(etc.join(format!("{name}.toml"))), Some(format!("raftbankd@{name}.service")));
        }
        let beside = socket.with_extension("toml");
        place(beside.is_file().then_some(beside), None)
    }

    /// The node with this configuration.
    pub fn of_config(config: &Path, socket: &Path, root: &Path) -> Self {
        let etc = root.join("etc/raftbank");
        let name = config.file_stem().and_then(|name| name.to_str()).filter(|_| config.parent() == Some(&etc));
        let unit = name.map(|name| match name {
            "raftbankd" => "raftbankd.service".to_owned(),
            name => format!("raftbankd@{name}.service"),
        });
        Self { socket: socket.to_owned(), config: Some(config.to_owned()), unit }
    }
}

#[cfg(test)]
mod tests;
