//! `doctor`: looks at an installation from the outside and from the inside, and says what is wrong and what helps.
//!
//! Each subject is a file of its own. All of them run at the same time, none longer than the timeout; what this user may
//! not see is a note, not a failure. Nothing is changed.

mod clock;
mod cluster;
mod config;
mod disk;
mod folder;
mod relay;
#[cfg(test)]
mod tests;
mod units;
mod view;

use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

pub use self::view::View;
use crate::output::{Out, SCHEMA};
use crate::verbs::Context;

/// Of the timeout, so much is for the daemons' answers and so much for each look, so that both fit into it.
const PART_OF_TIMEOUT: f64 = 0.45;

/// `doctor`.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(after_help = "\
Examples:
  bankctl doctor                                # as root it sees most
  bankctl --socket raftbank-dev/n1.sock --relay-socket raftbank-dev/relay.sock doctor
  bankctl -o json doctor --config /etc/raftbank/raftbankd.toml

Exit codes: 0 no problem was found (warnings may have been), 1 a problem was found, 2 wrong usage.")]
pub struct DoctorArgs {
    /// The node's configuration; if not given, the one that belongs to the socket.
    #[arg(long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// The relay's configuration; if not given, the one that belongs to the relay's socket.
    #[arg(long, value_name = "FILE")]
    pub relay_config: Option<std::path::PathBuf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; or it could not be seen.
    Note,
    /// It works, and may not for long.
    Warning,
    /// It does not work, or not safely.
    Problem,
}

impl Level {
    /// `ok`, `note`, `warning` or `problem`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `GROUP.THING`, for scripts; stable.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is the case.
    pub message: String,
    /// What helps.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), remedy: None }
    }

    fn note(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Note, message: message.into(), remedy: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), remedy: Some(remedy.into()) }
    }

    fn problem(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, message: message.into(), remedy: Some(remedy.into()) }
    }
}

/// `doctor`; the exit code.
pub async fn run(context: &mut Context, args: &DoctorArgs) -> u8 {
    let limit = context.timeout.mul_f64(PART_OF_TIMEOUT);
    let view = View::gather(context, args, limit).await;
    let findings = examine(Arc::new(view)).await;
    context.out.result(&as_json(&findings), || as_text(&findings, context.out));
    u8::from(findings.iter().any(|finding| finding.level == Level::Problem))
}

/// All checks, in the order in which they are told.
pub async fn examine(view: Arc<View>) -> Vec<Finding> {
    let limit = view.limit;
    let (configs, folder, disk, clock, relay, units) = tokio::join!(
        config::check(&view),
        beside(&view, "data.folder", folder::check, limit),
        beside(&view, "disk.type", disk::check, limit),
        clock::check(&view),
        relay::check(&view),
        units::check(&view),
    );
    let cluster = cluster::check(&view, configs.cluster_id.as_deref());
    [configs.findings, folder, disk, clock, relay, cluster, units].concat()
}

/// Looks at files on another thread, for a disk may hang.
async fn beside(
    view: &Arc<View>,
    check: &'static str,
    look: fn(&View) -> Vec<Finding>,
    limit: Duration,
) -> Vec<Finding> {
    let view = Arc::clone(view);
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(move || look(&view))).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) => vec![Finding::note(check, "the look at it ended early")],
        Err(_) => vec![Finding::problem(
            check,
            format!("the file system does not answer within {limit:?}"),
            "look at the disk, or the network file system: dmesg | tail",
        )],
    }
}

/// The object of `-o json`.
pub fn as_json(findings: &[Finding]) -> Value {
    let rows: Vec<Value> = findings
        .iter()
        .map(|Finding { check, level, message, remedy }| {
            json!({ "check": check, "level": level.as_str(), "message": message, "remedy": remedy })
        })
        .collect();
    let ok = findings.iter().all(|finding| finding.level != Level::Problem);
    json!({ "schema": SCHEMA, "ok": ok, "findings": rows })
}

fn as_text(findings: &[Finding], out: Out) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let (mut lines, mut group) = (Vec::new(), "");
    for finding in findings {
        let its = finding.check.split('.').next().unwrap_or_default();
        if its != group && !group.is_empty() {
            lines.push(String::new());
        }
        group = its;
        // Padded before it is coloured: the colour has no width.
        let level = format!("{:<7}", finding.level.as_str());
        let level = match finding.level {
            Level::Ok => out.green(&level),
            Level::Note => level,
            Level::Warning => out.bold(&level),
            Level::Problem => out.red(&level),
        };
        lines.push(format!("{level}  {:<width$}  {}", finding.check, finding.message));
        if let Some(remedy) = &finding.remedy {
            lines.push(format!("{:7}  {:<width$}  -> {remedy}", "", ""));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    lines.push(String::new());
    lines.push(format!("{problems} problem{}, {warnings} warning{}", plural(problems), plural(warnings)));
    lines.join("\n")
}
