//! Checkpoints: C2SP signed notes that name a head of the log tree.

use std::collections::BTreeSet;
use std::fmt;

use raftbank_ledger::Hash;

use crate::error::ProofError;
use crate::key::{KeyKind, SignerKey, origin};
use crate::keys::Keys;
use crate::text::{self, Lines};

const WHAT: &str = "the checkpoint";
/// Longest checkpoint, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 16 << 10;
/// Most signature lines.
const SIGNATURES_MAX: usize = 32;
/// How a signature line begins.
const DASH: &str = "\u{2014} ";

/// A head of the log tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Hash of block 0 of the bank.
    pub cluster_id: Hash,
    /// How many blocks there were.
    pub size: u64,
    /// The root of the log tree over them.
    pub root: Hash,
}

impl Head {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", origin(&self.cluster_id), self.size, text::base64(&self.root.0))
    }
}

/// A signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// What follows the id.
    pub signature: Vec<u8>,
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DASH}{} {}", self.name, text::base64(&[&self.id[..], &self.signature].concat()))
    }
}

/// A head with signatures. Says nothing until it was [checked](Checkpoint::check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The head.
    pub head: Head,
    /// In the order of the lines.
    pub signatures: Vec<SignatureLine>,
}

impl Checkpoint {
    /// A head that nobody has signed yet.
    pub fn new(head: Head) -> Self {
        Self { head, signatures: Vec::new() }
    }

    /// Adds a signature. A witness's names the time, in Unix seconds.
    pub fn sign(&mut self, key: &SignerKey, time_s: u64) {
        let public = key.verifier();
        let signature = key.sign(&self.head.text(), time_s);
        self.signatures.push(SignatureLine { name: public.name().to_owned(), id: public.id(), signature });
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Anything but what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines::new(WHAT, text, CHECKPOINT_BYTES_MAX)?;
        let cluster = lines.next()?;
        let cluster = cluster.strip_prefix("raftbank/").and_then(|hex| hex.parse().ok());
        let cluster_id = cluster.ok_or_else(|| ProofError::malformed(WHAT, "its origin is not that of a raftbank"))?;
        let size = text::decimal(WHAT, lines.next()?)?;
        if size == 0 {
            return Err(ProofError::malformed(WHAT, "there is no bank without a block"));
        }
        let root = text::hash(WHAT, lines.next()?)?;
        lines.exactly("")?;
        let mut signatures = Vec::new();
        while !lines.clone().rest().is_empty() {
            if signatures.len() == SIGNATURES_MAX {
                return Err(ProofError::malformed(WHAT, format!("more than {SIGNATURES_MAX} signatures")));
            }
            signatures.push(signature_line(lines.next()?)?);
        }
        let checkpoint = Self { head: Head { cluster_id, size, root }, signatures };
        text::same(WHAT, text, &checkpoint.to_string())?;
        Ok(checkpoint)
    }

    /// Checks that it is of this bank, that a majority of the nodes and every witness in the file has signed it, and that
    /// nothing else stands in it. Returns the signers' names.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn check<'a>(&self, keys: &'a Keys) -> Result<Vec<&'a str>, ProofError> {
        if self.head.cluster_id != keys.cluster_id() {
            return Err(ProofError::Keys(format!(
                "the checkpoint is of {}, the keys file of {}",
                origin(&self.head.cluster_id),
                keys.origin()
            )));
        }
        let text = self.head.text();
        let (mut names, mut nodes, mut witnesses) = (Vec::new(), 0, 0);
        let mut seen = BTreeSet::new();
        for line in &self.signatures {
            let Some(key) = keys.find(&line.name, line.id) else {
                let why = format!("a signature is of {}, with a key that is not in the keys file", line.name);
                return Err(ProofError::Signature(why));
            };
            if !seen.insert(key.name()) {
                return Err(ProofError::Signature(format!("{} has signed twice", line.name)));
            }
            if !key.verify(&text, &line.signature) {
                return Err(ProofError::Signature(format!("the signature of {} does not hold", line.name)));
            }
            match key.kind() {
                KeyKind::Node => nodes += 1,
                KeyKind::Witness => witnesses += 1,
            }
            names.push(key.name());
        }
        if nodes < keys.majority() {
            let (of, wanted) = (keys.nodes().len(), keys.majority());
            return Err(ProofError::Signature(format!("{nodes} of {of} nodes have signed; {wanted} are needed")));
        }
        if witnesses < keys.witnesses().len() {
            let of = keys.witnesses().len();
            return Err(ProofError::Signature(format!("{witnesses} of {of} witnesses in the keys file have signed")));
        }
        Ok(names)
    }
}

fn signature_line(line: &str) -> Result<SignatureLine, ProofError> {
    let wrong = || ProofError::malformed(WHAT, format!("{line:?} is not a signature line"));
    let (name, data) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
    let data = text::unbase64(WHAT, data)?;
    let (id, signature) = data.split_first_chunk::<4>().ok_or_else(wrong)?;
    Ok(SignatureLine { name: name.to_owned(), id: *id, signature: signature.to_vec() })
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head.text())?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
