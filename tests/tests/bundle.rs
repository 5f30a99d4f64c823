//! `bankctl debug bundle`: all of it is there, and no secret is.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use raftbank_tests::binaries::program;
use raftbank_tests::cluster::{Cluster, Plan};
use serde_json::Value;

const SALT: &str = "0plant3d-salt";
const ACCOUNT: &str = "mallory.secret";
const MEMO: &str = "f0r-what-it-was";
const AMOUNT: &str = "987654321";
const VALUE: &str = "0f-a-variable";

fn bankctl(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new(program("bankctl").unwrap())
        .arg("--socket")
        .arg(cluster.socket(0))
        .arg("--relay-socket")
        .arg(cluster.relay_socket())
        .args(["-o", "json", "--timeout", "20s"])
        .args(arguments)
        .env("RAFTBANKD_LOG__DIR", VALUE)
        .output()
        .unwrap()
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Unpacks a bundle and returns its files, by their path in it.
fn unpack(bundle: &Path, into: &Path) -> Vec<(String, String)> {
    fs::create_dir(into).unwrap();
    let output = Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(into).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let folder = fs::read_dir(into).unwrap().next().unwrap().unwrap().path();
    let name = |path: &Path| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
    files(&folder).iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Words that must not leave the machine.
fn secrets(cluster: &Cluster) -> Vec<String> {
    let key = fs::read_to_string(cluster.data(0).join("key")).unwrap();
    // PRIVATE+KEY+name+id+base64, whose alphabet has a plus sign, too.
    let key = key.trim().splitn(5, '+').nth(4).unwrap().to_owned();
    assert!(key.len() > 40, "the end of the key's line");
    [SALT, ACCOUNT, MEMO, AMOUNT, VALUE].into_iter().map(str::to_owned).chain([key]).collect()
}

fn assert_no_secret(parts: &[(String, String)], secrets: &[String]) {
    for (name, text) in parts {
        for secret in secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {name}:\n{text}");
        }
    }
}

#[tokio::test]
async fn a_bundle_has_all_its_parts_and_no_secret() {
    let plan = Plan { salt: SALT.to_owned(), ..Plan::new(3).unwrap() };
    let mut cluster = Cluster::start(plan).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !bankctl(&cluster, &["open", ACCOUNT, "--id", "o1"]).status.success() {
        assert!(Instant::now() < deadline, "no leader");
    }
    for arguments in [
        &["credit", ACCOUNT, AMOUNT][..],
        &["transfer", ACCOUNT, "a0", "1", "--memo", MEMO],
        &["checkpoint", "--min-height", "1"],
    ] {
        let output = bankctl(&cluster, arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("b.tar.gz");
    let out = bundle.to_str().unwrap();
    let output = bankctl(&cluster, &["debug", "bundle", "--out", out]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts = unpack(&bundle, &dir.path().join("up"));

    // What is told to be there is there, and what is missing has a reason in the manifest.
    let mut present: Vec<&str> = Vec::new();
    let manifest = &parts.iter().find(|(name, _)| name == "MANIFEST.txt").unwrap().1;
    for part in told["parts"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        assert!(name == "MANIFEST.txt" || manifest.contains(name), "{name}:\n{manifest}");
        match part["missing"].as_str() {
            None => present.push(name),
            Some(why) => assert!(!why.is_empty() && manifest.contains("missing: "), "{name}"),
        }
    }
    present.sort_unstable();
    let unpacked: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(unpacked, present);
    for name in [
        "versions.txt",
        "doctor.json",
        "node/status.json",
        "node/diagnosis.json",
        "node/checkpoint.txt",
        "relay/diagnosis.json",
        "config/node.toml",
        "config/relay.toml",
        "config/genesis.txt",
        "config/environment.txt",
        "data/files.txt",
        "system/kernel.txt",
        "system/mount.txt",
    ] {
        assert!(present.contains(&name), "{name} is missing: {told:#}");
    }
    let text = |wanted: &str| &parts.iter().find(|(name, _)| name == wanted).unwrap().1;
    assert!(text("config/environment.txt").contains("RAFTBANKD_LOG__DIR"));
    assert!(text("data/files.txt").contains("./sled/db"));
    let diagnosis: Value = serde_json::from_str(text("node/diagnosis.json")).unwrap();
    assert!(
        diagnosis["syncs"]["count"].as_u64().unwrap() > 0 && diagnosis["folder"]["total_bytes"].as_u64().unwrap() > 0
    );
    let secrets = secrets(&cluster);
    assert_no_secret(&parts, &secrets);

    // An existing file is never written over.
    let again = bankctl(&cluster, &["debug", "bundle", "--out", out]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");

    // A node that has found damage and does not run: its reason may name accounts.
    cluster.kill_node(0).unwrap();
    let reason = format!("the balance of {ACCOUNT} is {AMOUNT} in the state and 5 by the chain.\n");
    fs::write(cluster.data(0).join("corrupt"), reason).unwrap();
    let down = dir.path().join("down.tar.gz");
    let output = bankctl(&cluster, &["debug", "bundle", "--out", down.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let parts = unpack(&down, &dir.path().join("down"));
    assert!(parts.iter().any(|(name, text)| name == "doctor.json" && text.contains("data.marker")));
    assert_no_secret(&parts, &secrets);

    // A genesis file that cannot be parsed: no error quotes its line.
    let genesis = cluster.file("genesis.toml");
    let good = fs::read_to_string(&genesis).unwrap();
    let salted = good.lines().find(|line| line.starts_with("salt")).unwrap();
    let accounts = format!("\n[[accounts]]\nname = \"{ACCOUNT}\"\nbalance = 31337.5\n");
    for (name, bad) in
        [("salt", good.replace(salted, salted.trim_end_matches('"'))), ("balance", format!("{good}{accounts}"))]
    {
        assert_ne!(bad, good);
        fs::write(&genesis, bad).unwrap();
        let bundle = dir.path().join(format!("{name}.tar.gz"));
        let output = bankctl(&cluster, &["debug", "bundle", "--out", bundle.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let parts = unpack(&bundle, &dir.path().join(name));
        assert!(parts.iter().any(|(part, text)| part == "doctor.json" && text.contains("config.node")), "{parts:?}");
        assert_no_secret(&parts, &secrets);
        assert_no_secret(&parts, &["31337".to_owned()]);
        // Nor does the daemon's own error, which goes to the journal.
        let check = Command::new(program("raftbankd").unwrap())
            .args(["--config", cluster.config(0).to_str().unwrap(), "--check-config"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(2) && said.contains("line ") && said.contains(name), "{said}");
        assert_no_secret(&[("the error".to_owned(), said)], &secrets);
    }
}
