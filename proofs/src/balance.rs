//! Balance proofs: what an account held after a block, or that there was no such account.

use std::fmt;

use raftbank_ledger::{Account, Balance, Hash, Header, PlaceInTree, StateProof, account_key, balance_hash};

use crate::error::ProofError;
use crate::keys::Keys;
use crate::log_proof::LogProof;
use crate::receipt::{PROOF_BYTES_MAX, read_header};
use crate::text::{self, Lines};

const WHAT: &str = "the balance proof";
const FIRST_LINE: &str = "raftbank balance v1";

/// What an account held after a block, or that there was no such account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceProof {
    /// The account.
    pub account: Account,
    /// Its balance; `None`: there was no such account.
    pub balance: Option<Balance>,
    /// The block's header.
    pub header: Header,
    /// If there was no such account: key and value's hash of the leaf that stands in its place.
    pub other: Option<(Hash, Hash)>,
    /// Leads from the account's place to the state root, the sibling first.
    pub siblings: Vec<Hash>,
    /// Leads from the block to a checkpoint.
    pub log: LogProof,
}

/// What a balance proof has proven, beside what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenBalance<'a> {
    /// Names of the keys that signed the head; empty if none were given.
    pub signers: Vec<&'a str>,
}

impl BalanceProof {
    /// Reads a balance proof.
    ///
    /// # Errors
    /// Anything but what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines::new(WHAT, text, PROOF_BYTES_MAX)?;
        lines.exactly(FIRST_LINE)?;
        let account = Account::parse(lines.field("account")?).map_err(|error| ProofError::malformed(WHAT, error))?;
        if text::hash(WHAT, lines.field("key")?)? != account_key(&account) {
            return Err(ProofError::malformed(WHAT, "its key is not that of the account"));
        }
        let balance = match lines.field("balance")? {
            "none" => None,
            number => Some(number.parse().map_err(|_| ProofError::malformed(WHAT, "its balance is not a number"))?),
        };
        let header = read_header(WHAT, &mut lines)?;
        let other = lines.optional_field("other")?.map(other_leaf).transpose()?;
        let siblings = lines.hashes(256)?;
        let proof = Self { account, balance, header, other, siblings, log: LogProof::read(lines)? };
        text::same(WHAT, text, &proof.to_string())?;
        Ok(proof)
    }

    /// Checks it. Without keys the signatures are not looked at.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn check<'a>(&self, keys: Option<&'a Keys>) -> Result<ProvenBalance<'a>, ProofError> {
        let end = match (self.balance, self.other) {
            (Some(balance), None) => PlaceInTree::Value(balance_hash(balance)),
            (None, Some((key, value))) => PlaceInTree::Other { key, value },
            (None, None) => PlaceInTree::Empty,
            (Some(_), Some(_)) => {
                return Err(ProofError::malformed(WHAT, "where there is a balance, no other leaf can stand"));
            }
        };
        let proof = StateProof { end, siblings: self.siblings.clone() };
        if proof.root(&account_key(&self.account))? != self.header.state_root {
            return Err(ProofError::NotProven("the state after the block does not say so".to_owned()));
        }
        Ok(ProvenBalance { signers: self.log.check(&self.header, keys)? })
    }
}

fn other_leaf(text: &str) -> Result<(Hash, Hash), ProofError> {
    let bytes = text::unbase64(WHAT, text)?;
    let (key, value) =
        bytes.split_at_checked(32).ok_or_else(|| ProofError::malformed(WHAT, "the other leaf is none"))?;
    let hash =
        |bytes: &[u8]| bytes.try_into().map(Hash).map_err(|_| ProofError::malformed(WHAT, "the other leaf is none"));
    Ok((hash(key)?, hash(value)?))
}

impl fmt::Display for BalanceProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, balance, header, other, siblings, log } = self;
        // Without the key an altered name might be that of another account that does not exist: true, and not asked for.
        writeln!(f, "{FIRST_LINE}\naccount {account}\nkey {}", text::base64(&account_key(account).0))?;
        match balance {
            Some(balance) => writeln!(f, "balance {balance}")?,
            None => writeln!(f, "balance none")?,
        }
        writeln!(f, "block {}", text::base64(&header.encode()))?;
        if let Some((key, value)) = other {
            writeln!(f, "other {}", text::base64(&[key.0, value.0].concat()))?;
        }
        siblings.iter().try_for_each(|hash| writeln!(f, "{}", text::base64(&hash.0)))?;
        write!(f, "\n{log}")
    }
}
