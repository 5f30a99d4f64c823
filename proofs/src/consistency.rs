//! Consistency proofs: that a newer checkpoint extends an older one. Spelled as C2SP tlog-witness asks for it.

use std::fmt;

use raftbank_ledger::{Hash, merkle};

use crate::checkpoint::{Checkpoint, Head};
use crate::error::ProofError;
use crate::keys::Keys;
use crate::receipt::PROOF_BYTES_MAX;
use crate::text::{self, Lines};

const WHAT: &str = "the consistency proof";

/// That the log tree of `new` begins with all of that of an older head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Size of the older tree.
    pub old_size: u64,
    /// RFC 6962 §2.1.2.
    pub hashes: Vec<Hash>,
    /// The newer head.
    pub new: Checkpoint,
}

impl ConsistencyProof {
    /// Reads a consistency proof.
    ///
    /// # Errors
    /// Anything but what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines::new(WHAT, text, PROOF_BYTES_MAX)?;
        let old_size = text::decimal(WHAT, lines.field("old")?)?;
        let hashes = lines.hashes(63)?;
        let proof = Self { old_size, hashes, new: Checkpoint::parse(lines.rest())? };
        text::same(WHAT, text, &proof.to_string())?;
        Ok(proof)
    }

    /// Checks it against the older head, whose signatures are the caller's to check. Without keys those of the newer one
    /// are not looked at. Returns the signers' names.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn check<'a>(&self, old: &Head, keys: Option<&'a Keys>) -> Result<Vec<&'a str>, ProofError> {
        let new = &self.new.head;
        if old.cluster_id != new.cluster_id {
            return Err(ProofError::NotProven("the two checkpoints are of different banks".to_owned()));
        }
        if old.size != self.old_size {
            let (asked, size) = (old.size, self.old_size);
            return Err(ProofError::NotProven(format!(
                "the older checkpoint has size {asked}, the proof is of {size}"
            )));
        }
        merkle::check_consistency((old.size, old.root), (new.size, new.root), &self.hashes)?;
        keys.map_or_else(|| Ok(Vec::new()), |keys| self.new.check(keys))
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", text::base64(&hash.0)))?;
        write!(f, "\n{}", self.new)
    }
}
