//! The systemd units: whether they run, will run after the next boot, and how they last ended.

use super::{Finding, View};
use crate::local::unit::{self, Seen, Unit};

/// The relay's unit.
const RELAY: &str = "raftbank-relayd.service";

/// Looks at the units of node and relay.
pub async fn check(view: &View) -> Vec<Finding> {
    let Some(unit) = &view.place.unit else { return Vec::new() };
    let (node, relay) = tokio::join!(unit::show(unit, view.limit), unit::show(RELAY, view.limit));
    let mut findings: Vec<Finding> = judge("unit.node", &node).into_iter().collect();
    // A machine without the relay is as good as one with it.
    let relay_here = matches!(&relay, Seen::Unit(unit) if unit.active != "inactive" || unit.enabled == "enabled");
    if relay_here {
        findings.extend(judge("unit.relay", &relay));
    }
    findings
}

fn judge(check: &'static str, seen: &Seen) -> Option<Finding> {
    let unit = match seen {
        Seen::NoSystemd => return Some(Finding::note(check, "systemd does not run here: units were not looked at")),
        Seen::Silent(why) => return Some(Finding::note(check, format!("systemd does not answer: {why}"))),
        Seen::Unit(unit) => unit,
    };
    let Unit { name, active, sub, enabled, .. } = unit;
    let ended = unit.exit_code.and_then(|code| Some((code, unit::meaning(code)?)));
    let state = format!("{name} is {active} ({sub}), {enabled}");
    Some(match (unit.load.as_str(), active.as_str()) {
        ("not-found", _) => Finding::note(check, format!("{name} is not installed")),
        (_, "failed") | (_, "activating") if active == "failed" || sub == "auto-restart" => match ended {
            Some((code, (meaning, remedy))) => {
                let message = format!("{state}; it ended with exit code {code}: {meaning}");
                Finding::problem(check, message, remedy.replace("UNIT", name))
            }
            None => Finding::problem(check, state, format!("journalctl -u {name} -n 50")),
        },
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
    use super::judge;
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
            judge("unit.node", &Seen::Unit(unit)).expect("a finding")
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
        assert_eq!(judge("unit.node", &Seen::NoSystemd).expect("a note").level, Level::Note);
    }
}
