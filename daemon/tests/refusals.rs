//! What a node refuses to start on, with which exit code and in which words.

mod common;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::{Bank, text, transfer};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};

fn refused(output: &std::process::Output, exit_code: i32, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn folders_that_are_missing_in_use_or_of_another_bank() {
    let mut bank = Bank::new(3);
    bank.start(1, &[]);
    bank.client(1).await;
    refused(&bank.output(1, &[]), 2, &["in use"]);
    refused(&bank.output(1, &["--init"]), 2, &["n1"]);
    assert!(std::os::unix::net::UnixStream::connect(bank.socket(1)).is_ok(), "the running node is unharmed");

    // n2's configuration with n3's folder.
    let config = std::fs::read_to_string(bank.config(2)).expect("readable");
    std::fs::write(bank.config(2), config.replace("/n2\"", "/n3\"")).expect("written");
    refused(&bank.output(2, &[]), 2, &["n2", "n3"]);

    let members: Vec<String> = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    bank.write_genesis("other.toml", "another salt", &members);
    bank.write_config(3, "other.toml");
    refused(&bank.output(3, &[]), 2, &["cluster"]);

    bank.write_config(2, "genesis.toml");
    std::fs::remove_dir_all(bank.data_dir(2)).expect("removed");
    refused(&bank.output(2, &[]), 2, &["--init", "--rejoin"]);
}

#[tokio::test]
async fn configurations_that_are_wrong() {
    let bank = Bank::new(1);
    let good = bank.output(1, &["--check-config"]);
    assert!(good.status.success(), "{}", text(&good));
    for word in ["cluster id", "proof-of-work", "n1"] {
        assert!(text(&good).contains(word), "{}", text(&good));
    }
    let config = std::fs::read_to_string(bank.config(1)).expect("readable");
    for (wrong, word) in [
        (config.replace("[node]", "[node]\ncolour = \"red\""), "colour"),
        (config.replace("id = \"n1\"", "id = \"n9\""), "n9"),
        (config.replace("127.0.0.1:", "127.0.0.1"), "relay.address"),
        (config.replace("genesis.toml", "missing.toml"), "missing.toml"),
    ] {
        std::fs::write(bank.config(1), wrong).expect("written");
        for arguments in [&["--check-config"][..], &["--init"], &["--rejoin"], &[]] {
            refused(&bank.output(1, arguments), 2, &[word]);
        }
    }
}

#[tokio::test]
async fn damage_stops_a_node_for_good() {
    let mut bank = Bank::new(1);
    bank.start(1, &[]);
    bank.write(1, "d-1", transfer("alice", "bob", 1)).await;
    bank.stop(1).await;
    // The high-water mark is gone: nobody can tell what was promised.
    let mark = bank.data_dir(1).join("mark");
    let bytes = std::fs::read(&mark).expect("readable");
    std::fs::remove_file(&mark).expect("removed");
    refused(&bank.output(1, &[]), 6, &["mark"]);
    // Putting it back does not undo what was found.
    std::fs::write(&mark, bytes).expect("written");
    refused(&bank.output(1, &[]), 6, &["mark", "--rejoin", "--verify"]);
    refused(&bank.output(1, &["--rejoin"]), 2, &["only one"]);
}

#[tokio::test]
async fn a_node_of_another_genesis_is_told_so_and_harms_nobody() {
    let mut bank = Bank::new(3);
    let members: Vec<String> = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    bank.write_genesis("other.toml", "another salt", &members);
    bank.write_config(3, "other.toml");
    std::fs::remove_dir_all(bank.data_dir(3)).expect("removed");
    assert!(bank.output(3, &["--init"]).status.success());
    bank.start(1, &[]);
    bank.start(2, &[]);
    bank.leader(1).await;
    bank.start(3, &[]);
    let started = std::time::Instant::now();
    while !bank.log(3).contains("refuses this node") {
        assert!(started.elapsed() < common::PATIENCE, "{}", bank.log(3));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let reply = bank.write(1, "g-1", transfer("alice", "bob", 1)).await;
    assert!(matches!(reply, ApiReply::Written { .. }), "{reply:?}");
    // The stranger says "not executed": its request never left it.
    let request = raftbank_ledger::Request {
        id: raftbank_ledger::RequestId::parse("g-2").expect("valid"),
        operation: transfer("alice", "bob", 1),
    };
    let reply = bank.call(3, ApiRequest::Write { request: request.encode(), timeout_ms: 300 }).await;
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted, .. }), "{reply:?}");
    let wrong = bank.call(1, ApiRequest::Partition(raftbank_wire::api::PartitionCommand::Heal)).await;
    assert!(matches!(wrong, ApiReply::Failed { kind: FailKind::Usage, .. }), "{wrong:?}");
}

/// All files and folders with their times and bytes.
fn picture(dir: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let mut picture = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = std::fs::metadata(&path).expect("there");
        let mut bytes = Vec::new();
        if about.is_dir() {
            waiting.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else {
            bytes = std::fs::read(&path).expect("readable");
        }
        picture.push((path, about.modified().expect("a time"), bytes));
    }
    picture.sort();
    picture
}

#[tokio::test]
async fn a_folder_of_a_newer_format_is_refused_and_not_touched() {
    let mut bank = Bank::new(3);
    bank.start(1, &[]);
    bank.client(1).await;
    // Not stopped cleanly: who opens it has something to do.
    bank.kill(1);
    let meta = bank.data_dir(1).join("meta");
    let mut bytes = std::fs::read(&meta).expect("readable");
    let newer = raftbank_store::FORMAT + 1;
    bytes[8..12].copy_from_slice(&newer.to_be_bytes());
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]).to_be_bytes();
    bytes[end..].copy_from_slice(&crc);
    std::fs::write(&meta, bytes).expect("written");

    let before = picture(&bank.data_dir(1));
    let (of, known) = (format!("of format {newer}"), format!("formats 1 to {}", raftbank_store::FORMAT));
    let words = [&of[..], &known, "newer raftbankd", "--rejoin", "nothing in it was touched"];
    let data = bank.data_dir(1).display().to_string();
    for arguments in [&[][..], &["--rejoin"], &["--init", "--rejoin"], &["--verify", &data], &["--dump", &data]] {
        refused(&bank.output(1, arguments), 2, &words);
        assert!(picture(&bank.data_dir(1)) == before, "{arguments:?} changed the folder");
    }
    refused(&bank.output(1, &["--init"]), 2, &["already holds data"]);
    assert!(picture(&bank.data_dir(1)) == before, "--init changed the folder");
}
