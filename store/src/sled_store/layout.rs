//! Names of the files in a data folder.

use crate::error::StoreError;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Paths of one data folder.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    /// What messages name: the original where `root` is a copy.
    pub shown: PathBuf,
}

/// What stands where a data folder should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or an empty folder.
    Nothing,
    /// The beginnings of a folder whose creation was interrupted; nothing was promised on it.
    Unfinished,
    /// A finished folder, whole or damaged.
    Folder,
    /// Something of somebody else.
    Foreign,
}

impl Layout {
    pub fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned(), shown: root.to_owned() }
    }

    pub fn copy_of(original: &Path, root: &Path) -> Layout {
        Layout { root: root.to_owned(), shown: original.to_owned() }
    }

    pub fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }
    pub fn mark(&self) -> PathBuf {
        self.root.join("mark")
    }
    pub fn sled(&self) -> PathBuf {
        self.root.join("sled")
    }
    /// Stands there from the first to the last step of making the folder.
    pub fn creating(&self) -> PathBuf {
        self.root.join("creating")
    }

    /// Looks at what is there without opening any of it.
    pub fn standing(&self) -> Result<Standing, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::Nothing),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Standing::Foreign),
            Err(error) => return Err(StoreError::io("listing", &self.root, error)),
        };
        let mut ours = false;
        let mut begun = false;
        let mut others = false;
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::io("listing", &self.root, error))?;
            match entry.file_name().to_str() {
                Some("creating") => return Ok(Standing::Unfinished),
                // Not even the marker could be finished, as on a full disk.
                Some("creating.new") => begun = true,
                Some("meta" | "mark" | "sled") => ours = true,
                // The root of a file system of its own.
                Some("lost+found") => {}
                _ => others = true,
            }
        }
        Ok(match (ours, others) {
            (true, _) => Standing::Folder,
            (false, true) => Standing::Foreign,
            (false, false) if begun => Standing::Unfinished,
            (false, false) => Standing::Nothing,
        })
    }
}
