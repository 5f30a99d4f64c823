//! Making, opening, copying and sharing data folders.
#![allow(clippy::unwrap_used)]

mod common;

use common::Chain;
use raftbank_consensus::{HardState, NodeId, Write};
use raftbank_ledger::{Hash, NodeName};
use raftbank_store::{Batch, Expected, Reader, SledStore, Store, StoreError};
use std::{fs, path::Path};

fn create(dir: &Path) {
    SledStore::create(dir, &common::meta(false), &common::genesis()).unwrap();
}

/// Opens and expects an error.
fn refused(dir: &Path) -> StoreError {
    match SledStore::open(dir, &common::expected()) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn a_missing_or_foreign_folder_is_missing_and_nothing_is_made() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    assert!(matches!(refused(&dir), StoreError::Missing { .. }));
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    assert!(matches!(refused(&dir), StoreError::Missing { .. }));
    fs::write(dir.join("letter.txt"), "hello").unwrap();
    assert!(matches!(refused(&dir), StoreError::Missing { .. }));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert!(matches!(SledStore::open_copy(&dir), Err(StoreError::Missing { .. })));
}

#[test]
fn a_folder_with_anything_in_it_is_never_made_again() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("deep/data");
    create(&dir);
    let before = common::snapshot(&dir);
    let again = SledStore::create(&dir, &common::meta(false), &common::genesis()).unwrap_err();
    assert!(matches!(again, StoreError::AlreadyThere { .. }), "{again}");
    assert_eq!(common::snapshot(&dir), before);

    let foreign = base.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "hello").unwrap();
    let error = SledStore::create(&foreign, &common::meta(false), &common::genesis()).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyThere { .. }), "{error}");

    let file = base.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = SledStore::create(&file, &common::meta(false), &common::genesis()).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyThere { .. }), "{error}");

    // Service managers make the empty folder beforehand.
    let empty = base.path().join("empty");
    fs::create_dir(&empty).unwrap();
    create(&empty);
}

#[test]
fn an_interrupted_creation_is_missing_and_can_be_made_again() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    create(&whole);
    // The marker stands there until the very end, with any of the other files.
    for names in [&[][..], &["sled"], &["sled", "mark"], &["sled", "mark", "meta"]] {
        let dir = base.path().join(format!("cut-{}", names.len()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("creating"), "").unwrap();
        for name in names {
            let from = whole.join(name);
            if from.is_dir() {
                common::copy_tree(&from, &dir.join(name));
            } else {
                fs::copy(from, dir.join(name)).unwrap();
            }
        }
        assert!(matches!(refused(&dir), StoreError::Missing { .. }));
        create(&dir);
        assert!(!dir.join("creating").exists());
        SledStore::open(&dir, &common::expected()).unwrap();
    }
}

#[test]
fn another_cluster_node_or_format_is_a_mismatch_and_changes_nothing() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    create(&dir);
    let before = common::snapshot(&dir);
    let other_cluster = Expected { cluster_id: Hash([9; 32]), ..common::expected() };
    let other_node = Expected { node: NodeName::parse("n2").unwrap(), ..common::expected() };
    for (expected, word) in [(other_cluster, "cluster id"), (other_node, "node id n1")] {
        let Err(error) = SledStore::open(&dir, &expected) else { panic!("opened") };
        assert!(matches!(error, StoreError::Mismatch { .. }));
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut wrong = common::meta(false);
    wrong.cluster_id = Hash([9; 32]);
    let error = SledStore::create(&base.path().join("other"), &wrong, &common::genesis()).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    assert!(!base.path().join("other").exists());
    assert_eq!(common::snapshot(&dir), before);
}

#[test]
fn a_folder_in_use_cannot_be_opened_or_copied() {
    let base = tempfile::tempdir().unwrap();
    create(base.path());
    let running = SledStore::open(base.path(), &common::expected()).unwrap();
    let error = refused(base.path());
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&base.path().display().to_string()), "{error}");
    let Err(error) = SledStore::open_copy(base.path()) else { panic!("copied") };
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(running);
    SledStore::open(base.path(), &common::expected()).unwrap();
}

#[test]
fn a_copy_shows_everything_and_changes_no_byte() {
    let base = tempfile::tempdir().unwrap();
    create(base.path());
    let mut chain = Chain::new();
    for _ in 0..20 {
        chain.small_block(1);
    }
    {
        let (mut store, _reader, _) = SledStore::open(base.path(), &common::expected()).unwrap();
        let mut batch = chain.append_batch(1);
        batch.writes.insert(0, Write::Hard(HardState { term: 1, vote: Some(NodeId(2)) }));
        batch.state = (1..=15).map(|index| chain.applied(index)).collect();
        store.write(&batch).unwrap();
        store.close().unwrap();
    }
    let before = common::snapshot(base.path());
    let copy = SledStore::open_copy(base.path()).unwrap();
    assert_eq!(copy.opened.applied, 15);
    assert_eq!(copy.opened.durable.tail, chain.records(16));
    let records: Vec<_> = copy.reader.walk(0, 1000).map(Result::unwrap).collect();
    assert_eq!(records, chain.records(0));
    assert_eq!(copy.reader.rows().unwrap().applied, 15);
    assert_eq!(common::snapshot(base.path()), before);
    drop(copy);
    assert_eq!(common::snapshot(base.path()), before);
}

/// Items above a quarter of a segment would go to `blobs/`, which sled never syncs.
#[test]
fn blobs_stay_empty_under_the_largest_values_and_blocks() {
    let base = tempfile::tempdir().unwrap();
    create(base.path());
    let (mut store, reader, _) = SledStore::open(base.path(), &common::expected()).unwrap();
    let mut chain = Chain::new();
    let mut hard = Batch { writes: vec![Write::Hard(HardState { term: 1, vote: None })], ..Batch::default() };
    store.write(&hard).unwrap();
    hard.writes.clear();
    for round in 0..12 {
        // A block of about 1.5 MiB, one of 4 KiB, one of 100 bytes; keys that fill leaf pages and are overwritten.
        let large = (0..24).map(|key| chain.put(&format!("key-{:03}", (round * 17 + key) % 90), 65_536)).collect();
        let medium = (0..10).map(|_| chain.transfer(&"m".repeat(256))).collect();
        for requests in [large, medium, vec![]] {
            let from = chain.last_index() + 1;
            let requests: Vec<_> = if requests.is_empty() { vec![chain.transfer("")] } else { requests };
            let record = chain.block(1, requests);
            let mut batch = chain.append_batch(from);
            batch.state = vec![chain.applied(record.index)];
            store.write(&batch).unwrap();
            store.sync().unwrap();
        }
        assert_eq!(fs::read_dir(base.path().join("sled/blobs")).unwrap().count(), 0, "round {round}");
    }
    let longest = chain.records(1).iter().filter_map(|record| record.entry.as_ref().map(|entry| entry.len())).max();
    assert!(longest.unwrap() > 1 << 20);
    assert_eq!(reader.records(0, usize::MAX).unwrap(), chain.records(0));
    drop(reader);
    store.close().unwrap();
    let (_store, _reader, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
    assert_eq!(opened.state.tip(), chain.state_at(chain.last_index()).tip());
    assert_eq!(fs::read_dir(base.path().join("sled/blobs")).unwrap().count(), 0);
}

#[test]
fn an_idle_store_writes_nothing() {
    let base = tempfile::tempdir().unwrap();
    create(base.path());
    let (mut store, _reader, _) = SledStore::open(base.path(), &common::expected()).unwrap();
    store.sync().unwrap();
    let before = common::snapshot(base.path());
    for _ in 0..5 {
        store.write(&Batch::default()).unwrap();
        store.sync().unwrap();
        store.sync_mark().unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(common::snapshot(base.path()), before);
}

#[test]
fn the_state_survives_a_stop_and_notes_tell_how_it_ended() {
    let base = tempfile::tempdir().unwrap();
    create(base.path());
    let (store, reader, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    assert_eq!(reader.block(0).unwrap().unwrap().len(), common::genesis().encode().len());
    drop(reader);
    store.close().unwrap();
    let (store, _, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    drop(store);
    let (_, _, opened) = SledStore::open(base.path(), &common::expected()).unwrap();
    assert!(opened.notes[0].contains("not stopped cleanly"), "{:?}", opened.notes);
}
