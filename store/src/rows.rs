//! Keys and values of every row in sled, byte by byte. Numbers are big-endian.
//!
//! | key | value |
//! | --- | --- |
//! | `r` index u64, part u16 | a record of the log, see [`crate::record`]; guarded by its digest |
//! | `t` first index u64 | term u64: a run of records of one term begins here |
//! | `o` | incarnation u64: the folder that these rows belong to |
//! | `h` | term u64, voted u8, vote u8: the hard state |
//! | `p` member u8 | incarnation u64 |
//! | `k` member u8 | public key [32] that the member signs checkpoints with |
//! | `s` | record's index u64 and term u64; block's height u64, hash, time in ms u64, term u64, state root: where the state stands |
//! | `a` account name | balance i128; while there is no `g` |
//! | `g` | generation u64, pieces u32, accounts u64, bytes u64: the accounts' base, see `sled_store/base.rs` |
//! | `c` slot u8, number u32 | a piece of a base: its generation u64; then name's length u8, name, balance i128, again and again, in order of names |
//! | `d` generation u64, account name | balance i128: changed since the base of this generation was made |
//! | `v` key | value |
//! | `w` id | a pending transfer, whatever became of it: its bytes in the state tree |
//!
//! All values but those of `r` end with the CRC-32 of key and value. The rows `s`, `a`, `d`, `g`, `v` and `w` change together, see
//! `sled_store/overlay.rs`. Request ids, the places of blocks and the log tree follow from the blocks: they are in no row.
//! Formats before 3 had rows for them ([`DERIVED`]), and two more numbers at the end of `s`.

use raftbank_consensus::{HardState, Index, NodeId, Term};
use raftbank_ledger::{Account, Balance, Hash, Pending, Tip};

pub(crate) const RECORD: u8 = b'r';
pub(crate) const RUN: u8 = b't';
pub(crate) const OWNER: u8 = b'o';
pub(crate) const HARD: u8 = b'h';
pub(crate) const PEER: u8 = b'p';
pub(crate) const KEY: u8 = b'k';
pub(crate) const APPLIED: u8 = b's';
pub(crate) const ACCOUNT: u8 = b'a';
pub(crate) const BASE: u8 = b'g';
pub(crate) const PIECE: u8 = b'c';
pub(crate) const CHANGED: u8 = b'd';
pub(crate) const VALUE: u8 = b'v';
pub(crate) const PENDING: u8 = b'w';
/// Rows of formats before 3 that follow from the blocks: places of blocks, ids, and the log tree.
pub(crate) const DERIVED: [u8; 3] = [b'b', b'i', b'l'];

/// Where the state stands: written with the rows it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub index: Index,
    pub term: Term,
    pub tip: Tip,
}

/// A base of the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Counts from 1.
    pub generation: u64,
    pub pieces: u32,
    pub accounts: u64,
    /// Of all pieces, without keys and checksums.
    pub bytes: u64,
}

/// Key of one part of a record.
pub(crate) fn record_key(index: Index, part: u16) -> [u8; 11] {
    numbered_key(RECORD, index, part)
}

/// Index and part of a record's key.
pub(crate) fn parse_record_key(key: &[u8]) -> Option<(Index, u16)> {
    parse_numbered_key(RECORD, key)
}

/// Key of a run of terms (`t`).
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

/// Key of an account (`a`), value (`v`) or pending transfer (`w`).
pub(crate) fn named_key(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name);
    key
}

/// What all keys of accounts changed since this base begin with; generation 0 is none.
pub(crate) fn changed_prefix(generation: u64) -> Vec<u8> {
    if generation == 0 { vec![ACCOUNT] } else { number_key(CHANGED, generation).to_vec() }
}

/// Key of an account changed since this base.
pub(crate) fn changed_key(generation: u64, name: &[u8]) -> Vec<u8> {
    let mut key = changed_prefix(generation);
    key.extend_from_slice(name);
    key
}

/// Key of a piece of a base. The pieces of every other base stand in the same places: a new one is written over the one
/// before the last, which costs sled less than new rows and their removal.
pub(crate) fn piece_key(generation: u64, number: u32) -> [u8; 6] {
    let mut key = [PIECE; 6];
    key[1] = u8::from(generation % 2 == 1);
    key[2..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What a piece begins with.
pub(crate) fn begin_piece(generation: u64) -> Vec<u8> {
    generation.to_be_bytes().to_vec()
}

/// Appends an account to a piece.
pub(crate) fn push_account(piece: &mut Vec<u8>, name: &str, balance: Balance) {
    piece.push(u8::try_from(name.len()).expect("a name has at most 64 bytes"));
    piece.extend_from_slice(name.as_bytes());
    piece.extend_from_slice(&balance.to_be_bytes());
}

/// The generation of a sealed piece, and its accounts.
pub(crate) fn unseal_piece(key: &[u8], value: &[u8]) -> Option<(u64, Vec<(Account, Balance)>)> {
    let mut input = Input(unseal(key, value)?);
    let generation = input.u64()?;
    let mut accounts = Vec::new();
    while !input.0.is_empty() {
        let [length] = input.array()?;
        let name = std::str::from_utf8(input.take(length.into())?).ok()?;
        accounts.push((Account::parse(name).ok()?, Balance::from_be_bytes(input.array()?)));
    }
    Some((generation, accounts))
}

/// The sealed description of a base.
pub(crate) fn seal_base(base: &Base) -> Vec<u8> {
    let mut payload = base.generation.to_be_bytes().to_vec();
    payload.extend_from_slice(&base.pieces.to_be_bytes());
    payload.extend_from_slice(&base.accounts.to_be_bytes());
    payload.extend_from_slice(&base.bytes.to_be_bytes());
    seal(&[BASE], payload)
}

/// The sealed description of a base read back.
pub(crate) fn unseal_base(value: &[u8]) -> Option<Base> {
    let mut input = Input(unseal(&[BASE], value)?);
    let (generation, pieces) = (input.u64()?, u32::from_be_bytes(input.array()?));
    let base = Base { generation, pieces, accounts: input.u64()?, bytes: input.u64()? };
    (input.0.is_empty() && generation > 0).then_some(base)
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

/// A sealed number: owner, runs, peers.
pub(crate) fn seal_number(key: &[u8], number: u64) -> Vec<u8> {
    seal(key, number.to_be_bytes().to_vec())
}

/// A sealed number read back.
pub(crate) fn unseal_number(key: &[u8], value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(unseal(key, value)?.try_into().ok()?))
}

/// 32 sealed bytes: a public key.
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
    seal(&[APPLIED], payload)
}

/// The sealed place of the state read back.
pub(crate) fn unseal_applied(value: &[u8]) -> Option<Applied> {
    read_applied(unseal(&[APPLIED], value)?)
}

/// The same as formats before 3 had it: with a number and a sum of all request ids at its end.
pub(crate) fn unseal_applied_2(value: &[u8]) -> Option<Applied> {
    let (front, _) = unseal(&[APPLIED], value)?.split_last_chunk::<{ 8 + 16 }>()?;
    read_applied(front)
}

fn read_applied(payload: &[u8]) -> Option<Applied> {
    let mut input = Input(payload);
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
    };
    input.0.is_empty().then_some(applied)
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
