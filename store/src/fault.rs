//! What an error of the system says about a disk, and what to do about it.

use std::io::{self, ErrorKind};

/// `EIO`: the device failed. The standard library has no stable kind for it.
const EIO: i32 = 5;
/// `EUCLEAN`: the file system is damaged.
const EUCLEAN: i32 = 117;

/// A disk that cannot be written or read. It never means that what is stored is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// No space is left, or no more of a quota.
    Full,
    /// The file system is mounted read-only, or the kernel made it so after an error.
    ReadOnly,
    /// The device or the file system failed.
    Failed,
}

impl DiskFault {
    /// What an error says about the disk; `None` if it is about something else.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match (error.kind(), error.raw_os_error()) {
            (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => Some(Self::Full),
            (ErrorKind::ReadOnlyFilesystem, _) => Some(Self::ReadOnly),
            (_, Some(EIO | EUCLEAN)) => Some(Self::Failed),
            _ => None,
        }
    }

    /// What has happened and what to do next, in one clause.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Full => {
                "the disk is full: free space on this file system, 32 MiB at least, or enlarge it, then start the node again; \
                 nothing that was acknowledged is lost"
            }
            Self::ReadOnly => {
                "the file system is read-only: the kernel's log (dmesg) says why; repair it and mount it for writing, \
                 then start the node again; nothing that was acknowledged is lost"
            }
            Self::Failed => {
                "the disk failed: look at the kernel's log (dmesg), repair or replace the disk, then start the node again; \
                 if its folder is lost, with --rejoin"
            }
        }
    }
}

/// What to do about an error of the system on a data folder, in one clause.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match DiskFault::of(error) {
        Some(fault) => fault.advice(),
        None if error.kind() == ErrorKind::PermissionDenied => {
            "the folder and all in it must belong to the user that the node runs as"
        }
        None => "look at the kernel's log (dmesg) and at the disk, then start the node again",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{DiskFault, advice};

    #[test]
    fn errors_of_the_system_are_told_apart() {
        for (number, fault) in [
            (28, Some(DiskFault::Full)),
            (122, Some(DiskFault::Full)),
            (30, Some(DiskFault::ReadOnly)),
            (5, Some(DiskFault::Failed)),
            (117, Some(DiskFault::Failed)),
            (2, None),
            (13, None),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(DiskFault::of(&error), fault, "{error}");
            assert!(!advice(&error).is_empty());
        }
    }
}
