//! A data folder as bytes in memory: read once, written out as often as it is damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What is written and compared at a time. Pages of zeros are left out, as holes.
const PAGE: usize = 4096;

/// All files of a folder by their path in it, and its folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The bytes of each file.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Folders below the top one.
    pub folders: Vec<String>,
}

impl Files {
    /// Reads a folder.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut found = Self::default();
        let mut open = vec![String::new()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(dir.join(&folder)).with_context(|| dir.join(&folder).display().to_string())? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if entry.file_type()?.is_dir() {
                    found.folders.push(path.clone());
                    open.push(path);
                } else {
                    found.files.insert(path, fs::read(entry.path())?);
                }
            }
        }
        found.folders.sort();
        Ok(found)
    }

    /// Writes everything below `dir`, which must be empty or not there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        for folder in &self.folders {
            fs::create_dir_all(dir.join(folder))?;
        }
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            let file = File::create(&path).with_context(|| path.display().to_string())?;
            file.set_len(bytes.len() as u64)?;
            for (number, page) in bytes.chunks(PAGE).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    file.write_all_at(page, (number * PAGE) as u64)?;
                }
            }
        }
        Ok(())
    }

    /// The first path at which `dir` differs from this; `None` if it is the same to the last byte.
    ///
    /// # Errors
    /// The operating system's.
    pub fn difference(&self, dir: &Path) -> Result<Option<String>> {
        let found = Self::read(dir)?;
        if found.folders != self.folders {
            return Ok(Some(format!("the folders are {:?}", found.folders)));
        }
        let names = self.files.keys().chain(found.files.keys());
        Ok(names.into_iter().find(|name| self.files.get(*name) != found.files.get(*name)).cloned())
    }

    /// The name of the first file that begins so.
    pub fn named(&self, begin: &str) -> Option<String> {
        self.files.keys().find(|name| name.starts_with(begin)).cloned()
    }
}

/// A folder for many copies: in memory if the machine has such a place.
///
/// # Errors
/// No folder can be made.
pub fn workplace() -> Result<tempfile::TempDir> {
    let shared = PathBuf::from("/dev/shm");
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rbdamage");
        builder
    };
    match builder().tempdir_in(&shared) {
        Ok(dir) => Ok(dir),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            builder().tempdir().context("a temporary folder")
        }
        Err(error) => Err(error).context("a temporary folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::Files;

    #[test]
    fn what_was_written_is_read_and_every_difference_is_seen() {
        let base = tempfile::tempdir().expect("a folder");
        let mut files = Files::default();
        files.folders.push("sled".to_owned());
        files.folders.push("sled/blobs".to_owned());
        files.files.insert("mark".to_owned(), vec![1; 10]);
        let mut holes = vec![0; 20_000];
        holes[9_000] = 3;
        files.files.insert("sled/db".to_owned(), holes);
        let dir = base.path().join("data");
        files.write(&dir).expect("written");
        assert_eq!(Files::read(&dir).expect("readable"), files);
        assert_eq!(files.difference(&dir).expect("readable"), None);
        std::fs::write(dir.join("mark"), [1; 11]).expect("written");
        assert_eq!(files.difference(&dir).expect("readable").as_deref(), Some("mark"));
        std::fs::write(dir.join("mark"), [1; 10]).expect("written");
        std::fs::write(dir.join("stray"), "").expect("written");
        assert_eq!(files.difference(&dir).expect("readable").as_deref(), Some("stray"));
    }
}
