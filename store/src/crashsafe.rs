//! Every sync of a file or folder that is not sled's own goes through here.
//!
//! A new file is only there after a power cut if the folder that names it was synced, too; the same holds for that
//! folder in its parent. A file that must change as a whole is written beside the old one and renamed over it.

use crate::error::StoreError;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Syncs a folder: the names in it.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| StoreError::io("syncing the folder", dir, error))
}

/// Syncs a file's data and metadata.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|handle| handle.sync_all()).map_err(|error| StoreError::io("syncing", path, error))
}

/// Makes `dir` with all its parents and syncs the parent of every folder it made, so that the whole path survives a
/// power cut. An existing folder is fine.
pub(crate) fn create_dir_all(dir: &Path) -> Result<(), StoreError> {
    let absolute = std::path::absolute(dir).map_err(|error| StoreError::io("resolving the path", dir, error))?;
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = absolute.as_path();
    while !at.exists() {
        missing.push(at.to_owned());
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for made in missing.iter().rev() {
        match fs::create_dir(made) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io("making the folder", made, error)),
        }
        if let Some(parent) = made.parent() {
            sync_dir(parent)?;
        }
    }
    // The name of a folder that stood there before may still be on its way to the disk.
    if missing.is_empty()
        && let Some(parent) = absolute.parent()
    {
        match sync_dir(parent) {
            // A parent one may pass through but not read belongs to somebody else, who made this folder long ago.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// Writes a new file or replaces an old one as a whole: temporary file, sync, rename, sync of the folder.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(|error| StoreError::io("making", &temporary, error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| StoreError::io("writing", &temporary, error))?;
    fs::rename(&temporary, path).map_err(|error| StoreError::io("renaming to", path, error))?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_folders_are_made_and_files_replaced_as_a_whole() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b/c");
        create_dir_all(&dir).unwrap();
        create_dir_all(&dir).unwrap();
        let file = dir.join("f");
        replace_file(&file, b"one").unwrap();
        replace_file(&file, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        sync_file(&file).unwrap();
        sync_dir(&dir).unwrap();
    }

    #[test]
    fn a_missing_folder_is_an_io_error_with_its_path() {
        let error = sync_dir(Path::new("/nonexistent/raftbank")).unwrap_err();
        assert_eq!(error.exit_code(), 7);
        assert!(error.to_string().contains("/nonexistent/raftbank"));
    }
}
