//! `bankctl dev up` as a user runs it: the folder, `cluster.json`, restarts, `dev start`, resuming, stopping.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use raftbank_tests::binaries::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `dev up`; ended when dropped.
struct DevUp {
    child: Child,
    dir: PathBuf,
}

impl DevUp {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program("bankctl").unwrap())
            .args(["dev", "up", "--dir"])
            .arg(dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, dir: dir.to_owned() }
    }

    fn cluster(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.dir.join("cluster.json")).unwrap()).unwrap()
    }

    fn pid(&self, node: usize) -> Option<u64> {
        self.cluster()["nodes"][node]["pid"].as_u64()
    }

    fn bankctl(&self, node: &str, arguments: &[&str]) -> Output {
        Command::new(program("bankctl").unwrap())
            .arg("--socket")
            .arg(self.dir.join(format!("{node}.sock")))
            .arg("--relay-socket")
            .arg(self.dir.join("relay.sock"))
            .args(["-o", "json", "--timeout", "20s"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, node: &str, arguments: &[&str]) -> Value {
        let output = self.bankctl(node, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks it to stop, as Ctrl-C or systemd does.
    fn stop(mut self) {
        signal(u64::from(self.child.id()), Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for DevUp {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            signal(u64::from(self.child.id()), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn signal(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn alive(pid: u64) -> bool {
    // A zombie that nobody has waited for yet is dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_comes_up_restarts_what_dies_stops_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let dev = DevUp::start(dir.path(), &[]);
    let cluster = dev.cluster();
    assert!(cluster["relay"]["pid"].as_u64().is_some_and(alive));
    for (node, id) in ["n1", "n2", "n3"].iter().enumerate() {
        let entry = &cluster["nodes"][node];
        assert_eq!(entry["id"], **id);
        assert!(entry["pid"].as_u64().is_some_and(alive));
        assert!(Path::new(entry["socket"].as_str().unwrap()).exists());
        assert!(Path::new(entry["data_dir"].as_str().unwrap()).is_dir());
    }
    dev.json("n1", &["open", "alice"]);
    dev.json("n2", &["credit", "alice", "7"]);

    // A second one on the same folder is refused and harms nothing.
    let second =
        Command::new(program("bankctl").unwrap()).args(["dev", "up", "--dir"]).arg(dir.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(2), "{second:?}");

    let killed = dev.pid(0).unwrap();
    signal(killed, Signal::KILL);
    eventually("a killed node is restarted", || dev.pid(0).is_some_and(|pid| pid != killed && alive(pid)));
    let start = dev.bankctl("n1", &["dev", "start", "n1", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(start.status.code(), Some(2), "a running node cannot be started: {start:?}");
    eventually("it serves", || dev.bankctl("n1", &["balance", "alice"]).status.success());

    let pids: Vec<u64> =
        (0..3).filter_map(|node| dev.pid(node)).chain(dev.cluster()["relay"]["pid"].as_u64()).collect();
    dev.stop();
    assert!(pids.into_iter().all(|pid| !alive(pid)), "everything is stopped");

    let again = DevUp::start(dir.path(), &[]);
    assert_eq!(again.json("n3", &["balance", "alice"])["balance"], "7");
    let other = Command::new(program("bankctl").unwrap())
        .args(["dev", "up", "-n", "5", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(2), "another size: {other:?}");
    again.stop();
}

#[test]
fn without_restart_a_node_stays_down_until_it_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let dev = DevUp::start(dir.path(), &["--no-restart", "-n", "3"]);
    dev.json("n1", &["open", "alice"]);
    signal(dev.pid(2).unwrap(), Signal::KILL);
    eventually("its death is told", || dev.pid(2).is_none());
    dev.json("n1", &["credit", "alice", "5"]);
    let output = dev.bankctl("n3", &["balance", "alice"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let start = dev.bankctl("n1", &["dev", "start", "n3", "--dir", dir.path().to_str().unwrap()]);
    assert!(start.status.success(), "{start:?}");
    eventually("it has caught up", || {
        let output = dev.bankctl("n3", &["balance", "alice", "--local"]);
        String::from_utf8_lossy(&output.stdout).contains("\"balance\":\"5\"")
    });
    assert!(dev.pid(2).is_some_and(alive));
    let unknown = dev.bankctl("n1", &["dev", "start", "n9", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

#[test]
fn what_a_killed_dev_up_leaves_behind_is_stopped_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = DevUp::start(dir.path(), &["-n", "1"]);
    dev.json("n1", &["open", "alice"]);
    let orphan = dev.pid(0).unwrap();
    signal(u64::from(dev.child.id()), Signal::KILL);
    dev.child.wait().unwrap();
    assert!(alive(orphan));
    let again = DevUp::start(dir.path(), &[]);
    assert!(!alive(orphan));
    assert_eq!(again.json("n1", &["balance", "alice"])["balance"], "0");
    // The books of a stopped node are verified without changing a byte.
    again.stop();
    let output = Command::new(program("bankctl").unwrap())
        .args(["-o", "json", "verify", "--data-dir"])
        .arg(dir.path().join("n1"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((verified["ok"].as_bool(), verified["height"].as_u64()), (Some(true), Some(1)), "{verified}");
}

#[test]
fn the_tour_ends_well() {
    let output = Command::new(program("bankctl").unwrap()).arg("demo").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("every step held"), "{output:?}");
}
