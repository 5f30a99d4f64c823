//! What sled throws away while rows are rewritten is freed as fast as it comes, and not kept until the process ends.
#![allow(clippy::unwrap_used)]

mod common;

use common::{expected, genesis, meta};
use raftbank_consensus::{Entry, Record, Write};
use raftbank_ledger::{Account, Delta, State};
use raftbank_store::{Batch, SledStore, StateWrite, Store};

/// Rows that each block changes: so many that the store writes them back at once.
const ROWS: usize = 45_000;
const BLOCKS: u64 = 16;
/// sled's page cache has 64 MiB, its pages take a few times their bytes in memory, and the allocator keeps some.
const GROWTH_MIB_MAX: u64 = 128;

#[test]
fn rewriting_many_rows_again_and_again_keeps_no_memory() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("data");
    SledStore::create(&dir, &meta(false), &genesis()).unwrap();
    let (mut store, _reader, _) = SledStore::open(&dir, &expected()).unwrap();
    let (_, first) = State::new(&genesis()).unwrap();
    let names: Vec<Account> = (0..ROWS).map(|number| Account::parse(&format!("a{number}")).unwrap()).collect();
    let mut before = 0;
    for height in 1..=BLOCKS {
        let record = Record { index: height, term: 1, entry: Some(Entry::from(vec![7; 100])) };
        let tip = raftbank_ledger::Tip { height, ..first.tip.clone() };
        let accounts = names.iter().map(|name| (name.clone(), i128::from(height))).collect();
        let delta = Delta { accounts, ids: Vec::new(), values: Vec::new(), log: Vec::new(), tip, ..first.clone() };
        let state = StateWrite { index: height, term: 1, height: Some(height), delta: Some(delta) };
        let splice = Write::Splice { from: height, records: vec![record] };
        store.write(&Batch { writes: vec![splice], state: vec![state], ..Batch::default() }).unwrap();
        store.sync().unwrap();
        if height == BLOCKS / 4 {
            before = resident_mib();
        }
    }
    let after = resident_mib();
    assert!(after < before + GROWTH_MIB_MAX, "from {before} to {after} MiB in {} blocks", BLOCKS - BLOCKS / 4);
}

/// Memory of this process, which runs nothing else.
fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}
