//! The program against the published vectors: it judges each file as the manifest says, and finds every altered bit.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

/// Runs `bankctl` among the vectors, where no server is.
fn bankctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bankctl"))
        .args(["--socket", "nobody.sock"])
        .args(arguments)
        .current_dir(vectors())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The same question to `bankctl` that the manifest asks `verify.py`.
fn translated<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let (verb, rest) = arguments.split_first().unwrap();
    let begin: &[&str] = match *verb {
        "export" => &["verify", "--export"],
        "consistency" => &["verify-consistency"],
        _ => &["verify-receipt"],
    };
    begin.iter().chain(rest).copied().collect()
}

#[test]
fn every_vector_is_judged_as_the_manifest_says() {
    let text = std::fs::read_to_string(vectors().join("manifest.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(manifest.len() > 80, "{}", manifest.len());
    for case in &manifest {
        let arguments: Vec<&str> =
            case["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
        let output = bankctl(&translated(&arguments));
        assert_eq!(output.status.code().map(i64::from), case["exit"].as_i64(), "{case}: {output:?}");
        let output = bankctl(&[&["-o", "json"][..], &translated(&arguments)].concat());
        assert_eq!(output.status.code().map(i64::from), case["exit"].as_i64(), "{case}: {output:?}");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["schema"], 1, "{case}: {object}");
        assert_eq!(object["ok"] == true, case["exit"] == 0, "{case}: {object}");
        assert_eq!(object["error"]["code"].is_string(), case["exit"] != 0, "{case}: {object}");
    }
}

#[test]
fn what_was_proven_is_said_in_words() {
    let output = bankctl(&["verify-receipt", "receipt-r3.txt", "--keys", "keys.txt"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["request r3", "open carol", "refused (account_exists)", "block 2", "n1, n2"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = bankctl(&["verify-receipt", "balance-nobody-8.txt", "--keys", "keys.txt"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("there was no account nobody"));
    let output = bankctl(&["-o", "json", "verify-receipt", "balance-bob-8.txt", "--keys", "keys.txt"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((object["kind"].as_str(), object["account"].as_str()), (Some("balance"), Some("bob")));
    let output =
        bankctl(&["verify", "--export", "chain.jsonl", "--checkpoint", "checkpoint-4.txt", "--keys", "keys.txt"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("contains the checkpoint of 4 blocks"));
}

#[test]
fn without_keys_it_says_where_they_come_from() {
    for arguments in
        [&["verify-receipt", "receipt-r3.txt"][..], &["verify-consistency", "checkpoint-4.txt", "consistency-4-9.txt"]]
    {
        let output = bankctl(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("bankctl keys"));
    }
}

#[test]
fn a_chain_is_not_taken_for_that_of_another_bank() {
    let output = bankctl(&["verify", "--export", "chain.jsonl", "--keys", "keys-other.txt"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    // Keys of members that the bank does not have.
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(vectors().join("keys.txt")).unwrap();
    let fewer: String = text.lines().filter(|line| !line.contains("/n3+")).map(|line| format!("{line}\n")).collect();
    assert!(fewer.len() < text.len());
    let path = dir.path().join("fewer.txt");
    std::fs::write(&path, fewer).unwrap();
    let output = bankctl(&["verify", "--export", "chain.jsonl", "--keys", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}
