//! Disks that are full, read-only or broken, at the start and under a running node: it always ends with 7 and a sentence
//! that says so, nothing is ever taken for damage, and once the disk is well all that was acknowledged is there.

mod common;

use std::fs;
use std::path::Path;

use common::disk::{Disk, Kind, obstacle};
use common::{Bank, all_are_there, text, transfer, write_until_the_end};
use raftbank_wire::api::{ApiReply, WriteOutcome};

/// Each start while the disk is out of order.
const STARTS: usize = 4;

/// True if this machine lets no disk be made; says why.
fn skipped() -> bool {
    let obstacle = obstacle();
    if let Some(obstacle) = &obstacle {
        println!("SKIPPED: no disk can be made here: {obstacle}");
    }
    obstacle.is_some()
}

/// A bank of one node whose data folder is on this disk; its folder is made.
fn bank_on(kind: Kind, bytes: u64) -> (Bank, Disk) {
    let bank = Bank::new(1);
    let mount = bank.dir.path().join("disk");
    let disk = Disk::make(kind, bank.dir.path(), &mount, bytes);
    move_data(&bank, &mount.join("n1"));
    (bank, disk)
}

/// Gives the node another data folder.
fn move_data(bank: &Bank, data: &Path) {
    let config = fs::read_to_string(bank.config(1)).expect("readable");
    let (before, after) = (format!("{:?}", bank.data_dir(1)), format!("{data:?}"));
    assert!(config.contains(&before), "{config}");
    fs::write(bank.config(1), config.replace(&before, &after)).expect("written");
}

fn init(bank: &Bank) {
    let output = bank.output(1, &["--init"]);
    assert!(output.status.success(), "{}", text(&output));
}

/// The node has ended with 7 and said why, and where.
async fn ended_with_7(bank: &mut Bank, disk: &Disk, word: &str) {
    let code = bank.ended(1).await;
    let log = bank.log(1);
    let last = log.lines().rfind(|line| line.contains("exit_code")).unwrap_or_default().to_owned();
    assert_eq!(code, 7, "{log}");
    assert!(last.contains(word) && last.contains("disk/n1"), "{last}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(!disk.mount.join("n1/corrupt").exists(), "{log}");
}

async fn full(kind: Kind) {
    let (mut bank, disk) = bank_on(kind, 72 << 20);
    init(&bank);
    disk.ballast("ballast", 32 << 20);
    bank.start(1, &[]);
    let mut acknowledged = write_until_the_end(&bank, "a", 2_000).await;
    ended_with_7(&mut bank, &disk, "the disk is full").await;

    disk.fill("rest");
    for round in 0..STARTS {
        bank.start(1, &[]);
        // What little still fits may be served; nothing of it may be lost.
        if kind == Kind::Ext4 && bank.serves_or_ends(1).await {
            acknowledged.extend(write_until_the_end(&bank, &format!("b{round}"), 2_000).await);
        }
        ended_with_7(&mut bank, &disk, "the disk is full").await;
    }

    disk.remove("rest");
    disk.remove("ballast");
    bank.start(1, &[]);
    all_are_there(&bank, &acknowledged).await;
    let reply = bank.write(1, "after", transfer("alice", "bob", 1)).await;
    assert!(matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. }), "{reply:?}");
    bank.stop(1).await;
}

#[tokio::test]
async fn a_full_tmpfs_ends_the_node_with_7_until_there_is_space() {
    if !skipped() {
        full(Kind::Tmpfs).await;
    }
}

#[tokio::test]
async fn a_full_ext4_ends_the_node_with_7_until_there_is_space() {
    if !skipped() {
        full(Kind::Ext4).await;
    }
}

#[tokio::test]
async fn a_file_system_that_becomes_read_only_ends_the_node_with_7() {
    if skipped() {
        return;
    }
    let (mut bank, disk) = bank_on(Kind::Ext4, 64 << 20);
    init(&bank);
    bank.start(1, &[]);
    let mut acknowledged = write_until_the_end(&bank, "a", 20).await;
    assert_eq!(acknowledged.len(), 20);
    // What the kernel does when it meets an error.
    disk.remount("abort");
    acknowledged.extend(write_until_the_end(&bank, "b", 20).await);
    assert_eq!(bank.ended(1).await, 7, "{}", bank.log(1));
    for _ in 0..STARTS {
        bank.start(1, &[]);
        ended_with_7(&mut bank, &disk, "read-only").await;
    }
    disk.repair();
    bank.start(1, &[]);
    all_are_there(&bank, &acknowledged).await;
    bank.stop(1).await;

    // Mounted so by hand, before the start.
    disk.remount("ro");
    bank.start(1, &[]);
    ended_with_7(&mut bank, &disk, "read-only").await;
    disk.remount("rw");
    bank.start(1, &[]);
    all_are_there(&bank, &acknowledged).await;
}

#[tokio::test]
async fn a_device_that_fails_ends_the_node_with_7() {
    if skipped() {
        return;
    }
    let mut bank = Bank::new(1);
    // A disk whose own store is full: each write to the device itself fails.
    let below = Disk::make(Kind::Tmpfs, bank.dir.path(), &bank.dir.path().join("below"), 24 << 20);
    let mount = bank.dir.path().join("disk");
    let disk = Disk::make(Kind::Ext4, &below.mount, &mount, 200 << 20);
    move_data(&bank, &mount.join("n1"));
    init(&bank);
    bank.start(1, &[]);
    let acknowledged = write_until_the_end(&bank, "a", 2_000).await;
    assert_eq!(bank.ended(1).await, 7, "{}", bank.log(1));
    println!("{}", bank.log(1).lines().last().unwrap_or_default());
    assert!(!disk.mount.join("n1/corrupt").exists(), "{}", bank.log(1));
    below.remount("size=400m");
    disk.repair();
    bank.start(1, &[]);
    all_are_there(&bank, &acknowledged).await;
}

#[tokio::test]
async fn a_folder_is_not_made_on_a_full_or_read_only_disk_and_is_made_afterwards() {
    if skipped() {
        return;
    }
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let (mut bank, disk) = bank_on(kind, 24 << 20);
        disk.remount("ro");
        refused(&bank, "read-only");
        disk.remount("rw");
        disk.fill("rest");
        refused(&bank, "the disk is full");
        // Ever a little more space: the making ends at another step each time.
        for kib in [4, 8, 16, 32, 64, 128] {
            disk.remove("rest");
            disk.ballast("space", kib << 10);
            disk.fill("rest");
            disk.remove("space");
            let output = bank.output(1, &["--init"]);
            let code = output.status.code();
            assert!(code == Some(7) || code == Some(0), "{kind:?}, {kib} KiB: {code:?} {}", text(&output));
            if code == Some(0) {
                break;
            }
        }
        disk.remove("rest");
        if !bank.is_made(&disk.mount.join("n1")) {
            init(&bank);
        }
        bank.start(1, &[]);
        bank.write(1, "first", transfer("alice", "bob", 1)).await;
        assert_eq!(bank.balance(1, "bob").await, 1);
        bank.stop(1).await;
    }
}

fn refused(bank: &Bank, word: &str) {
    let output = bank.output(1, &["--init"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains(word) && text.contains("disk"), "{text}");
}
