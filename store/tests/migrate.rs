//! Folders of format 1, which have no log tree: they are brought up to date when they are opened, however often that was
//! interrupted before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Chain, tamper};
use raftbank_consensus::{HardState, Index, NodeId, Write};
use raftbank_ledger::merkle;
use raftbank_store::{Opened, Reader, SledReader, SledStore, Store, StoreError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use std::{fs, path::Path};

fn open(dir: &Path) -> Result<(SledStore, SledReader, Opened), StoreError> {
    SledStore::open(dir, &common::expected())
}

/// All of the log tree up to record `applied`, read node by node.
fn assert_log(chain: &Chain, applied: Index, reader: &SledReader, opened: &Opened) {
    let leaves: Vec<_> = chain.hashes(applied).iter().map(|hash| merkle::leaf_hash(&hash.0)).collect();
    assert_eq!(opened.state.log(), chain.state_at(applied).log());
    assert_eq!(reader.rows().unwrap().rows.log.root(), merkle::root(&leaves));
    for level in 0..12_u8 {
        for (index, under) in (0..).zip(leaves.chunks_exact(1 << level)) {
            assert_eq!(reader.log_node(level, index).unwrap(), Some(merkle::root(under)), "{level}, {index}");
        }
    }
}

fn notes_of_it(opened: &Opened) -> usize {
    opened.notes.iter().filter(|note| note.contains("from format 1 to 2") && note.contains("older raftbankd")).count()
}

/// What every migrated copy of the kept folder says, and that it works.
fn assert_migrated(chain: &Chain, dir: &Path) {
    let (store, reader, opened) = open(dir).unwrap();
    assert_eq!(notes_of_it(&opened), 1, "{:?}", opened.notes);
    assert_eq!(opened.meta, common::meta(false));
    assert_eq!(SledStore::meta(dir).unwrap(), common::meta(false));
    assert_eq!(opened.durable.hard, HardState { term: 1, vote: Some(NodeId(0)) });
    assert_eq!((opened.applied, opened.durable.last_index), (7, 8));
    assert_eq!(opened.durable.tail, chain.records(8));
    assert_eq!(opened.peers.get(&NodeId(1)), Some(&77));
    assert!(opened.keys.is_empty());
    assert_eq!(reader.records(0, usize::MAX).unwrap(), chain.records(0));
    assert_log(chain, 7, &reader, &opened);
    drop((store, reader));
    // It grows on, and is not migrated again.
    let mut chain = chain.clone();
    let from = chain.last_index() + 1;
    for _ in 0..3 {
        chain.small_block(1);
    }
    let (mut store, reader, opened) = open(dir).unwrap();
    assert_eq!(notes_of_it(&opened), 0);
    let mut batch = chain.append_batch(from);
    batch.state = (8..=chain.last_index()).map(|index| chain.applied(index)).collect();
    store.write(&batch).unwrap();
    drop(reader);
    store.close().unwrap();
    let (_store, reader, opened) = open(dir).unwrap();
    assert_log(&chain, chain.last_index(), &reader, &opened);
}

#[test]
fn a_folder_of_format_1_is_brought_up_to_date() {
    let base = tempfile::tempdir().unwrap();
    let chain = common::format_1(base.path());
    let meta = SledStore::meta(base.path()).unwrap();
    assert_eq!((meta.format, meta.cluster_id), (1, common::meta(false).cluster_id));
    tamper(base.path(), |db| assert_eq!(db.scan_prefix(b"l").count(), 0));
    assert_migrated(&chain, base.path());
}

#[test]
fn one_that_was_interrupted_begins_again() {
    let base = tempfile::tempdir().unwrap();
    let mut rng = ChaCha12Rng::seed_from_u64(4);
    for round in 0..10 {
        let dir = base.path().join(round.to_string());
        let chain = common::format_1(&dir);
        drop(open(&dir).unwrap());
        // The kill before `meta` was rewritten: any of the rows may be there. The last rounds: and none of them is right.
        common::set_format(&dir, 1);
        tamper(&dir, |db| {
            let rows: Vec<_> = db.scan_prefix(b"l").map(|row| row.unwrap()).collect();
            assert_eq!(rows.len(), 7 + 3 + 1);
            for (key, value) in rows {
                if round > 7 {
                    db.insert(key, vec![7; value.len()]).unwrap();
                } else if round > 0 && rng.random_bool(0.5) {
                    db.remove(key).unwrap();
                }
            }
        });
        assert_migrated(&chain, &dir);
    }
}

/// The state may stand anywhere, and blocks may have many parts.
#[test]
fn any_length_is_brought_up_to_date() {
    let base = tempfile::tempdir().unwrap();
    let mut chain = Chain::new();
    for number in 0..40_u64 {
        if number % 7 == 0 {
            chain.no_op(1 + number);
        }
        let request = chain.put("key", if number % 10 == 3 { 65_536 } else { 10 });
        chain.block(1 + number, vec![request]);
    }
    let setup = {
        let mut batch = chain.append_batch(1);
        batch.writes.insert(0, Write::Hard(HardState { term: 50, vote: None }));
        batch
    };
    for applied in [0, 1, 2, 9, 17, 36, chain.last_index()] {
        let dir = base.path().join(applied.to_string());
        SledStore::create(&dir, &common::meta(false), &common::genesis()).unwrap();
        let (mut store, reader, _) = open(&dir).unwrap();
        let mut batch = setup.clone();
        batch.state = (1..=applied).map(|index| chain.applied(index)).collect();
        store.write(&batch).unwrap();
        store.sync().unwrap();
        drop((store, reader));
        common::set_format(&dir, 1);
        tamper(&dir, |db| {
            for row in db.scan_prefix(b"l") {
                db.remove(row.unwrap().0).unwrap();
            }
        });
        let (_store, reader, opened) = open(&dir).unwrap();
        assert_eq!(notes_of_it(&opened), 1);
        assert_log(&chain, applied, &reader, &opened);
    }
}

#[test]
fn a_copy_is_brought_up_to_date_and_the_original_keeps_every_byte() {
    let base = tempfile::tempdir().unwrap();
    let chain = common::format_1(base.path());
    let before = common::snapshot(base.path());
    for _ in 0..2 {
        let copy = SledStore::open_copy(base.path()).unwrap();
        assert_eq!(notes_of_it(&copy.opened), 1);
        assert_log(&chain, 7, &copy.reader, &copy.opened);
    }
    assert_eq!(common::snapshot(base.path()), before);
}

#[test]
fn a_damaged_one_is_refused_and_stays_what_it_is() {
    let base = tempfile::tempdir().unwrap();
    let row = |kind: u8, number: u64| [&[kind][..], &number.to_be_bytes()].concat();
    let record = |number: u64| [row(b'r', number), vec![0, 0]].concat();
    for (number, key) in [record(4), b"aalice".to_vec(), row(b'b', 6), b"s".to_vec()].into_iter().enumerate() {
        let dir = base.path().join(number.to_string());
        common::format_1(&dir);
        let meta = fs::read(dir.join("meta")).unwrap();
        tamper(&dir, |db| {
            let mut value = db.get(&key).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() ^= 1;
            db.insert(&key[..], value).unwrap();
        });
        let Err(error) = open(&dir) else { panic!("a damaged folder was opened") };
        assert_eq!(error.exit_code(), 6, "{error}");
        assert_eq!(fs::read(dir.join("meta")).unwrap(), meta);
    }
}

/// Nothing says what is in it.
#[test]
fn an_unknown_format_is_refused_and_nothing_changes() {
    let base = tempfile::tempdir().unwrap();
    common::format_1(base.path());
    for format in [0, 3] {
        common::set_format(base.path(), format);
        let before = common::snapshot(base.path());
        let Err(error) = open(base.path()) else { panic!("opened") };
        assert!(matches!(error, StoreError::Format { found, .. } if found == u32::from(format)), "{error}");
        assert!(error.to_string().contains(if format == 3 { "newer" } else { "older" }), "{error}");
        let Err(error) = SledStore::open_copy(base.path()) else { panic!("copied") };
        assert!(matches!(error, StoreError::Format { .. }), "{error}");
        assert_eq!(common::snapshot(base.path()), before);
    }
}
