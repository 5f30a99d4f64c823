//! `witness`: remembers the newest head it has seen of a bank, asks for the proof that a newer one extends it, and
//! cosigns that. The rules are those of C2SP tlog-witness; what is asked and answered travels over the node's socket.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raftbank_ledger::Hash;
use raftbank_proofs::{Checkpoint, ConsistencyProof, KeyKind, Keys, SignerKey};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::Context;
use super::writes::unexpected;
use crate::failure::Failure;
use crate::output::{SCHEMA, bytes, line, note};

const FIRST_LINE: &str = "raftbank witness v1\n";
/// Longest state file, in bytes.
const STATE_BYTES_MAX: u64 = 64 << 10;
/// Longest keys file that is read, in bytes.
const KEYS_BYTES_MAX: u64 = 64 << 10;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the key and the newest head are kept.
    pub state: PathBuf,
    /// The bank's keys file.
    pub keys: Option<PathBuf>,
    /// The witness's name, for a new state file.
    pub name: String,
    /// Look again after this time, for ever.
    pub every: Option<Duration>,
    /// Where the cosigned head goes, instead of standard output.
    pub out: Option<PathBuf>,
    /// Print the public key, and nothing else.
    pub print_key: bool,
}

/// `witness`.
///
/// # Errors
/// The bank was rolled back or rewritten, no answer, or files that cannot be used.
pub async fn run(context: &mut Context, options: &Options) -> Result<(), Failure> {
    let _lock = lock(&options.state)?;
    let mut state = State::open(&options.state, &options.name)?;
    if options.print_key {
        line(&state.key.verifier().to_string());
        return Ok(());
    }
    let Some(keys) = &options.keys else {
        return Err(Failure::usage("keys_missing", "whose signatures does this witness trust? give --keys FILE")
            .hint("bankctl keys > keys.txt, and see that it is the right one"));
    };
    let keys = Keys::parse(&read(keys, KEYS_BYTES_MAX)?)
        .map_err(|error| Failure::usage("bad_keys", error.to_string()))?
        .without_witnesses();
    loop {
        match look(context, &mut state, &keys).await {
            Ok(cosigned) => tell(context, options, &cosigned)?,
            // A bank that is down for a while is no lie.
            Err(failure) if options.every.is_some() && failure.kind == FailKind::NotExecuted => {
                note(&format!("not cosigned: {}", failure.message));
            }
            Err(failure) => return Err(failure),
        }
        let Some(every) = options.every else { return Ok(()) };
        tokio::time::sleep(every).await;
    }
}

/// One look at the bank: its newest head, cosigned, if it extends the one that is remembered.
async fn look(context: &mut Context, state: &mut State, keys: &Keys) -> Result<Checkpoint, Failure> {
    let known = state.newest.as_ref().map_or(1, |newest| newest.head.size);
    let asked = checkpoint(context, known).await;
    let mut new = match asked {
        // Nothing as new as what is remembered: what is there instead?
        Err(failure) if failure.kind == FailKind::NotExecuted && known > 1 => {
            checkpoint(context, 1).await.map_err(|_| failure)?
        }
        asked => asked?,
    };
    new.check(keys).map_err(|error| refused("bad_signature", error.to_string()))?;
    if let Some(old) = &state.newest {
        old.check(keys).map_err(|error| {
            let message = format!("the head in {} is not one that was cosigned: {error}", state.path.display());
            Failure::usage("bad_state", message)
        })?;
        extends(context, old, &new).await.map_err(|failure| match failure.kind {
            FailKind::Corruption => {
                note(&format!("this witness has cosigned:\n\n{old}\nthe bank now says:\n\n{new}"));
                failure
            }
            _ => failure,
        })?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    // As the nodes signed it: what others have cosigned is not this witness's to vouch for.
    let signed = new.clone();
    new.sign(&state.key, now);
    // Remembered before anybody sees the signature.
    state.newest = Some(signed);
    state.save()?;
    Ok(new)
}

/// Fails unless `new` is the same tree as `old`, or one that begins with all of it.
async fn extends(context: &mut Context, old: &Checkpoint, new: &Checkpoint) -> Result<(), Failure> {
    let (old, size) = (&old.head, new.head.size);
    if old.cluster_id != new.head.cluster_id {
        return Err(Failure::usage("other_bank", "this state file belongs to another bank: use one for each"));
    }
    if size < old.size {
        let message = format!(
            "the newest signed head has {size} blocks, and one of {} was cosigned: the bank was rolled back, or this node \
             is far behind",
            old.size
        );
        return Err(refused("rolled_back", message).hint("ask another node: bankctl --socket PATH witness …"));
    }
    let hashes = if size == old.size {
        Vec::new()
    } else {
        match context.node.ask(ApiRequest::Consistency { old: old.size, new: size }).await? {
            ApiReply::Hashes { hashes } => hashes.into_iter().map(Hash).collect(),
            other => return Err(unexpected(&other)),
        }
    };
    let proof = ConsistencyProof { old_size: old.size, hashes, new: new.clone() };
    proof
        .check(old, None)
        .map(drop)
        .map_err(|error| refused("rewritten", format!("the bank's history is not the one that was cosigned: {error}")))
}

fn refused(code: &str, message: impl Into<String>) -> Failure {
    Failure::new(FailKind::Corruption, code, message)
}

async fn checkpoint(context: &mut Context, size_min: u64) -> Result<Checkpoint, Failure> {
    let timeout_ms = context.node.timeout_ms();
    match context.node.ask(ApiRequest::Checkpoint { size_min, timeout_ms }).await? {
        ApiReply::Checkpoint { note } => {
            Checkpoint::parse(&note).map_err(|error| refused("bad_checkpoint", error.to_string()))
        }
        other => Err(unexpected(&other)),
    }
}

fn tell(context: &Context, options: &Options, cosigned: &Checkpoint) -> Result<(), Failure> {
    let text = cosigned.to_string();
    if let Some(path) = &options.out {
        replace(path, text.as_bytes(), 0o644)?;
    }
    if context.out.is_json() {
        let head = &cosigned.head;
        line(&json!({
            "schema": SCHEMA, "size": head.size, "height": head.size - 1, "root": head.root.to_string(), "note": text,
        })
        .to_string());
    } else if options.out.is_none() {
        bytes(text.as_bytes());
    }
    Ok(())
}

/// What a witness keeps.
#[derive(Debug)]
struct State {
    path: PathBuf,
    key: SignerKey,
    /// The newest head it has cosigned, with the signatures it had.
    newest: Option<Checkpoint>,
}

impl State {
    /// Reads the state file, or makes one with a new key.
    fn open(path: &Path, name: &str) -> Result<Self, Failure> {
        let usage = |message: String| Failure::usage("bad_state", message);
        let text = match read(path, STATE_BYTES_MAX) {
            Ok(text) => text,
            Err(_) if !path.exists() => return Self::create(path, name),
            Err(failure) => return Err(failure),
        };
        let wrong = || {
            usage(format!(
                "{} is not the state of a witness, or was altered: a witness that has forgotten what it saw must not \
                 go on under its old key",
                path.display()
            ))
        };
        let rest = text.strip_prefix(FIRST_LINE).ok_or_else(wrong)?;
        let end = rest.find('\n').ok_or_else(wrong)? + 1;
        let (secret, rest) = rest.split_at(end);
        let key = SignerKey::parse(secret).map_err(|_| wrong())?;
        let newest = match rest.strip_prefix('\n') {
            Some(note) => Some(Checkpoint::parse(note).map_err(|_| wrong())?),
            None if rest.is_empty() => None,
            None => return Err(wrong()),
        };
        if key.verifier().kind() != KeyKind::Witness {
            return Err(wrong());
        }
        Ok(Self { path: path.to_owned(), key, newest })
    }

    fn create(path: &Path, name: &str) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| Failure::internal(format!("the system's random numbers cannot be read: {error}")))?;
        let key = SignerKey::new(name, KeyKind::Witness, &seed)
            .map_err(|error| Failure::usage("bad_name", error.to_string()))?;
        let state = Self { path: path.to_owned(), key, newest: None };
        state.save()?;
        note(&format!("made {} with a new key", path.display()));
        Ok(state)
    }

    /// Durable when this returns.
    fn save(&self) -> Result<(), Failure> {
        let newest = self.newest.as_ref().map_or(String::new(), |newest| format!("\n{newest}"));
        replace(&self.path, format!("{FIRST_LINE}{}{newest}", self.key.secret()).as_bytes(), 0o600)
    }
}

/// Only one witness at a time may use a state file: two could sign two heads that do not agree.
fn lock(state: &Path) -> Result<File, Failure> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let trouble = |error: std::io::Error| Failure::usage("bad_state", format!("{}: {error}", state.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(trouble)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Failure::usage("in_use", format!("another witness uses {}", state.display())))?;
    Ok(file)
}

fn read(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    use std::io::Read as _;
    let trouble = |what: String| Failure::usage("unreadable", format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| trouble(error.to_string()))?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| trouble(error.to_string()))?;
    if text.len() as u64 > bytes_max {
        return Err(trouble(format!("more than {bytes_max} bytes")));
    }
    Ok(text)
}

/// Replaces a file as a whole; durable when this returns.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
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
    write().map_err(|error| Failure::internal(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_kept_and_an_altered_one_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        let mut made = State::open(&path, "witness.example/w1").expect("a new one");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let head = raftbank_proofs::Head { cluster_id: Hash([1; 32]), size: 3, root: Hash([2; 32]) };
        made.newest = Some(Checkpoint::new(head));
        made.save().expect("written");
        let again = State::open(&path, "another").expect("the same");
        assert_eq!((again.key.secret(), &again.newest), (made.key.secret(), &made.newest));
        let text = fs::read(&path).expect("the file");
        for bit in 0..text.len() * 8 {
            let mut bad = text.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).expect("written");
            // Another digit in the head is another head: its signatures are looked at when it is used.
            if let Ok(other) = State::open(&path, "another") {
                assert_ne!(other.newest, made.newest, "bit {bit}");
            }
        }
    }

    #[test]
    fn two_witnesses_do_not_share_a_state() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        let first = lock(&path).expect("free");
        assert_eq!(lock(&path).expect_err("taken").code, "in_use");
        drop(first);
        lock(&path).expect("free again");
    }
}
