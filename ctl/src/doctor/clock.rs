//! The clock: whether it is kept right, and how far it is from the other members'.

use std::path::Path;

use super::{Finding, View};
use crate::local::command::{self, Ran};

/// A node whose clock is further away does not lead, in milliseconds.
const OFFSET_MS_PROBLEM: u64 = 10_000;
/// A clock that is kept right is nearer, in milliseconds. Some of it is the way of a message.
const OFFSET_MS_WARNING: u64 = 1_000;

/// Looks at this machine's clock and the members'.
pub async fn check(view: &View) -> Vec<Finding> {
    let mut findings = vec![synchronised(view).await];
    findings.extend(offsets(view));
    findings
}

async fn synchronised(view: &View) -> Finding {
    let check = "clock.synchronised";
    let unknown =
        |why: &str| Finding::note(check, format!("whether something keeps the clock right is not known: {why}"));
    if !Path::new("/run/systemd/system").is_dir() {
        return unknown("systemd does not run here");
    }
    let Some(program) = command::in_path("timedatectl") else { return unknown("timedatectl is not there") };
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    match command::run(&program, arguments, &[], view.limit, 1_024).await {
        Ok(Ran { stdout, .. }) if stdout.trim() == "yes" => Finding::ok(check, "the clock is synchronised"),
        Ok(Ran { stdout, .. }) if stdout.trim() == "no" => Finding::warning(
            check,
            "nothing keeps this machine's clock right",
            "timedatectl set-ntp true, or install chrony: a node whose clock is 10 s off does not lead",
        ),
        Ok(Ran { stderr, .. }) => unknown(stderr.lines().next().unwrap_or("timedatectl says nothing")),
        Err(error) => unknown(&error.to_string()),
    }
}

fn offsets(view: &View) -> Option<Finding> {
    let check = "clock.offset";
    let diagnosis = view.diagnosed()?;
    if diagnosis.condition.as_deref() == Some("clock_skew") {
        let message = "this machine's clock is more than 10 s away from the other members'; the node does not lead";
        return Some(Finding::problem(check, message, "set the clock, and keep it right: timedatectl set-ntp true"));
    }
    let others = diagnosis.members.iter().filter(|member| !member.own && member.reachable);
    let (id, offset_ms) = others
        .filter_map(|member| Some((&member.id, member.clock_offset_ms?)))
        .max_by_key(|(_, offset_ms)| offset_ms.unsigned_abs())?;
    let message = format!("the clock furthest from this one is that of {id}: {offset_ms:+} ms");
    let remedy = "see which of the two is wrong, and let something keep it right: timedatectl status";
    Some(match offset_ms.unsigned_abs() {
        OFFSET_MS_PROBLEM.. => Finding::problem(check, message, remedy),
        OFFSET_MS_WARNING.. => Finding::warning(check, message, remedy),
        _ => Finding::ok(check, message),
    })
}
