//! Folders of formats 1 and 2, which have rows for what follows from the blocks: they are brought up to date when they are
//! opened, however often that was interrupted before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Chain, tamper};
use raftbank_consensus::{HardState, Index, NodeId};
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
    let words = |format| format!("from format {format} to 3");
    let told = |note: &&String| (1..3).any(|format| note.contains(&words(format))) && note.contains("older raftbankd");
    opened.notes.iter().filter(told).count()
}

/// Rows that follow from the blocks.
fn derived(db: &sled::Db) -> Vec<(sled::IVec, sled::IVec)> {
    [b"b", b"i", b"l"].into_iter().flat_map(|kind| db.scan_prefix(kind)).map(|row| row.unwrap()).collect()
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
    tamper(dir, |db| {
        assert_eq!(derived(db), []);
        assert_eq!(db.get(b"s").unwrap().unwrap().len(), 3 * 8 + 32 + 2 * 8 + 32 + 4);
    });
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
fn older_folders_are_brought_up_to_date() {
    for format in [1, 2] {
        let base = tempfile::tempdir().unwrap();
        let chain = common::older(base.path(), format);
        let meta = SledStore::meta(base.path()).unwrap();
        assert_eq!((meta.format, meta.cluster_id), (format, common::meta(false).cluster_id));
        tamper(base.path(), |db| assert_eq!(derived(db).len(), if format == 1 { 14 } else { 14 + 11 }));
        assert_migrated(&chain, base.path());
    }
}

/// The kill came after the row of whose folder it is was synced, and before `meta` was rewritten.
#[test]
fn one_that_says_whose_it_is_already_goes_on_if_it_is_the_same() {
    let base = tempfile::tempdir().unwrap();
    let own = common::meta(false).incarnation;
    for (format, incarnation) in [(1, own), (2, own), (1, own + 1), (2, own + 1)] {
        let dir = base.path().join(format!("{format}-{incarnation}"));
        let chain = common::older(&dir, format);
        tamper(&dir, |db| drop(db.insert(b"o", common::sealed(b"o", &incarnation.to_be_bytes())).unwrap()));
        if incarnation == own {
            assert_migrated(&chain, &dir);
        } else {
            let Err(error) = open(&dir) else { panic!("another's rows were opened") };
            assert_eq!(error.exit_code(), 6, "{error}");
            assert_eq!(SledStore::meta(&dir).unwrap().format, format);
        }
    }
}

#[test]
fn one_that_was_interrupted_goes_on() {
    let base = tempfile::tempdir().unwrap();
    let mut rng = ChaCha12Rng::seed_from_u64(4);
    for round in 0..10 {
        let dir = base.path().join(round.to_string());
        let chain = common::older(&dir, 2);
        // The kill came after `meta` was rewritten: any of the rows may be gone, and the place is spelled as before.
        common::set_format(&dir, 3);
        let owner = common::sealed(b"o", &common::meta(false).incarnation.to_be_bytes());
        tamper(&dir, |db| {
            assert_eq!(db.insert(b"o", owner).unwrap(), None);
            for (key, _) in derived(db) {
                if rng.random_bool(f64::from(round) / 9.0) {
                    db.remove(key).unwrap();
                }
            }
        });
        let (store, reader, opened) = open(&dir).unwrap();
        assert_eq!(notes_of_it(&opened), 0);
        assert_log(&chain, 7, &reader, &opened);
        drop((store, reader));
        tamper(&dir, |db| assert_eq!(derived(db), []));
    }
}

#[test]
fn a_copy_is_brought_up_to_date_and_the_original_keeps_every_byte() {
    let base = tempfile::tempdir().unwrap();
    let chain = common::older(base.path(), 2);
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
    for (number, key) in [record(4), b"aalice".to_vec(), row(b't', 1), b"s".to_vec()].into_iter().enumerate() {
        let dir = base.path().join(number.to_string());
        common::older(&dir, 2);
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
    common::older(base.path(), 2);
    for format in [0, 4] {
        common::set_format(base.path(), format);
        let before = common::snapshot(base.path());
        let Err(error) = open(base.path()) else { panic!("opened") };
        assert!(matches!(error, StoreError::Format { found, .. } if found == u32::from(format)), "{error}");
        assert!(error.to_string().contains(if format == 4 { "newer" } else { "older" }), "{error}");
        let Err(error) = SledStore::open_copy(base.path()) else { panic!("copied") };
        assert!(matches!(error, StoreError::Format { .. }), "{error}");
        assert_eq!(common::snapshot(base.path()), before);
    }
}
