//! Files with keys, checkpoints and proofs: reading them, and what it means if they are not as they should be.
//!
//! A file that cannot be read is wrong usage. One that can be read and is no proof, or proves nothing, is exit code 6:
//! whoever altered a letter of it must not be taken for someone who mistyped a name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use raftbank_proofs::{CHECKPOINT_BYTES_MAX, Checkpoint, KEYS_BYTES_MAX, Keys, ProofError};
use raftbank_wire::api::FailKind;

use crate::failure::Failure;

/// Standard input in the place of a file.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Only one file can be standard input.
///
/// # Errors
/// Wrong usage.
pub fn one_stdin<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    if paths.into_iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("bad_argument", "only one of the files can be standard input (-)"));
    }
    Ok(())
}

/// Opens a file, or standard input for `-`.
///
/// # Errors
/// Wrong usage: it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Box::new(file))
}

/// Reads all of a file of rows, at most so many bytes.
///
/// # Errors
/// Wrong usage: it cannot be read, or is longer.
pub fn rows(input: impl Read, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    // One byte more than is allowed tells that there is too much.
    let unreadable = |error: io::Error| Failure::usage("unreadable", format!("the file cannot be read: {error}"));
    input.take(bytes_max + 1).read_to_end(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Failure::usage("file_too_large", format!("a file has at most {bytes_max} bytes; split it")));
    }
    Ok(text)
}

/// The failure of a file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage("unreadable", format!("{} cannot be read: {error}", path.display()))
}

/// Reads a text. Of one that is longer than it may be, only so much that whoever reads it sees that.
///
/// # Errors
/// It cannot be read (usage), or is not UTF-8 (not valid).
pub fn text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    open(path)?.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        if bytes_max < error.as_bytes().len() {
            return not_valid("malformed", format!("{} is too long", path.display()));
        }
        not_valid("malformed", format!("{} is not a text: byte {valid} is not UTF-8", path.display()))
    })
}

/// Reads a keys file.
///
/// # Errors
/// It cannot be read, or is none.
pub fn keys(path: &Path) -> Result<Keys, Failure> {
    let text = text(path, KEYS_BYTES_MAX)?;
    Keys::parse(&text).map_err(|error| {
        unproven(path, &error).hint("bankctl keys prints the keys file of a bank; get it from who you trust")
    })
}

/// Reads a checkpoint, whose signatures are not looked at here.
///
/// # Errors
/// It cannot be read, or is none.
pub fn checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let text = text(path, CHECKPOINT_BYTES_MAX)?;
    Checkpoint::parse(&text).map_err(|error| unproven(path, &error).hint("bankctl checkpoint prints one"))
}

/// Writes a file anew, in the place of an older one.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::usage("unwritable", format!("{} cannot be written: {error}", path.display())))
}

/// A file that is not what it should be, or proves nothing.
pub fn unproven(path: &Path, error: &ProofError) -> Failure {
    let name = if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
    not_valid(code(error), format!("{name}: {error}"))
}

/// Answers of a node that do not prove what it says.
pub fn contradicted(error: &ProofError) -> Failure {
    not_valid(code(error), format!("the node's answers do not fit together: {error}")).hint("bankctl verify")
}

/// Exit code 6.
pub fn not_valid(code: &str, message: impl Into<String>) -> Failure {
    Failure::new(FailKind::Corruption, code, message)
}

fn code(error: &ProofError) -> &'static str {
    match error {
        ProofError::Malformed { .. } => "malformed",
        ProofError::Keys(_) => "wrong_keys",
        ProofError::Signature(_) => "not_signed",
        ProofError::NotProven(_) => "not_proven",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{keys, one_stdin, text};

    #[test]
    fn a_missing_file_is_wrong_usage_and_an_altered_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("keys.txt");
        assert_eq!(keys(&path).expect_err("missing").exit_code(), 2);
        assert_eq!(keys(dir.path()).expect_err("a folder").exit_code(), 2);
        for bytes in [&b"what"[..], b"", b"\xff\n", &[b'#'; 100_000]] {
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(keys(&path).expect_err("no keys").exit_code(), 6);
        }
    }

    #[test]
    fn no_more_is_read_than_may_be() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("long");
        std::fs::write(&path, [b'a'; 100]).expect("written");
        assert_eq!(text(&path, 10).expect("a text").len(), 11);
        // The end is cut in the middle of a character.
        std::fs::write(&path, "é".repeat(50)).expect("written");
        assert_eq!(text(&path, 10).expect_err("too long").exit_code(), 6);
    }

    #[test]
    fn standard_input_is_read_once() {
        assert!(one_stdin([Path::new("-"), Path::new("a")]).is_ok());
        assert_eq!(one_stdin([Path::new("-"), Path::new("-")]).expect_err("twice").exit_code(), 2);
    }
}
