//! What the bank gives away, on a real cluster: receipts and proofs that hold when every server is gone, in two verifiers
//! that share no code; the past; an export and what is made of it; and a whole cluster that is put back to an older disk.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use raftbank_tests::binaries::{program, workspace};
use raftbank_tests::cluster::{Cluster, Plan};
use serde_json::Value;
use tempfile::TempDir;

/// A cluster, and a folder for files.
struct Bank {
    cluster: Cluster,
    files: TempDir,
}

impl Bank {
    async fn new(nodes: usize) -> Self {
        let mut cluster = Cluster::start(Plan::new(nodes).unwrap()).await.unwrap();
        cluster.leader().await.unwrap();
        Self { cluster, files: TempDir::new().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("bankctl").unwrap());
        command.current_dir(self.files.path()).arg("--socket").arg(self.cluster.socket(0));
        if !arguments.contains(&"--timeout") {
            command.args(["--timeout", "10s"]);
        }
        command.args(arguments).output().unwrap()
    }

    /// What a command prints that must succeed.
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}\n{}", self.cluster.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.must(&[&["-o", "json"], arguments].concat())).unwrap()
    }

    /// Keeps what a command prints.
    fn keep(&self, name: &str, arguments: &[&str]) {
        fs::write(self.file(name), self.must(arguments)).unwrap();
    }

    /// A command that must find something wrong, and say it in words.
    fn finds(&self, arguments: &[&str], word: &str) {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {output:?}");
        assert!(told.contains(word), "{arguments:?} says {told:?}, which has no {word:?}");
    }

    async fn stop(&mut self) {
        for node in 0..self.cluster.size() {
            assert_eq!(self.cluster.stop_node(node).await.unwrap().code(), Some(0));
        }
    }

    async fn start(&mut self) {
        for node in 0..self.cluster.size() {
            self.cluster.start_node(node).unwrap();
        }
        self.cluster.leader().await.unwrap();
    }
}

/// The Python verifier; `None`, with a printed reason, where there is no Python.
fn python(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let verifier = workspace().join("docs/verify.py");
    match Command::new("python3").arg(verifier).args(arguments).current_dir(folder).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: the verifier in Python ({error})");
            None
        }
    }
}

/// Both verifiers say the same of a file.
fn both(bank: &Bank, ours: &[&str], theirs: &[&str], code: i32) {
    let output = bank.run(ours);
    assert_eq!(output.status.code(), Some(code), "{ours:?}: {output:?}");
    if let Some(output) = python(bank.files.path(), theirs) {
        assert_eq!(output.status.code(), Some(code), "verify.py {theirs:?}: {output:?}");
    }
}

#[tokio::test]
async fn receipts_hold_when_every_server_is_gone() {
    let mut bank = Bank::new(3).await;
    bank.must(&["transfer", "a0", "a1", "5", "--id", "paid", "--memo", "Mieze kostet 5 €"]);
    let refused = bank.run(&["transfer", "a0", "nobody", "5", "--id", "refused"]);
    assert_eq!(refused.status.code(), Some(3));
    bank.must(&["put", "long", &"x".repeat(60_000), "--id", "long"]);
    bank.keep("keys.txt", &["keys"]);
    for id in ["paid", "refused"] {
        bank.keep(&format!("{id}.txt"), &["receipt", id]);
    }
    bank.keep("long.txt", &["receipt", "long", "--request-out", "long.json"]);
    bank.keep("a1.txt", &["balance", "a1", "--proof"]);
    bank.keep("then.txt", &["balance", "a1", "--at", "0", "--proof"]);
    bank.keep("nobody.txt", &["balance", "nobody", "--proof"]);
    bank.keep("head.txt", &["checkpoint"]);
    bank.stop().await;
    bank.cluster.kill_relay().unwrap();

    for name in ["paid.txt", "refused.txt"] {
        assert!(fs::metadata(bank.file(name)).unwrap().len() <= 4_096);
        both(&bank, &["verify-receipt", name, "--keys", "keys.txt"], &["receipt", name, "--keys", "keys.txt"], 0);
    }
    assert!(fs::metadata(bank.file("long.txt")).unwrap().len() <= 4_096);
    let (ours, theirs) =
        (["verify-receipt", "long.txt", "--keys", "keys.txt"], ["receipt", "long.txt", "--keys", "keys.txt"]);
    both(&bank, &ours, &theirs, 2);
    let apart = ["--request", "long.json"];
    both(&bank, &[&ours[..], &apart].concat(), &[&theirs[..], &apart].concat(), 0);
    for name in ["a1.txt", "then.txt", "nobody.txt"] {
        both(&bank, &["verify-receipt", name, "--keys", "keys.txt"], &["balance", name, "--keys", "keys.txt"], 0);
    }
    both(
        &bank,
        &["verify-receipt", "head.txt", "--keys", "keys.txt"],
        &["checkpoint", "head.txt", "--keys", "keys.txt"],
        0,
    );

    // Any altered byte is found; every bit of such files is flipped in the tests of the vectors.
    let good = fs::read(bank.file("paid.txt")).unwrap();
    for at in (0..good.len()).step_by(good.len() / 25) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(bank.file("bad.txt"), &bad).unwrap();
        both(
            &bank,
            &["verify-receipt", "bad.txt", "--keys", "keys.txt"],
            &["receipt", "bad.txt", "--keys", "keys.txt"],
            6,
        );
    }
}

#[tokio::test]
async fn the_past_adds_up() {
    let mut bank = Bank::new(3).await;
    let mut expected = vec![1_000_000_i64];
    for (number, amount) in [5_i64, 7, 11, 2, 9].into_iter().enumerate() {
        let id = format!("pay-{number}");
        bank.must(&["transfer", "a0", "a1", &amount.to_string(), "--id", &id]);
        expected.push(expected.last().unwrap() - amount);
    }
    bank.run(&["transfer", "a0", "a1", "99999999", "--id", "too-much"]);
    let head = bank.json(&["status"])["height"].as_u64().unwrap();
    assert_eq!(head, 6);
    for (height, balance) in expected.iter().enumerate() {
        let told = bank.json(&["balance", "a0", "--at", &height.to_string()]);
        assert_eq!(
            (told["balance"].as_str(), told["height"].as_u64()),
            (Some(&*balance.to_string()), Some(height as u64))
        );
    }
    assert_eq!(bank.json(&["show", "pay-3"])["height"].as_u64(), Some(4));
    let history = bank.must(&["-o", "jsonl", "history", "a0"]);
    let ids: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| line["id"].as_str().map(str::to_owned))
        .collect();
    let wanted = ["genesis:1", "genesis:5", "pay-0", "pay-1", "pay-2", "pay-3", "pay-4", "too-much"];
    assert_eq!(ids, wanted, "{history}");
    let statement = bank.json(&["statement", "a0", "--from", "2", "--to", "4"]);
    let sum = |field: &str| statement[field].as_str().map(|text| text.parse::<i64>().unwrap());
    assert_eq!((sum("opening"), sum("closing")), (Some(expected[1]), Some(expected[4])), "{statement}");

    // The chain itself, alone, in both verifiers, and made into a node again.
    bank.keep("keys.txt", &["keys"]);
    bank.keep("head.txt", &["checkpoint", "--min-height", "6"]);
    bank.keep("chain.jsonl", &["export"]);
    let with_head = ["--checkpoint", "head.txt", "--keys", "keys.txt"];
    let (ours, theirs) = (["verify", "--export", "chain.jsonl"], ["export", "chain.jsonl"]);
    both(&bank, &[&ours[..], &with_head].concat(), &[&theirs[..], &with_head].concat(), 0);
    let text = fs::read_to_string(bank.file("chain.jsonl")).unwrap();
    fs::write(bank.file("cut.jsonl"), &text[..=text.trim_end().rfind('\n').unwrap()]).unwrap();
    let (ours, theirs) = (["verify", "--export", "cut.jsonl"], ["export", "cut.jsonl"]);
    both(&bank, &ours, &theirs, 0);
    both(&bank, &[&ours[..], &with_head].concat(), &[&theirs[..], &with_head].concat(), 6);
    bank.stop().await;
}

#[tokio::test]
async fn an_imported_bank_of_one_has_the_same_head_and_goes_on() {
    let mut bank = Bank::new(1).await;
    for number in 0..5 {
        bank.must(&["transfer", "a0", "a1", "3", "--id", &format!("pay-{number}")]);
    }
    bank.keep("chain.jsonl", &["export"]);
    let head = bank.json(&["status"])["head"].clone();
    bank.stop().await;
    let data = bank.cluster.data(0);
    fs::rename(&data, bank.file("old")).unwrap();
    let (export, config) = (bank.file("chain.jsonl"), bank.cluster.config(0));
    bank.must(&["import", export.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    bank.start().await;
    let status = bank.json(&["status"]);
    assert_eq!((&status["head"], status["height"].as_u64()), (&head, Some(5)));
    bank.must(&["transfer", "a0", "a1", "3", "--id", "pay-5"]);
    assert_eq!(bank.json(&["transfer", "a0", "a1", "3", "--id", "pay-2"])["duplicate"], true);
    assert_eq!(bank.json(&["verify"])["ok"], true);
    bank.stop().await;
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test]
async fn a_bank_that_is_put_back_to_an_older_disk_is_caught() {
    let mut bank = Bank::new(3).await;
    let pay = |bank: &Bank, name: &str, count: u32| {
        for number in 0..count {
            bank.must(&["transfer", "a0", "a1", "1", "--id", &format!("{name}-{number}")]);
        }
    };
    pay(&bank, "first", 3);
    bank.keep("keys.txt", &["keys"]);
    bank.stop().await;
    // The whole folders, with their marks and keys: nothing in them can tell.
    let images: Vec<PathBuf> = (0..3).map(|node| bank.file(&format!("image-{node}"))).collect();
    for (node, image) in images.iter().enumerate() {
        copy(&bank.cluster.data(node), image);
    }
    bank.start().await;
    pay(&bank, "lost", 4);
    bank.keep("monday.txt", &["checkpoint", "--min-height", "7"]);
    let witness = ["--timeout", "2s", "witness", "--state", "witness.state", "--keys", "keys.txt"];
    let cosigned = bank.must(&witness);
    assert_eq!(cosigned.lines().filter(|line| line.starts_with('\u{2014}')).count(), 3, "{cosigned}");
    let key = bank.must(&["witness", "--state", "witness.state", "--print-key"]);
    fs::write(bank.file("both.txt"), fs::read_to_string(bank.file("keys.txt")).unwrap() + &key).unwrap();
    fs::write(bank.file("cosigned.txt"), &cosigned).unwrap();
    both(
        &bank,
        &["verify-receipt", "cosigned.txt", "--keys", "both.txt"],
        &["checkpoint", "cosigned.txt", "--keys", "both.txt"],
        0,
    );
    both(
        &bank,
        &["verify-receipt", "monday.txt", "--keys", "both.txt"],
        &["checkpoint", "monday.txt", "--keys", "both.txt"],
        6,
    );
    // A proof that leads to a cosigned head counts for those who trust that witness only.
    bank.keep("first.txt", &["receipt", "first-1", "--checkpoint", "cosigned.txt"]);
    bank.keep("a1.txt", &["balance", "a1", "--at", "2", "--proof", "--checkpoint", "cosigned.txt"]);
    for (kind, name) in [("receipt", "first.txt"), ("balance", "a1.txt")] {
        both(&bank, &["verify-receipt", name, "--keys", "both.txt"], &[kind, name, "--keys", "both.txt"], 0);
    }
    bank.must(&["verify", "--checkpoint", "monday.txt", "--keys", "keys.txt"]);

    bank.stop().await;
    for (node, image) in images.iter().enumerate() {
        fs::remove_dir_all(bank.cluster.data(node)).unwrap();
        copy(image, &bank.cluster.data(node));
    }
    bank.start().await;
    // It serves as if nothing had happened, and its own books are in order.
    bank.must(&["verify"]);
    bank.finds(&["verify", "--checkpoint", "monday.txt"], "checkpoint");
    bank.finds(&witness, "older copies of its disks");

    pay(&bank, "other", 9);
    bank.must(&["checkpoint", "--min-height", "12"]);
    bank.finds(&["verify", "--checkpoint", "monday.txt"], "rewritten");
    let evidence = bank.run(&witness);
    let told = String::from_utf8(evidence.stderr).unwrap();
    assert_eq!((evidence.status.code(), evidence.stdout.len()), (Some(6), 0), "{told}");
    assert!(told.contains(cosigned.trim_end()) && told.contains("rewritten"), "both heads are the evidence: {told}");
    bank.keep("chain.jsonl", &["export"]);
    bank.finds(&["verify", "--export", "chain.jsonl", "--checkpoint", "monday.txt", "--keys", "keys.txt"], "rewritten");
    bank.finds(&["consistency", "monday.txt", "--keys", "keys.txt"], "");
    let state = fs::read_to_string(bank.file("witness.state")).unwrap();
    assert!(state.contains("\n8\n"), "it still remembers what it has cosigned: {state}");

    // The same of a stopped node's folder.
    bank.stop().await;
    let data = bank.cluster.data(1);
    let output = bank.run(&["verify", "--data-dir", data.to_str().unwrap(), "--checkpoint", "monday.txt"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

#[tokio::test]
async fn the_account_in_which_a_damaged_node_differs_is_named() {
    let mut bank = Bank::new(3).await;
    for number in 0..4 {
        bank.must(&["transfer", "a0", "a1", "1", "--id", &format!("pay-{number}")]);
    }
    bank.cluster.converged().await.unwrap();
    assert_eq!(bank.cluster.stop_node(2).await.unwrap().code(), Some(0));
    let damaged = bank.cluster.data(2);
    {
        let db = raftbank_store::sled_for_tests(&damaged).unwrap();
        let mut row = 123_i128.to_be_bytes().to_vec();
        let crc = crc32fast::hash(&[b"aa1", &row[..]].concat());
        row.extend_from_slice(&crc.to_be_bytes());
        assert!(db.insert("aa1", row).unwrap().is_some());
        db.flush().unwrap();
    }
    bank.cluster.start_node(2).unwrap();
    assert_eq!(bank.cluster.ended(2).await.unwrap().code(), Some(6));
    let healthy = bank.cluster.socket(0);
    let (healthy, damaged) = (healthy.to_str().unwrap(), damaged.to_str().unwrap());
    let output = bank.run(&["diff", healthy, damaged]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(6), "{told}");
    assert!(told.contains("account a1: stored is 123, its blocks give 1000004"), "{told}");
    assert!(told.contains("the same 5 blocks") && told.contains("it stopped: "), "{told}");
    let other = bank.cluster.socket(1);
    assert!(bank.must(&["diff", healthy, other.to_str().unwrap()]).contains("the same 5 blocks"));
}
