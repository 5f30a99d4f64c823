//! What a witness keeps: its private key, and the newest head it has cosigned. Its own signature covers that head, so a
//! state file with another one in it is found out.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use raftbank_proofs::{Checkpoint, KeyKind, SignerKey};
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::files;
use crate::output::note;

const FIRST_LINE: &str = "raftbank witness v1\n";
/// Longest state file, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Only its owner may read it.
const MODE: u32 = 0o600;

/// What a witness keeps.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    pub key: SignerKey,
    /// The newest head it has cosigned, with all signatures it had: evidence, should the bank say otherwise one day.
    pub newest: Option<Checkpoint>,
}

impl State {
    /// Reads the state file, or makes one with a new key. Only one witness at a time may use it: two could sign two heads
    /// that do not agree. The lock ends with the file that is returned.
    ///
    /// # Errors
    /// It is in use, altered, or cannot be read or made.
    pub fn open(path: &Path, name: Option<&str>) -> Result<(File, Self), Failure> {
        let lock = lock(path)?;
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((lock, Self::create(path, name)?)),
            Err(error) => return Err(files::unreadable(path, &error)),
        };
        let state = Self::parse(path, &files::text(path, BYTES_MAX)?).ok_or_else(|| altered(path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & !MODE != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(|error| unwritable(path, &error))?;
            note(&format!("{} holds a private key and had the mode {mode:03o}; it is 600 now", path.display()));
        }
        let verifier = state.key.verifier();
        let (named, other) = (verifier.name(), name.filter(|name| *name != verifier.name()));
        if let Some(other) = other {
            let message = format!("the witness of {} is called {named}, not {other}", path.display());
            return Err(Failure::usage("bad_name", message).hint("leave --name out, or use another state file"));
        }
        Ok((lock, state))
    }

    fn parse(path: &Path, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(FIRST_LINE)?;
        let (secret, rest) = rest.split_at(rest.find('\n')? + 1);
        let key = SignerKey::parse(secret).ok().filter(|key| key.verifier().kind() == KeyKind::Witness)?;
        let newest = match rest.strip_prefix('\n') {
            Some(note) => Some(Checkpoint::parse(note).ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let state = Self { path: path.to_owned(), key, newest };
        state.newest.as_ref().is_none_or(|newest| state.has_signed(newest)).then_some(state)
    }

    fn has_signed(&self, checkpoint: &Checkpoint) -> bool {
        let key = self.key.verifier();
        let mut own = checkpoint.signatures.iter().filter(|line| line.name == key.name() && line.id == key.id());
        own.next().is_some_and(|line| key.verify(&checkpoint.head.text(), &line.signature))
    }

    fn create(path: &Path, name: Option<&str>) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| Failure::internal(format!("the system's random numbers cannot be read: {error}")))?;
        // Two witnesses of one name cannot stand in one keys file.
        let name = name.map_or_else(|| format!("witness-{:08x}", rand::random::<u32>()), str::to_owned);
        let key = SignerKey::new(&name, KeyKind::Witness, &seed)
            .map_err(|error| Failure::usage("bad_name", error.to_string()))?;
        let state = Self { path: path.to_owned(), key, newest: None };
        state.save()?;
        note(&format!("made {} with a new key; the witness is called {name}", path.display()));
        Ok(state)
    }

    /// Remembers a head; durable when this returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remember(&mut self, cosigned: Checkpoint) -> Result<(), Failure> {
        self.newest = Some(cosigned);
        self.save()
    }

    fn save(&self) -> Result<(), Failure> {
        let newest = self.newest.as_ref().map_or(String::new(), |newest| format!("\n{newest}"));
        replace(&self.path, format!("{FIRST_LINE}{}{newest}", self.key.secret()).as_bytes(), MODE)
    }
}

/// A witness that has forgotten what it saw must not go on under its old key.
fn altered(path: &Path) -> Failure {
    let message = format!("{} is not the state of a witness, or was altered", path.display());
    files::not_valid("bad_state", message).hint(
        "never put back an older copy: begin with a new state file, and hand its --print-key to who keeps keys files",
    )
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage("unwritable", format!("{} cannot be written: {error}", path.display()))
}

fn lock(state: &Path) -> Result<File, Failure> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(MODE)
        .open(&path)
        .map_err(|error| unwritable(Path::new(&path), &error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Failure::usage("in_use", format!("another witness uses {}", state.display())))?;
    Ok(file)
}

/// Replaces a file as a whole; durable when this returns.
///
/// # Errors
/// It cannot be written.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    };
    write().map_err(|error| unwritable(path, &error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use raftbank_ledger::Hash;
    use raftbank_proofs::{Checkpoint, Head};

    use super::State;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("the file").permissions().mode() & 0o777
    }

    fn open(path: &Path) -> Result<State, crate::failure::Failure> {
        State::open(path, None).map(|(_, state)| state)
    }

    #[test]
    fn the_state_is_kept_and_an_altered_one_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        let (_, mut made) = State::open(&path, Some("witness.example/w1")).expect("a new one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(open(&path).expect("the same").newest, None);
        let mut checkpoint = Checkpoint::new(Head { cluster_id: Hash([1; 32]), size: 3, root: Hash([2; 32]) });
        checkpoint.sign(&made.key, 7);
        made.remember(checkpoint).expect("written");
        let again = open(&path).expect("the same");
        assert_eq!((again.key.secret(), &again.newest), (made.key.secret(), &made.newest));
        let text = fs::read(&path).expect("the file");
        for bit in 0..text.len() * 8 {
            let mut bad = text.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).expect("written");
            assert_eq!(open(&path).expect_err("altered").exit_code(), 6, "bit {bit}");
        }
        // What it has not signed itself it does not remember.
        made.remember(Checkpoint::new(Head { cluster_id: Hash([1; 32]), size: 3, root: Hash([2; 32]) }))
            .expect("written");
        assert_eq!(open(&path).expect_err("not signed").code, "bad_state");
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        open(&path).expect("a new one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("widened");
        open(&path).expect("the same");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_witness_keeps_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        State::open(&path, Some("w1")).expect("a new one");
        State::open(&path, Some("w1")).expect("the same");
        assert_eq!(State::open(&path, Some("w2")).expect_err("another name").exit_code(), 2);
        assert_eq!(State::open(&dir.path().join("new"), Some("w 1")).expect_err("no name").exit_code(), 2);
    }

    #[test]
    fn two_witnesses_do_not_share_a_state() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        let first = State::open(&path, None).expect("free");
        assert_eq!(open(&path).expect_err("taken").code, "in_use");
        drop(first);
        open(&path).expect("free again");
    }
}
