//! What a store and the driver of the disk must do: crashes, damage, roll-backs, and the verification of what is there.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_consensus::{Entry, HardState, Index, NodeId, Record, Write};
use raftbank_ledger::{Hash, NodeName};
use raftbank_store::{
    Batch, Expected, FORMAT, MemoryDisk, Meta, Opened, Reader, SledStore, Store, StoreError, StoredRows,
};
use raftbankd::runtime::disk::Disk;
use raftbankd::verify::books;

use super::Check;
use super::chain::{Chain, genesis};

pub(super) const CHECKS: &[Check] = &[
    ("what is synced survives a power cut", what_is_synced_survives_a_power_cut),
    ("state and applied index never part", state_and_applied_index_never_part),
    ("a start shows what was shown before", a_start_shows_what_was_shown_before),
    ("damage in the middle of the log is refused", damage_in_the_middle_of_the_log_is_refused),
    ("a store that was rolled back is refused", a_store_that_was_rolled_back_is_refused),
    ("a group is durable once its sync has ended", a_group_is_durable_once_its_sync_has_ended),
    ("a chain without its tail does not verify", a_chain_without_its_tail_does_not_verify),
];

const PATIENCE: Duration = Duration::from_secs(20);

fn meta() -> Result<Meta> {
    let (cluster_id, node) = (genesis(1, 0)?.hash(), NodeName::parse("n1")?);
    Ok(Meta { format: FORMAT, cluster_id, node, incarnation: 42, rejoining: false })
}

fn expected() -> Result<Expected> {
    let Meta { cluster_id, node, .. } = meta()?;
    Ok(Expected { cluster_id, node })
}

fn chain(records: Index) -> Result<Chain> {
    let mut chain = Chain::new(0)?;
    while chain.last_index() < records {
        chain.grow()?;
    }
    Ok(chain)
}

fn hard(term: u64) -> Batch {
    let vote = Some(NodeId(0));
    Batch { writes: vec![Write::Hard(HardState { term, vote })], ..Batch::default() }
}

/// What was opened is what the chain has at that point.
fn agrees(chain: &Chain, opened: &Opened) -> Result<()> {
    let there = &chain.states[opened.applied as usize];
    ensure!(
        opened.state.tip() == there.tip() && opened.state.ids() == there.ids(),
        "the applied index is {}, and the state is that of height {}",
        opened.applied,
        opened.state.tip().height
    );
    Ok(())
}

fn what_is_synced_survives_a_power_cut() -> Result<()> {
    let chain = chain(4)?;
    let disk = MemoryDisk::create(&meta()?, &genesis(1, 0)?)?;
    let (mut store, _reader, _) = disk.open(&expected()?)?;
    store.write(&hard(1))?;
    store.write(&chain.splice(1, 4))?;
    store.write(&chain.applied(1, 2))?;
    store.sync()?;
    store.sync_mark()?;
    disk.crash(|_| 0);
    let (_store, _reader, opened) = disk.open(&expected()?)?;
    let found = (opened.durable.hard.term, opened.durable.last_index, opened.applied);
    ensure!(found == (1, 4, 2), "term, last record and applied record were 1, 4 and 2, and are {found:?}");
    agrees(&chain, &opened)
}

fn state_and_applied_index_never_part() -> Result<()> {
    // So many that the store hands some of the results over to the disk.
    let chain = chain(9)?;
    for kept in 0..32 {
        let disk = MemoryDisk::create(&meta()?, &genesis(1, 0)?)?;
        let (mut store, _reader, _) = disk.open(&expected()?)?;
        store.write(&hard(1))?;
        store.write(&chain.splice(1, 9))?;
        store.sync()?;
        store.write(&chain.applied(1, 9))?;
        let lost = disk.crash(|_| kept);
        let (_store, _reader, opened) = disk.open(&expected()?)?;
        agrees(&chain, &opened).with_context(|| format!("{kept} steps reached the disk"))?;
        if lost == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// In a folder: after a clean stop, and after a process that just ended.
fn a_start_shows_what_was_shown_before() -> Result<()> {
    let base = tempfile::tempdir()?;
    let (dir, chain) = (base.path().join("data"), chain(6)?);
    folder(&dir, &chain)?;
    let (mut store, reader, opened) = SledStore::open(&dir, &expected()?)?;
    agrees(&chain, &opened)?;
    store.write(&chain.applied(3, 5))?;
    store.sync()?;
    drop((store, reader));
    let (_store, _reader, opened) = SledStore::open(&dir, &expected()?)?;
    ensure!(opened.applied == 5, "the results of record 5 were shown, then those of {}", opened.applied);
    agrees(&chain, &opened)
}

/// A folder that holds this chain and has applied its first two blocks, cleanly closed.
fn folder(dir: &Path, chain: &Chain) -> Result<()> {
    SledStore::create(dir, &meta()?, &genesis(1, 0)?)?;
    let (mut store, _reader, _) = SledStore::open(dir, &expected()?)?;
    store.write(&hard(1))?;
    store.write(&chain.splice(1, chain.last_index()))?;
    store.write(&chain.applied(1, 2))?;
    Ok(store.close()?)
}

fn damage_in_the_middle_of_the_log_is_refused() -> Result<()> {
    let base = tempfile::tempdir()?;
    let chain = chain(8)?;
    for index in [4_u64, 8] {
        let dir = base.path().join(index.to_string());
        folder(&dir, &chain)?;
        let db = raftbank_store::sled_for_tests(&dir)?;
        // The key of the first part of a record, as docs/storage.md says.
        let key = [&b"r"[..], &index.to_be_bytes(), &[0, 0]].concat();
        let mut value = db.get(&key)?.context("the record's row")?.to_vec();
        *value.last_mut().context("bytes")? ^= 1;
        db.insert(key, value)?;
        db.flush()?;
        drop(db);
        if let Ok((_store, _reader, opened)) = SledStore::open(&dir, &expected()?) {
            let found = opened.durable.last_index;
            ensure!(found == 8, "record {index} of 8 was damaged, and a log that ends at {found} was opened");
        }
    }
    Ok(())
}

fn a_store_that_was_rolled_back_is_refused() -> Result<()> {
    let base = tempfile::tempdir()?;
    let (dir, chain) = (base.path().join("data"), chain(6)?);
    folder(&dir, &chain)?;
    let older = base.path().join("older");
    copy_tree(&dir.join("sled"), &older)?;
    let (mut store, _reader, _) = SledStore::open(&dir, &expected()?)?;
    store.write(&hard(2))?;
    store.sync()?;
    store.close()?;
    fs::remove_dir_all(dir.join("sled"))?;
    copy_tree(&older, &dir.join("sled"))?;
    if let Ok((_store, _reader, opened)) = SledStore::open(&dir, &expected()?) {
        let term = opened.durable.hard.term;
        ensure!(term == 2, "term 2 and its vote were synced, and a store of term {term} was opened");
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A store whose syncs end when the gate is opened.
struct Slow {
    gate: Arc<Mutex<()>>,
}

impl Store for Slow {
    fn write(&mut self, _batch: &Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn a_group_is_durable_once_its_sync_has_ended() -> Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = Disk::start(Slow { gate: Arc::clone(&gate) })?;
    disk.persist(Some(1), hard(1));
    std::thread::sleep(Duration::from_millis(100)); // a wrong driver has said it by then
    let early = disk.durable();
    drop(closed);
    let end = Instant::now() + PATIENCE;
    while disk.durable() < 1 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let late = disk.durable();
    disk.close()?;
    ensure!((early, late) == (0, 1), "group {early} is durable while its sync runs, group {late} after it");
    Ok(())
}

/// The log and the rows of a node, to be tampered with.
#[derive(Clone)]
struct Books(Arc<Chain>, usize);

impl Reader for Books {
    fn records(&self, from: u64, _bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        let kept = self.0.records.iter().take(self.1);
        Ok(kept.filter(|record| record.index >= from).cloned().collect())
    }

    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError> {
        // Every record of this chain is a block, so a block's height is its index.
        Ok(self
            .0
            .records
            .iter()
            .take(self.1)
            .find(|record| record.index == height)
            .and_then(|record| record.entry.clone()))
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        Ok(StoredRows { applied: self.0.last_index(), rows: self.0.rows() })
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.0.log_node(level, index))
    }
}

fn a_chain_without_its_tail_does_not_verify() -> Result<()> {
    let chain = Arc::new(chain(6)?);
    for kept in 1..=7 {
        let report = books(&Books(Arc::clone(&chain), kept), None, &mut |_, _| true)?.context("it was not stopped")?;
        ensure!(report.problem.is_none() == (kept == 7), "{kept} of 7 blocks are left: {:?}", report.problem);
    }
    Ok(())
}
