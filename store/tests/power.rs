//! Power cuts on the memory store: what was synced is there, what was not is a beginning of what was written.
#![allow(clippy::unwrap_used)]

mod common;

use common::Chain;
use raftbank_consensus::{HardState, Write};
use raftbank_store::{Batch, MemoryDisk, Reader, Store};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

fn disk() -> MemoryDisk {
    MemoryDisk::create(&common::meta(false), &common::genesis()).unwrap()
}

#[test]
fn a_disk_that_was_rolled_back_behind_its_mark_is_refused() {
    let write = |term: u64, chain: &Chain, from: u64| {
        let mut batch = chain.append_batch(from);
        batch.writes.insert(0, Write::Hard(HardState { term, vote: None }));
        batch
    };
    // After a new term, or after a record once the mark was synced; a record younger than that cannot be missed.
    for (term, mark, is_refused) in [(2, false, true), (1, true, true), (1, false, false)] {
        let disk = disk();
        let mut chain = Chain::new();
        chain.small_block(1);
        let (mut store, _, _) = disk.open(&common::expected()).unwrap();
        store.write(&write(1, &chain, 1)).unwrap();
        store.sync().unwrap();
        store.sync_mark().unwrap();
        let backup = disk.image();
        chain.small_block(1);
        store.write(&write(term, &chain, 2)).unwrap();
        store.sync().unwrap();
        if mark {
            store.sync_mark().unwrap();
        }
        disk.crash(|_| 0);
        disk.roll_back(backup);
        match disk.open(&common::expected()) {
            Err(error) => assert!(is_refused && error.exit_code() == 6, "{error}"),
            Ok(_) => assert!(!is_refused, "term {term}, mark synced: {mark}"),
        };
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_beginning_of_the_rest() {
    let mut lost_total = 0;
    let mut kept_some = 0;
    for seed in 0..100 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let disk = disk();
        let (mut store, reader, _) = disk.open(&common::expected()).unwrap();
        let mut chain = Chain::new();
        store
            .write(&Batch { writes: vec![Write::Hard(HardState { term: 1, vote: None })], ..Batch::default() })
            .unwrap();
        let mut synced = 0;
        for _ in 0..rng.random_range(1..20) {
            let from = chain.last_index() + 1;
            chain.small_block(1);
            chain.small_block(1);
            store.write(&chain.append_batch(from)).unwrap();
            if rng.random_bool(0.3) {
                store.sync().unwrap();
                assert_eq!(disk.unsynced(), 0);
                synced = chain.last_index();
            }
        }
        let unsynced = disk.unsynced();
        let lost = disk.crash(|steps| rng.random_range(0..=steps));
        lost_total += lost;
        assert!(store.write(&Batch::default()).is_err(), "a store outlived its machine");
        drop((store, reader));
        let (_store, reader, opened) = disk.open(&common::expected()).unwrap();
        let last = opened.durable.last_index;
        assert!(last >= synced && last <= chain.last_index());
        if last > synced && lost > 0 {
            kept_some += 1;
        }
        if unsynced == 0 {
            assert_eq!(last, chain.last_index());
        }
        assert_eq!(reader.records(0, usize::MAX).unwrap(), chain.records(0)[..=last as usize]);
        // What was handed out once counts as durable.
        drop((_store, reader));
        disk.crash(|_| 0);
        assert_eq!(disk.open(&common::expected()).unwrap().2.durable.last_index, last);
    }
    assert!(lost_total > 0 && kept_some > 0, "{lost_total} {kept_some}");
}

#[test]
fn a_failed_sync_is_final_and_loses_what_it_did_not_reach() {
    let disk = disk();
    let (mut store, _reader, _) = disk.open(&common::expected()).unwrap();
    let mut chain = Chain::new();
    let mut batch = Batch { writes: vec![Write::Hard(HardState { term: 1, vote: None })], ..Batch::default() };
    store.write(&batch).unwrap();
    store.sync().unwrap();
    chain.small_block(1);
    batch = chain.append_batch(1);
    store.write(&batch).unwrap();
    disk.fail_next_sync();
    assert_eq!(store.sync().unwrap_err().exit_code(), 7);
    assert_eq!(store.sync().unwrap_err().exit_code(), 7, "a second sync must not be believed");
    assert_eq!(store.write(&batch).unwrap_err().exit_code(), 7);
    disk.crash(|_| 0);
    drop(store);
    let opened = disk.open(&common::expected()).unwrap().2;
    assert_eq!((opened.durable.hard.term, opened.durable.last_index), (1, 0));
}

#[test]
fn an_idle_sync_costs_nothing() {
    let disk = disk();
    let (mut store, _reader, _) = disk.open(&common::expected()).unwrap();
    for _ in 0..5 {
        store.sync().unwrap();
    }
    assert_eq!(disk.syncs(), 0);
}
