//! A process of its own that writes, and is killed or runs out of disk.
#![allow(clippy::unwrap_used)]

mod common;

use common::Chain;
use raftbank_consensus::{HardState, Write};
use raftbank_store::{Batch, Reader, SledStore, Store};
use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

/// Where the child works; the test does nothing without it.
const CHILD_DIR: &str = "RAFTBANK_STORE_TEST_CHILD_DIR";

/// Not a test of its own: the other tests run it as a child. It writes blocks and prints the index of each once it is
/// synced, until it is killed or an error ends it; then it prints `exit` with the error's exit code.
#[test]
fn child_writer() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (mut store, reader, opened) = SledStore::open(Path::new(&dir), &common::expected()).unwrap();
    let mut chain = Chain::new();
    let mut applied = opened.applied;
    let mut out = std::io::stdout();
    let mut ask = || -> Result<(), raftbank_store::StoreError> {
        if opened.durable.hard.term == 0 {
            let hard = Write::Hard(HardState { term: 1, vote: None });
            store.write(&Batch { writes: vec![hard], ..Batch::default() })?;
        }
        loop {
            let next = chain.last_index() + 1;
            let request = chain.put(&format!("key-{}", next % 50), if next.is_multiple_of(10) { 65_536 } else { 500 });
            chain.block(1, vec![request]);
            if next <= opened.durable.last_index {
                continue;
            }
            let mut batch = chain.append_batch(next);
            batch.state = (applied + 1..next).map(|index| chain.applied(index)).collect();
            applied = next - 1;
            store.write(&batch)?;
            store.sync()?;
            writeln!(out, "\nsynced {next}").unwrap();
            out.flush().unwrap();
        }
    };
    let Err(error) = ask() else { return };
    writeln!(out, "\nexit {} {error}", error.exit_code()).unwrap();
    assert_eq!(store.sync().unwrap_err().exit_code(), 7);
    drop(reader);
    // As the daemon does: what failed is not flushed once more.
    std::mem::forget(store);
}

fn child(shell: &str, dir: &Path) -> std::process::Child {
    let test = std::env::current_exe().unwrap();
    Command::new("sh")
        .arg("-c")
        .arg(format!("{shell} exec \"$0\" --exact child_writer --nocapture"))
        .arg(test)
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The last index in lines of the form `synced N`.
fn synced(line: &str) -> Option<u64> {
    line.strip_prefix("synced ")?.parse().ok()
}

#[test]
fn a_killed_writer_lost_nothing_it_had_synced() {
    let base = tempfile::tempdir().unwrap();
    SledStore::create(base.path(), &common::meta(false), &common::genesis()).unwrap();
    let mut acknowledged = 0;
    for round in 0..6 {
        let mut writer = child("", base.path());
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut progress = 0;
        for line in lines {
            if let Some(index) = synced(&line.unwrap()) {
                acknowledged = index;
                progress += 1;
                if progress == 5 + round * 9 {
                    break;
                }
            }
        }
        assert!(progress > 0, "the child wrote nothing in round {round}");
        // SIGKILL, by the handle of our own child.
        writer.kill().unwrap();
        writer.wait().unwrap();
        let (store, reader, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
        assert!(opened.durable.last_index >= acknowledged, "{} < {acknowledged}", opened.durable.last_index);
        // The results of the record before were written and synced with it.
        assert!(opened.applied + 1 >= acknowledged, "{} < {acknowledged} - 1", opened.applied);
        let records: Vec<_> = reader.walk(0, 1 << 20).map(Result::unwrap).collect();
        assert_eq!(records.len() as u64, opened.durable.last_index + 1);
        assert!(opened.notes.iter().any(|note| note.contains("not stopped cleanly")));
        drop((store, reader));
    }
}

/// `ulimit -f` stands in for a full disk: the file cannot grow, and the signal for it is ignored.
#[test]
fn a_file_that_cannot_grow_is_an_error_of_the_disk_and_not_corruption() {
    let base = tempfile::tempdir().unwrap();
    SledStore::create(base.path(), &common::meta(false), &common::genesis()).unwrap();
    // In blocks of 512 bytes: 48 MiB, three segments.
    let mut writer = child("trap '' XFSZ; ulimit -f 98304;", base.path());
    let mut acknowledged = 0;
    let mut ending = String::new();
    for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        acknowledged = synced(&line).unwrap_or(acknowledged);
        if line.starts_with("exit ") {
            ending = line;
            break;
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(ending.starts_with("exit 7"), "after {acknowledged} records: {ending}");
    assert!(acknowledged > 0);
    // Nothing is wrong with the folder: with room it opens again, with everything that was synced.
    let (_store, reader, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
    assert!(opened.durable.last_index >= acknowledged);
    let records: Vec<_> = reader.walk(0, 1 << 20).map(Result::unwrap).collect();
    assert_eq!(records.len() as u64, opened.durable.last_index + 1);
}
