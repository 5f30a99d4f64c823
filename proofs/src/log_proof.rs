//! That a block is in the log tree of a checkpoint: C2SP tlog-proof.

use std::fmt;

use raftbank_ledger::{Hash, Header, merkle};

use crate::checkpoint::Checkpoint;
use crate::error::ProofError;
use crate::keys::Keys;
use crate::text::{self, Lines};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// That a block is in the log tree of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The block's height.
    pub height: u64,
    /// The inclusion proof, the leaf's sibling first.
    pub hashes: Vec<Hash>,
    /// What it leads to.
    pub checkpoint: Checkpoint,
}

impl LogProof {
    pub(crate) fn read(mut lines: Lines<'_>) -> Result<Self, ProofError> {
        lines.exactly(FIRST_LINE)?;
        let height = text::decimal("the proof", lines.field("index")?)?;
        let hashes = lines.hashes(64)?;
        Ok(Self { height, hashes, checkpoint: Checkpoint::parse(lines.rest())? })
    }

    /// Checks that the block with this header is in the checkpoint's tree, and that the checkpoint counts. Without keys
    /// the signatures are not looked at. Returns the signers' names.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn check<'a>(&self, header: &Header, keys: Option<&'a Keys>) -> Result<Vec<&'a str>, ProofError> {
        let hash = header.hash();
        if header.height != self.height {
            let (block, proof) = (header.height, self.height);
            return Err(ProofError::NotProven(format!("the block has height {block}, the proof is of {proof}")));
        }
        let cluster = if header.height == 0 { hash } else { header.cluster_id };
        let head = &self.checkpoint.head;
        if cluster != head.cluster_id {
            return Err(ProofError::NotProven("block and checkpoint are of different banks".to_owned()));
        }
        let root = merkle::root_by_inclusion(merkle::leaf_hash(&hash.0), self.height, head.size, &self.hashes)?;
        if root != head.root {
            return Err(ProofError::NotProven("the block is not in the checkpoint's tree".to_owned()));
        }
        keys.map_or_else(|| Ok(Vec::new()), |keys| self.checkpoint.check(keys))
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nindex {}", self.height)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", text::base64(&hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
