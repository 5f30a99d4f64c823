//! The cluster as the node sees it: who is there, who leads, who runs what, and who belongs to another bank.

use std::collections::BTreeMap;

use raftbank_wire::api::{Diagnosis, MemberDiagnosis};

use super::{Finding, Level, View};
use crate::output::hex;

/// Judges the node's answer. `configured` is the cluster id that the configured genesis file gives.
pub fn check(view: &View, configured: Option<&str>) -> Vec<Finding> {
    let Some(diagnosis) = view.diagnosed() else { return vec![absent(view)] };
    let mut findings = vec![running(view, diagnosis)];
    findings.extend(same_genesis(diagnosis, configured));
    findings.push(majority(diagnosis));
    findings.push(leader(diagnosis));
    findings.extend(versions(diagnosis));
    findings.extend(diagnosis.members.iter().filter_map(refused));
    findings
}

/// Nobody answers at the node's socket.
fn absent(view: &View) -> Finding {
    let check = "cluster.node";
    let Some(why) = &view.why else { return Finding::note(check, "the node was not asked") };
    // A machine may have the relay alone; the package leaves the samples of a node there.
    let relay_only = view.relay_diagnosis.is_ok() && why.code == "not_configured";
    if relay_only {
        return Finding::note(check, "the relay runs here, and no node");
    }
    let asked = view.diagnosis.as_ref().err().filter(|_| why.code == "silent");
    let message = asked.map_or_else(|| why.message.clone(), |asked| format!("{}: {asked}", why.message));
    let level = if why.code == "permission_denied" { Level::Note } else { Level::Problem };
    Finding { check, level, message, remedy: Some(why.next.join("; ")) }
}

fn running(view: &View, diagnosis: &Diagnosis) -> Finding {
    let check = "cluster.node";
    let Diagnosis { node, software, uptime_ms, .. } = diagnosis;
    let message = format!("{node} answers: {software}, up {} s", uptime_ms / 1_000);
    match diagnosis.condition.as_deref() {
        Some("rejoining") => Finding::warning(
            check,
            format!("{message}; it rejoins and has no vote yet"),
            "wait, with all other members running",
        ),
        _ if view.diagnosis.as_ref().is_ok_and(|diagnosed| diagnosed.old) => {
            Finding::note(check, format!("{message}; it is older than this bankctl and tells less"))
        }
        _ => Finding::ok(check, message),
    }
}

fn same_genesis(diagnosis: &Diagnosis, configured: Option<&str>) -> Option<Finding> {
    let running = hex(&diagnosis.cluster_id);
    let configured = configured?;
    Some(if running == configured {
        Finding::ok("cluster.genesis", format!("the node is of the configured cluster, {}…", &running[..16]))
    } else {
        let message = format!("the node runs cluster {running}, and the genesis file gives {configured}");
        let remedy = "put the old genesis file back; it cannot be changed once a node has its folder";
        Finding::problem("cluster.genesis", message, remedy)
    })
}

fn majority(diagnosis: &Diagnosis) -> Finding {
    let check = "cluster.majority";
    let all = diagnosis.members.len();
    let missing: Vec<String> = diagnosis.members.iter().filter(|member| !member.reachable).map(last_heard).collect();
    let here = all - missing.len();
    let message = format!("{here} of {all} members are reachable");
    if missing.is_empty() {
        return Finding::ok(check, message);
    }
    let message = format!("{message}; missing: {}", missing.join(", "));
    let remedy = "on their machines: bankctl doctor";
    if here * 2 > all {
        Finding::warning(check, message, remedy)
    } else {
        Finding::problem(check, format!("{message}; the bank stands still"), remedy)
    }
}

fn last_heard(member: &MemberDiagnosis) -> String {
    match member.heard_ms {
        Some(ms) => format!("{} (heard {} s ago)", member.id, ms / 1_000),
        None => format!("{} (never heard)", member.id),
    }
}

fn leader(diagnosis: &Diagnosis) -> Finding {
    match &diagnosis.leader {
        Some(leader) => Finding::ok("cluster.leader", format!("{leader} leads")),
        None => Finding::problem(
            "cluster.leader",
            "no leader is known: nothing can be written or read linearizably",
            "bring back a majority of the members, and the relay",
        ),
    }
}

fn versions(diagnosis: &Diagnosis) -> Option<Finding> {
    let check = "cluster.versions";
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in &diagnosis.members {
        if let Some(software) = &member.software {
            by_version.entry(software).or_default().push(&member.id);
        }
    }
    let told: Vec<String> = by_version.iter().map(|(version, ids)| format!("{}: {version}", ids.join(", "))).collect();
    match by_version.len() {
        0 => None,
        1 => Some(Finding::ok(check, told.join("; "))),
        _ => Some(Finding::warning(
            check,
            format!("members run different versions: {}", told.join("; ")),
            "normal during an upgrade; else upgrade the rest, one after the other",
        )),
    }
}

/// A member whose frames the node does not accept.
fn refused(member: &MemberDiagnosis) -> Option<Finding> {
    let refused = member.refused.as_ref()?;
    let (check, remedy) = match refused.code.as_str() {
        "other_cluster" => (
            "cluster.genesis",
            "raftbankd --check-config on both machines prints the cluster ids; make the files equal",
        ),
        "other_incarnation" => ("cluster.incarnation", "operating.md, A lost disk, or damage"),
        _ => ("cluster.frames", "upgrade all members to the same version"),
    };
    let message = format!("{} is not accepted: {}", member.id, refused.message);
    Some(match refused.code.as_str() {
        // An older node and a newer one, as during an upgrade.
        "unreadable" => Finding::warning(check, message, remedy),
        _ => Finding::problem(check, message, remedy),
    })
}
