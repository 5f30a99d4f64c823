//! Reading a stopped node's folder without touching it.

use super::{
    SledReader, SledStore,
    layout::{Layout, Standing},
    open,
};
use crate::{engine::Tuning, error::StoreError, types::Opened};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::ErrorKind,
    path::Path,
};
use tempfile::TempDir;

/// An opened copy of a data folder; the copy is removed when this is dropped.
pub struct FolderCopy {
    /// Reads records, blocks and rows.
    pub reader: SledReader,
    /// What was found at open.
    pub opened: Opened,
    // Dropped in this order: sled lets go of its files before they are removed.
    _store: SledStore,
    _copy: TempDir,
}

pub(super) fn open_copy(dir: &Path, tuning: Tuning) -> Result<FolderCopy, StoreError> {
    let copy = copied(dir)?;
    let (store, reader, opened) = open::open(Layout::copy_of(dir, copy.path()), None, tuning, &mut |_| ())?;
    Ok(FolderCopy { reader, opened, _store: store, _copy: copy })
}

/// Copies a data folder to a temporary one.
pub(super) fn copied(dir: &Path) -> Result<TempDir, StoreError> {
    let original = Layout::new(dir);
    if original.standing()? != Standing::Folder {
        return Err(StoreError::Missing { dir: dir.to_owned() });
    }
    // Held while copying: no node can begin to write meanwhile.
    let _lock = lock(&original)?;
    let copy = tempfile::Builder::new().prefix("raftbank-verify-").tempdir().map_err(|error| {
        StoreError::io(
            "making a folder for temporary files (TMPDIR names another place) in",
            &std::env::temp_dir(),
            error,
        )
    })?;
    let to = Layout::new(copy.path());
    copy_file(&original.meta(), &to.meta())?;
    copy_file(&original.mark(), &to.mark())?;
    if original.sled().is_dir() {
        copy_tree(&original.sled(), &to.sled())?;
    }
    Ok(copy)
}

/// Takes the lock sled would take, on a handle that can only read. A folder without the file has no lock.
fn lock(layout: &Layout) -> Result<Option<File>, StoreError> {
    let path = layout.sled().join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("opening", &path, error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { dir: layout.shown.clone() }),
        Err(error) => Err(StoreError::io("locking", &path, error.into())),
    }
}

/// Copies a file if it is there; opening the copy says what is missing.
fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("copying (TMPDIR names another place) to", to, error)),
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(|error| StoreError::io("making", to, error))?;
    let entries = fs::read_dir(from).map_err(|error| StoreError::io("listing", from, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("listing", from, error))?;
        let kind = entry.file_type().map_err(|error| StoreError::io("listing", from, error))?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}
