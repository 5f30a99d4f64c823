//! The systemd units: whether they run, will run after the next boot, and how they last ended.

use std::path::Path;

use super::{Finding, View};
use crate::local::files::NodeFile;
use crate::local::unit::{self, Seen, Unit};

/// The relay's unit.
const RELAY: &str = "raftbank-relayd.service";

/// Looks at the units of node and relay.
pub async fn check(view: &View) -> Vec<Finding> {
    let Some(unit) = &view.place.unit else { return Vec::new() };
    let limit = view.limit / 2;
    let (node, relay) = tokio::join!(unit::show(unit, limit), unit::show(RELAY, limit));
    let anew = view.place.anew(view.members());
    let dir = view.data_dir().map(Path::to_owned);
    let marked = tokio::task::spawn_blocking(move || marked(&dir?));
    let marked = tokio::time::timeout(view.limit / 4, marked).await.ok().and_then(Result::ok).flatten();
    let mut findings: Vec<Finding> = judge("unit.node", &node, marked, &anew).into_iter().collect();
    if let (Seen::Unit(unit), Ok(file)) = (&node, &view.node) {
        findings.extend(writable(unit, file, &view.place.socket));
    }
    // A machine without the relay is as good as one with it.
    let relay_here = matches!(&relay, Seen::Unit(unit) if unit.active != "inactive" || unit.enabled == "enabled");
    if relay_here {
        findings.extend(judge("unit.relay", &relay, None, ""));
    }
    findings
}

/// The data folder has the mark of damage. None: that cannot be seen.
fn marked(dir: &Path) -> Option<bool> {
    std::fs::read_dir(dir).ok().map(|_| dir.join("corrupt").exists())
}

/// Paths outside what a strict unit may write are a read-only file system for it, and look like a failed disk.
fn writable(unit: &Unit, file: &NodeFile, socket: &Path) -> Vec<Finding> {
    let socket = file.socket.as_deref().unwrap_or(socket).parent();
    let paths =
        [("node.data_dir", file.data_dir.as_deref()), ("log.dir", file.log_dir.as_deref()), ("node.socket", socket)];
    let outside = |(key, path): (&str, Option<&Path>)| {
        let path = path.filter(|path| path.is_absolute() && !unit.may_write(path))?;
        let (dir, name) = (path.display(), &unit.name);
        let message = format!("{key}: {dir} is outside the folders that {name} may write");
        let remedy = format!(
            "systemctl edit {name}: [Service] and ReadWritePaths={dir}, where the folder must be there; or keep to the \
             paths of the sample"
        );
        Some(Finding::problem("unit.paths", message, remedy))
    };
    paths.into_iter().filter_map(outside).collect()
}

fn judge(check: &'static str, seen: &Seen, marked: Option<bool>, anew: &str) -> Option<Finding> {
    let unit = match seen {
        Seen::NoSystemd => return Some(Finding::note(check, "systemd does not run here: units were not looked at")),
        Seen::Silent(why) => return Some(Finding::note(check, format!("systemd does not answer: {why}"))),
        Seen::Unit(unit) => unit,
    };
    let Unit { name, active, sub, enabled, .. } = unit;
    let ended = unit.exit_code.and_then(|code| Some((code, unit::meaning(code, marked, anew)?)));
    let state = format!("{name} is {active} ({sub}), {enabled}");
    Some(match (unit.load.as_str(), active.as_str()) {
        ("not-found", _) => Finding::note(check, format!("{name} is not installed")),
        _ if unit.has_failed() => match ended {
            Some((code, (meaning, remedy))) => {
                let message = format!("{state}; it ended with exit code {code}: {meaning}");
                Finding::problem(check, message, remedy.replace("UNIT", name))
            }
            None => Finding::problem(check, state, format!("journalctl -u {name} -n 50")),
        },
        _ if unit.is_tried_again() => {
            let message = format!("{state}; it ended and is being started again, restart {}", unit.restarts);
            Finding::problem(check, message, format!("read how it ended: journalctl -u {name} -n 50"))
        }
        (_, "active") if enabled != "enabled" => {
            let message = format!("{state}: it will not come back after a reboot");
            Finding::warning(check, message, format!("systemctl enable {name}"))
        }
        (_, "active") if unit.restarts > 0 => Finding::note(check, format!("{state}; {} restarts", unit.restarts)),
        (_, "active") => Finding::ok(check, state),
        (_, "inactive") if enabled == "enabled" => {
            Finding::problem(check, format!("{state}: it was stopped"), format!("systemctl start {name}"))
        }
        _ => Finding::note(check, state),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::{judge, writable};
    use crate::local::files::NodeFile;
    use crate::local::unit::{Seen, Unit};

    #[test]
    fn each_state_has_its_level() {
        let level = |active: &str, sub: &str, enabled: &str, exit_code| {
            let unit = Unit {
                name: "u.service".into(),
                load: "loaded".into(),
                active: active.into(),
                sub: sub.into(),
                enabled: enabled.into(),
                exit_code,
                ..Unit::default()
            };
            judge("unit.node", &Seen::Unit(unit), Some(true), "ANEW").expect("a finding")
        };
        assert_eq!(level("active", "running", "enabled", None).level, Level::Ok);
        assert_eq!(level("active", "running", "disabled", None).level, Level::Warning);
        assert_eq!(level("inactive", "dead", "enabled", None).level, Level::Problem);
        assert_eq!(level("inactive", "dead", "disabled", None).level, Level::Note);
        for (code, word) in [(2, "configuration"), (6, "evidence"), (7, "disk")] {
            let finding = level("failed", "failed", "enabled", Some(code));
            assert!(finding.level == Level::Problem && finding.message.contains(word), "{finding:?}");
            assert!(finding.remedy.is_some_and(|remedy| !remedy.contains("UNIT")));
        }
        assert_eq!(level("activating", "auto-restart", "enabled", Some(7)).level, Level::Problem);
        assert_eq!(level("deactivating", "stop-post", "enabled", Some(7)).level, Level::Problem);
        // Between two ends with 7 there is a moment in which it starts, and systemd knows of no end.
        let starting = |restarts| {
            let (name, load, sub) = ("u.service".into(), "loaded".into(), "start".into());
            let unit = Unit { name, load, active: "activating".into(), sub, restarts, ..Unit::default() };
            judge("unit.node", &Seen::Unit(unit), Some(false), "").expect("a finding").level
        };
        assert_eq!((starting(0), starting(3)), (Level::Note, Level::Problem));
        assert_eq!(judge("unit.node", &Seen::NoSystemd, None, "").expect("a note").level, Level::Note);
    }

    #[test]
    fn paths_that_a_unit_may_not_write_are_found() {
        let unit = Unit {
            name: "raftbankd.service".into(),
            writable: Some(vec!["/var/lib/raftbank".into()]),
            ..Unit::default()
        };
        let file = NodeFile {
            data_dir: Some("/var/lib/raftbank/n1".into()),
            log_dir: Some("/srv/log".into()),
            socket: Some("/run/raftbankd.sock".into()),
            ..NodeFile::default()
        };
        let found = writable(&unit, &file, "/x".as_ref());
        let told: Vec<&str> = found.iter().filter_map(|finding| finding.message.split(':').next()).collect();
        assert_eq!(told, ["log.dir", "node.socket"], "{found:?}");
        assert!(found[0].remedy.as_deref().is_some_and(|remedy| remedy.contains("ReadWritePaths=/srv/log")));
        assert_eq!(writable(&Unit { writable: None, ..unit }, &file, "/x".as_ref()), []);
    }
}
