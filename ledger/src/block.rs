//! Blocks: header, entries, and their canonical bytes. What is stored, sent and hashed are the same bytes.

use crate::bytes::{DecodeError, Reader, put_prefixed32, put_text8};
use crate::hash::Hash;
use crate::merkle;
use crate::names::NodeName;
use crate::outcome::Outcome;
use crate::request::{MEMO_BYTES_MAX, Request, VALUE_BYTES_MAX};

/// Longest block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Most requests in a block.
pub const BLOCK_REQUESTS_MAX: usize = 16_384;
/// The version of the header's layout.
pub const HEADER_VERSION: u32 = 1;
/// Longest entry, in bytes: a value, a key, an id and their prefixes, with room.
const ENTRY_BYTES_MAX: usize = VALUE_BYTES_MAX + MEMO_BYTES_MAX + 1_024;

/// Shortest entry with its lengths, in bytes: an `open` with the shortest id and name.
const ENTRY_BYTES_LEAST: usize = 4 + 4 + 1 + 2 + 2 + 1;

const BLOCK_DOMAIN: &[u8] = b"raftbank/block/1\n";

/// A block's header. Its layout is final for version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`HEADER_VERSION`].
    pub version: u32,
    /// Hash of block 0; zero in block 0 itself.
    pub cluster_id: Hash,
    /// Position in the chain, from 0.
    pub height: u64,
    /// Hash of the block before; zero in block 0.
    pub previous: Hash,
    /// Term of the consensus record that carries the block.
    pub term: u64,
    /// The node that proposed it.
    pub proposer: NodeName,
    /// Unix time in milliseconds; never less than in the block before.
    pub time_ms: u64,
    /// Number of entries.
    pub request_count: u32,
    /// RFC 6962 tree hash over the entries' bytes.
    pub transaction_root: Hash,
    /// Root of the sparse Merkle tree over all accounts and values after this block.
    pub state_root: Hash,
    /// Leading zero bits that the hash must have.
    pub difficulty: u8,
    /// Found by trying.
    pub nonce: u64,
}

impl Header {
    /// Canonical bytes, field by field in the order of the struct.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(220);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.cluster_id.0);
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(&self.term.to_be_bytes());
        put_text8(&mut out, self.proposer.as_str());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.request_count.to_be_bytes());
        out.extend_from_slice(&self.transaction_root.0);
        out.extend_from_slice(&self.state_root.0);
        out.push(self.difficulty);
        out.extend_from_slice(&self.nonce.to_be_bytes());
        out
    }

    /// Reads canonical bytes of a header alone.
    ///
    /// # Errors
    /// Anything that [`Header::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let header = Self::read(&mut reader)?;
        reader.end()?;
        Ok(header)
    }

    /// The block's hash: SHA-256 of a domain line and the header's bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(&[BLOCK_DOMAIN, &self.hashed()])
    }

    /// The bytes that are hashed: all of them.
    fn hashed(&self) -> Vec<u8> {
        if planted!(HashOmitsPrevious) {
            return Self { previous: Hash::ZERO, term: 0, ..self.clone() }.encode();
        }
        self.encode()
    }

    /// The hashed bytes before the nonce, which is last.
    pub(crate) fn hashed_prefix(&self) -> Vec<u8> {
        let mut bytes = BLOCK_DOMAIN.to_vec();
        bytes.extend_from_slice(&self.hashed());
        bytes.truncate(bytes.len() - 8);
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u32("version")?;
        if version != HEADER_VERSION {
            return Err(DecodeError::field("version", format!("{version}; this program knows {HEADER_VERSION}")));
        }
        Ok(Self {
            version,
            cluster_id: Hash(reader.array("cluster id")?),
            height: reader.u64("height")?,
            previous: Hash(reader.array("previous")?),
            term: reader.u64("term")?,
            proposer: NodeName::parse(reader.text8("proposer")?)
                .map_err(|error| DecodeError::field("proposer", error))?,
            time_ms: reader.u64("time")?,
            request_count: reader.u32("request count")?,
            transaction_root: Hash(reader.array("transaction root")?),
            state_root: Hash(reader.array("state root")?),
            difficulty: reader.u8("difficulty")?,
            nonce: reader.u64("nonce")?,
        })
    }
}

/// A request with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was asked.
    pub request: Request,
    /// What became of it.
    pub outcome: Outcome,
}

impl Entry {
    /// Canonical bytes: the request after its length, then the outcome. These are a leaf of the transaction tree.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        put_prefixed32(out, |out| self.request.encode_into(out));
        out.push(self.outcome.byte());
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Entry::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let request = Request::decode(reader.bytes32(ENTRY_BYTES_MAX, "request")?)?;
        let outcome = Outcome::from_byte(reader.u8("outcome")?)?;
        reader.end()?;
        Ok(Self { request, outcome })
    }
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What is hashed.
    pub header: Header,
    /// In order of execution.
    pub entries: Vec<Entry>,
}

impl Block {
    /// Canonical bytes: the header, then each entry after its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        for entry in &self.entries {
            put_prefixed32(&mut out, |out| entry.encode_into(out));
        }
        out
    }

    /// Reads canonical bytes. Nothing is allocated on the word of a count or a length.
    ///
    /// # Errors
    /// Anything that [`Block::encode`] would not have written, or that exceeds the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(bytes, |_| ())
    }

    /// The same, with the transaction root of the entries, hashed as they stand in the bytes.
    ///
    /// # Errors
    /// As [`Block::decode`].
    pub(crate) fn decode_hashed(bytes: &[u8]) -> Result<(Self, Hash), DecodeError> {
        let mut entries = Vec::new();
        let block = Self::read(bytes, |entry| entries.push(entry))?;
        let mut leaves = Vec::with_capacity(entries.len());
        merkle::leaf_hashes(entries, &mut leaves);
        Ok((block, merkle::root(&leaves)))
    }

    fn read<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a [u8])) -> Result<Self, DecodeError> {
        if bytes.len() > BLOCK_BYTES_MAX {
            let why = format!("{} bytes; at most {BLOCK_BYTES_MAX} are allowed", bytes.len());
            return Err(DecodeError::field("block", why));
        }
        let mut reader = Reader(bytes);
        let header = Header::read(&mut reader)?;
        let count = usize::try_from(header.request_count).unwrap_or(usize::MAX);
        if count > BLOCK_REQUESTS_MAX {
            let why = format!("{count}; at most {BLOCK_REQUESTS_MAX} are allowed");
            return Err(DecodeError::field("request count", why));
        }
        let mut entries = Vec::with_capacity(count.min(reader.0.len() / ENTRY_BYTES_LEAST));
        for _ in 0..count {
            let entry = reader.bytes32(ENTRY_BYTES_MAX, "entry")?;
            entries.push(Entry::decode(entry)?);
            each(entry);
        }
        reader.end()?;
        Ok(Self { header, entries })
    }

    /// The block's hash, which is its header's.
    pub fn hash(&self) -> Hash {
        self.header.hash()
    }
}

/// Appends an entry after its length. Returns where the entry begins.
pub(crate) fn put_entry(out: &mut Vec<u8>, request: &Request, outcome: Outcome) -> usize {
    let start = out.len() + 4;
    put_prefixed32(out, |out| {
        put_prefixed32(out, |out| request.encode_into(out));
        out.push(outcome.byte());
    });
    start
}

/// The entries behind a block's header, each after its length.
pub(crate) fn entries_of(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let mut reader = Reader(bytes);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        entries.push(Entry::decode(reader.bytes32(ENTRY_BYTES_MAX, "entry")?)?);
    }
    Ok(entries)
}

/// The hash of an encoded block, without reading more of it than its header. For bytes that are known to be a block:
/// the entries are not looked at.
///
/// # Errors
/// The bytes do not begin with a header.
pub fn header_hash_of(bytes: &[u8]) -> Result<Hash, DecodeError> {
    let mut reader = Reader(bytes);
    Header::read(&mut reader)?;
    Ok(Hash::of(&[BLOCK_DOMAIN, &bytes[..bytes.len() - reader.0.len()]]))
}

/// The transaction root of these entries.
pub fn transaction_root(entries: &[Entry]) -> Hash {
    let mut bytes = Vec::new();
    let leaf = |entry: &Entry| {
        bytes.clear();
        entry.encode_into(&mut bytes);
        merkle::leaf_hash(&bytes)
    };
    merkle::root(&entries.iter().map(leaf).collect::<Vec<Hash>>())
}
