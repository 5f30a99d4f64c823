//! Results that were not stored when a process ended: a start computes them again from the log, as far as the mark knows
//! that it is committed, and shows what was shown before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Chain, tamper};
use raftbank_consensus::{HardState, Index, Write};
use raftbank_ledger::Block;
use raftbank_store::{Batch, Opened, Progress, Reader, Salvage, SledReader, SledStore, Store, StoreError};
use sha2::{Digest, Sha256};
use std::path::Path;

fn open(dir: &Path) -> Result<(SledStore, SledReader, Opened), StoreError> {
    SledStore::open(dir, &common::expected())
}

/// A new folder with ten records of one term, all synced, and what of them is applied.
fn folder(dir: &Path, applied: Index) -> (Chain, SledStore, SledReader) {
    SledStore::create(dir, &common::meta(false), &common::genesis()).unwrap();
    let mut chain = Chain::new();
    chain.no_op(1);
    while chain.last_index() < 10 {
        chain.small_block(1);
    }
    let (mut store, reader, _) = open(dir).unwrap();
    let mut batch = chain.append_batch(1);
    batch.writes.insert(0, Write::Hard(HardState { term: 1, vote: None }));
    store.write(&batch).unwrap();
    store.sync().unwrap();
    store.write(&results(&chain, 1, applied)).unwrap();
    store.sync().unwrap();
    (chain, store, reader)
}

fn results(chain: &Chain, from: Index, to: Index) -> Batch {
    Batch { state: (from..=to).map(|index| chain.applied(index)).collect(), ..Batch::default() }
}

/// The record whose state sled holds.
fn stored(dir: &Path) -> Index {
    let mut index = 0;
    tamper(dir, |db| index = u64::from_be_bytes(db.get(b"s").unwrap().unwrap()[..8].try_into().unwrap()));
    index
}

fn assert_stands(chain: &Chain, applied: Index, reader: &SledReader, opened: &Opened) {
    assert_eq!((opened.applied, opened.durable.committed), (applied, applied));
    assert_eq!(opened.durable.tail, chain.records(applied + 1));
    let (state, rows) = (chain.state_at(applied), reader.rows().unwrap());
    assert_eq!(rows.applied, applied);
    assert_eq!((opened.state.tip(), &rows.rows.tip), (state.tip(), state.tip()));
    assert_eq!((opened.state.log(), &rows.rows.log), (state.log(), state.log()));
    assert!(opened.state.accounts().eq(state.accounts()) && opened.state.values().eq(state.values()));
    assert_eq!(opened.state.pendings(), state.pendings());
    assert!(opened.state.ids() == state.ids() && rows.rows.ids == *state.ids());
    assert!(rows.rows.accounts.iter().map(|(name, balance)| (name, *balance)).eq(state.accounts()));
    let tip = state.tip().height;
    assert!(reader.block(tip).unwrap().is_some() && reader.block(tip + 1).unwrap().is_none());
}

#[test]
fn a_killed_process_is_followed_by_one_that_shows_the_same() {
    for applied in [0, 1, 2, 7, 10] {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("data");
        let (chain, store, reader) = folder(&dir, applied);
        drop((store, reader));
        assert_eq!(stored(&dir), 0, "nothing of the state was written through");
        // Again and again: a start that does nothing stores nothing.
        for _ in 0..3 {
            let mut told = Vec::new();
            let (store, reader, opened) =
                SledStore::open_watched(&dir, &common::expected(), |progress| told.push(progress)).unwrap();
            assert_stands(&chain, applied, &reader, &opened);
            let again = Progress::Reading { what: "records to execute again", done: 0, total: Some(applied) };
            assert!(told.contains(&again), "{told:?}");
            drop((store, reader));
        }
        assert_eq!(stored(&dir), 0);
        // A clean stop leaves nothing to do.
        open(&dir).unwrap().0.close().unwrap();
        assert_eq!(stored(&dir), applied);
        let (store, reader, opened) = open(&dir).unwrap();
        assert_stands(&chain, applied, &reader, &opened);
        drop((store, reader));
    }
}

#[test]
fn a_copy_of_a_killed_folder_counts_the_same_and_the_folder_keeps_every_byte() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    let (chain, store, reader) = folder(&dir, 7);
    drop((store, reader));
    let before = common::snapshot(&dir);
    let copy = SledStore::open_copy(&dir).unwrap();
    assert_stands(&chain, 7, &copy.reader, &copy.opened);
    let salvage = Salvage::open(&dir).unwrap();
    let (index, tip) = salvage.applied.clone().unwrap();
    assert_eq!((index, &tip), (7, chain.state_at(7).tip()));
    assert!(salvage.accounts.iter().map(|(name, balance)| (name, *balance)).eq(chain.state_at(7).accounts()));
    assert_eq!(common::snapshot(&dir), before);
}

#[test]
fn what_was_not_synced_as_committed_waits_for_a_leader() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    let (chain, mut store, reader) = folder(&dir, 4);
    store.write(&results(&chain, 5, 9)).unwrap();
    assert_eq!(reader.rows().unwrap().applied, 9, "the running node shows it");
    drop((store, reader));
    let (mut store, reader, opened) = open(&dir).unwrap();
    assert_stands(&chain, 4, &reader, &opened);
    // It is applied once more when a leader says so.
    store.write(&results(&chain, 5, 10)).unwrap();
    drop(reader);
    store.close().unwrap();
    let (_store, reader, opened) = open(&dir).unwrap();
    assert_stands(&chain, 10, &reader, &opened);
}

#[test]
fn the_state_is_stored_once_nothing_is_written_any_more() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    for (turns, expected) in [(0, 0), (1, 0), (2, 7), (3, 7)] {
        let (_chain, mut store, reader) = folder(&dir, 7);
        for _ in 0..turns {
            store.sync_mark().unwrap();
        }
        drop((store, reader));
        assert_eq!(stored(&dir), expected, "{turns} turns of the mark");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// Both bounds of what waits in memory: its own size, and that of the log that would have to be executed again.
#[test]
fn the_state_is_stored_when_much_has_come_together() {
    for (blocks, same_key) in [(60, false), (330, true)] {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("data");
        let (mut chain, mut store, reader) = folder(&dir, 10);
        for number in 0..blocks {
            let request = chain.put(&format!("key {}", if same_key { 0 } else { number }), 65_536);
            chain.block(1, vec![request]);
            let last = chain.last_index();
            store.write(&chain.append_batch(last)).unwrap();
            store.write(&results(&chain, last, last)).unwrap();
        }
        store.sync().unwrap();
        drop((store, reader));
        let (last, at) = (chain.last_index(), stored(&dir));
        assert!(at > 10 && at < last, "the state of {at} is stored");
        let (_store, reader, opened) = open(&dir).unwrap();
        assert_stands(&chain, last, &reader, &opened);
    }
}

#[test]
fn a_committed_record_that_cannot_be_executed_is_corruption() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    let (chain, store, reader) = folder(&dir, 8);
    drop((store, reader));
    // A block that gives another hash, with the right digest of its record.
    let record = chain.record(5);
    let mut block = Block::decode(record.entry.as_ref().unwrap()).unwrap();
    block.header.nonce ^= 1;
    let entry = block.encode();
    let mut front = record.term.to_be_bytes().to_vec();
    front.push(1);
    front.extend_from_slice(&(entry.len() as u32).to_be_bytes());
    let hashed = [b"raftbank/record/1\n", &record.index.to_be_bytes()[..], &front, &entry].concat();
    let row = [&front[..], &Sha256::digest(hashed), &entry].concat();
    tamper(&dir, |db| {
        let key = [&b"r"[..], &5_u64.to_be_bytes(), &[0, 0]].concat();
        assert_eq!(db.insert(key, &row[..]).unwrap().unwrap().len(), row.len());
    });
    let Err(error) = open(&dir) else { panic!("opened") };
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("record 6 is committed, and it cannot be executed"), "{error}");
    assert!(error.to_string().contains("--rejoin"), "{error}");
}

#[test]
fn an_older_state_of_the_same_log_is_made_new_again() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    let (chain, store, reader) = folder(&dir, 3);
    drop(reader);
    store.close().unwrap();
    let older = base.path().join("older");
    common::copy_tree(&dir.join("sled"), &older);
    let (mut store, reader, _) = open(&dir).unwrap();
    store.write(&results(&chain, 4, 10)).unwrap();
    drop(reader);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    common::copy_tree(&older, &dir.join("sled"));
    let (_store, reader, opened) = open(&dir).unwrap();
    assert_stands(&chain, 10, &reader, &opened);
}
