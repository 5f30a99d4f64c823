//! What can be seen of an installation on this machine without asking any daemon: files, units, users.
//!
//! Nothing here changes anything, waits without a deadline, or reads without a bound.

pub mod absent;
pub mod command;
pub mod files;
pub mod people;
pub mod unit;

use std::path::{Path, PathBuf};

use self::files::{NodeFile, Unseen};

/// Where one node of this machine has its things, as the packages lay them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Its configuration; none: it cannot be told from the socket.
    pub config: Option<PathBuf>,
    /// Its systemd unit; none: it is not run by one, as far as can be told.
    pub unit: Option<String>,
    /// NAME of `raftbankd@NAME.service`.
    pub instance: Option<String>,
    /// What its unit puts in the place of values of the configuration.
    pub environment: Vec<(String, String)>,
}

impl Place {
    /// The node that listens at `socket`, in a system below `root` (`/`, but for tests).
    ///
    /// `/run/raftbank/raftbankd.sock` belongs to `raftbankd.service`, `/run/raftbank/NAME/raftbankd.sock` to
    /// `raftbankd@NAME.service`; `n1.sock` in a folder of `bankctl dev up` has `n1.toml` beside it.
    pub fn of_socket(socket: &Path, root: &Path) -> Self {
        let run = root.join("run/raftbank");
        let etc = root.join("etc/raftbank");
        let place = Self { socket: socket.to_owned(), ..Self::default() };
        if socket == run.join("raftbankd.sock") {
            let config = Some(etc.join("raftbankd.toml"));
            return Self { config, unit: Some("raftbankd.service".to_owned()), ..place };
        }
        if socket.file_name().is_some_and(|name| name == "raftbankd.sock")
            && let Some(folder) = socket.parent()
            && folder.parent() == Some(&run)
            && let Some(name) = folder.file_name().and_then(|name| name.to_str())
        {
            return place.instance(name, root);
        }
        let beside = socket.with_extension("toml");
        Self { config: beside.is_file().then_some(beside), ..place }
    }

    /// The node with this configuration.
    pub fn of_config(config: &Path, root: &Path) -> Self {
        let named = files::node(config).ok().and_then(|file| file.socket);
        let socket = named.unwrap_or_else(|| root.join("run/raftbank/raftbankd.sock"));
        let known = Self::of_socket(&socket, root);
        if known.config.as_deref() == Some(config) {
            return known;
        }
        Self { socket, config: Some(config.to_owned()), ..Self::default() }
    }

    /// One of several nodes of a host: they share a configuration, and their units set what differs.
    fn instance(self, name: &str, root: &Path) -> Self {
        let etc = root.join("etc/raftbank");
        let config = etc.join("raftbankd.toml");
        let data = root.join(format!("var/lib/raftbank-{name}/{name}"));
        let mut environment = vec![
            ("RAFTBANKD_NODE__ID".to_owned(), name.to_owned()),
            ("RAFTBANKD_NODE__DATA_DIR".to_owned(), data.display().to_string()),
            ("RAFTBANKD_NODE__SOCKET".to_owned(), self.socket.display().to_string()),
        ];
        environment.extend(files::environment(&etc.join(format!("{name}.env"))));
        let (unit, instance) = (Some(format!("raftbankd@{name}.service")), Some(name.to_owned()));
        Self { config: Some(config), unit, instance, environment, ..self }
    }

    /// What the configuration and the unit say together.
    ///
    /// # Errors
    /// The configuration says nothing.
    pub fn file(&self) -> Result<NodeFile, Unseen> {
        let path = self.config.clone().unwrap_or_else(|| self.socket.with_extension("toml"));
        let mut file = files::node(&path)?;
        for (key, value) in &self.environment {
            match key.as_str() {
                "RAFTBANKD_NODE__ID" => file.id = Some(value.clone()),
                "RAFTBANKD_NODE__DATA_DIR" => file.data_dir = Some(value.into()),
                "RAFTBANKD_NODE__GENESIS" => file.genesis = Some(value.into()),
                "RAFTBANKD_NODE__SOCKET" => file.socket = Some(value.into()),
                "RAFTBANKD_RELAY__ADDRESS" => file.relay = Some(value.clone()),
                _ => {}
            }
        }
        Ok(file)
    }

    /// The command that says what is wrong with the configuration.
    pub fn check_command(&self) -> String {
        let config = self.config.as_deref().unwrap_or(Path::new("FILE")).display();
        let id = self.instance.as_ref().map_or(String::new(), |name| format!("RAFTBANKD_NODE__ID={name} "));
        format!("{id}raftbankd --config {config} --check-config")
    }

    /// The command that makes the data folder.
    pub fn init_command(&self) -> String {
        let config = self.config.as_deref().unwrap_or(Path::new("FILE")).display();
        match (&self.instance, &self.unit) {
            (Some(name), _) => format!("systemctl start raftbankd-init@{name}"),
            (None, Some(_)) => format!("runuser -u raftbank -- raftbankd --config {config} --init"),
            (None, None) => format!("raftbankd --config {config} --init"),
        }
    }
}

#[cfg(test)]
mod tests;
