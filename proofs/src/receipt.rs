//! Receipts: that a request is in the chain, and what became of it.

use std::fmt;

use raftbank_ledger::{Entry, Hash, Header, merkle};

use crate::error::ProofError;
use crate::json::{entry_json, parse_entry};
use crate::keys::Keys;
use crate::log_proof::LogProof;
use crate::text::{self, Lines};

const WHAT: &str = "the receipt";
const FIRST_LINE: &str = "raftbank receipt v1";
/// Longest receipt that a bank makes, in bytes: with the signatures of a majority. Others may add theirs.
pub const RECEIPT_BYTES_MAX: usize = 4 << 10;
/// Longest file with a proof that is read, in bytes.
pub const PROOF_BYTES_MAX: usize = 64 << 10;
/// Longest line with a request in a receipt, the word in front of it included.
const REQUEST_LINE_MAX: usize = 700;

/// What a receipt says of the request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptRequest {
    /// All of it, with its outcome.
    Whole(Entry),
    /// Its leaf hash: it is too long for a receipt, and whoever checks it must have it from elsewhere.
    Leaf(Hash),
}

/// That a request is in the chain, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The request.
    pub request: ReceiptRequest,
    /// Its place in the block, from 0.
    pub index: u32,
    /// The block's header.
    pub header: Header,
    /// Leads from the request to the header's transaction root, the sibling first.
    pub hashes: Vec<Hash>,
    /// Leads from the block to a checkpoint.
    pub log: LogProof,
}

/// What a receipt has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenReceipt<'a> {
    /// The request and its outcome.
    pub entry: Entry,
    /// Names of the keys that signed the head; empty if none were given.
    pub signers: Vec<&'a str>,
}

impl Receipt {
    /// A receipt for `entry`, which is written out if it is short enough.
    pub fn new(entry: Entry, index: u32, header: Header, hashes: Vec<Hash>, log: LogProof) -> Self {
        let leaf = merkle::leaf_hash(&entry.encode());
        let line = request_line(&ReceiptRequest::Whole(entry.clone()));
        let request =
            if line.len() <= REQUEST_LINE_MAX { ReceiptRequest::Whole(entry) } else { ReceiptRequest::Leaf(leaf) };
        Self { request, index, header, hashes, log }
    }

    /// Reads a receipt.
    ///
    /// # Errors
    /// Anything but what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines::new(WHAT, text, PROOF_BYTES_MAX)?;
        lines.exactly(FIRST_LINE)?;
        let request = match lines.optional_field("request-leaf")? {
            Some(leaf) => ReceiptRequest::Leaf(text::hash(WHAT, leaf)?),
            None => ReceiptRequest::Whole(parse_entry(lines.field("request")?)?),
        };
        if matches!(request, ReceiptRequest::Whole(_)) && request_line(&request).len() > REQUEST_LINE_MAX {
            return Err(ProofError::malformed(WHAT, "a request as long as this is not written out in a receipt"));
        }
        let index = text::decimal(WHAT, lines.field("index")?)?;
        let index = u32::try_from(index).map_err(|_| ProofError::malformed(WHAT, "no block has so many requests"))?;
        let header = read_header(WHAT, &mut lines)?;
        let hashes = lines.hashes(32)?;
        let receipt = Self { request, index, header, hashes, log: LogProof::read(lines)? };
        text::same(WHAT, text, &receipt.to_string())?;
        Ok(receipt)
    }

    /// Checks it. `apart` is the request, if the receipt has only its leaf. Without keys the signatures are not looked at.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn check<'a>(&self, apart: Option<&Entry>, keys: Option<&'a Keys>) -> Result<ProvenReceipt<'a>, ProofError> {
        let entry = match (&self.request, apart) {
            (ReceiptRequest::Whole(entry), None) => entry,
            (ReceiptRequest::Whole(entry), Some(other)) if entry == other => entry,
            (ReceiptRequest::Leaf(leaf), Some(entry)) if merkle::leaf_hash(&entry.encode()) == *leaf => entry,
            (_, Some(_)) => return Err(ProofError::NotProven("the receipt is for another request".to_owned())),
            (ReceiptRequest::Leaf(_), None) => {
                let why = "the request is too long for a receipt; it has to be given apart";
                return Err(ProofError::NotProven(why.to_owned()));
            }
        };
        let leaf = merkle::leaf_hash(&entry.encode());
        let (index, count) = (self.index.into(), self.header.request_count.into());
        if merkle::root_by_inclusion(leaf, index, count, &self.hashes)? != self.header.transaction_root {
            return Err(ProofError::NotProven("the request is not in the block".to_owned()));
        }
        let signers = self.log.check(&self.header, keys)?;
        Ok(ProvenReceipt { entry: entry.clone(), signers })
    }
}

fn request_line(request: &ReceiptRequest) -> String {
    match request {
        ReceiptRequest::Whole(entry) => format!("request {}", entry_json(entry)),
        ReceiptRequest::Leaf(leaf) => format!("request-leaf {}", text::base64(&leaf.0)),
    }
}

/// Reads the line with a block's header.
pub(crate) fn read_header(what: &'static str, lines: &mut Lines<'_>) -> Result<Header, ProofError> {
    let bytes = text::unbase64(what, lines.field("block")?)?;
    Header::decode(&bytes).map_err(|error| ProofError::malformed(what, error))
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, index, header, hashes, log } = self;
        writeln!(f, "{FIRST_LINE}\n{}\nindex {index}", request_line(request))?;
        writeln!(f, "block {}", text::base64(&header.encode()))?;
        hashes.iter().try_for_each(|hash| writeln!(f, "{}", text::base64(&hash.0)))?;
        write!(f, "\n{log}")
    }
}
