//! What goes into a bundle, part by part. Each has its own deadline and says why it cannot be had.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::client::Client;
use serde::Serialize;
use serde_json::{Value, json};
use toml::Table;

use super::sift;
use super::{PART_BYTES_MAX, Part};
use crate::doctor::{self, View};
use crate::local::command::{self, Ran};
use crate::local::{files, people};
use crate::output::hex;
use crate::verbs::reads;

/// The newest lines of each unit's journal.
const JOURNAL_LINES: &str = "2000";
/// What is asked of each entry; the fields that the daemons add may be accounts.
const FIELDS: &str = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID,_TRANSPORT";
/// What is asked of each unit.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainCode,ExecMainStatus,\
    ExecMainStartTimestamp,ExecMainExitTimestamp,NRestarts,StatusText,MemoryCurrent,MemoryPeak,TasksCurrent,LimitNOFILE,\
    FragmentPath,DropInPaths";
/// Most entries of the data folder that are listed, and how deep they may lie.
const ENTRIES_MAX: usize = 2_000;
const DEPTH_MAX: usize = 4;
/// Sections of the configurations, none of whose keys are secret.
const SECTIONS: [&str; 6] = ["node", "relay", "timers", "batch", "checkpoints", "log"];

/// Gathers everything.
pub async fn gather(view: View, limit: Duration) -> Vec<Part> {
    let view = Arc::new(view);
    let units =
        [view.place.unit.clone().unwrap_or_else(|| "raftbankd.service".into()), "raftbank-relayd.service".into()];
    let [node, relay] = &units;
    let (findings, asked, versions, files, node, relay) = tokio::join!(
        doctor::examine(Arc::clone(&view)),
        asked(&view, limit),
        versions(limit),
        beside(&view, limit),
        of_unit(node, limit),
        of_unit(relay, limit),
    );
    let mut parts = vec![versions, Part::new("doctor.json", pretty(&findings_without_accounts(&findings)))];
    parts.extend(asked);
    parts.extend(files);
    parts.extend(node);
    parts.extend(relay);
    parts
}

/// A mark's reason may name accounts, and what is wrong with a genesis file may quote it.
fn findings_without_accounts(findings: &[doctor::Finding]) -> Value {
    let mut findings = findings.to_vec();
    for finding in &mut findings {
        if finding.check == "data.marker" && sift::tells(&finding.message) {
            finding.message =
                "an earlier run has found damage; its reason may name accounts and was left out".to_owned();
        } else if finding.check == "config.node" && finding.message.contains("genesis file") {
            finding.message = "the genesis file cannot be used; why may quote it and was left out".to_owned();
        }
    }
    doctor::as_json(&findings)
}

fn pretty(value: &Value) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// What the daemons say of themselves.
async fn asked(view: &View, limit: Duration) -> Vec<Part> {
    let socket = &view.place.socket;
    let (status, checkpoint) = tokio::join!(ask(socket, ApiRequest::Status, limit), newest_head(socket, limit));
    let status = status.and_then(|reply| match reply {
        ApiReply::Status(status) => pretty(&reads::status_json(&status)),
        _ => Err("another answer came".to_owned()),
    });
    let diagnosis = view.diagnosis.as_ref().map_err(Clone::clone).and_then(|diagnosed| {
        shown(&diagnosed.of, |object| object["cluster_id"] = json!(hex(&diagnosed.of.cluster_id)))
    });
    let relay = view.relay_diagnosis.as_ref().map_err(Clone::clone).and_then(|relay| {
        shown(relay, |object| {
            object["status"]["cluster_id"] = json!(relay.status.cluster_id.map(|cluster_id| hex(&cluster_id)));
        })
    });
    vec![
        Part::new("node/status.json", status),
        Part::new("node/diagnosis.json", diagnosis),
        Part::new("node/checkpoint.txt", checkpoint),
        Part::new("relay/diagnosis.json", relay),
    ]
}

fn shown(value: &impl Serialize, change: impl FnOnce(&mut Value)) -> Result<String, String> {
    let mut object = serde_json::to_value(value).map_err(|error| error.to_string())?;
    change(&mut object);
    pretty(&object)
}

/// The head of the log tree that a majority has signed: hashes and signatures.
async fn newest_head(socket: &Path, limit: Duration) -> Result<String, String> {
    match ask(socket, ApiRequest::Checkpoint { size_min: 0, timeout_ms: 500 }, limit).await? {
        ApiReply::Checkpoint { note } => Ok(note),
        _ => Err("another answer came".to_owned()),
    }
}

async fn ask(socket: &Path, request: ApiRequest, limit: Duration) -> Result<ApiReply, String> {
    let asked = async {
        let client = Client::connect(socket, limit).await.map_err(|error| error.to_string())?;
        match client.call(request, limit).await {
            Ok(ApiReply::Failed { message, .. }) => Err(message),
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn versions(limit: Duration) -> Part {
    let mut text = format!("bankctl {}\n", env!("CARGO_PKG_VERSION"));
    for program in ["raftbankd", "raftbank-relayd"] {
        let line = match command::own(program) {
            None => format!("{program}: neither beside bankctl nor in the path"),
            Some(path) => match command::run(&path, ["--version"], &[], limit / 2, 1_024).await {
                Ok(Ran { stdout, .. }) => format!("{} ({})", stdout.trim(), path.display()),
                Err(error) => error.to_string(),
            },
        };
        let _ = writeln!(text, "{line}");
    }
    Part::new("versions.txt", Ok(text))
}

/// What is read from files, on another thread, for a disk may hang.
async fn beside(view: &Arc<View>, limit: Duration) -> Vec<Part> {
    let looked = Arc::clone(view);
    let look = tokio::task::spawn_blocking(move || of_files(&looked));
    match tokio::time::timeout(limit, look).await {
        Ok(Ok(parts)) => parts,
        _ => vec![Part::new("config", Err(format!("the file system does not answer within {limit:?}")))],
    }
}

fn of_files(view: &View) -> Vec<Part> {
    let config = view.place.config.as_deref().ok_or_else(|| "which one it is is not known".to_owned());
    let genesis = view.node.as_ref().map_err(ToString::to_string);
    let genesis = genesis.and_then(|node| node.genesis.as_deref().ok_or_else(|| "node.genesis is not set".to_owned()));
    let read = |path: &Path| files::table(path).map_err(|error| error.to_string());
    let data = || view.data_dir().ok_or_else(|| "node.data_dir is not known".to_owned());
    let text = |path: &str| files::text(Path::new(path)).map_err(|error| error.to_string());
    vec![
        Part::new("config/node.toml", config.and_then(read).map(|table| configuration(&table))),
        Part::new("config/relay.toml", read(&view.relay_config).map(|table| configuration(&table))),
        Part::new("config/genesis.txt", genesis.and_then(read).map(|table| public_genesis(&table))),
        Part::new("config/environment.txt", Ok(environment(view))),
        Part::new("data/files.txt", data().and_then(listing)),
        Part::new("system/kernel.txt", text("/proc/version")),
        Part::new("system/os-release.txt", text("/etc/os-release")),
        Part::new("system/mount.txt", data().and_then(mount)),
    ]
}

/// A configuration without comments, and without what is not known to be free of secrets.
fn configuration(table: &Table) -> String {
    let mut shown = Table::new();
    for (section, value) in table {
        let known = SECTIONS.contains(&section.as_str()) && value.is_table();
        let value = if known { value.clone() } else { toml::Value::from("(an unknown section; left out)") };
        shown.insert(section.clone(), value);
    }
    toml::to_string(&shown).unwrap_or_else(|error| format!("# {error}\n"))
}

/// What is no secret of a genesis file.
fn public_genesis(table: &Table) -> String {
    let count = |key: &str| table.get(key).and_then(toml::Value::as_array).map_or(0, Vec::len);
    let mut text = String::new();
    for key in ["name", "members", "difficulty", "time_ms"] {
        let value = table.get(key).map_or("(missing)".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{key} = {value}");
    }
    let salt = if table.contains_key("salt") { "(left out)" } else { "(missing)" };
    let _ = writeln!(text, "name: {}", if table.contains_key("name") { "(left out)" } else { "(missing)" });
    let _ = writeln!(text, "salt: {salt}\naccounts: {}\ntransfers: {}", count("accounts"), count("transfers"));
    text
}

/// Names of variables that take the place of values of the configuration.
fn environment(view: &View) -> String {
    let mut text = "Of the unit, names only:\n".to_owned();
    for (name, _) in &view.place.environment {
        let _ = writeln!(text, "  {name}");
    }
    text.push_str("Of this bankctl, names only:\n");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["RAFTBANK", "BANKCTL"].iter().any(|prefix| name.starts_with(prefix)) {
            let _ = writeln!(text, "  {name}");
        }
    }
    text
}

/// Names, sizes, modes and owners of what is in a folder; no contents.
fn listing(dir: &Path) -> Result<String, String> {
    let (mut text, mut left) = (String::new(), ENTRIES_MAX);
    list(dir, Path::new("."), DEPTH_MAX, &mut left, &mut text)
        .map_err(|error| format!("{}: {error}", dir.display()))?;
    if left == 0 {
        let _ = writeln!(text, "(more than {ENTRIES_MAX} entries; the rest is left out)");
    }
    Ok(text)
}

fn list(dir: &Path, shown: &Path, depth: usize, left: &mut usize, text: &mut String) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.take(ENTRIES_MAX).collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        let Ok(meta) = entry.metadata() else { continue };
        let path = shown.join(entry.file_name());
        let (mode, owner, group) = (meta.mode() & 0o7777, people::user(meta.uid()), people::group(meta.gid()));
        let kind = if meta.is_dir() { "d" } else { "-" };
        let _ = writeln!(text, "{kind} {mode:04o} {owner}:{group} {:>12} {}", meta.len(), path.display());
        if meta.is_dir() && depth > 0 {
            // What may not be seen is told by its mode.
            let _ = list(&entry.path(), &path, depth - 1, left, text);
        }
    }
    Ok(())
}

/// Free space of the data folder's file system, and its mount.
fn mount(dir: &Path) -> Result<String, String> {
    let there = dir.ancestors().find(|path| path.exists()).ok_or("no part of its path is there")?;
    let system = rustix::fs::statvfs(there).map_err(|error| error.to_string())?;
    let mut text = format!(
        "{}: {} of {} bytes free, {} of {} inodes free\n",
        there.display(),
        system.f_bavail.saturating_mul(system.f_frsize),
        system.f_blocks.saturating_mul(system.f_frsize),
        system.f_favail,
        system.f_files
    );
    let there = there.canonicalize().map_err(|error| error.to_string())?;
    let table = files::text(Path::new("/proc/self/mountinfo")).map_err(|error| error.to_string())?;
    // Only the mounts on the way to it: others are nobody's business.
    for line in table.lines() {
        if line.split(' ').nth(4).is_some_and(|point| there.starts_with(point)) {
            let _ = writeln!(text, "{line}");
        }
    }
    Ok(text)
}

/// A unit's state and the end of its journal.
async fn of_unit(unit: &str, limit: Duration) -> [Part; 2] {
    let name = |kind: &str| format!("{kind}/{unit}.txt");
    let (state, journal) = tokio::join!(
        systemd("systemctl", ["show", "--no-pager", "--property", PROPERTIES, "--", unit], limit),
        systemd("journalctl", journal_arguments(unit), limit),
    );
    // The status line is a log line of sorts.
    let state =
        state.map(|text| text.lines().filter(|line| !sift::tells(line)).map(|line| format!("{line}\n")).collect());
    // Newest first, so that what is cut is old.
    let journal = journal.map(|text| sift::journal(&text));
    [Part::new(name("units"), state), Part::new(name("journal"), journal)]
}

/// The newest lines of the levels that may be told: a node that logs at `debug` writes thousands of others between two.
fn journal_arguments(unit: &str) -> [&str; 13] {
    let (levels, lines, fields) = ("info", JOURNAL_LINES, FIELDS);
    ["-u", unit, "-p", levels, "-n", lines, "-r", "-q", "--no-pager", "-o", "json", "--output-fields", fields]
}

async fn systemd<const N: usize>(program: &str, arguments: [&str; N], limit: Duration) -> Result<String, String> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err("systemd does not run here".to_owned());
    }
    let path = command::in_path(program).ok_or_else(|| format!("{program} is not there"))?;
    match command::run(&path, arguments, &[], limit, PART_BYTES_MAX).await {
        Ok(Ran { code: Some(0), stdout, .. }) => Ok(stdout),
        Ok(Ran { stderr, .. }) => Err(format!("{program}: {}", stderr.trim())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{configuration, journal_arguments, listing, public_genesis};

    #[test]
    fn lines_of_debug_do_not_take_the_place_of_others() {
        let arguments = journal_arguments("raftbankd.service");
        assert!(arguments.windows(2).any(|pair| pair == ["-p", "info"]), "{arguments:?}");
    }

    #[test]
    fn configurations_lose_comments_and_what_is_unknown() {
        let text = "# c0mment\n[node]\nid = \"n1\"\n[vault]\ntoken = \"t0ken\"\n";
        let shown = configuration(&text.parse().expect("toml"));
        assert!(shown.contains("id = \"n1\"") && shown.contains("vault"), "{shown}");
        assert!(!shown.contains("t0ken") && !shown.contains("c0mment"), "{shown}");
    }

    #[test]
    fn a_genesis_file_keeps_its_secrets() {
        let text = "name = \"b4nk\"\nsalt = \"s4lt\"\nmembers = [\"n1\"]\n[[accounts]]\nname = \"alice\"\nbalance = 77\n\
                    [[transfers]]\nfrom = \"alice\"\nto = \"bob\"\namount = 13\nmemo = \"m3mo\"\n";
        let shown = public_genesis(&text.parse().expect("toml"));
        assert!(shown.contains("name = \"b4nk\"\nmembers = [\"n1\"]") && shown.contains("accounts: 1"), "{shown}");
        for secret in ["s4lt", "alice", "77", "13", "m3mo"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }

    #[test]
    fn a_listing_has_no_contents() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("sled")).expect("made");
        std::fs::write(dir.path().join("sled/db"), "s3cret").expect("written");
        let text = listing(dir.path()).expect("listed");
        assert!(text.contains("./sled/db") && text.contains(" 6 ") && !text.contains("s3cret"), "{text}");
        assert!(listing(&dir.path().join("missing")).is_err());
    }
}
