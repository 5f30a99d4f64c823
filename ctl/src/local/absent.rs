//! Why no node answers at a socket, found by looking at what is on this machine, and what to do next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::files::{self, NodeFile, Unseen};
use super::people::{self, Caller};
use super::unit::{self, Seen, Unit};
use super::{Place, command};

/// The code where other nodes of this machine are meant.
pub const OTHER_NODES: &str = "other_nodes";
/// So many of them are named.
const INSTANCES_TOLD: usize = 7;

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

/// Looks for the reason, in the order in which an installation is made, and no longer than `limit`. `root` is `/`, but for
/// tests.
pub async fn look(socket: &Path, root: &Path, limit: Duration) -> Why {
    let (owned, below) = (socket.to_owned(), root.to_owned());
    // On another thread, for a disk may hang; and it leaves time for systemd.
    let files = tokio::task::spawn_blocking(move || at_files(&owned, &below));
    let prepared = match tokio::time::timeout(limit / 2, files).await {
        Ok(Ok(Ok(prepared))) => prepared,
        Ok(Ok(Err(why))) => return why,
        Ok(Err(_)) | Err(_) => {
            let message = format!("the file system does not answer within {:?}", limit / 2);
            let next = ["look at the disk, or the network file system: dmesg | tail".to_owned()];
            return Why::new("silent", message, next);
        }
    };
    let unit = match &prepared.place.unit {
        Some(unit) if root == Path::new("/") => unit::show(unit, limit / 2).await,
        _ => Seen::NoSystemd,
    };
    not_running(&prepared, &unit)
}

/// An installation whose files are in order.
struct Prepared {
    place: Place,
    config: PathBuf,
    /// How many members the bank has, if the genesis file may be read.
    members: Option<usize>,
    /// The data folder has the mark of damage, if that can be told.
    marked: Option<bool>,
}

/// What the files say.
fn at_files(socket: &Path, root: &Path) -> Result<Prepared, Why> {
    if let Some(why) = permission(socket, &Caller::now()) {
        return Err(why);
    }
    let place = Place::of_socket(socket, root);
    let Some(config) = place.config.clone() else { return Err(elsewhere(socket)) };
    let file = place.file().map_err(|unseen| unconfigured(&config, &unseen))?;
    if let Some(why) = other_nodes(&place, &file, root) {
        return Err(why);
    }
    let members = genesis(&config, &file, &place.check_command())?;
    let marked = folder(&place, &file, members)?;
    Ok(Prepared { place, config, members, marked })
}

/// Several nodes of a host share the configuration of the one that it would otherwise have, which then is none of them.
fn other_nodes(place: &Place, file: &NodeFile, root: &Path) -> Option<Why> {
    let plain = place.unit.is_some() && place.instance.is_none();
    if !plain || file.data_dir.as_ref().is_some_and(|dir| dir.join("meta").exists()) {
        return None;
    }
    let instances = super::instances(root);
    let next: Vec<String> =
        instances.iter().take(INSTANCES_TOLD).map(|socket| format!("--socket {}", socket.display())).collect();
    let message = format!(
        "{} is not set up; {} instance(s) of raftbankd@.service are on this machine: say which one you mean",
        place.unit.as_deref().unwrap_or("raftbankd.service"),
        instances.len()
    );
    (!next.is_empty()).then_some(Why { code: OTHER_NODES, message, next })
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
                true => format!(
                    "for a node of a bank: write {path} and genesis.toml beside it (operating.md, Three machines from nothing)"
                ),
                false => {
                    "for a node of a bank: install raftbankd (operating.md, Three machines from nothing)".to_owned()
                }
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

/// The configuration and the genesis file were edited, and agree: how many members there are, if that can be seen.
fn genesis(config: &Path, file: &NodeFile, check: &str) -> Result<Option<usize>, Why> {
    let bad = |message: String| Err(Why::new("bad_config", message, [format!("then: {check}")]));
    let Some(path) = &file.genesis else {
        return bad(format!("{} does not name a genesis file: set node.genesis", config.display()));
    };
    let genesis = match files::genesis(path) {
        Ok(genesis) => genesis,
        Err(Unseen::Denied(_)) => return Ok(None),
        Err(unseen) => {
            let next = [
                "copy the genesis file of the other members, or write that of a new bank (operating.md, Three machines from nothing)".into(),
                format!("then: {check}"),
            ];
            return Err(Why::new("no_genesis", format!("the genesis file: {unseen}"), next));
        }
    };
    if genesis.sample_salt {
        let next = [
            format!("replace the salt in {}: head -c 16 /dev/urandom | base64", path.display()),
            "give the same file to all members".to_owned(),
            format!("then: {check}"),
        ];
        let message = format!("the node is not set up: {} still has the salt of the sample", path.display());
        return Err(Why::new("not_configured", message, next));
    }
    let id = file.id.as_deref().unwrap_or("");
    if !genesis.members.iter().any(|member| member == id) {
        let members = genesis.members.join(", ");
        let message = format!("node.id = {id:?} is not a member of this bank: the genesis file names {members}");
        let next = [format!("set node.id in {}", config.display()), format!("then: {check}")];
        return Err(Why::new("not_a_member", message, next));
    }
    Ok(Some(genesis.members.len()))
}

/// The data folder was made, and is whole: whether it has no mark of damage, if that can be seen.
fn folder(place: &Place, file: &NodeFile, members: Option<usize>) -> Result<Option<bool>, Why> {
    let Some(dir) = &file.data_dir else { return Ok(None) };
    let absent = |what: &str| {
        let message = format!("the node is configured, but its data folder {} {what}", dir.display());
        Err(Why::new("not_initialised", message, place.no_folder(dir, members)))
    };
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => absent("is not there"),
        // What may not be seen is not held against it.
        Err(_) => Ok(None),
        Ok(_) if dir.join("corrupt").exists() => {
            let message = format!("the node has found damage in its data folder {} and will not start", dir.display());
            let next = [
                format!("read why: cat {}/corrupt", dir.display()),
                format!("move the folder away, which is evidence; then {}", place.anew(members)),
            ];
            Err(Why::new("corrupt", message, next))
        }
        // As a new disk is, or the folder below one that is not mounted.
        Ok(_) if !dir.join("meta").exists() => absent("has no node's data in it"),
        Ok(_) => Ok(Some(false)),
    }
}

/// All is prepared; the process is not there, or does not answer.
fn not_running(prepared: &Prepared, unit: &Seen) -> Why {
    let Prepared { place, config, .. } = prepared;
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
        _ if unit.has_failed() => failed(unit, prepared),
        (_, "inactive") => {
            let start = format!("as root: systemctl enable --now {name}");
            Why::new("not_started", format!("the node is set up, but {name} was not started"), [start])
        }
        (_, "activating") => {
            let wait = format!("wait; it reads its books: journalctl -u {name} -f");
            if unit.is_tried_again() {
                let ended = format!("if it is not up soon, read how it ended: journalctl -u {name} -n 50");
                let message = format!("the node has ended and is starting again: {name} is {state}");
                return Why::new("starting", message, [wait, ended]);
            }
            Why::new("starting", format!("the node is starting: {name} is {state}"), [wait])
        }
        _ => {
            let message = format!("{name} is {state}, but nobody answers at {}", place.socket.display());
            let next = [format!("compare node.socket in {} with --socket", config.display()), doctor];
            Why::new("silent", message, next)
        }
    }
}

fn failed(unit: &Unit, prepared: &Prepared) -> Why {
    let name = &unit.name;
    let anew = prepared.place.anew(prepared.members);
    let meaning = |code| Some((code, unit::meaning(code, prepared.marked, &anew)?));
    let Some((code, (meaning, remedy))) = unit.exit_code.and_then(meaning) else {
        let next = [format!("read why: journalctl -u {name} -n 50"), prepared.place.check_command()];
        return Why::new("failed", format!("{name} has failed"), next);
    };
    let message = format!("{name} has failed with exit code {code}: {meaning}");
    Why::new("failed", message, [remedy.replace("UNIT", name)])
}

#[cfg(test)]
mod tests {
    use super::{Place, Prepared, Seen, Unit, not_running};

    #[test]
    fn a_disk_that_fails_is_told_while_the_unit_waits() {
        let place = Place::of_socket("/run/raftbank/raftbankd.sock".as_ref(), "/".as_ref());
        let prepared = Prepared { config: "/c".into(), place, members: Some(3), marked: Some(false) };
        let why = |active: &str, sub: &str, exit_code| {
            let (name, load) = ("raftbankd.service".to_owned(), "loaded".to_owned());
            let unit = Unit { name, load, active: active.into(), sub: sub.into(), exit_code, ..Unit::default() };
            not_running(&prepared, &Seen::Unit(unit))
        };
        let disk = why("deactivating", "stop-post", Some(7));
        assert!(
            disk.code == "failed" && disk.message.contains("disk") && disk.next[0].contains("by itself"),
            "{disk:?}"
        );
        let starting = |restarts| {
            let (name, load) = ("raftbankd.service".to_owned(), "loaded".to_owned());
            let (active, sub) = ("activating".to_owned(), "start".to_owned());
            let why =
                not_running(&prepared, &Seen::Unit(Unit { name, load, active, sub, restarts, ..Unit::default() }));
            (why.code, why.next.len(), why.message.contains("again"))
        };
        assert_eq!((starting(0), starting(2)), (("starting", 1, false), ("starting", 2, true)));
        let key = why("failed", "failed", Some(6));
        assert!(key.next[0].contains("only the file `key`") && key.next[0].contains("--init --rejoin"), "{key:?}");
        assert_eq!(why("deactivating", "stop-sigterm", None).code, "silent");
    }
}
