//! The data folder and the sockets: there, whole, and for nobody's eyes but whose they should be for.

use std::fs::{self, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::{Finding, View};
use crate::local::absent::OTHER_NODES;
use crate::local::people;

/// Most bytes of the reason in the mark of damage.
const REASON_BYTES_MAX: u64 = 1_000;
/// The user of the packaged unit.
const USER: &str = "raftbank";

/// Looks at folder and socket.
pub fn check(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(dir) = view.data_dir() {
        folder(view, dir, &mut findings);
    }
    socket(&view.place.socket, "socket.node", &mut findings);
    socket(&view.relay_socket, "socket.relay", &mut findings);
    findings
}

fn folder(view: &View, dir: &Path, findings: &mut Vec<Finding>) {
    let check = "data.folder";
    let meta = match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            return findings.push(Finding::problem(
                check,
                format!("{} is no folder", dir.display()),
                "set node.data_dir",
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("the data folder {} is not there", dir.display());
            return findings.push(absent(view, dir, message));
        }
        Err(error) => {
            let message = format!("{} cannot be seen by this user: {error}", dir.display());
            return findings.push(Finding::note(check, message));
        }
    };
    if let Err(error) = fs::read_dir(dir) {
        return findings.push(Finding::note(check, format!("{} cannot be seen by this user: {error}", dir.display())));
    }
    if !dir.join("meta").exists() {
        let message = format!("{} is not a node's data folder, or making it was interrupted", dir.display());
        return findings.push(absent(view, dir, message));
    }
    findings.push(Finding::ok(check, dir.display().to_string()));
    findings.push(mode(dir, &meta));
    findings.extend(owner(view, dir, &meta));
    findings.extend(key(dir));
    findings.extend(mark(view, dir));
}

/// No node's data is there. The advice is not to begin anew: a disk that is not mounted looks like this.
fn absent(view: &View, dir: &Path, message: String) -> Finding {
    let check = "data.folder";
    if view.why.as_ref().is_some_and(|why| why.code == OTHER_NODES) {
        return Finding::note(check, format!("{message}; the nodes of this machine are instances"));
    }
    Finding::problem(check, message, view.place.no_folder(dir, view.members()).join("; "))
}

fn mode(dir: &Path, meta: &Metadata) -> Finding {
    let check = "data.mode";
    let mode = meta.mode() & 0o7777;
    let remedy = format!("chmod 0750 {}", dir.display());
    if mode & 0o022 != 0 {
        return Finding::problem(check, format!("others may write to the data folder: mode {mode:04o}"), remedy);
    }
    if mode & 0o005 != 0 {
        return Finding::warning(check, format!("everybody may read the data folder: mode {mode:04o}"), remedy);
    }
    Finding::ok(check, format!("mode {mode:04o}"))
}

/// Everything in it belongs to one user: a start as root leaves files that the service cannot open.
fn owner(view: &View, dir: &Path, meta: &Metadata) -> Option<Finding> {
    let check = "data.owner";
    let owner = people::user(meta.uid());
    let expected = if view.is_packaged() && view.place.instance.is_none() { USER } else { owner.as_str() };
    let foreign = ["meta", "mark", "key", "sled", "sled/db", "corrupt"].iter().find_map(|name| {
        let uid = fs::symlink_metadata(dir.join(name)).ok()?.uid();
        (uid != meta.uid()).then(|| (dir.join(name), people::user(uid)))
    });
    let remedy = format!("chown -R {expected} {}", dir.display());
    if let Some((path, other)) = foreign {
        let message = format!("{} belongs to {other}, its folder to {owner}", path.display());
        return Some(Finding::problem(check, message, remedy));
    }
    if owner != expected {
        let message = format!("{} belongs to {owner}, and the service runs as {expected}", dir.display());
        return Some(Finding::problem(check, message, remedy));
    }
    Some(Finding::ok(check, format!("all of it belongs to {owner}")))
}

fn key(dir: &Path) -> Option<Finding> {
    let check = "data.key";
    let path = dir.join("key");
    let mode = fs::symlink_metadata(&path).ok()?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message = format!("the private key may be read by others: mode {mode:04o}");
        let remedy = format!(
            "chmod 0600 {}; if somebody may have read it, move it away and restart: the node makes a new one",
            path.display()
        );
        return Some(Finding::problem(check, message, remedy));
    }
    Some(Finding::ok(check, "the private key is its owner's alone"))
}

fn mark(view: &View, dir: &Path) -> Option<Finding> {
    let check = "data.marker";
    let path = dir.join("corrupt");
    let mut reason = Vec::new();
    match fs::File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some(Finding::ok(check, "no damage was found by an earlier run"));
        }
        Err(error) => reason.extend(error.to_string().into_bytes()),
        Ok(file) => drop(file.take(REASON_BYTES_MAX).read_to_end(&mut reason)),
    }
    let reason = String::from_utf8_lossy(&reason).split_whitespace().collect::<Vec<_>>().join(" ");
    let remedy = format!(
        "keep {} as evidence: move it away, then {}; raftbankd --verify examines it",
        dir.display(),
        view.place.anew(view.members())
    );
    Some(Finding::problem(check, format!("an earlier run has found damage: {reason}"), remedy))
}

fn socket(path: &Path, check: &'static str, findings: &mut Vec<Finding>) {
    let Ok(meta) = fs::metadata(path) else { return };
    let mode = meta.mode() & 0o7777;
    let packaged = path.starts_with("/run/raftbank");
    if !meta.file_type().is_socket() {
        let message = format!("{} is no socket", path.display());
        return findings.push(Finding::problem(check, message, "move it away and restart the daemon"));
    }
    let group = people::group(meta.gid());
    if mode & 0o007 != 0 {
        let message = format!("{} may be used by everybody: mode {mode:04o}", path.display());
        findings.push(Finding::problem(check, message, format!("chmod 0660 {}", path.display())));
    } else if packaged && group != USER {
        let message = format!("{} is the group {group}'s", path.display());
        findings.push(Finding::warning(check, message, format!("chgrp {USER} {}", path.display())));
    } else {
        findings.push(Finding::ok(check, format!("{}: mode {mode:04o}, group {group}", path.display())));
    }
    if let Some(dir) = path.parent().filter(|_| packaged)
        && let Ok(meta) = fs::metadata(dir)
        && meta.mode() & 0o027 != 0
    {
        let message = format!("{} is open to others: mode {:04o}", dir.display(), meta.mode() & 0o7777);
        findings.push(Finding::warning(check, message, format!("chmod 0750 {}", dir.display())));
    }
}
