//! The state of systemd units, where systemd runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{self, Ran};

/// What is asked of a unit.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,ExecMainCode,ExecMainStatus,NRestarts,\
    ProtectSystem,ReadWritePaths,BindPaths,StateDirectory,RuntimeDirectory,LogsDirectory,CacheDirectory";
/// `CLD_EXITED` of `waitid(2)`: the process ended by itself, and its status is an exit code.
const EXITED: &str = "1";
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `activating`, `inactive`, `failed`, …
    pub active: String,
    /// Finer than that, such as `auto-restart`.
    pub sub: String,
    /// `enabled`, `disabled`, …
    pub enabled: String,
    /// The exit code of its last process, if that has ended by itself.
    pub exit_code: Option<u8>,
    /// How often it was restarted.
    pub restarts: u64,
    /// The folders that it may write, if it may not write everything.
    pub writable: Option<Vec<PathBuf>>,
}

impl Unit {
    /// It has ended with a failure, and is down for good or until it is tried again. While `ExecStopPost=` of a unit runs,
    /// as after exit code 7 for some seconds, it is neither `failed` nor `activating` yet.
    pub fn has_failed(&self) -> bool {
        match self.active.as_str() {
            "failed" => true,
            "activating" => self.sub.starts_with("auto-restart"),
            "deactivating" => self.exit_code.is_some_and(|code| code != 0),
            _ => false,
        }
    }

    /// It has ended and is being started again by systemd. How it ended, systemd has forgotten by then: this try may end
    /// the same way, or be a long start after a crash.
    pub fn is_tried_again(&self) -> bool {
        self.active == "activating" && self.restarts > 0
    }

    /// It may write to this folder, or to one above it.
    pub fn may_write(&self, dir: &Path) -> bool {
        let Some(writable) = &self.writable else { return true };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Before `--init` the place where it will be.
        let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
        let (there, rest) = (real(there), dir.strip_prefix(there).unwrap_or(Path::new("")));
        let found = there.join(rest);
        writable.iter().any(|allowed| dir.starts_with(allowed) || found.starts_with(real(allowed)))
    }
}

/// How a unit's state can be had, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The unit.
    Unit(Unit),
    /// systemd does not run here.
    NoSystemd,
    /// It does not answer, and why.
    Silent(String),
}

/// Asks for a unit's state.
pub async fn show(name: &str, limit: Duration) -> Seen {
    // As sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Seen::NoSystemd;
    }
    let Some(systemctl) = command::in_path("systemctl") else { return Seen::NoSystemd };
    let arguments = ["show", "--no-pager", "--property", PROPERTIES, "--", name];
    match command::run(&systemctl, arguments, &[], limit, ANSWER_BYTES_MAX).await {
        Ok(Ran { code: Some(0), stdout, .. }) => Seen::Unit(parse(name, &stdout)),
        Ok(Ran { stderr, .. }) => Seen::Silent(stderr.lines().next().unwrap_or("it failed").to_owned()),
        Err(error) => Seen::Silent(error.to_string()),
    }
}

fn parse(name: &str, text: &str) -> Unit {
    let mut values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let mut take = |key: &str| values.remove(key).unwrap_or_default().to_owned();
    let exited = take("ExecMainCode") == EXITED;
    Unit {
        name: name.to_owned(),
        load: take("LoadState"),
        active: take("ActiveState"),
        sub: take("SubState"),
        enabled: take("UnitFileState"),
        exit_code: take("ExecMainStatus").parse().ok().filter(|_| exited),
        restarts: take("NRestarts").parse().unwrap_or(0),
        writable: writable(&mut take),
    }
}

/// The folders that a unit may write. None: all, or it is not known.
fn writable(take: &mut impl FnMut(&str) -> String) -> Option<Vec<PathBuf>> {
    if take("ProtectSystem") != "strict" {
        return None;
    }
    let mut folders = Vec::new();
    for word in take("ReadWritePaths").split_whitespace() {
        folders.push(PathBuf::from(word.trim_start_matches(['-', '+'])));
    }
    // SOURCE:DESTINATION:OPTIONS
    for word in take("BindPaths").split_whitespace() {
        let mut fields = word.trim_start_matches(['-', '+']).split(':');
        let source = fields.next();
        folders.extend(fields.next().or(source).map(PathBuf::from));
    }
    for (property, above) in [
        ("StateDirectory", "/var/lib"),
        ("RuntimeDirectory", "/run"),
        ("LogsDirectory", "/var/log"),
        ("CacheDirectory", "/var/cache"),
    ] {
        let value = take(property);
        let names = value.split_whitespace().filter_map(|word| word.split(':').next());
        folders.extend(names.map(|name| Path::new(above).join(name)));
    }
    Some(folders)
}

/// What a daemon's exit code means, and what to do about it. None: nothing is known of it. `marked`: the mark of damage is
/// in its data folder, if that can be told. `anew`: how its folder is made anew.
pub fn meaning(exit_code: u8, marked: Option<bool>, anew: &str) -> Option<(&'static str, String)> {
    let (meaning, remedy) = match exit_code {
        1 => ("an internal error", "read its last lines: journalctl -u UNIT -n 50".to_owned()),
        2 => (
            "wrong configuration, or the data folder is missing, in use or another node's",
            "read why: journalctl -u UNIT -n 20; then correct it and: systemctl start UNIT".to_owned(),
        ),
        6 if marked == Some(true) => (
            "damaged data was found; the folder is evidence",
            format!("read why: journalctl -u UNIT -n 20; move the data folder away, then {anew}"),
        ),
        // The books are not concerned, and nothing is marked.
        6 if marked == Some(false) => (
            "damage was found, and the books are not marked as damaged: most likely it is the private key",
            format!(
                "read why: journalctl -u UNIT -n 20; if it names the private key, move only the file `key` of the data \
                 folder away and start it again; else move the whole folder away, which is evidence, then {anew}"
            ),
        ),
        6 => (
            "damaged data was found, which is evidence, or a damaged private key",
            format!(
                "read why: journalctl -u UNIT -n 20; if it names the private key, move only the file `key` of the data \
                 folder away and start it again; else move the whole folder away, then {anew}"
            ),
        ),
        7 => (
            "the disk failed a write or a sync, is full or read-only",
            "look at the disk and at dmesg, make room; it is tried again by itself every few seconds".to_owned(),
        ),
        _ => return None,
    };
    Some((meaning, remedy))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Unit, meaning, parse};

    #[test]
    fn a_unit_is_read() {
        let text = "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nExecMainCode=1\n\
                    ExecMainStatus=6\nNRestarts=3\n";
        let unit = parse("raftbankd.service", text);
        assert_eq!((unit.active.as_str(), unit.exit_code, unit.restarts), ("failed", Some(6), 3));
        // A signal's number is no exit code.
        assert_eq!(parse("u", "ExecMainCode=2\nExecMainStatus=9\n").exit_code, None);
        assert_eq!(parse("u", "").load, "");
    }

    #[test]
    fn a_unit_that_waits_after_a_failure_has_failed() {
        let failed = |active: &str, sub: &str, exit_code| {
            Unit { active: active.into(), sub: sub.into(), exit_code, ..Unit::default() }.has_failed()
        };
        assert!(failed("failed", "failed", None) && failed("activating", "auto-restart", Some(7)));
        assert!(failed("activating", "auto-restart-queued", Some(7)));
        for sub in ["stop-post", "final-sigterm"] {
            assert!(failed("deactivating", sub, Some(7)));
            assert!(!failed("deactivating", sub, Some(0)));
        }
        // Its process is still there.
        assert!(!failed("deactivating", "stop-sigterm", None));
        assert!(!failed("active", "running", Some(7)) && !failed("activating", "start", Some(7)));
        let again =
            |active: &str, restarts| Unit { active: active.into(), restarts, ..Unit::default() }.is_tried_again();
        assert!(again("activating", 1) && !again("activating", 0) && !again("active", 1));
    }

    #[test]
    fn the_private_key_is_told_from_the_books() {
        let told = |marked| meaning(6, marked, "ANEW").expect("known").1;
        assert!(told(Some(true)).contains("ANEW") && !told(Some(true)).contains("key"));
        assert!(told(Some(false)).contains("only the file `key`") && told(None).contains("only the file `key`"));
        assert!(meaning(7, None, "").expect("known").1.contains("by itself"));
    }

    #[test]
    fn the_folders_of_a_strict_unit_are_known() {
        let text = "ProtectSystem=strict\nReadWritePaths=-/srv/bank /data\nBindPaths=/a:/b:rbind\n\
                    StateDirectory=raftbank:link\nRuntimeDirectory=raftbank\nLogsDirectory=\n";
        let unit = parse("u", text);
        for allowed in ["/srv/bank/n1", "/data", "/b/x", "/var/lib/raftbank/n1", "/run/raftbank"] {
            assert!(unit.may_write(Path::new(allowed)), "{allowed}");
        }
        for other in ["/srv/banks", "/a", "/var/lib/raftbank-n1", "/run", "/var/log", "/srv"] {
            assert!(!unit.may_write(Path::new(other)), "{other}");
        }
        assert!(parse("u", "ProtectSystem=no\n").may_write(Path::new("/srv")));
    }
}
