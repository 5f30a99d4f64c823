//! What can end `raftbankd`, and with which exit code.

use std::io;
use std::path::{Path, PathBuf};

use raftbank_service::disk;
use raftbank_store::{DiskFault, StoreError};
use thiserror::Error;

use crate::config::ConfigError;

/// Exit code: internal error.
pub const EXIT_INTERNAL: u8 = 1;
/// Exit code: wrong usage or configuration.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: corruption found.
pub const EXIT_CORRUPT: u8 = 6;
/// Exit code: the disk failed a write or a sync.
pub const EXIT_DISK: u8 = 7;

/// Why `raftbankd` ends other than as asked. Each message is a whole sentence for the operator.
#[derive(Debug, Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The genesis file cannot be used.
    #[error("genesis file {}: {what}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The node's id is not one of the members.
    #[error("node.id = \"{id}\" is not a member of this bank: the genesis file names {members}")]
    NotMember {
        /// The id that the configuration gives.
        id: String,
        /// The members of the genesis file.
        members: String,
    },
    /// The command cannot be carried out as things stand.
    #[error("{0}")]
    Usage(String),
    /// The store cannot be opened, written or synced.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Damage was found, now or by an earlier run.
    #[error("{0}")]
    Corrupt(String),
    /// The node's private key is damaged or another's. The books are not concerned, so this is not sticky.
    #[error("{0}")]
    Key(String),
    /// The operating system refused something that the node needs.
    #[error("{what}: {source}{}", advice(source))]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that must not happen.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Failure {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Genesis { .. } | Self::NotMember { .. } | Self::Usage(_) => EXIT_USAGE,
            Self::Store(error) => error.exit_code(),
            Self::Corrupt(_) | Self::Key(_) => EXIT_CORRUPT,
            // A full or failed disk is one wherever it is met, and a supervisor may try again.
            Self::Io { source, .. } if DiskFault::of(source).is_some() => EXIT_DISK,
            Self::Io { .. } | Self::Internal(_) => EXIT_INTERNAL,
        }
    }

    /// This failure of the path that the setting `key` names; wrong usage if its unit may not write there.
    pub fn at(self, key: &str, path: &Path) -> Self {
        let outside = self.source_of_io().and_then(|source| disk::outside_unit(key, path, source));
        outside.map_or(self, Self::Usage)
    }

    fn source_of_io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } | Self::Store(StoreError::Io { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// An [`Failure::Io`] in one word order.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// What to do about a disk, if it is one; to be put after the error.
fn advice(error: &io::Error) -> String {
    DiskFault::of(error).map_or_else(String::new, |fault| format!("; {}", fault.advice()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Failure;

    #[test]
    fn a_disk_fault_has_its_exit_code_wherever_it_is_met() {
        for (number, code, word) in
            [(28, 7, "the disk is full"), (30, 7, "read-only"), (5, 7, "dmesg"), (24, 1, "open files")]
        {
            let failure = Failure::io("/run/n1.sock cannot be made")(io::Error::from_raw_os_error(number));
            assert_eq!(failure.exit_code(), code, "{failure}");
            assert!(failure.to_string().contains(word) && failure.to_string().contains("/run/n1.sock"), "{failure}");
        }
    }
}
