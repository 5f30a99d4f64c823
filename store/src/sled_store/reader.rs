//! Reading while the node runs, and loading all rows.

use super::log;
use crate::{
    engine::Tree,
    error::StoreError,
    progress::{Counter, OnProgress},
    record::{self, Head},
    rows::{self, Applied, IdsSum},
    shape::{Reach, log_has},
    types::{Reader, StoredRows},
};
use raftbank_consensus::{Entry, Index, Record};
use raftbank_ledger::{
    Account, Hash, LogTree, RequestId, StateRows, Tip,
    log_tree::peak_places,
    merkle::{leaf_hash, node_hash},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// The reading side of a data folder. While one of these lives, the folder stays locked.
#[derive(Clone)]
pub struct SledReader {
    pub(super) tree: Tree,
    pub(super) reach: Arc<RwLock<Reach>>,
    pub(super) cluster_id: Hash,
    pub(super) difficulty: u8,
}

impl SledReader {
    fn reach(&self) -> RwLockReadGuard<'_, Reach> {
        self.reach.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for SledReader {
    fn records(&self, from: Index, bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        let reach = self.reach();
        let mut records: Vec<Record> = Vec::new();
        if from > reach.last_index {
            return Ok(records);
        }
        let mut bytes = 0_usize;
        let mut parts: Vec<sled::IVec> = Vec::new();
        let mut parts_wanted = 1;
        for row in self.tree.scan(rows::record_key(from, 0)..=rows::record_key(reach.last_index, u16::MAX))? {
            let (key, value) = row?;
            let index = from + records.len() as u64;
            if rows::parse_record_key(&key) != Some((index, parts.len() as u16)) {
                return Err(self.tree.corrupt(format!("record {index} or a part of it is missing")));
            }
            if parts.is_empty() {
                let Some((head, _)) = Head::decode(&value) else {
                    return Err(self.tree.corrupt(format!("the head of record {index} is damaged")));
                };
                bytes = bytes.saturating_add(head.length.unwrap_or(0) as usize);
                if bytes > bytes_max && !records.is_empty() {
                    return Ok(records);
                }
                parts_wanted = head.parts();
            }
            parts.push(value);
            if parts.len() == parts_wanted {
                let Some((record, _)) = record::assemble(index, &parts) else {
                    return Err(self.tree.corrupt(format!("record {index} does not match its digest")));
                };
                records.push(record);
                parts.clear();
            }
        }
        let next = from + records.len() as u64;
        if next <= reach.last_index {
            return Err(self.tree.corrupt(format!("record {next} or a part of it is missing")));
        }
        Ok(records)
    }

    fn block(&self, height: u64) -> Result<Option<Entry>, StoreError> {
        let reach = self.reach();
        if height > reach.height {
            return Ok(None);
        }
        block_at(&self.tree, height).map(|(_, entry)| Some(entry))
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        let _reach = self.reach();
        let applied = load_applied(&self.tree)?;
        let rows = load(&self.tree, &applied, self.cluster_id, self.difficulty, &mut |_| ())?;
        Ok(StoredRows { applied: applied.index, rows })
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        let reach = self.reach();
        if !log_has(reach.height, level, index) {
            return Ok(None);
        }
        log_node(&self.tree, level, index).map(Some)
    }
}

/// The record index and bytes of an applied block.
pub(super) fn block_at(tree: &Tree, height: u64) -> Result<(Index, Entry), StoreError> {
    let key = rows::number_key(rows::BLOCK, height);
    let index = tree
        .get(&key)?
        .and_then(|value| rows::unseal_number(&key, &value))
        .ok_or_else(|| tree.corrupt(format!("the index of block {height} is missing or damaged")))?;
    match log::read_record(tree, index)? {
        Some((Record { entry: Some(entry), .. }, _)) => Ok((index, entry)),
        _ => Err(tree.corrupt(format!("record {index} should hold block {height} and does not"))),
    }
}

/// A node of the log tree that must be there.
pub(super) fn log_node(tree: &Tree, level: u8, index: u64) -> Result<Hash, StoreError> {
    let key = rows::log_key(level, index);
    tree.get(&key)?
        .and_then(|value| rows::unseal_32(&key, &value))
        .map(Hash)
        .ok_or_else(|| tree.corrupt(format!("node {index} at level {level} of the log tree is missing or damaged")))
}

/// The log tree over all blocks up to the tip. Each of its peaks is compared with what stands under it, and the last leaf
/// with the tip: the rest of the tree is compared by `verify`.
fn load_log(tree: &Tree, tip: &Tip) -> Result<LogTree, StoreError> {
    let size = tip.height.saturating_add(1);
    let mut peaks = Vec::new();
    for (level, index) in peak_places(size) {
        let hash = log_node(tree, level, index)?;
        let under = match level.checked_sub(1) {
            Some(below) => node_hash(&log_node(tree, below, 2 * index)?, &log_node(tree, below, 2 * index + 1)?),
            None => hash,
        };
        if hash != under {
            return Err(tree.corrupt(format!("node {index} at level {level} of the log tree is not that of its sides")));
        }
        peaks.push(hash);
    }
    if log_node(tree, 0, tip.height)? != leaf_hash(&tip.hash.0) {
        return Err(tree.corrupt(format!("leaf {} of the log tree is not that of the last block", tip.height)));
    }
    LogTree::from_peaks(size, peaks)
        .ok_or_else(|| tree.corrupt(format!("the log tree of {size} blocks has not the peaks it should have")))
}

/// Where the state stands.
pub(super) fn load_applied(tree: &Tree) -> Result<Applied, StoreError> {
    tree.get(&[rows::APPLIED])?
        .and_then(|value| rows::unseal_applied(&value))
        .ok_or_else(|| tree.corrupt("the row that says where the state stands is missing or damaged"))
}

/// All rows of the state at `applied`. Damage to any row, and a missing row of ids, is found here; missing accounts, values and pending transfers
/// are found by whoever computes the state root.
pub(super) fn load(
    tree: &Tree,
    applied: &Applied,
    cluster_id: Hash,
    difficulty: u8,
    on_progress: OnProgress<'_>,
) -> Result<StateRows, StoreError> {
    let mut accounts = BTreeMap::new();
    let mut counter = Counter::new(on_progress, "accounts", None);
    for row in tree.scan_prefix(&[rows::ACCOUNT])? {
        let (key, value) = row?;
        let account = std::str::from_utf8(&key[1..]).ok().and_then(|name| Account::parse(name).ok());
        match (account, rows::unseal_balance(&key, &value)) {
            (Some(account), Some(balance)) => {
                accounts.insert(account, balance);
                counter.add(1);
            }
            _ => {
                return Err(
                    tree.corrupt(format!("the row of account {:?} is damaged", String::from_utf8_lossy(&key[1..])))
                );
            }
        }
    }
    let mut values = BTreeMap::new();
    let mut counter = Counter::new(on_progress, "values", None);
    for row in tree.scan_prefix(&[rows::VALUE])? {
        let (key, value) = row?;
        match rows::unseal(&key, &value) {
            Some(value) => {
                values.insert(key[1..].to_vec(), value.to_vec());
                counter.add(1);
            }
            None => {
                return Err(tree.corrupt(format!("the row of key {:?} is damaged", String::from_utf8_lossy(&key[1..]))));
            }
        }
    }
    let mut pendings = BTreeMap::new();
    let mut counter = Counter::new(on_progress, "pending transfers", None);
    for row in tree.scan_prefix(&[rows::PENDING])? {
        let (key, value) = row?;
        let id = std::str::from_utf8(&key[1..]).ok().and_then(|name| RequestId::parse(name).ok());
        match (id, rows::unseal_pending(&key, &value)) {
            (Some(id), Some(pending)) => {
                pendings.insert(id, pending);
                counter.add(1);
            }
            _ => {
                let id = String::from_utf8_lossy(&key[1..]);
                return Err(tree.corrupt(format!("the row of pending transfer {id:?} is damaged")));
            }
        }
    }
    let mut ids = BTreeMap::new();
    let mut sum = IdsSum::default();
    let mut counter = Counter::new(on_progress, "request ids", Some(applied.ids.count));
    for row in tree.scan_prefix(&[rows::IDS])? {
        let (key, value) = row?;
        let Some(found) = rows::unseal_ids(&key, &value) else {
            return Err(tree.corrupt("a row of request ids is damaged"));
        };
        counter.add(found.len() as u64);
        for (id, record) in found {
            sum.add(&id, &record);
            ids.insert(id, record);
        }
    }
    if sum != applied.ids {
        return Err(tree.corrupt(format!(
            "{} request ids are stored, and they are not the {} that were",
            sum.count, applied.ids.count
        )));
    }
    let log = load_log(tree, &applied.tip)?;
    Ok(StateRows { accounts, values, ids, pendings, log, tip: applied.tip.clone(), cluster_id, difficulty })
}
