//! Reading while the node runs, and loading all rows.

use super::{Shared, base, derive, log, overlay::Overlay};
use crate::{
    engine::Tree,
    error::StoreError,
    progress::{Counter, OnProgress},
    record::{self, Head},
    rows::{self, Applied},
    types::{Reader, StoredRows},
};
use raftbank_consensus::{Entry, Index, Record};
use raftbank_ledger::{Account, Balance, Hash, Pending, RequestId, StateRows};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// The reading side of a data folder. While one of these lives, the folder stays locked.
#[derive(Clone)]
pub struct SledReader {
    pub(super) tree: Tree,
    pub(super) shared: Arc<RwLock<Shared>>,
    pub(super) cluster_id: Hash,
    pub(super) difficulty: u8,
}

impl SledReader {
    fn shared(&self) -> RwLockReadGuard<'_, Shared> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for SledReader {
    fn records(&self, from: Index, bytes_max: usize) -> Result<Vec<Record>, StoreError> {
        let shared = self.shared();
        let reach = &shared.reach;
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
        let shared = self.shared();
        let Some(index) = shared.chain.index_of(height) else { return Ok(None) };
        match log::read_record(&self.tree, index)? {
            Some((Record { entry: Some(entry), .. }, _)) => Ok(Some(entry)),
            _ => Err(self.tree.corrupt(format!("record {index} should hold block {height} and does not"))),
        }
    }

    fn rows(&self) -> Result<StoredRows, StoreError> {
        let (applied, rows, log, tip) = {
            let shared = self.shared();
            let rows = load(&self.tree, &mut |_| ())?.covered(&shared.overlay);
            let log = shared.chain.log();
            (shared.reach.applied, rows, log, shared.tip.clone())
        };
        let log = log.ok_or_else(|| self.tree.corrupt("the log tree lacks a node"))?;
        // Applied records never change: the writer need not wait for this.
        let ids = derive::ids(&self.tree, applied)?;
        let Rows { accounts, values, pendings } = rows;
        let (cluster_id, difficulty) = (self.cluster_id, self.difficulty);
        Ok(StoredRows {
            applied,
            rows: StateRows { accounts, values, ids, pendings, log, tip, cluster_id, difficulty },
        })
    }

    fn log_node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.shared().chain.node(level, index))
    }
}

/// Where the state in sled stands.
pub(super) fn load_applied(tree: &Tree) -> Result<Applied, StoreError> {
    tree.get(&[rows::APPLIED])?
        .and_then(|value| rows::unseal_applied(&value).or_else(|| rows::unseal_applied_2(&value)))
        .ok_or_else(|| tree.corrupt("the row that says where the state stands is missing or damaged"))
}

/// The rows of the state.
pub(super) struct Rows {
    pub accounts: BTreeMap<Account, Balance>,
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub pendings: BTreeMap<RequestId, Pending>,
}

impl Rows {
    /// With what is not in sled yet.
    fn covered(mut self, overlay: &Overlay) -> Rows {
        self.accounts.extend(overlay.accounts().map(|(account, balance)| (account.clone(), balance)));
        let sealed = "sealed by this process";
        let values = overlay.others(rows::VALUE);
        self.values
            .extend(values.map(|(key, value)| (key[1..].to_vec(), rows::unseal(key, value).expect(sealed).to_vec())));
        let pendings = overlay.others(rows::PENDING);
        self.pendings.extend(pendings.map(|(key, value)| pending(key, value).expect(sealed)));
        self
    }
}

/// All rows of the state in sled. Damage to any of them is found here; missing ones are found by whoever computes the
/// state root.
pub(super) fn load(tree: &Tree, on_progress: OnProgress<'_>) -> Result<Rows, StoreError> {
    let accounts = load_accounts(tree, on_progress)?;
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
        let Some((id, pending)) = pending(&key, &value) else {
            let id = String::from_utf8_lossy(&key[1..]);
            return Err(tree.corrupt(format!("the row of pending transfer {id:?} is damaged")));
        };
        pendings.insert(id, pending);
        counter.add(1);
    }
    Ok(Rows { accounts, values, pendings })
}

/// The base, and what has changed since.
fn load_accounts(tree: &Tree, on_progress: OnProgress<'_>) -> Result<BTreeMap<Account, Balance>, StoreError> {
    let base = base::load(tree)?;
    let mut accounts: BTreeMap<Account, Balance> = BTreeMap::new();
    let mut counter = Counter::new(on_progress, "accounts", base.map(|base| base.accounts));
    if let Some(base) = base {
        for number in 0..base.pieces {
            let piece = base::piece(tree, base.generation, number)?;
            let last = accounts.last_key_value().map(|(account, _)| account);
            let follows = piece.first().is_none_or(|(first, _)| last < Some(first));
            if !follows || !piece.is_sorted_by(|(one, _), (other, _)| one < other) {
                return Err(tree.corrupt(format!("piece {number} of the accounts' base is out of order")));
            }
            counter.add(piece.len() as u64);
            accounts.extend(piece);
        }
        if accounts.len() as u64 != base.accounts {
            return Err(tree.corrupt(format!("the accounts' base has {} of {}", accounts.len(), base.accounts)));
        }
    }
    let generation = base.map_or(0, |base| base.generation);
    for row in tree.scan_prefix(&rows::changed_prefix(generation))? {
        let (key, value) = row?;
        let (account, balance) = base::changed(generation, &key, &value)
            .map_err(|name| tree.corrupt(format!("the row of account {name:?} is damaged")))?;
        accounts.insert(account, balance);
        counter.add(1);
    }
    Ok(accounts)
}

fn pending(key: &[u8], value: &[u8]) -> Option<(RequestId, Pending)> {
    let id = RequestId::parse(std::str::from_utf8(&key[1..]).ok()?).ok()?;
    Some((id, rows::unseal_pending(key, value)?))
}
