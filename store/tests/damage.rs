//! Damaged folders: refused with exit code 6 and a way out, or provably harmless; never a panic, never a silent loss.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Chain, tamper};
use raftbank_consensus::{Entry, HardState, NodeId, Record, Write};
use raftbank_ledger::Block;
use raftbank_store::{Batch, Meta, Opened, Reader, SledReader, SledStore, Store, StoreError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder with 30 records of terms 1 and 2, 25 of them applied, cleanly stopped.
fn folder(dir: &Path) -> Chain {
    folder_of(&common::meta(false), dir)
}

fn folder_of(meta: &Meta, dir: &Path) -> Chain {
    SledStore::create(dir, meta, &common::genesis()).unwrap();
    let mut chain = Chain::new();
    chain.no_op(1);
    while chain.last_index() < 12 {
        chain.small_block(1);
    }
    let (mut store, _reader, _) = SledStore::open(dir, &common::expected()).unwrap();
    let mut first = chain.append_batch(1);
    first.writes.insert(0, hard(1, 1));
    first.state = (1..=10).map(|index| chain.applied(index)).collect();
    store.write(&first).unwrap();
    store.sync().unwrap();
    chain.no_op(2);
    while chain.last_index() < 30 {
        chain.small_block(2);
    }
    let mut second = chain.append_batch(13);
    second.writes.insert(0, hard(2, 0));
    second.state = (11..=25).map(|index| chain.applied(index)).collect();
    second.peers = vec![(NodeId(1), 77)];
    second.keys = vec![(NodeId(1), [7; 32])];
    store.write(&second).unwrap();
    store.close().unwrap();
    chain
}

fn hard(term: u64, vote: u8) -> Write {
    Write::Hard(HardState { term, vote: Some(NodeId(vote)) })
}

fn open(dir: &Path) -> Result<(SledStore, SledReader, Opened), StoreError> {
    SledStore::open(dir, &common::expected())
}

/// Opens, expects corruption, and returns the sentence.
fn corrupt(dir: &Path) -> String {
    match open(dir) {
        Ok(_) => panic!("a damaged folder was opened"),
        Err(error) => {
            assert_eq!(error.exit_code(), 6, "{error}");
            let text = error.to_string();
            assert!(text.contains("--rejoin"), "{text}");
            text
        }
    }
}

/// Everything the folder was promised to hold.
fn assert_whole(chain: &Chain, reader: &SledReader, opened: &Opened) {
    assert_eq!(opened.durable.hard, HardState { term: 2, vote: Some(NodeId(0)) });
    assert_eq!(opened.durable.last_index, 30);
    assert_eq!(opened.applied, 25);
    assert_eq!(opened.durable.tail, chain.records(26));
    assert_eq!(opened.peers.get(&NodeId(1)), Some(&77));
    assert_eq!(opened.keys.get(&NodeId(1)), Some(&[7; 32]));
    assert_eq!(opened.state.log(), chain.state_at(25).log());
    assert_eq!(opened.state.tip(), chain.state_at(25).tip());
    assert!(opened.state.accounts().eq(chain.state_at(25).accounts()));
    assert_eq!(opened.state.ids().len(), chain.state_at(25).ids().len());
    assert_eq!(reader.records(0, usize::MAX).unwrap(), chain.records(0));
}

fn record_key(index: u64, part: u16) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

#[test]
fn two_hundred_flipped_bits_are_refused_or_harmless() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    let chain = folder(&whole);
    // Only what was ever written: the rest of the file is the filling of a segment.
    let snapshot = fs::read_dir(whole.join("sled"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("snap."))
        .unwrap();
    let files: Vec<(PathBuf, u64)> = ["mark", "meta", "sled/db", "sled/conf", &format!("sled/{snapshot}")]
        .iter()
        .map(|name| {
            let bytes = fs::read(whole.join(name)).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            (PathBuf::from(name), used)
        })
        .collect();
    let mut rng = ChaCha12Rng::seed_from_u64(20);
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..200 {
        let dir = base.path().join("damaged");
        common::copy_tree(&whole, &dir);
        // Mostly sled's file, where almost everything is.
        let (name, used) = &files[if round % 10 < 7 { 2 } else { [0, 1, 3, 4][round % 4] }];
        let mut bytes = fs::read(dir.join(name)).unwrap();
        let at = rng.random_range(0..*used) as usize;
        let bit = rng.random_range(0..8);
        bytes[at] ^= 1 << bit;
        fs::write(dir.join(name), bytes).unwrap();
        match open(&dir) {
            Ok((_store, reader, opened)) => {
                assert_whole(&chain, &reader, &opened);
                harmless += 1;
            }
            Err(error) => {
                let expected = [6, 2];
                assert!(expected.contains(&error.exit_code()), "{}:{at}.{bit}: {error}", name.display());
                // Only the identity can look like somebody else's, and its checksum rules that out.
                assert_eq!(error.exit_code(), 6, "{}:{at}.{bit}: {error}", name.display());
                refused += 1;
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(refused > 100);
}

#[test]
fn a_missing_or_shortened_file_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    folder(&whole);
    for name in ["mark", "meta", "sled/db", "sled/conf", "sled"] {
        let dir = base.path().join("damaged");
        common::copy_tree(&whole, &dir);
        if dir.join(name).is_dir() {
            fs::remove_dir_all(dir.join(name)).unwrap();
        } else {
            fs::remove_file(dir.join(name)).unwrap();
        }
        corrupt(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
    let length = fs::metadata(whole.join("sled/db")).unwrap().len();
    let used = fs::read(whole.join("sled/db")).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for keep in [0, 10, 1000, used / 2] {
        let dir = base.path().join("damaged");
        common::copy_tree(&whole, &dir);
        fs::OpenOptions::new().write(true).open(dir.join("sled/db")).unwrap().set_len(keep.min(length)).unwrap();
        corrupt(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
    // What was written last are rows of the state: those that sled forgets are made again from the log.
    let chain = folder(&base.path().join("again"));
    let dir = base.path().join("damaged");
    common::copy_tree(&whole, &dir);
    fs::OpenOptions::new().write(true).open(dir.join("sled/db")).unwrap().set_len(used - 1).unwrap();
    let (_store, reader, opened) = open(&dir).unwrap();
    assert_whole(&chain, &reader, &opened);
}

/// sled alone would open each of these happily: an older, consistent state of itself.
#[test]
fn a_sled_below_the_mark_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    SledStore::create(&dir, &common::meta(false), &common::genesis()).unwrap();
    let mut chain = Chain::new();
    let older = base.path().join("older");
    for (term, what) in [(1, "term"), (1, "records")] {
        common::copy_tree(&dir.join("sled"), &older);
        let (mut store, reader, _) = open(&dir).unwrap();
        let mut batch = Batch::default();
        match what {
            "term" => batch.writes.push(hard(term, 1)),
            _ => {
                let from = chain.last_index() + 1;
                chain.small_block(term);
                chain.small_block(term);
                batch = chain.append_batch(from);
            }
        }
        store.write(&batch).unwrap();
        store.sync().unwrap();
        drop((store, reader));
        let rolled_back = base.path().join("rolled-back");
        common::copy_tree(&dir, &rolled_back);
        fs::remove_dir_all(rolled_back.join("sled")).unwrap();
        common::copy_tree(&older, &rolled_back.join("sled"));
        let text = corrupt(&rolled_back);
        let word = match what {
            "term" => "promises were lost",
            _ => "acknowledged records were lost",
        };
        assert!(text.contains(word), "{what}: {text}");
        fs::remove_dir_all(&rolled_back).unwrap();
        fs::remove_dir_all(&older).unwrap();
    }
}

#[test]
fn a_mark_of_another_folder_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let (one, two) = (base.path().join("one"), base.path().join("two"));
    SledStore::create(&one, &common::meta(false), &common::genesis()).unwrap();
    let mut other = common::meta(false);
    other.incarnation = 43;
    SledStore::create(&two, &other, &common::genesis()).unwrap();
    fs::copy(one.join("mark"), two.join("mark")).unwrap();
    assert!(corrupt(&two).contains("another folder"));
}

/// Nodes of a bank hold the same log, and often the same term and vote: then everything else would fit.
#[test]
fn rows_of_another_folder_are_corruption() {
    let base = tempfile::tempdir().unwrap();
    let (one, two, other) =
        (base.path().join("one"), base.path().join("two"), Meta { incarnation: 43, ..common::meta(false) });
    folder(&one);
    folder_of(&other, &two);
    fs::remove_file(two.join("sled/db")).unwrap();
    fs::copy(one.join("sled/db"), two.join("sled/db")).unwrap();
    assert!(corrupt(&two).contains("those of another folder"));
    fs::remove_dir_all(two.join("sled")).unwrap();
    common::copy_tree(&one.join("sled"), &two.join("sled"));
    assert!(corrupt(&two).contains("those of another folder"));
    let Err(error) = SledStore::open_copy(&two) else { panic!("a copy was opened") };
    assert!(error.to_string().contains("those of another folder"), "{error}");
    assert_eq!(open(&one).unwrap().2.meta, common::meta(false));
}

#[test]
fn a_torn_tail_above_the_mark_is_cut_and_told() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    let chain = folder(&dir);
    tamper(&dir, |db| {
        // A record whose later parts never arrived, and one that begins a term.
        db.insert(record_key(31, 0), vec![1; 60]).unwrap();
        db.insert(record_key(32, 1), vec![2; 60]).unwrap();
    });
    let (store, reader, opened) = open(&dir).unwrap();
    assert_whole(&chain, &reader, &opened);
    assert!(opened.notes.iter().any(|note| note.contains("torn tail after record 30")), "{:?}", opened.notes);
    drop((store, reader));
    let (_store, reader, opened) = open(&dir).unwrap();
    assert_whole(&chain, &reader, &opened);
    assert!(!opened.notes.iter().any(|note| note.contains("torn")), "{:?}", opened.notes);
}

#[test]
fn damage_below_the_mark_or_before_good_records_is_never_cut() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    folder(&whole);
    // The last promised record, one that is applied, the genesis block, one that is not applied.
    for index in [30, 20, 0, 27] {
        for remove in [true, false] {
            let dir = base.path().join("damaged");
            common::copy_tree(&whole, &dir);
            tamper(&dir, |db| {
                let key = record_key(index, 0);
                if remove {
                    db.remove(key).unwrap();
                } else {
                    let mut value = db.get(&key).unwrap().unwrap().to_vec();
                    *value.last_mut().unwrap() ^= 1;
                    db.insert(key, value).unwrap();
                }
            });
            corrupt(&dir);
            fs::remove_dir_all(&dir).unwrap();
        }
    }
    // A damaged record above the mark, with a good one after it.
    let dir = base.path().join("hole");
    let mut chain = folder(&dir);
    let clean = fs::read(dir.join("mark")).unwrap();
    let mark;
    {
        let (mut store, _reader, _) = open(&dir).unwrap();
        mark = fs::read(dir.join("mark")).unwrap();
        chain.small_block(2);
        chain.small_block(2);
        store.write(&chain.append_batch(31)).unwrap();
        store.close().unwrap();
    }
    // The mark of a clean stop says that nothing followed.
    fs::write(dir.join("mark"), clean).unwrap();
    assert!(corrupt(&dir).contains("not of the same time"));
    fs::write(dir.join("mark"), mark).unwrap();
    tamper(&dir, |db| {
        db.insert(record_key(31, 0), vec![1; 60]).unwrap();
    });
    corrupt(&dir);
}

/// Whole rows gone or changed, with sled itself in good health.
#[test]
fn every_kind_of_row_is_missed_when_it_is_gone_and_noticed_when_it_is_changed() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    folder(&whole);
    let number = |kind: u8, number: u64| {
        let mut key = vec![kind];
        key.extend_from_slice(&number.to_be_bytes());
        key
    };
    let keys = [b"o".to_vec(), b"h".to_vec(), b"s".to_vec(), b"aalice".to_vec(), b"vkey".to_vec(), number(b't', 13)];
    for key in keys {
        for remove in [true, false] {
            let dir = base.path().join("damaged");
            common::copy_tree(&whole, &dir);
            tamper(&dir, |db| {
                let mut value = db.get(&key).unwrap().unwrap().to_vec();
                if remove {
                    db.remove(&key).unwrap();
                } else {
                    value[0] ^= 1;
                    db.insert(&key[..], value).unwrap();
                }
            });
            corrupt(&dir);
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}

/// Where the state stands, altered with its checksum made right: the tip must be the block's in every field.
#[test]
fn a_tip_that_is_not_its_block_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    folder(&whole);
    // The last byte of: index, term, height, the block's hash, time, term.
    for place in [7, 15, 23, 55, 63, 71] {
        let dir = base.path().join("damaged");
        common::copy_tree(&whole, &dir);
        tamper(&dir, |db| {
            let mut value = db.get(b"s").unwrap().unwrap().to_vec();
            value[place] ^= 1;
            let payload = value.len() - 4;
            let crc = crc32fast::hash(&[b"s", &value[..payload]].concat());
            value[payload..].copy_from_slice(&crc.to_be_bytes());
            db.insert(b"s", value).unwrap();
        });
        corrupt(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// A block, altered with its record's digest made right: the chain of hashes does not fit any more.
#[test]
fn a_block_that_is_not_of_this_chain_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let whole = base.path().join("whole");
    let chain = folder(&whole);
    // The genesis block, a block in the middle, the tip's, a no-op in place of a block, a term.
    for (index, what) in [(0, "header"), (9, "header"), (25, "header"), (9, "no-op"), (9, "term"), (9, "other")] {
        let dir = base.path().join("damaged");
        common::copy_tree(&whole, &dir);
        let mut record = chain.record(index);
        match what {
            "header" => {
                let mut block = Block::decode(record.entry.as_ref().unwrap()).unwrap();
                block.header.nonce ^= 1;
                record.entry = Some(Entry::from(block.encode()));
            }
            "no-op" => record.entry = None,
            "term" => record.term = 2,
            _ => record.entry = Some(Entry::from(b"no block".to_vec())),
        }
        tamper(&dir, |db| {
            db.insert(record_key(index, 0), stored(&record)).unwrap();
        });
        corrupt(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// The one row of a small record, spelled as store/src/record.rs says.
fn stored(record: &Record) -> Vec<u8> {
    let entry = record.entry.as_deref().unwrap_or_default();
    let mut front = record.term.to_be_bytes().to_vec();
    front.push(u8::from(record.entry.is_some()));
    front.extend_from_slice(&(entry.len() as u32).to_be_bytes());
    let hashed = [b"raftbank/record/1\n", &record.index.to_be_bytes()[..], &front, entry].concat();
    [&front[..], &Sha256::digest(hashed), entry].concat()
}

/// Damage that begins while the node runs is found by the read that meets it.
#[test]
fn a_reader_never_returns_a_damaged_record() {
    let base = tempfile::tempdir().unwrap();
    folder(base.path());
    let (_store, reader, _) = open(base.path()).unwrap();
    let good: Vec<Record> = reader.records(0, usize::MAX).unwrap();
    assert_eq!(good.len(), 31);
    // Beyond the end there is nothing, and that is no damage.
    assert!(reader.records(31, usize::MAX).unwrap().is_empty());
    assert_eq!(reader.block(29).unwrap(), None);
}
