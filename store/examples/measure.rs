//! Figures for docs/storage.md: what the store costs beside a plain file, and how a folder grows.
//!
//!     cargo run --release -p raftbank-store --example measure -- sync
//!     cargo run --release -p raftbank-store --example measure -- growth
//!
//! It works in a folder for temporary files (`TMPDIR`; a RAM disk there gives meaningless figures).
#![allow(clippy::unwrap_used)]

use raftbank_consensus::{Entry, HardState, Record, Write};
use raftbank_ledger::{Block, Genesis, NodeName};
use raftbank_store::{Batch, Expected, FORMAT, Meta, SledStore, Store, Tuning};
use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

const SIZES: [usize; 4] = [128, 4 << 10, 64 << 10, 1 << 20];
const TIME: Duration = Duration::from_secs(3);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("sync") => sync(),
        Some("growth") => growth(),
        _ => {
            eprintln!("usage: measure sync|growth");
            std::process::exit(2);
        }
    }
}

/// One record, one sync, again and again, beside the same bytes appended to a plain file.
fn sync() {
    println!("| record | plain file: append + fdatasync | store: write + sync | ratio |");
    println!("| --- | --- | --- | --- |");
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let mut file: File = OpenOptions::new().create(true).append(true).open(dir.path().join("plain")).unwrap();
        let plain = rate(|index| {
            file.write_all(&bytes(index, size)).unwrap();
            file.sync_data().unwrap();
        });
        let mut store = store(&dir.path().join("data"), Tuning::default());
        let stored = rate(|index| {
            store.write(&append(index, size)).unwrap();
            store.sync().unwrap();
        });
        println!("| {size} B | {plain:.0}/s | {stored:.0}/s | {:.2} |", stored / plain);
    }
}

/// Size of sled's file after many synced records, with and without its background thread.
fn growth() {
    println!("| record | background thread | records | stored | on disk | ratio | in blobs/ |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (size, count) in [(4 << 10, 30_000_u64), (1 << 20, 800)] {
        for flush_every_ms in [None, Some(500), Some(10_000)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("data");
            let mut store = store(&path, Tuning { flush_every_ms, ..Tuning::default() });
            for index in 1..=count {
                store.write(&append(index, size)).unwrap();
                store.sync().unwrap();
            }
            let stored = count * size as u64;
            let on_disk = std::fs::metadata(path.join("sled/db")).unwrap().len();
            let blobs = std::fs::read_dir(path.join("sled/blobs")).unwrap().count();
            let every = flush_every_ms.map_or("none".to_owned(), |ms| format!("{ms} ms"));
            println!(
                "| {size} B | {every} | {count} | {} MiB | {} MiB | {:.2} | {blobs} |",
                stored >> 20,
                on_disk >> 20,
                on_disk as f64 / stored as f64
            );
        }
    }
}

fn rate(mut work: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    let mut index = 0;
    while start.elapsed() < TIME {
        index += 1;
        work(index);
    }
    index as f64 / start.elapsed().as_secs_f64()
}

fn append(index: u64, size: usize) -> Batch {
    let record = Record { index, term: 1, entry: Some(Entry::from(bytes(index, size))) };
    Batch { writes: vec![Write::Splice { from: index, records: vec![record] }], ..Batch::default() }
}

/// Bytes that do not repeat.
fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size / 8)
        .flat_map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        })
        .collect()
}

fn identity() -> (Block, Expected) {
    let text = r#"{"name":"m","salt":"s","members":["n1"],"difficulty":0,"time_ms":0,"accounts":[{"name":"a"}],"transfers":[]}"#;
    let genesis: Genesis = serde_json::from_str(text).unwrap();
    let block = genesis.block().unwrap();
    let expected = Expected { cluster_id: block.hash(), node: NodeName::parse("n1").unwrap() };
    (block, expected)
}

fn store(dir: &Path, tuning: Tuning) -> SledStore {
    let (block, expected) = identity();
    let Expected { cluster_id, node } = expected.clone();
    SledStore::create_tuned(
        dir,
        &Meta { format: FORMAT, cluster_id, node, incarnation: 1, rejoining: false },
        &block,
        tuning,
    )
    .unwrap();
    let (mut store, _reader, _opened) = SledStore::open_tuned(dir, &expected, tuning).unwrap();
    let hard = Write::Hard(HardState { term: 1, vote: None });
    store.write(&Batch { writes: vec![hard], ..Batch::default() }).unwrap();
    store
}
