//! When the mark is written and when it is synced, which no reader of the folder can see afterwards.

use super::*;
use crate::meta::FORMAT;
use raftbank_consensus::NodeId;
use raftbank_ledger::{Genesis, NodeName};

fn store(dir: &Path) -> SledStore {
    let text = r#"{"name":"t","salt":"s","members":["n1"],"difficulty":0,"time_ms":0,"accounts":[],"transfers":[]}"#;
    let genesis: Genesis = serde_json::from_str(text).unwrap();
    let block = genesis.block().unwrap();
    let node = NodeName::parse("n1").unwrap();
    let meta = Meta { format: FORMAT, cluster_id: block.hash(), node: node.clone(), incarnation: 1, rejoining: true };
    SledStore::create(dir, &meta, &block).unwrap();
    let expected = Expected { cluster_id: block.hash(), node };
    SledStore::open(dir, &expected).unwrap().0
}

fn hard(term: u64) -> Batch {
    Batch { writes: vec![Write::Hard(HardState { term, vote: Some(NodeId(0)) })], ..Batch::default() }
}

fn no_ops(from: Index, to: Index, term: u64) -> Batch {
    let records = (from..=to).map(|index| Record { index, term, entry: None }).collect();
    Batch { writes: vec![Write::Splice { from, records }], ..Batch::default() }
}

#[test]
fn a_term_or_vote_syncs_the_mark_and_a_record_only_overwrites_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    store.write(&hard(1)).unwrap();
    assert_eq!(store.mark.current().term, 0, "the mark must not run ahead of sled");
    store.sync().unwrap();
    assert_eq!((store.mark.current().term, store.mark.current().vote), (1, Some(0)));
    assert!(!store.mark.is_dirty(), "a promise is in the synced mark before it leaves");

    store.write(&no_ops(1, 10, 1)).unwrap();
    assert_eq!(store.mark.current().last_index, 0);
    store.sync().unwrap();
    assert_eq!(store.mark.current().last_index, 10);
    assert!(store.mark.is_dirty(), "records cost no second sync");
    store.sync_mark().unwrap();
    assert!(!store.mark.is_dirty());
}

#[test]
fn the_mark_is_lowered_and_synced_before_the_log_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    store.write(&hard(2)).unwrap();
    store.write(&no_ops(1, 10, 1)).unwrap();
    store.sync().unwrap();
    store.write(&no_ops(6, 7, 2)).unwrap();
    assert_eq!(store.mark.current().last_index, 5);
    assert_eq!(store.mark.current().last_digest, record::digest(5, 1, None));
    assert!(!store.mark.is_dirty());
    store.sync().unwrap();
    assert_eq!(store.mark.current().last_index, 7);
    // A cut above the mark withdraws nothing.
    store.sync_mark().unwrap();
    store.write(&no_ops(8, 12, 2)).unwrap();
    store.write(&no_ops(10, 10, 2)).unwrap();
    assert_eq!(store.mark.current().last_index, 7);
}

#[test]
fn the_rejoining_flag_goes_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    let mut batch = no_ops(1, 3, 1);
    batch.writes.insert(0, Write::Hard(HardState { term: 1, vote: None }));
    batch.clear_rejoining = true;
    store.write(&batch).unwrap();
    assert!(SledStore::meta(dir.path()).unwrap().rejoining);
    store.sync().unwrap();
    assert!(!SledStore::meta(dir.path()).unwrap().rejoining);
    assert_eq!(store.mark.current().last_index, 3);
    assert!(!store.mark.is_dirty());
}

#[test]
fn opening_tells_how_far_it_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = store(dir.path());
    first.write(&hard(1)).unwrap();
    first.write(&no_ops(1, 1_000, 1)).unwrap();
    first.sync().unwrap();
    let expected = Expected { cluster_id: first.meta.cluster_id, node: first.meta.node.clone() };
    first.close().unwrap();
    let mut told = Vec::new();
    SledStore::open_watched(dir.path(), &expected, |progress| told.push(progress)).unwrap();
    assert!(matches!(told.first(), Some(Progress::Opening { bytes }) if *bytes > 0), "{told:?}");
    let log: Vec<u64> = told
        .iter()
        .filter_map(|progress| match progress {
            Progress::Reading { what: "records of the log", done, .. } => Some(*done),
            _ => None,
        })
        .collect();
    assert_eq!(log, [0, 256, 512, 768]);
    let records = Progress::Reading { what: "records", done: 0, total: Some(1) };
    assert!(told.contains(&records), "{told:?}");
}
