//! The sticky mark of corruption: once a node has stopped with exit code 6, its data folder says so, and no start
//! serves from it until an operator has acted.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Name of the mark in the data folder.
const FILE_NAME: &str = "corrupt";
/// A reason longer than this is cut, in bytes.
const REASON_BYTES_MAX: u64 = 4096;

/// Refuses with the reason of an earlier run, if that run found damage.
pub fn check(data_dir: &Path) -> Result<(), Failure> {
    match read(data_dir)? {
        None => Ok(()),
        Some(reason) => Err(Failure::Corrupt(format!(
            "an earlier run of this node stopped because of damage and nothing has been done about it: {reason} \
             Move {} away (it is needed no more once this node has caught up) and start the node with --rejoin. \
             `raftbankd --verify {}` examines it.",
            data_dir.display(),
            data_dir.display(),
        ))),
    }
}

/// The reason that an earlier run has left, if any.
pub fn read(data_dir: &Path) -> Result<Option<String>, Failure> {
    let path = file(data_dir);
    let opened = match File::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io(format!("{} cannot be read", path.display()))(error)),
    };
    let mut bytes = Vec::new();
    opened
        .take(REASON_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(Failure::io(format!("{} cannot be read", path.display())))?;
    let reason = String::from_utf8_lossy(&bytes).trim().to_owned();
    // The disk may have been full when it was left.
    Ok(Some(if reason.is_empty() { "(the reason could not be written)".to_owned() } else { reason }))
}

/// Leaves the reason, durably. The first reason stays: later ones may follow from it.
pub fn write(data_dir: &Path, reason: &str) -> std::io::Result<()> {
    let mut text = reason.trim().to_owned();
    if !text.ends_with('.') {
        text.push('.');
    }
    text.push('\n');
    match File::create_new(file(data_dir)) {
        Ok(mut created) => {
            created.write_all(text.as_bytes())?;
            created.sync_all()?;
            File::open(data_dir)?.sync_all()
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::{check, read, write};

    #[test]
    fn a_mark_stays_and_names_the_way_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        check(dir.path()).expect("no mark yet");
        write(dir.path(), "block 7 is not what this node computed").expect("written");
        write(dir.path(), "something later").expect("kept");
        let failure = check(dir.path()).expect_err("marked");
        assert_eq!(failure.exit_code(), 6);
        let text = failure.to_string();
        assert!(text.contains("block 7 is not what this node computed.") && text.contains("--rejoin"), "{text}");
        assert!(!text.contains("something later"), "{text}");
        assert!(read(dir.path()).expect("readable").is_some());
    }

    #[test]
    fn a_folder_that_does_not_exist_has_no_mark() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        check(&dir.path().join("missing")).expect("no mark");
    }
}
