//! Keys and values of every row in sled, byte by byte. Numbers are big-endian.
//!
//! | key | value |
//! | --- | --- |
//! | `r` index u64, part u16 | a record of the log, see [`crate::record`]; guarded by its digest |
//! | `t` first index u64 | term u64: a run of records of one term begins here |
//! | `h` | term u64, voted u8, vote u8: the hard state |
//! | `p` member u8 | incarnation u64 |
//! | `k` member u8 | public key [32] that the member signs checkpoints with |
//! | `s` | record's index u64 and term u64; block's height u64, hash, time in ms u64, term u64, state root; ids u64, sum of ids u128 |
//! | `b` height u64 | index u64 of the block's record |
//! | `a` account name | balance i128 |
//! | `v` key | value |
//! | `w` id | a pending transfer, whatever became of it: its bytes in the state tree |
//! | `l` level u8, index u64 | hash [32] of a complete subtree of the log tree over the blocks from index << level on |
//! | `i` height u64, part u16 | ids of that block: per id u8 length, id, index u32, digest, outcome u8 |
//!
//! All values but those of `r` end with the CRC-32 of key and value. Ids are kept per block and not per id: the node
//! looks them up in memory, and appending is far cheaper than inserting random keys.

use raftbank_consensus::{HardState, Index, NodeId, Term};
use raftbank_ledger::{Balance, Hash, IdRecord, Outcome, Pending, RequestId, Tip};
use sha2::{Digest, Sha256};

pub(crate) const RECORD: u8 = b'r';
pub(crate) const RUN: u8 = b't';
pub(crate) const HARD: u8 = b'h';
pub(crate) const PEER: u8 = b'p';
pub(crate) const KEY: u8 = b'k';
pub(crate) const APPLIED: u8 = b's';
pub(crate) const BLOCK: u8 = b'b';
pub(crate) const LOG: u8 = b'l';
pub(crate) const ACCOUNT: u8 = b'a';
pub(crate) const VALUE: u8 = b'v';
pub(crate) const PENDING: u8 = b'w';
pub(crate) const IDS: u8 = b'i';

/// Largest payload of one ids row; with the largest id an entry has 102 bytes.
const IDS_PART_BYTES_MAX: usize = 48 << 10;

/// Where the state stands: written with the rows it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub index: Index,
    pub term: Term,
    pub tip: Tip,
    pub ids: IdsSum,
}

/// Count and order-free checksum of all stored ids: the ids are in no Merkle tree, so this notices a lost row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdsSum {
    pub count: u64,
    pub sum: u128,
}

impl IdsSum {
    /// Adds one id.
    pub fn add(&mut self, id: &RequestId, record: &IdRecord) {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&record.height.to_be_bytes());
        put_id(&mut bytes, id, record);
        raftbank_ledger::counts::hashed(bytes.len());
        let digest = Sha256::digest(&bytes);
        let (front, _) = digest.split_at(16);
        let mut word = [0_u8; 16];
        word.copy_from_slice(front);
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(word));
    }
}

/// Key of one part of a record.
pub(crate) fn record_key(index: Index, part: u16) -> [u8; 11] {
    numbered_key(RECORD, index, part)
}

/// Index and part of a record's key.
pub(crate) fn parse_record_key(key: &[u8]) -> Option<(Index, u16)> {
    parse_numbered_key(RECORD, key)
}

/// Key of one part of a block's ids.
pub(crate) fn ids_key(height: u64, part: u16) -> [u8; 11] {
    numbered_key(IDS, height, part)
}

/// Height and part of an ids key.
pub(crate) fn parse_ids_key(key: &[u8]) -> Option<(u64, u16)> {
    parse_numbered_key(IDS, key)
}

/// Key of a run of terms (`t`) or of a block's index (`b`).
pub(crate) fn number_key(kind: u8, number: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in such a key.
pub(crate) fn parse_number_key(kind: u8, key: &[u8]) -> Option<u64> {
    let (first, rest) = key.split_first()?;
    (*first == kind).then_some(u64::from_be_bytes(rest.try_into().ok()?))
}

/// Key of a node of the log tree.
pub(crate) fn log_key(level: u8, index: u64) -> [u8; 10] {
    let mut key = [LOG; 10];
    key[1] = level;
    key[2..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Level and index in such a key.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse_log_key(key: &[u8]) -> Option<(u8, u64)> {
    let (level, index) = key.strip_prefix(&[LOG])?.split_first()?;
    Some((*level, u64::from_be_bytes(index.try_into().ok()?)))
}

/// Key of an account (`a`), value (`v`) or pending transfer (`w`).
pub(crate) fn named_key(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name);
    key
}

/// Appends the checksum.
pub(crate) fn seal(key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let crc = checksum(key, &payload);
    payload.extend_from_slice(&crc.to_be_bytes());
    payload
}

/// The payload, if the checksum is right.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (payload, crc) = value.split_last_chunk::<4>()?;
    (checksum(key, payload) == u32::from_be_bytes(*crc)).then_some(payload)
}

/// A sealed number: runs, peers, block indexes.
pub(crate) fn seal_number(key: &[u8], number: u64) -> Vec<u8> {
    seal(key, number.to_be_bytes().to_vec())
}

/// A sealed number read back.
pub(crate) fn unseal_number(key: &[u8], value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(unseal(key, value)?.try_into().ok()?))
}

/// 32 sealed bytes: a hash of the log tree, or a public key.
pub(crate) fn seal_32(key: &[u8], bytes: &[u8; 32]) -> Vec<u8> {
    seal(key, bytes.to_vec())
}

/// 32 sealed bytes read back.
pub(crate) fn unseal_32(key: &[u8], value: &[u8]) -> Option<[u8; 32]> {
    unseal(key, value)?.try_into().ok()
}

/// A sealed balance.
pub(crate) fn seal_balance(key: &[u8], balance: Balance) -> Vec<u8> {
    seal(key, balance.to_be_bytes().to_vec())
}

/// A sealed balance read back.
pub(crate) fn unseal_balance(key: &[u8], value: &[u8]) -> Option<Balance> {
    Some(Balance::from_be_bytes(unseal(key, value)?.try_into().ok()?))
}

/// A sealed pending transfer.
pub(crate) fn seal_pending(key: &[u8], pending: &Pending) -> Vec<u8> {
    seal(key, pending.encode())
}

/// A sealed pending transfer read back.
pub(crate) fn unseal_pending(key: &[u8], value: &[u8]) -> Option<Pending> {
    Pending::decode(unseal(key, value)?).ok()
}

/// The sealed hard state.
pub(crate) fn seal_hard(hard: &HardState) -> Vec<u8> {
    let mut payload = hard.term.to_be_bytes().to_vec();
    payload.push(u8::from(hard.vote.is_some()));
    payload.push(hard.vote.map_or(0, |node| node.0));
    seal(&[HARD], payload)
}

/// The sealed hard state read back.
pub(crate) fn unseal_hard(value: &[u8]) -> Option<HardState> {
    let (term, rest) = unseal(&[HARD], value)?.split_first_chunk::<8>()?;
    let vote = match rest {
        [0, 0] => None,
        [1, node] => Some(NodeId(*node)),
        _ => return None,
    };
    Some(HardState { term: u64::from_be_bytes(*term), vote })
}

/// The sealed place of the state.
pub(crate) fn seal_applied(applied: &Applied) -> Vec<u8> {
    let mut payload = Vec::with_capacity(128);
    for number in [applied.index, applied.term, applied.tip.height] {
        payload.extend_from_slice(&number.to_be_bytes());
    }
    payload.extend_from_slice(&applied.tip.hash.0);
    payload.extend_from_slice(&applied.tip.time_ms.to_be_bytes());
    payload.extend_from_slice(&applied.tip.term.to_be_bytes());
    payload.extend_from_slice(&applied.tip.state_root.0);
    payload.extend_from_slice(&applied.ids.count.to_be_bytes());
    payload.extend_from_slice(&applied.ids.sum.to_be_bytes());
    seal(&[APPLIED], payload)
}

/// The sealed place of the state read back.
pub(crate) fn unseal_applied(value: &[u8]) -> Option<Applied> {
    let mut input = Input(unseal(&[APPLIED], value)?);
    let applied = Applied {
        index: input.u64()?,
        term: input.u64()?,
        tip: Tip {
            height: input.u64()?,
            hash: Hash(input.array()?),
            time_ms: input.u64()?,
            term: input.u64()?,
            state_root: Hash(input.array()?),
        },
        ids: IdsSum { count: input.u64()?, sum: u128::from_be_bytes(input.array()?) },
    };
    input.0.is_empty().then_some(applied)
}

/// The rows of one block's ids, sealed.
pub(crate) fn seal_ids(height: u64, ids: &[(RequestId, IdRecord)]) -> Vec<([u8; 11], Vec<u8>)> {
    let mut rows = Vec::new();
    let mut payload = Vec::new();
    let mut part = 0_u16;
    for (id, record) in ids {
        put_id(&mut payload, id, record);
        if payload.len() > IDS_PART_BYTES_MAX {
            let key = ids_key(height, part);
            rows.push((key, seal(&key, std::mem::take(&mut payload))));
            part += 1;
        }
    }
    if !payload.is_empty() {
        let key = ids_key(height, part);
        rows.push((key, seal(&key, payload)));
    }
    rows
}

/// One row of ids read back.
pub(crate) fn unseal_ids(key: &[u8], value: &[u8]) -> Option<Vec<(RequestId, IdRecord)>> {
    let (height, _) = parse_ids_key(key)?;
    let mut input = Input(unseal(key, value)?);
    let mut ids = Vec::new();
    while !input.0.is_empty() {
        let length = usize::from(input.array::<1>()?[0]);
        let id = RequestId::parse(std::str::from_utf8(input.take(length)?).ok()?).ok()?;
        let index = u32::from_be_bytes(input.array()?);
        let digest = Hash(input.array()?);
        let outcome = Outcome::from_byte(input.array::<1>()?[0]).ok()?;
        ids.push((id, IdRecord { height, index, digest, outcome }));
    }
    Some(ids)
}

fn put_id(out: &mut Vec<u8>, id: &RequestId, record: &IdRecord) {
    let name = id.as_str().as_bytes();
    // An id has at most 64 bytes.
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.extend_from_slice(&record.index.to_be_bytes());
    out.extend_from_slice(&record.digest.0);
    out.push(record.outcome.byte());
}

fn numbered_key(kind: u8, number: u64, part: u16) -> [u8; 11] {
    let mut key = [kind; 11];
    key[1..9].copy_from_slice(&number.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parse_numbered_key(kind: u8, key: &[u8]) -> Option<(u64, u16)> {
    let (number, part) = key.strip_prefix(&[kind])?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u16::from_be_bytes(part.try_into().ok()?)))
}

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

/// The rest of a payload that is being read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests;
