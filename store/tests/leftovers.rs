//! What a full disk or a power cut leaves beside a folder's files does no harm.
#![allow(clippy::unwrap_used)]

mod common;

use common::Chain;
use raftbank_consensus::{HardState, Write};
use raftbank_store::{SledStore, Store};
use std::fs;

#[test]
fn a_snapshot_that_sled_began_and_did_not_finish_is_no_damage() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    SledStore::create(&dir, &common::meta(false), &common::genesis()).unwrap();
    let mut chain = Chain::new();
    chain.no_op(1);
    for round in 0..6_u64 {
        chain.small_block(1);
        let (mut store, _reader, opened) = SledStore::open(&dir, &common::expected()).unwrap();
        assert_eq!(opened.durable.last_index, if round == 0 { 0 } else { round + 1 });
        let mut batch = chain.append_batch(opened.durable.last_index + 1);
        batch.writes.insert(0, Write::Hard(HardState { term: 1, vote: None }));
        store.write(&batch).unwrap();
        store.close().unwrap();
        // Empty, cut off, or complete but not renamed: whatever the machine had got to.
        let whole = fs::read_dir(dir.join("sled"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
            .map_or_else(Vec::new, |path| fs::read(path).unwrap());
        let length = [0, 5, whole.len() / 2, whole.len()][(round % 4) as usize];
        fs::write(dir.join("sled/snap.7FFFFFFFFFFFFFFF.generating"), &whole[..length.min(whole.len())]).unwrap();
    }
    let (_store, _reader, opened) = SledStore::open(&dir, &common::expected()).unwrap();
    assert_eq!(opened.durable.last_index, 7);
    assert_eq!(opened.durable.tail, chain.records(1));
}
