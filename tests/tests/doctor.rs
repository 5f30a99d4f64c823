//! `bankctl doctor` on a running bank: content when all is well, and each planted defect is found with a remedy.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use raftbank_tests::binaries::program;
use raftbank_tests::cluster::{Cluster, Plan};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it for a node: the exit code and the object.
fn doctor(cluster: &Cluster, node: usize) -> (i32, Value) {
    let (socket, relay) = (cluster.socket(node), cluster.relay_socket());
    run(&["--socket", socket.to_str().unwrap(), "--relay-socket", relay.to_str().unwrap(), "doctor"])
}

fn run(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(program("bankctl").unwrap())
        .args(["-o", "json", "--timeout", "20s"])
        .args(arguments)
        .output()
        .unwrap();
    let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), object)
}

/// The findings of one check that are at this level; each but `ok` and `note` has a remedy.
fn found(object: &Value, check: &str, level: &str) -> Vec<String> {
    let findings = object["findings"].as_array().unwrap();
    for finding in findings {
        let bad = ["warning", "problem"].contains(&finding["level"].as_str().unwrap());
        assert!(!bad || finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
    }
    let wanted = findings.iter().filter(|finding| finding["check"] == check && finding["level"] == level);
    wanted.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}

fn assert_found(object: &Value, check: &str, level: &str) {
    assert!(!found(object, check, level).is_empty(), "no {level} of {check} in {object:#}");
}

/// Looks until `holds`: members meet, links are noticed to be gone.
fn eventually(cluster: &Cluster, node: usize, holds: impl Fn(i32, &Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, object) = doctor(cluster, node);
        if holds(code, &object) {
            return object;
        }
        assert!(Instant::now() < deadline, "exit {code}: {object:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

async fn healthy() -> Cluster {
    let cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    (0..3).for_each(|node| chmod(&cluster.data(node), 0o750));
    let versions = |object: &Value| found(object, "cluster.versions", "ok").concat();
    eventually(&cluster, 0, |code, object| code == 0 && versions(object).starts_with("n1, n2, n3: raftbankd/"));
    cluster
}

#[tokio::test]
async fn a_bank_in_order_has_no_problem_and_defects_of_files_are_found() {
    let cluster = healthy().await;
    let (code, object) = doctor(&cluster, 0);
    assert_eq!((code, &object["ok"], &object["schema"]), (0, &Value::from(true), &Value::from(1)), "{object:#}");
    // What the machine under the test is like is not the bank's doing.
    let own = ["config.", "data.", "socket.", "relay.", "cluster."];
    for finding in object["findings"].as_array().unwrap() {
        let check = finding["check"].as_str().unwrap();
        assert!(finding["level"] == "ok" || !own.iter().any(|group| check.starts_with(group)), "{finding}");
    }
    for check in [
        "config.node",
        "config.relay",
        "config.agree",
        "data.key",
        "data.marker",
        "disk.type",
        "disk.space",
        "relay.reachable",
        "relay.link",
        "cluster.majority",
        "cluster.leader",
        "cluster.genesis",
    ] {
        assert!(object["findings"].as_array().unwrap().iter().any(|finding| finding["check"] == check), "{check}");
    }

    let data = cluster.data(0);
    chmod(&data, 0o777);
    chmod(&data.join("key"), 0o644);
    chmod(&cluster.socket(0), 0o666);
    fs::write(data.join("corrupt"), "block 7 is wrong.\n").unwrap();
    let (code, object) = doctor(&cluster, 0);
    assert_eq!(code, 1);
    for check in ["data.mode", "data.key", "data.marker", "socket.node"] {
        assert_found(&object, check, "problem");
    }
    chmod(&data, 0o750);
    chmod(&data.join("key"), 0o600);
    chmod(&cluster.socket(0), 0o660);
    fs::remove_file(data.join("corrupt")).unwrap();

    let genesis = cluster.file("genesis.toml");
    let text = fs::read_to_string(&genesis).unwrap();
    fs::write(&genesis, text.replace("salt = \"", "salt = \"replace me, ")).unwrap();
    let (code, object) = doctor(&cluster, 0);
    assert_eq!(code, 1);
    assert_found(&object, "config.salt", "problem");
    assert!(found(&object, "cluster.genesis", "problem")[0].contains("genesis file gives"), "{object:#}");
    fs::write(&genesis, "members = [\n").unwrap();
    assert_found(&doctor(&cluster, 0).1, "config.node", "problem");
    fs::write(&genesis, text).unwrap();
    assert_eq!(doctor(&cluster, 0).0, 0);
}

#[tokio::test]
async fn a_relay_that_is_down_and_members_that_are_away_are_found() {
    let mut cluster = healthy().await;
    cluster.kill_node(2).unwrap();
    let object = eventually(&cluster, 0, |_, object| !found(object, "cluster.majority", "warning").is_empty());
    assert!(found(&object, "cluster.majority", "warning")[0].contains("n3 (heard"), "{object:#}");
    assert_eq!(object["ok"], true, "{object:#}");

    cluster.kill_relay().unwrap();
    let object = eventually(&cluster, 0, |_, object| !found(object, "relay.link", "problem").is_empty());
    assert_found(&object, "relay.reachable", "problem");
    eventually(&cluster, 0, |code, object| code == 1 && !found(object, "cluster.majority", "problem").is_empty());

    cluster.kill_node(0).unwrap();
    let (code, object) = doctor(&cluster, 0);
    assert_eq!(code, 1);
    assert!(found(&object, "cluster.node", "problem")[0].contains("does not run"), "{object:#}");
}

#[tokio::test]
async fn a_member_of_another_bank_is_seen_from_both_sides() {
    let mut cluster = healthy().await;
    cluster.kill_node(2).unwrap();
    fs::remove_dir_all(cluster.data(2)).unwrap();
    let other = fs::read_to_string(cluster.file("genesis.toml")).unwrap().replace("a test", "another");
    fs::write(cluster.file("other.toml"), other).unwrap();
    let config = fs::read_to_string(cluster.config(2)).unwrap().replace("genesis.toml", "other.toml");
    fs::write(cluster.config(2), config).unwrap();
    let init =
        Command::new(program("raftbankd").unwrap()).arg("--config").arg(cluster.config(2)).arg("--init").output();
    assert!(init.as_ref().unwrap().status.success(), "{init:?}");
    cluster.start_node(2).unwrap();

    let object = eventually(&cluster, 0, |_, object| !found(object, "cluster.genesis", "problem").is_empty());
    assert!(found(&object, "cluster.genesis", "problem")[0].contains("does not let n3 in"), "{object:#}");
    let object = eventually(&cluster, 2, |_, object| !found(object, "relay.link", "problem").is_empty());
    assert!(found(&object, "relay.link", "problem")[0].contains("refuses this node"), "{object:#}");
}

#[test]
fn a_full_disk_in_memory_is_found_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(&small).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: only root can mount a tmpfs");
        return;
    }
    let config = dir.path().join("n1.toml");
    let data = small.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(
        &config,
        format!(
            "[node]\nid = \"n1\"\ndata_dir = {data:?}\ngenesis = \"g\"\nsocket = {:?}\n",
            dir.path().join("n1.sock")
        ),
    )
    .unwrap();
    let (code, object) = run(&["doctor", "--config", config.to_str().unwrap()]);
    let unmounted = Command::new("umount").arg(&small).output().unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    assert_eq!(code, 1);
    assert_found(&object, "disk.type", "warning");
    assert_found(&object, "disk.space", "problem");
}

#[test]
fn where_nothing_is_set_up_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("no.sock");
    let (code, object) = run(&["--socket", socket.to_str().unwrap(), "doctor"]);
    assert_eq!(code, 1);
    assert_found(&object, "cluster.node", "problem");
    assert_eq!(run(&["doctor", "--bogus"]).0, 2);
    let (code, object) = run(&["--socket", socket.to_str().unwrap(), "status"]);
    assert_eq!((code, object["error"]["code"].as_str()), (4, Some("no_socket")));
    assert!(object["next"].as_array().is_some_and(|next| next.len() > 1), "{object}");
}

#[test]
fn a_pipe_in_the_place_of_a_configuration_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("n1.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = Command::new(program("bankctl").unwrap())
        .args(["--timeout", "20s", "doctor", "--config"])
        .arg(&pipe)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it waits for a writer");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
