//! What an operator relies on: signals, logs, and a disk that fails.

mod common;

use std::time::Duration;

use common::{Bank, PATIENCE, all_are_there, transfer, write_until_the_end};
use raftbank_wire::api::{ApiReply, WriteOutcome};

async fn logged(bank: &Bank, number: usize, text: &str) {
    let started = std::time::Instant::now();
    while !bank.log(number).contains(text) {
        assert!(started.elapsed() < PATIENCE, "{text:?} was never logged:\n{}", bank.log(number));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn hangup_reloads_the_level_and_the_files() {
    let mut bank = Bank::running(1);
    bank.write(1, "h-1", transfer("alice", "bob", 1)).await;
    logged(&bank, 1, "block committed").await;
    assert!(!bank.log(1).contains("DEBUG"), "{}", bank.log(1));

    let config = std::fs::read_to_string(bank.config(1)).expect("readable");
    std::fs::write(bank.config(1), format!("{config}\n[log]\nlevel = \"loud\"\n")).expect("written");
    bank.signal(1, "HUP");
    logged(&bank, 1, "not reloaded").await;

    let dir = bank.dir.path().join("logs");
    let log = format!("{config}\n[log]\nlevel = \"debug\"\ndir = \"{}\"\n", dir.display());
    std::fs::write(bank.config(1), log).expect("written");
    bank.signal(1, "HUP");
    logged(&bank, 1, "logging reloaded").await;
    bank.write(1, "h-2", transfer("alice", "bob", 1)).await;
    // Balances before and after each block.
    logged(&bank, 1, "account=\"alice\" before=99 after=98").await;
    bank.stop(1).await;

    let file = std::fs::read_dir(&dir).expect("made").next().expect("a file").expect("readable").path();
    let text = std::fs::read_to_string(file).expect("readable");
    assert!(text.contains("before=99 after=98") && text.contains("stopped as asked"), "{text}");
}

#[tokio::test]
async fn a_terminated_node_leaves_no_socket_and_loses_nothing() {
    let mut bank = Bank::running(1);
    for (number, signal) in ["TERM", "INT"].into_iter().enumerate() {
        let reply = bank.write(1, &format!("t-{number}"), transfer("alice", "bob", 1)).await;
        assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
        bank.signal(1, signal);
        assert_eq!(bank.ended(1).await, 0);
        assert!(!bank.socket(1).exists());
        bank.start(1, &[]);
        assert_eq!(bank.balance(1, "bob").await, number as i128 + 1);
    }
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_node_with_7_and_nothing_acknowledged_is_lost() {
    let mut bank = Bank::new(1);
    // Files may not grow beyond some 50 MiB; writes beyond fail like those to a full disk.
    bank.start_limited(1);
    let acknowledged = write_until_the_end(&bank, "p", 2_000).await;
    assert_eq!(bank.ended(1).await, 7, "{}", bank.log(1));
    assert!(!bank.log(1).contains("panicked"), "{}", bank.log(1));

    bank.start(1, &[]);
    all_are_there(&bank, &acknowledged).await;
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_a_matter_of_configuration() {
    let bank = Bank::new(1);
    let config = std::fs::read_to_string(bank.config(1)).expect("readable");
    let file = bank.dir.path().join("file");
    std::fs::write(&file, "not a socket").expect("written");
    for socket in [bank.dir.path().join("missing/n1.sock"), file] {
        let wrong = config.replace(&bank.socket(1).display().to_string(), &socket.display().to_string());
        std::fs::write(bank.config(1), wrong).expect("written");
        let output = bank.output(1, &[]);
        let text = common::text(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("node.socket") && text.contains(&socket.display().to_string()), "{text}");
    }
}
