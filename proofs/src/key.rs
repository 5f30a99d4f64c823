//! Ed25519 keys in the encodings of C2SP signed notes.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use raftbank_ledger::{Hash, NodeName};

use crate::error::ProofError;
use crate::text;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// A member of the bank: the text of a note.
    Node,
    /// A witness: the text and the time, see C2SP tlog-cosignature.
    Witness,
}

impl KeyKind {
    /// The signature type of C2SP signed notes.
    pub fn byte(self) -> u8 {
        match self {
            Self::Node => 0x01,
            Self::Witness => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Node, Self::Witness].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// The origin line of a bank's checkpoints.
pub fn origin(cluster_id: &Hash) -> String {
    format!("raftbank/{cluster_id}")
}

/// The name of a node's key.
pub fn node_key_name(cluster_id: &Hash, node: &NodeName) -> String {
    format!("{}/{node}", origin(cluster_id))
}

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Printable ASCII without a space and a plus.
fn check_name(name: &str) -> Result<(), ProofError> {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'+';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    let why = format!("{name:?}: a key's name is 1 to {NAME_BYTES_MAX} printable ASCII characters without space and +");
    Err(ProofError::malformed("a key", why))
}

fn key_id(name: &str, kind: KeyKind, public: &VerifyingKey) -> [u8; 4] {
    let Hash([a, b, c, d, ..]) = Hash::of(&[name.as_bytes(), b"\n", &[kind.byte()], public.as_bytes()]);
    [a, b, c, d]
}

fn hex([a, b, c, d]: [u8; 4]) -> String {
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// # Errors
    /// A name that is none, or bytes that are no good public key.
    pub fn new(name: &str, kind: KeyKind, public: &[u8; 32]) -> Result<Self, ProofError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak());
        let key = key.ok_or_else(|| ProofError::malformed("a key", format!("{name}: not an Ed25519 public key")))?;
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// Reads a line of a keys file: `name+id+base64`.
    ///
    /// # Errors
    /// Anything but what [`fmt::Display`] writes.
    pub fn parse(line: &str) -> Result<Self, ProofError> {
        let wrong = || ProofError::malformed("a key", format!("{line:?} is not name+id+base64"));
        let (name, rest) = line.split_once('+').ok_or_else(wrong)?;
        let (_, data) = rest.split_once('+').ok_or_else(wrong)?;
        let data = text::unbase64("a key", data)?;
        let (kind, public) = data.split_first().ok_or_else(wrong)?;
        let kind = KeyKind::from_byte(*kind).ok_or_else(wrong)?;
        let key = Self::new(name, kind, public.try_into().map_err(|_| wrong())?)?;
        text::same("a key", line, &key.to_string())?;
        Ok(key)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The first bytes of the hash of name, kind and key.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.kind, &self.key)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// True if this signature of this key is good for a note's text. For a witness it begins with the time.
    pub fn verify(&self, note: &str, signature: &[u8]) -> bool {
        let (message, signature) = match self.kind {
            KeyKind::Node => (note.to_owned(), signature),
            KeyKind::Witness => {
                let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
                (cosigned(u64::from_be_bytes(*time), note), signature)
            }
        };
        // Strict: no key of small order and one signature for each message.
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = [&[self.kind.byte()][..], self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id()), text::base64(&data))
    }
}

/// What a witness signs.
fn cosigned(time_s: u64, note: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{note}")
}

/// A private key with its name. Its debug output has no secret in it.
#[derive(Clone)]
pub struct SignerKey {
    name: String,
    kind: KeyKind,
    key: SigningKey,
}

impl SignerKey {
    /// A key from 32 random bytes.
    ///
    /// # Errors
    /// A name that is none.
    pub fn new(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, ProofError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), kind, key: SigningKey::from_bytes(seed) })
    }

    /// Reads what [`SignerKey::secret`] wrote.
    ///
    /// # Errors
    /// Anything else. The error shows nothing of the text.
    pub fn parse(secret: &str) -> Result<Self, ProofError> {
        let wrong = || ProofError::malformed("a private key", "it is not PRIVATE+KEY+name+id+base64, or was altered");
        let rest = secret.strip_suffix('\n').and_then(|line| line.strip_prefix("PRIVATE+KEY+")).ok_or_else(wrong)?;
        let (name, rest) = rest.split_once('+').ok_or_else(wrong)?;
        let (_, data) = rest.split_once('+').ok_or_else(wrong)?;
        let data = text::unbase64("a private key", data).map_err(|_| wrong())?;
        let (kind, seed) = data.split_first().ok_or_else(wrong)?;
        let kind = KeyKind::from_byte(*kind).ok_or_else(wrong)?;
        let key = Self::new(name, kind, seed.try_into().map_err(|_| wrong())?).map_err(|_| wrong())?;
        // The id covers name, kind and public key, and so finds every altered bit.
        if key.secret() == secret { Ok(key) } else { Err(wrong()) }
    }

    /// One line, in the encoding of Go's `sumdb/note`: for a file that only its owner can read.
    pub fn secret(&self) -> String {
        let data = [&[self.kind.byte()][..], self.key.as_bytes()].concat();
        format!("PRIVATE+KEY+{}+{}+{}\n", self.name, hex(self.verifier().id()), text::base64(&data))
    }

    /// The public part.
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: self.kind, key: self.key.verifying_key() }
    }

    /// Signs a note's text. A witness's signature names the time, in Unix seconds; a node's does not.
    pub fn sign(&self, note: &str, time_s: u64) -> Vec<u8> {
        match self.kind {
            KeyKind::Node => self.key.sign(note.as_bytes()).to_bytes().to_vec(),
            KeyKind::Witness => {
                let signature = self.key.sign(cosigned(time_s, note).as_bytes());
                [&time_s.to_be_bytes()[..], &signature.to_bytes()].concat()
            }
        }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.verifier())
    }
}
