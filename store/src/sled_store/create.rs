//! Making a data folder, so that an interruption at any point leaves either nothing usable or all of it.
//!
//! The file `creating` is the first thing written and the last removed. Until then nothing was promised on the folder,
//! and making it again starts over.

use super::{
    layout::{Layout, Standing},
    overlay::Overlay,
};
use crate::{
    crashsafe,
    engine::{Engine, Tuning},
    error::StoreError,
    mark::{Mark, MarkFile},
    meta::{self, Meta},
    record,
    rows::{self, Applied},
};
use raftbank_consensus::{Entry, HardState, Record};
use raftbank_ledger::{Block, State};
use std::{fs, io::ErrorKind, path::Path};

pub(super) fn create(dir: &Path, meta: &Meta, genesis: &Block, tuning: Tuning) -> Result<(), StoreError> {
    let layout = Layout::new(dir);
    let cluster_id = genesis.hash();
    if meta.cluster_id != cluster_id {
        return Err(StoreError::Mismatch {
            dir: dir.to_owned(),
            what: "cluster id",
            expected: cluster_id.to_string(),
            found: meta.cluster_id.to_string(),
        });
    }
    match layout.standing()? {
        Standing::Folder | Standing::Foreign => return Err(StoreError::AlreadyThere { dir: dir.to_owned() }),
        Standing::Unfinished => clear(&layout)?,
        Standing::Nothing => {}
    }
    let (_, delta) = State::new(genesis)
        .map_err(|error| StoreError::corrupt(format!("the genesis block does not execute: {error}")))?;

    crashsafe::create_dir_all(dir)?;
    crashsafe::replace_file(&layout.creating(), b"")?;

    let record = Record { index: 0, term: 0, entry: Some(Entry::from(genesis.encode())) };
    let Some((digest, parts)) = record::rows_of(&record) else {
        return Err(StoreError::corrupt("the genesis block is too long to store"));
    };
    let applied = Applied { index: 0, term: 0, tip: delta.tip.clone() };
    let mut overlay = Overlay::new(applied.clone(), None, 0, tuning.limits);
    overlay.take(&delta);
    let mut pending = overlay.drain(&applied);
    for (key, value) in parts {
        pending.insert(&key, value);
    }
    pending.insert(&[rows::OWNER], rows::seal_number(&[rows::OWNER], meta.incarnation));
    pending.insert(&[rows::HARD], rows::seal_hard(&HardState { term: 0, vote: None }));
    {
        let mut engine = Engine::open(&layout.sled(), dir, tuning)?;
        pending.hand_over(&mut engine)?;
        engine.sync()?;
    }
    sync_tree(&layout.sled())?;
    let mark = Mark {
        incarnation: meta.incarnation,
        term: 0,
        vote: None,
        last_index: 0,
        last_digest: digest,
        committed: 0,
        closed: true,
    };
    MarkFile::create(&layout.mark(), mark)?;
    meta::write(&layout.meta(), meta)?;
    remove_file(&layout.creating())?;
    crashsafe::sync_dir(dir)
}

/// Removes what an interrupted creation left, the marker last.
fn clear(layout: &Layout) -> Result<(), StoreError> {
    match fs::remove_dir_all(layout.sled()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("removing", &layout.sled(), error)),
    }
    for path in [layout.mark(), layout.meta()] {
        remove_file(&path)?;
        remove_file(&path.with_extension("new"))?;
    }
    remove_file(&layout.creating().with_extension("new"))
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("removing", path, error)),
    }
}

/// Syncs every file and folder under `dir`, then `dir`: sled syncs neither its `conf` nor any folder.
fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(dir).map_err(|error| StoreError::io("listing", dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("listing", dir, error))?;
        let kind = entry.file_type().map_err(|error| StoreError::io("listing", dir, error))?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            crashsafe::sync_file(&entry.path())?;
        }
    }
    crashsafe::sync_dir(dir)
}
