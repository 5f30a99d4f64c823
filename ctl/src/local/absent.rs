//! Why no node answers at a socket, found by looking at what is on this machine, and what to do next.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::files::{self, NodeFile, Unseen};
use super::people::{self, Caller};
use super::unit::{self, Seen, Unit};
use super::{Place, command};

/// Why nobody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// For scripts, in snake case.
    pub code: &'static str,
    /// What is the case.
    pub message: String,
    /// What to do, in this order.
    pub next: Vec<String>,
}

impl Why {
    fn new<const N: usize>(code: &'static str, message: impl Into<String>, next: [String; N]) -> Self {
        Self { code, message: message.into(), next: next.into() }
    }
}

/// Looks for the reason, in the order in which an installation is made. `root` is `/`, but for tests.
pub async fn look(socket: &Path, root: &Path, limit: Duration) -> Why {
    if let Some(why) = permission(socket, &Caller::now()) {
        return why;
    }
    let place = Place::of_socket(socket, root);
    let Some(config) = &place.config else { return elsewhere(socket) };
    let file = match place.file() {
        Ok(file) => file,
        Err(unseen) => return unconfigured(config, &unseen),
    };
    let unit = match &place.unit {
        Some(unit) if root == Path::new("/") => unit::show(unit, limit).await,
        _ => Seen::NoSystemd,
    };
    let check = place.check_command();
    genesis(config, &file, &check)
        .or_else(|| folder(&place, &file))
        .unwrap_or_else(|| not_running(&place, config, &unit, &check))
}

/// The socket may be there, but not for this user.
fn permission(socket: &Path, caller: &Caller) -> Option<Why> {
    if access(socket, Access::WRITE_OK) != Err(Errno::ACCESS) {
        return None;
    }
    // Of the socket if it can be seen, else of the folder that hides it.
    let seen = socket.ancestors().find_map(|path| std::fs::metadata(path).ok())?;
    let group = people::group(std::os::unix::fs::MetadataExt::gid(&seen));
    let name = &caller.name;
    let message = format!("{} may not be used by you ({name}): permission denied", socket.display());
    if people::is_listed(&group, name) {
        let again = format!("log out and in again: {name} became a member of {group} after this session began");
        return Some(Why::new("permission_denied", message, [again]));
    }
    if group == "root" {
        let next = ["it is not meant for others: ask as root, or as who runs the node".to_owned()];
        return Some(Why::new("permission_denied", message, next));
    }
    let next = [format!("as root: usermod -a -G {group} {name}"), "then log out and in again".to_owned()];
    Some(Why::new("permission_denied", format!("{message}, for you are not in the group {group}"), next))
}

/// A socket that no package made.
fn elsewhere(socket: &Path) -> Why {
    let there = socket.exists();
    let message = match there {
        true => format!("nobody listens at {}: the daemon that made it has ended", socket.display()),
        false => format!("there is no socket {}", socket.display()),
    };
    let next = [
        "a node of this machine has /run/raftbank/raftbankd.sock; say which one you mean: --socket PATH".to_owned(),
        "a cluster to try things out: bankctl dev up".to_owned(),
    ];
    Why::new(if there { "not_started" } else { "no_socket" }, message, next)
}

fn unconfigured(config: &Path, unseen: &Unseen) -> Why {
    let path = config.display();
    match unseen {
        Unseen::Missing(_) => {
            let installed = command::own("raftbankd").is_some();
            let first = match installed {
                true => format!("for a node of a bank: write {path} and genesis.toml beside it (operating.md, Start)"),
                false => "for a node of a bank: install raftbankd (operating.md, Install)".to_owned(),
            };
            let next = [
                first,
                "to try things out, without root: bankctl dev up".to_owned(),
                "if a node runs elsewhere on this machine: --socket PATH".to_owned(),
            ];
            Why::new("not_configured", format!("no node is configured on this machine: {path} is not there"), next)
        }
        Unseen::Denied(_) => Why::new(
            "config_unreadable",
            unseen.to_string(),
            [format!("as root: chgrp raftbank {path} && chmod 0640 {path}")],
        ),
        Unseen::Wrong { .. } => {
            let next = [format!("correct it until this is content: raftbankd --config {path} --check-config")];
            Why::new("bad_config", unseen.to_string(), next)
        }
    }
}

/// The configuration and the genesis file were edited, and agree.
fn genesis(config: &Path, file: &NodeFile, check: &str) -> Option<Why> {
    let bad = |message: String| Some(Why::new("bad_config", message, [format!("then: {check}")]));
    let Some(path) = &file.genesis else {
        return bad(format!("{} does not name a genesis file: set node.genesis", config.display()));
    };
    let genesis = match files::genesis(path) {
        Ok(genesis) => genesis,
        Err(Unseen::Denied(_)) => return None,
        Err(unseen) => {
            let next = [
                "copy the genesis file of the other members, or write that of a new bank (operating.md, Start)".into(),
                format!("then: {check}"),
            ];
            return Some(Why::new("no_genesis", format!("the genesis file: {unseen}"), next));
        }
    };
    if genesis.sample_salt {
        let next = [
            format!("replace the salt in {}: head -c 16 /dev/urandom | base64", path.display()),
            "give the same file to all members".to_owned(),
            format!("then: {check}"),
        ];
        let message = format!("the node is not set up: {} still has the salt of the sample", path.display());
        return Some(Why::new("not_configured", message, next));
    }
    let id = file.id.as_deref().unwrap_or("");
    if !genesis.members.iter().any(|member| member == id) {
        let members = genesis.members.join(", ");
        let message = format!("node.id = {id:?} is not a member of this bank: the genesis file names {members}");
        let next = [format!("set node.id in {}", config.display()), format!("then: {check}")];
        return Some(Why::new("not_a_member", message, next));
    }
    None
}

/// The data folder was made, and is whole.
fn folder(place: &Place, file: &NodeFile) -> Option<Why> {
    let dir = file.data_dir.as_ref()?;
    match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let who = if place.unit.is_some() { ", as root" } else { "" };
            let init = format!("once{who}: {}", place.init_command());
            let lost = "but if this node had a folder before and lost it: start it with --rejoin (operating.md)";
            let message = format!("the node is configured, but its data folder {} is not there", dir.display());
            Some(Why::new("not_initialised", message, [init, lost.to_owned()]))
        }
        // What may not be seen is not held against it.
        Err(_) => None,
        Ok(_) if dir.join("corrupt").exists() => {
            let message = format!("the node has found damage in its data folder {} and will not start", dir.display());
            let next = [
                format!("read why: cat {}/corrupt", dir.display()),
                "move the folder away, then start the node with --rejoin (operating.md)".to_owned(),
            ];
            Some(Why::new("corrupt", message, next))
        }
        Ok(_) => None,
    }
}

/// All is prepared; the process is not there, or does not answer.
fn not_running(place: &Place, config: &Path, unit: &Seen, check: &str) -> Why {
    let doctor = "bankctl doctor finds out more".to_owned();
    let by_hand = format!("start it: raftbankd --config {}", config.display());
    let Seen::Unit(unit) = unit else {
        return Why::new("not_started", "the node is set up, but does not run", [by_hand, doctor]);
    };
    let Unit { name, .. } = unit;
    let state = format!("{} ({})", unit.active, unit.sub);
    match (unit.load.as_str(), unit.active.as_str()) {
        ("not-found", _) => {
            Why::new("not_started", format!("the node is set up, but {name} is not installed"), [by_hand, doctor])
        }
        (_, "failed") => failed(unit, check),
        (_, "inactive") => {
            let start = format!("as root: systemctl enable --now {name}");
            Why::new("not_started", format!("the node is set up, but {name} was not started"), [start])
        }
        (_, "activating") if unit.sub == "auto-restart" => failed(unit, check),
        (_, "activating") => {
            let next = [format!("wait; it reads its books: journalctl -u {name} -f")];
            Why::new("starting", format!("the node is starting: {name} is {state}"), next)
        }
        _ => {
            let message = format!("{name} is {state}, but nobody answers at {}", place.socket.display());
            let next = [format!("compare node.socket in {} with --socket", config.display()), doctor];
            Why::new("silent", message, next)
        }
    }
}

fn failed(unit: &Unit, check: &str) -> Why {
    let name = &unit.name;
    let Some((code, (meaning, remedy))) = unit.exit_code.and_then(|code| Some((code, unit::meaning(code)?))) else {
        let next = [format!("read why: journalctl -u {name} -n 50"), check.to_owned()];
        return Why::new("failed", format!("{name} has failed"), next);
    };
    let message = format!("{name} has failed with exit code {code}: {meaning}");
    Why::new("failed", message, [remedy.replace("UNIT", name)])
}
