//! Reading what can be read of a folder, also of one that no node would start from, to compare it with a healthy one.

use super::{base, copy, layout::Layout, log, open, reader};
use crate::{
    engine::{Engine, Tree, Tuning},
    error::StoreError,
    rows,
    types::Reader,
};
use raftbank_consensus::{Index, Record};
use raftbank_ledger::{Account, Balance, Hash, Tip};
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;

/// What can be read of a stopped node's folder: what a node would start with, or, if none would start, the rows that are
/// there, of which nothing is checked but their checksums. It is read from a copy, which is removed when this is dropped.
pub struct Salvage {
    /// The last applied record and block, if the row that says so can be read.
    pub applied: Option<(Index, Tip)>,
    /// All balances whose rows can be read.
    pub accounts: BTreeMap<Account, Balance>,
    /// Hashes of all values whose rows can be read.
    pub values: BTreeMap<Vec<u8>, Hash>,
    /// Sentences about what cannot be read.
    pub damage: Vec<String>,
    tree: Tree,
    // Dropped in this order: sled lets go of its files before they are removed.
    _engine: Engine,
    _copy: TempDir,
}

/// Most sentences about damage; there may be millions of rows.
const DAMAGE_MAX: usize = 100;

impl Salvage {
    /// Reads all rows of the state.
    ///
    /// # Errors
    /// There is no folder, it is of an unknown format, a node runs on it, or sled cannot read it at all.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        // Rows of a format that is not known could be misread; a `meta` that is damaged or missing stops nobody here.
        if let Err(error @ StoreError::Format { .. }) = open::identify(&Layout::new(dir), None) {
            return Err(error);
        }
        let copy = copy::copied(dir)?;
        let layout = Layout::copy_of(dir, copy.path());
        for path in [layout.sled().join("db"), layout.sled().join("conf")] {
            // sled would make a new one and begin with nothing.
            if !path.is_file() {
                return Err(StoreError::corrupt(format!("the file {} is missing", path.display())));
            }
        }
        // Results that were not stored when the process ended are computed again.
        let refusal = match open::open(layout.clone(), None, Tuning::default(), &mut |_| ()) {
            Ok((store, reader, opened)) => {
                let rows = reader.rows()?.rows;
                return Ok(Self {
                    applied: Some((opened.applied, rows.tip)),
                    accounts: rows.accounts,
                    values: rows.values.into_iter().map(|(key, value)| (key, Hash::of(&[&value]))).collect(),
                    damage: Vec::new(),
                    tree: store.engine.tree().clone(),
                    _engine: store.engine,
                    _copy: copy,
                });
            }
            Err(error) => error.to_string(),
        };
        let engine = Engine::open(&layout.sled(), &layout.shown, Tuning::default())?;
        let tree = engine.tree().clone();
        let mut salvage = Self {
            applied: None,
            accounts: BTreeMap::new(),
            values: BTreeMap::new(),
            damage: Vec::new(),
            tree,
            _engine: engine,
            _copy: copy,
        };
        salvage.note(refusal);
        match reader::load_applied(&salvage.tree) {
            Ok(applied) => salvage.applied = Some((applied.index, applied.tip)),
            Err(error) => salvage.note(error.to_string()),
        }
        salvage.accounts()?;
        salvage.values()?;
        Ok(salvage)
    }

    /// A record of the log; `None` if there is none, or no more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn record(&self, index: Index) -> Result<Option<Record>, StoreError> {
        Ok(log::read_record(&self.tree, index)?.map(|(record, _)| record))
    }

    fn accounts(&mut self) -> Result<(), StoreError> {
        let base = match base::load(&self.tree) {
            Ok(base) => base,
            Err(error) => {
                self.note(error.to_string());
                return Ok(());
            }
        };
        let generation = base.map_or(0, |base| base.generation);
        for number in 0..base.map_or(0, |base| base.pieces) {
            match base::piece(&self.tree, generation, number) {
                Ok(piece) => self.accounts.extend(piece),
                Err(error) => self.note(error.to_string()),
            }
        }
        for row in self.tree.clone().scan_prefix(&rows::changed_prefix(generation))? {
            let (key, value) = row?;
            match base::changed(generation, &key, &value) {
                Ok((account, balance)) => drop(self.accounts.insert(account, balance)),
                Err(name) => self.note(format!("the row of account {name:?} is damaged")),
            }
        }
        Ok(())
    }

    fn values(&mut self) -> Result<(), StoreError> {
        for row in self.tree.clone().scan_prefix(&[rows::VALUE])? {
            let (key, value) = row?;
            match rows::unseal(&key, &value) {
                Some(value) => drop(self.values.insert(key[1..].to_vec(), Hash::of(&[value]))),
                None => self.note(format!("the row of key {:?} is damaged", String::from_utf8_lossy(&key[1..]))),
            }
        }
        Ok(())
    }

    fn note(&mut self, damage: String) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(damage);
        }
    }
}
