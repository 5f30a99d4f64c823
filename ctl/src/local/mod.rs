//! What can be seen of an installation on this machine without asking any daemon: files, units, users.
//!
//! Nothing here changes anything, waits without a deadline, or reads without a bound.

pub mod absent;
pub mod command;
pub mod files;
pub mod people;
pub mod unit;

use std::collections::BTreeSet;
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
                "RAFTBANKD_LOG__DIR" => file.log_dir = Some(value.into()).filter(|_| !value.is_empty()),
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

    /// The command that makes the data folder of a node of a new bank.
    pub fn init_command(&self) -> String {
        self.folder_command("init", "--init")
    }

    /// The command that makes the data folder of a node that lost it.
    pub fn rejoin_command(&self) -> String {
        self.folder_command("rejoin", "--init --rejoin")
    }

    fn folder_command(&self, unit: &str, options: &str) -> String {
        let config = self.config.as_deref().unwrap_or(Path::new("FILE")).display();
        match (&self.instance, &self.unit) {
            (Some(name), _) => format!("systemctl start raftbankd-{unit}@{name}"),
            (None, Some(_)) => format!("runuser -u raftbank -- raftbankd --config {config} {options}"),
            (None, None) => format!("raftbankd --config {config} {options}"),
        }
    }

    /// How the data folder of a node is made anew, to be put after "then". `members` of the bank, if that is known.
    pub fn anew(&self, members: Option<usize>) -> String {
        match members {
            // Nobody, or not a majority, would be left to learn from.
            Some(0..=REJOIN_NOT_IN) => "import the bank's export: a bank of one or two members cannot rejoin \
                                        (operating.md, A bank from its export)"
                .to_owned(),
            _ => format!("{} (operating.md, A lost disk, or damage)", self.rejoin_command()),
        }
    }

    /// What to do about a data folder that is missing or empty, in this order. A new disk and one that is not mounted look
    /// like a node that was never started; made anew with `--init`, it would have forgotten its votes.
    pub fn no_folder(&self, dir: &Path, members: Option<usize>) -> [String; 3] {
        let who = if self.unit.is_some() { ", as root" } else { "" };
        [
            format!("if this node has run before, see first that its disk is mounted: findmnt -T {}", dir.display()),
            format!("if its data is lost{who}: {}", self.anew(members)),
            format!("only for a node that never ran, once{who}: {}", self.init_command()),
        ]
    }
}

/// Banks of up to so many members have no `--rejoin`.
const REJOIN_NOT_IN: usize = 2;

/// The sockets of the instances (`raftbankd@NAME`) that run, have run or will run on this machine.
pub fn instances(root: &Path) -> Vec<PathBuf> {
    let (run, state, units) = (root.join("run/raftbank"), root.join("var/lib"), root.join("etc/systemd/system"));
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().take(ENTRIES_MAX).flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut found: BTreeSet<String> =
        names(&run).into_iter().filter(|name| run.join(name).join("raftbankd.sock").exists()).collect();
    // Not every folder of such a name is one; what may not be seen is taken for one.
    let has_data = |name: &String| match std::fs::metadata(state.join(format!("raftbank-{name}/{name}"))) {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    };
    let named = names(&state);
    found.extend(named.iter().filter_map(|name| name.strip_prefix("raftbank-").map(str::to_owned)).filter(has_data));
    for target in ["multi-user.target.wants", "raftbank.target.wants"] {
        let enabled = names(&units.join(target));
        let named = |unit: &String| Some(unit.strip_prefix("raftbankd@")?.strip_suffix(".service")?.to_owned());
        found.extend(enabled.iter().filter_map(named));
    }
    found.iter().filter(|name| !name.is_empty()).map(|name| run.join(name).join("raftbankd.sock")).collect()
}

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
