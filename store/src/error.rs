//! What can go wrong with a data folder, told apart by what must happen next.

use std::{
    io,
    path::{Path, PathBuf},
};

/// What to do about a damaged folder: the same sentence wherever damage is found.
pub(crate) const REJOIN_ADVICE: &str = "keep the folder as evidence: move it away, then let the other members fill a new one with `raftbankd --rejoin`; nothing in it was changed on purpose and nothing was cut";

/// An error of the store. The variants differ in what the process must do, see [`StoreError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused a read, a write or a sync (disk full, device error, read-only mount).
    /// Fatal: after a failed sync nobody knows what is on the disk, so it is never retried in this process.
    #[error("{what}: {source}; {}", crate::fault::advice(source))]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's own error.
        source: io::Error,
    },
    /// What is stored contradicts itself or falls short of what was promised. Nothing is repaired.
    #[error("corruption: {what}; {advice}")]
    Corrupt {
        /// What was found, with index or path.
        what: String,
        /// How to get a healthy node again.
        advice: String,
    },
    /// The folder is of a format that this program does not know. Nothing in it was touched.
    #[error(
        "the data folder {} is of format {found}, but this program reads formats {} to {} only; {}; nothing in it was \
         touched",
        dir.display(), crate::meta::FORMAT_OLDEST, crate::meta::FORMAT, format_advice(*found)
    )]
    Format {
        /// The data folder.
        dir: PathBuf,
        /// What its file `meta` says.
        found: u32,
    },
    /// The folder belongs to another cluster or node.
    #[error(
        "the data folder {} has {what} {found}, but this node expects {expected}; check data_dir, id and genesis in the configuration",
        dir.display()
    )]
    Mismatch {
        /// The data folder.
        dir: PathBuf,
        /// Which property differs: `cluster id` or `node id`.
        what: &'static str,
        /// What the configuration asks for.
        expected: String,
        /// What the folder says.
        found: String,
    },
    /// Another process (or another handle of this one) has the folder open.
    #[error(
        "the data folder {} is in use by another process; stop that one first, two nodes must not share a folder",
        dir.display()
    )]
    InUse {
        /// The data folder.
        dir: PathBuf,
    },
    /// There is no data folder here, or its creation never finished.
    #[error(
        "there is no data folder of a node at {}; a new node makes it once with `raftbankd --init`, a node that lost its disk with `raftbankd --init --rejoin`",
        dir.display()
    )]
    Missing {
        /// The data folder.
        dir: PathBuf,
    },
    /// A folder that is not empty stands where a new one should be made.
    #[error(
        "{} already holds data and is left as it is; to start over, move it away first",
        dir.display()
    )]
    AlreadyThere {
        /// The data folder.
        dir: PathBuf,
    },
}

impl StoreError {
    /// The exit code of the daemon for this error: 7 for the disk, 6 for corruption, 2 for wrong usage.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreError::Io { .. } => 7,
            StoreError::Corrupt { .. } => 6,
            StoreError::Format { .. }
            | StoreError::Mismatch { .. }
            | StoreError::InUse { .. }
            | StoreError::Missing { .. }
            | StoreError::AlreadyThere { .. } => 2,
        }
    }

    /// Corruption with the usual advice.
    pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { what: what.into(), advice: REJOIN_ADVICE.to_owned() }
    }

    /// An error of the operating system on `path`.
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { what: format!("{doing} {}", path.display()), source }
    }
}

/// Who reads a folder of this format.
fn format_advice(found: u32) -> &'static str {
    if found > crate::meta::FORMAT {
        "a newer raftbankd wrote it: install that version again, or move the folder away and let the other members fill a \
         new one with `raftbankd --init --rejoin`"
    } else {
        "an older raftbankd wrote it: open it once with a version in between, or move the folder away and let the other \
         members fill a new one with `raftbankd --init --rejoin`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_exit_code_and_names_the_folder() {
        let dir = PathBuf::from("/some/folder");
        let mismatch = StoreError::Mismatch {
            dir: dir.clone(),
            what: "node id",
            expected: "n1".to_owned(),
            found: "n2".to_owned(),
        };
        let text = mismatch.to_string();
        assert!(text.contains("n1") && text.contains("n2") && text.contains("/some/folder"));
        assert_eq!(mismatch.exit_code(), 2);
        for error in [
            StoreError::InUse { dir: dir.clone() },
            StoreError::Missing { dir: dir.clone() },
            StoreError::AlreadyThere { dir: dir.clone() },
        ] {
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("/some/folder"));
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(StoreError::io("writing", &dir, full).exit_code(), 7);
        let corrupt = StoreError::corrupt("record 3 is unreadable");
        assert_eq!(corrupt.exit_code(), 6);
        assert!(corrupt.to_string().contains("--rejoin"));
    }
}
