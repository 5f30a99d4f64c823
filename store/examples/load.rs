//! Figures for docs/storage.md: real blocks of transfers, written and synced as a node does.
//!
//!     cargo run --release -p raftbank-store --example load -- REQUESTS BLOCKS [SYNC_EVERY] [ACCOUNTS]
//!
//! Each block has REQUESTS transfers between random ones of ACCOUNTS accounts (10,000 by default). The results of a block
//! are written together with the next one. One sync stands for SYNC_EVERY blocks (1 by default). Only the calls into the
//! store are timed. It works in a folder for temporary files (`TMPDIR`; a RAM disk there gives meaningless figures).
#![allow(clippy::unwrap_used)]

use raftbank_consensus::{Entry, HardState, Record, Write};
use raftbank_ledger::{Account, Amount, Block, Genesis, NodeName, Operation, Request, RequestId};
use raftbank_store::{Batch, Expected, FORMAT, Meta, Progress, SledStore, StateWrite, Store};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const MARK_EVERY: Duration = Duration::from_secs(1);

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|word| word.parse().unwrap()).collect();
    let (requests, blocks) = (numbers[0], numbers[1]);
    let sync_every = numbers.get(2).copied().unwrap_or(1);
    let accounts = numbers.get(3).copied().unwrap_or(10_000);
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    write(&dir, requests, blocks, sync_every, accounts);
    for _ in 0..2 {
        let cpu = cpu_time();
        let (start, mut last) = (Instant::now(), (Instant::now(), "identity".to_owned()));
        let mut parts = Vec::new();
        let opened = SledStore::open_watched(&dir, &identity().1, |progress| {
            let what = match progress {
                Progress::Opening { .. } => "sled",
                Progress::Reading { what, .. } => what,
            };
            if what != last.1 {
                parts.push(format!("{} {:.2} s", last.1, last.0.elapsed().as_secs_f64()));
                last = (Instant::now(), what.to_owned());
            }
        });
        parts.push(format!("{} {:.2} s", last.1, last.0.elapsed().as_secs_f64()));
        println!(
            "open: {:.2} s, {:.2} s of the processor ({})",
            start.elapsed().as_secs_f64(),
            (cpu_time() - cpu) as f64 / 1e9,
            parts.join(", ")
        );
        opened.unwrap().0.close().unwrap();
    }
}

fn write(dir: &Path, requests: u64, blocks: u64, sync_every: u64, accounts: u64) {
    let (genesis, expected) = identity();
    let meta = Meta {
        format: FORMAT,
        cluster_id: genesis.hash(),
        node: expected.node.clone(),
        incarnation: 1,
        rejoining: false,
    };
    SledStore::create(dir, &meta, &genesis).unwrap();
    let (mut store, _, opened) = SledStore::open(dir, &expected).unwrap();
    let mut state = opened.state;
    store.write(&Batch { writes: vec![Write::Hard(HardState { term: 1, vote: None })], ..Batch::default() }).unwrap();
    let (mut random, mut number) = (88_172_645_463_325_252_u64, 0_u64);
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let name = |number: u64| Account::parse(&format!("account.{number}")).unwrap();
    let mut pending: Vec<StateWrite> = Vec::new();
    let (mut times, mut took, mut bytes, mut count) = (Vec::new(), Duration::ZERO, 0_u64, 0_u64);
    let (mut marked, mut half, mut cpu) = (Instant::now(), 0, 0);
    let opening = accounts.div_ceil(8_000);
    for index in 1..=opening + blocks {
        let batch: Vec<Request> = if index <= opening {
            let from = (index - 1) * 8_000;
            (from..accounts.min(from + 8_000))
                .flat_map(|account| {
                    let operation = Operation::Credit { account: name(account), amount: Amount::new(1 << 40).unwrap() };
                    let open = Operation::Open { account: name(account) };
                    [(format!("o-{account}"), open), (format!("c-{account}"), operation)]
                })
                .map(|(id, operation)| Request { id: RequestId::parse(&id).unwrap(), operation })
                .collect()
        } else {
            (0..requests)
                .map(|_| {
                    number += 1;
                    let id = RequestId::parse(&format!("client.{:08x}", number)).unwrap();
                    let (from, to) = (name(next() % accounts), name(next() % accounts));
                    let amount = Amount::new(next() % 100 + 1).unwrap();
                    Request { id, operation: Operation::Transfer { from, to, amount, memo: String::new() } }
                })
                .collect()
        };
        let executed = state.execute(batch, 0);
        let mut header = executed.seal(&state, 1, expected.node.clone());
        header.nonce = 0;
        let block = Block { header, entries: executed.entries() };
        let delta = state.commit(executed, &block.header).unwrap();
        let entry = block.encode();
        if index > opening {
            bytes += entry.len() as u64 - Block { entries: Vec::new(), ..block.clone() }.encode().len() as u64;
            count += block.entries.len() as u64;
        }
        drop(block);
        let splice =
            Write::Splice { from: index, records: vec![Record { index, term: 1, entry: Some(Entry::from(entry)) }] };
        let batch = Batch { writes: vec![splice], state: std::mem::take(&mut pending), ..Batch::default() };
        let (start, cpu_start) = (Instant::now(), cpu_time());
        store.write(&batch).unwrap();
        if index % sync_every == 0 {
            store.sync().unwrap();
        }
        if marked.elapsed() > MARK_EVERY {
            store.sync_mark().unwrap();
            marked = Instant::now();
        }
        drop(batch);
        if index > opening {
            times.push(start.elapsed());
            took += start.elapsed();
            cpu += cpu_time() - cpu_start;
        }
        if index == opening + blocks / 2 {
            half = on_disk(dir);
        }
        pending.push(StateWrite { index, term: 1, height: Some(index), delta: Some(delta) });
    }
    store.write(&Batch { state: pending, ..Batch::default() }).unwrap();
    store.close().unwrap();
    times.sort();
    let (whole, count) = (on_disk(dir), count as f64);
    println!(
        "{requests} requests a block, {blocks} blocks, one sync for {sync_every}: {:.2} µs a request, {:.1} µs a block (of the processor {:.2} and {:.1}), p50 {:.1} µs, p99 {:.1} µs",
        took.as_secs_f64() * 1e6 / count,
        took.as_secs_f64() * 1e6 / blocks as f64,
        cpu as f64 / 1e3 / count,
        cpu as f64 / 1e3 / blocks as f64,
        times[times.len() / 2].as_secs_f64() * 1e6,
        times[times.len() * 99 / 100].as_secs_f64() * 1e6,
    );
    println!(
        "bytes of the requests {} KiB ({:.0} each), on disk {} KiB: {:.2} times, {:.2} over the second half; {:.0} bytes a request; {} in blobs/",
        bytes >> 10,
        bytes as f64 / count,
        whole >> 10,
        whole as f64 / bytes as f64,
        (whole - half) as f64 / (bytes as f64 / 2.0),
        whole as f64 / count,
        std::fs::read_dir(dir.join("sled/blobs")).unwrap().count(),
    );
}

/// Nanoseconds this thread has had a processor; reading it takes some µs.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Blocks of all files, as the file system counts them.
fn on_disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(dir.join("sled")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// Block 0 and whose folder it is.
fn identity() -> (Block, Expected) {
    let text =
        r#"{"name":"load","salt":"load","members":["n1"],"difficulty":0,"time_ms":0,"accounts":[],"transfers":[]}"#;
    let genesis: Genesis = serde_json::from_str(text).unwrap();
    let block = genesis.block().unwrap();
    let expected = Expected { cluster_id: block.hash(), node: NodeName::parse("n1").unwrap() };
    (block, expected)
}
