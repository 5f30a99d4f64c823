//! The node's private key: the file `key` in the data folder. It signs heads of the log tree, and nothing in the books
//! depends on it: a lost one is replaced, and auditors are given a new keys file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use raftbank_ledger::{Hash, NodeName};
use raftbank_proofs::{KeyKind, SignerKey, node_key_name};
use raftbank_store::StoreError;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::error::Failure;

/// Name of the file in the data folder.
const FILE_NAME: &str = "key";
/// Longer than any such file.
const BYTES_MAX: u64 = 4_096;
/// Only its owner may read it.
const MODE: u32 = 0o600;

/// A key, and what the log should say of it.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub key: SignerKey,
    /// It was made just now.
    pub made: bool,
    /// Sentences for the log.
    pub notes: Vec<String>,
}

/// Reads the node's key; makes one if there is none.
///
/// # Errors
/// The file is damaged or of another node or bank, or cannot be read or written.
pub fn load(data_dir: &Path, cluster_id: &Hash, node: &NodeName) -> Result<Loaded, Failure> {
    let (path, name) = (data_dir.join(FILE_NAME), node_key_name(cluster_id, node));
    let Some((text, mode)) = read(&path)? else {
        return Ok(Loaded { key: make(&path, &name)?, made: true, notes: Vec::new() });
    };
    let advice = "restore the file from a copy, or move only this file away: then a new key is made, and auditors need \
                  a new keys file (bankctl keys)";
    let text = String::from_utf8(text).map_err(|error| error.to_string());
    let key = text.and_then(|text| SignerKey::parse(&text).map_err(|error| error.to_string()));
    let key =
        key.map_err(|error| Failure::Key(format!("{}, this node's private key: {error}; {advice}", path.display())))?;
    let public = key.verifier();
    if public.name() != name || public.kind() != KeyKind::Node {
        let (path, found) = (path.display(), public.name());
        return Err(Failure::Key(format!("{path} is the private key of {found}, not of {name}; {advice}")));
    }
    Ok(Loaded { key, made: false, notes: narrow(&path, mode).into_iter().collect() })
}

/// The file's bytes and mode; `None` if there is none.
fn read(path: &Path) -> Result<Option<(Vec<u8>, u32)>, Failure> {
    let failed = |source| io("reading", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some((bytes, mode)))
}

/// Makes a new key, durably.
fn make(path: &Path, name: &str) -> Result<SignerKey, Failure> {
    let mut seed = [0; 32];
    SysRng
        .try_fill_bytes(&mut seed)
        .map_err(|error| Failure::io("the system's random numbers cannot be read")(std::io::Error::other(error)))?;
    let key =
        SignerKey::new(name, KeyKind::Node, &seed).map_err(|error| Failure::Internal(format!("a new key: {error}")))?;
    let temporary = path.with_extension("new");
    let write = || {
        // What an interrupted start has left may have another mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
        file.write_all(key.secret().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| io("writing", path, source))?;
    Ok(key)
}

/// Takes everyone's rights but the owner's away.
fn narrow(path: &Path, mode: u32) -> Option<String> {
    let mode = mode & 0o7777;
    if mode & !MODE == 0 {
        return None;
    }
    let (narrowed, path) = (fs::set_permissions(path, Permissions::from_mode(MODE)), path.display());
    Some(match narrowed {
        Ok(()) => format!("{path}, this node's private key, had the mode {mode:04o}; it is {MODE:04o} now"),
        Err(error) => {
            format!("{path}, this node's private key, has the mode {mode:04o}, and it cannot be narrowed: {error}")
        }
    })
}

fn io(what: &str, path: &Path, source: std::io::Error) -> Failure {
    StoreError::Io { what: format!("{what} {}", path.display()), source }.into()
}

#[cfg(test)]
mod tests;
