//! The keys file: the public keys of all members of a bank, and of witnesses.

use std::fmt;

use raftbank_ledger::{Hash, MEMBERS_MAX, NodeName};

use crate::error::ProofError;
use crate::key::{KeyKind, VerifierKey, origin};
use crate::text::Lines;

/// Longest keys file, in bytes.
pub const KEYS_BYTES_MAX: usize = 64 << 10;
/// Most witnesses in one.
const WITNESSES_MAX: usize = 16;

/// Whom the holder of a keys file trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    cluster_id: Hash,
    nodes: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
}

impl Keys {
    /// # Errors
    /// No node, too many, keys of several banks, or a name or key twice.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, ProofError> {
        let wrong = |why: String| ProofError::Keys(format!("the keys file is not usable: {why}"));
        let (nodes, witnesses): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.kind() == KeyKind::Node);
        if nodes.is_empty() || nodes.len() > MEMBERS_MAX || witnesses.len() > WITNESSES_MAX {
            return Err(wrong(format!("it has {} nodes and {} witnesses", nodes.len(), witnesses.len())));
        }
        let mut cluster_id = None;
        for node in &nodes {
            let bank = bank_of(node.name()).ok_or_else(|| wrong(format!("{} is not a node's key", node.name())))?;
            if *cluster_id.get_or_insert(bank) != bank {
                return Err(wrong("its nodes are of several banks".to_owned()));
            }
        }
        let all: Vec<&VerifierKey> = nodes.iter().chain(&witnesses).collect();
        for (at, key) in all.iter().enumerate() {
            if all[..at].iter().any(|other| other.name() == key.name() || other.public() == key.public()) {
                return Err(wrong(format!("{} or its key is in it twice", key.name())));
            }
        }
        // There is a node, and it has set this.
        let cluster_id = cluster_id.unwrap_or(Hash::ZERO);
        Ok(Self { cluster_id, nodes, witnesses })
    }

    /// Reads a keys file: a key a line; lines that begin with `#` and empty ones are comments.
    ///
    /// # Errors
    /// A line that is no key, or keys that cannot stand together.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines::new("the keys file", text, KEYS_BYTES_MAX)?;
        let mut keys = Vec::new();
        while !lines.clone().rest().is_empty() {
            let line = lines.next()?;
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(VerifierKey::parse(line)?);
            }
        }
        Self::new(keys)
    }

    /// Hash of block 0 of the bank.
    pub fn cluster_id(&self) -> Hash {
        self.cluster_id
    }

    /// The origin line of the bank's checkpoints.
    pub fn origin(&self) -> String {
        origin(&self.cluster_id)
    }

    /// The members' keys, in the file's order.
    pub fn nodes(&self) -> &[VerifierKey] {
        &self.nodes
    }

    /// The witnesses' keys, in the file's order.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// The members' keys alone: for a witness, which looks at a head before it has signed it.
    #[must_use]
    pub fn without_witnesses(self) -> Self {
        Self { witnesses: Vec::new(), ..self }
    }

    /// How many nodes must have signed.
    pub fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// The key with this name and id.
    pub(crate) fn find(&self, name: &str, id: [u8; 4]) -> Option<&VerifierKey> {
        self.nodes.iter().chain(&self.witnesses).find(|key| key.name() == name && key.id() == id)
    }
}

/// The cluster id in the name of a node's key.
fn bank_of(name: &str) -> Option<Hash> {
    let (cluster, node) = name.strip_prefix("raftbank/")?.split_once('/')?;
    NodeName::parse(node).ok()?;
    cluster.parse().ok().filter(|hash: &Hash| hash.to_string() == cluster)
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, majority) = (self.nodes.len(), self.majority());
        writeln!(f, "# the {count} members of {}: a head counts if {majority} of them signed it", self.origin())?;
        self.nodes.iter().chain(&self.witnesses).try_for_each(|key| writeln!(f, "{key}"))
    }
}
