//! The state of systemd units, where systemd runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::command::{self, Ran};

/// What is asked of a unit.
const PROPERTIES: &str =
    "LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainCode,ExecMainStatus,NRestarts,StatusText";
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
    /// What the daemon says of itself.
    pub status: String,
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
        status: take("StatusText"),
    }
}

/// What a daemon's exit code means, and what to do about it. None: nothing is known of it.
pub fn meaning(exit_code: u8) -> Option<(&'static str, &'static str)> {
    Some(match exit_code {
        1 => ("an internal error", "read its last lines: journalctl -u UNIT -n 50"),
        2 => (
            "wrong configuration, or the data folder is missing, in use or another node's",
            "read why: journalctl -u UNIT -n 20; then correct it and: systemctl start UNIT",
        ),
        6 => (
            "damaged data was found; the folder is evidence",
            "read why: journalctl -u UNIT -n 20; move the data folder away, then start with --rejoin (operating.md)",
        ),
        7 => ("the disk failed a write or a sync", "look at the disk and at dmesg; then: systemctl start UNIT"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_unit_is_read() {
        let text = "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nExecMainCode=1\n\
                    ExecMainStatus=6\nNRestarts=3\nStatusText=damage = found\n";
        let unit = parse("raftbankd.service", text);
        assert_eq!((unit.active.as_str(), unit.exit_code, unit.restarts), ("failed", Some(6), 3));
        assert_eq!(unit.status, "damage = found");
        // A signal's number is no exit code.
        assert_eq!(parse("u", "ExecMainCode=2\nExecMainStatus=9\n").exit_code, None);
        assert_eq!(parse("u", "").load, "");
    }
}
