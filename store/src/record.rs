//! A record of the log as rows: cut into parts, and guarded by one digest over all of it.
//!
//! Part 0: term u64 · kind u8 (0: no-op, 1: entry) · length of the entry u32 · digest [32] · first bytes of the entry.
//! Every further part: the next bytes of the entry. The digest is SHA-256 over
//! `raftbank/record/1\n` · index u64 · term u64 · kind u8 · length u32 · entry; numbers are big-endian.
//!
//! Parts are small because sled writes an item above a quarter of a segment, and a leaf page is an item, into a file
//! that it never syncs.

use crate::rows;
use raftbank_consensus::{Entry, Index, Record, Term};
use sha2::{Digest, Sha256};

/// Bytes of an entry in one part. A leaf page holds up to 20 rows while it waits to be split or merged:
/// 20 × 64 KiB is far below 4 MiB, a quarter of a segment.
pub(crate) const PART_BYTES: usize = 64 << 10;

/// Largest entry that is stored: a block of 4 MiB with room to spare. A longer length in a row is damage.
pub(crate) const ENTRY_BYTES_MAX: usize = 8 << 20;

/// First line of what is hashed.
const DOMAIN: &[u8] = b"raftbank/record/1\n";

const HEAD_BYTES: usize = 8 + 1 + 4 + 32;

/// What the log remembers a record by.
pub(crate) type RecordDigest = [u8; 32];

/// Part 0 without the entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub term: Term,
    /// Length of the entry, `None` for a no-op.
    pub length: Option<u32>,
    pub digest: RecordDigest,
}

impl Head {
    /// How many rows the record has.
    pub fn parts(&self) -> usize {
        (self.length.unwrap_or(0) as usize).div_ceil(PART_BYTES).max(1)
    }

    /// Reads part 0; the rest of it is the front of the entry.
    pub fn decode(part: &[u8]) -> Option<(Head, &[u8])> {
        let (term, rest) = part.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first_chunk::<1>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (digest, front) = rest.split_first_chunk::<32>()?;
        let length = u32::from_be_bytes(*length);
        if length as usize > ENTRY_BYTES_MAX {
            return None;
        }
        let length = match kind[0] {
            0 if length == 0 => None,
            1 => Some(length),
            _ => return None,
        };
        let head = Head { term: u64::from_be_bytes(*term), length, digest: *digest };
        Some((head, front))
    }
}

/// The digest of a record.
pub(crate) fn digest(index: Index, term: Term, entry: Option<&[u8]>) -> RecordDigest {
    let bytes = entry.unwrap_or_default();
    raftbank_ledger::counts::hashed(DOMAIN.len() + 8 + 8 + 1 + 4 + bytes.len());
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(index.to_be_bytes());
    hasher.update(term.to_be_bytes());
    hasher.update([u8::from(entry.is_some())]);
    hasher.update((bytes.len() as u32).to_be_bytes());
    hasher.update(bytes);
    hasher.finalize().into()
}

/// The rows of a record, and its digest. `None` if its entry is longer than [`ENTRY_BYTES_MAX`].
#[allow(clippy::type_complexity)]
pub(crate) fn rows_of(record: &Record) -> Option<(RecordDigest, Vec<([u8; 11], Vec<u8>)>)> {
    let entry: Option<&[u8]> = record.entry.as_deref();
    let bytes = entry.unwrap_or_default();
    if bytes.len() > ENTRY_BYTES_MAX {
        return None;
    }
    let digest = digest(record.index, record.term, entry);
    let (front, rest) = bytes.split_at(bytes.len().min(PART_BYTES));
    let mut first = Vec::with_capacity(HEAD_BYTES + front.len());
    first.extend_from_slice(&record.term.to_be_bytes());
    first.push(u8::from(entry.is_some()));
    first.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    first.extend_from_slice(&digest);
    first.extend_from_slice(front);
    let mut rows = vec![(rows::record_key(record.index, 0), first)];
    for (number, part) in rest.chunks(PART_BYTES).enumerate() {
        // ENTRY_BYTES_MAX / PART_BYTES parts at most.
        rows.push((rows::record_key(record.index, number as u16 + 1), part.to_vec()));
    }
    Some((digest, rows))
}

/// Puts a record together from its parts in order, and checks it against its digest.
pub(crate) fn assemble<P: AsRef<[u8]>>(index: Index, parts: &[P]) -> Option<(Record, RecordDigest)> {
    let (first, rest) = parts.split_first()?;
    let (head, front) = Head::decode(first.as_ref())?;
    if parts.len() != head.parts() {
        return None;
    }
    let length = head.length.unwrap_or(0) as usize;
    let mut bytes = Vec::with_capacity(length);
    for part in std::iter::once(front).chain(rest.iter().map(AsRef::as_ref)) {
        // Each part but the last is full: the same entry cut elsewhere was not written by this program.
        if part.len() != PART_BYTES.min(length - bytes.len()) {
            return None;
        }
        bytes.extend_from_slice(part);
    }
    let entry = head.length.is_some().then_some(bytes);
    if digest(index, head.term, entry.as_deref()) != head.digest {
        return None;
    }
    let record = Record { index, term: head.term, entry: entry.map(Entry::from) };
    Some((record, head.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(entry: Option<Vec<u8>>) -> Record {
        Record { index: 5, term: 3, entry: entry.map(Entry::from) }
    }

    #[test]
    fn every_length_around_a_part_comes_back() {
        for length in [0, 1, 100, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 1 << 20] {
            let record = record(Some((0..length).map(|at| (at % 251) as u8).collect()));
            let (digest, rows) = rows_of(&record).unwrap();
            assert!(rows.iter().all(|(_, value)| value.len() <= PART_BYTES + HEAD_BYTES));
            let parts: Vec<Vec<u8>> = rows.into_iter().map(|(_, value)| value).collect();
            assert_eq!(assemble(5, &parts), Some((record, digest)));
            assert_eq!(assemble(6, &parts), None, "a record read at another index");
            assert_eq!(assemble(5, &parts[..parts.len() - 1]), None);
        }
        let (digest, rows) = rows_of(&record(None)).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(assemble(5, &[&rows[0].1]), Some((record(None), digest)));
        assert!(rows_of(&record(Some(vec![0; ENTRY_BYTES_MAX + 1]))).is_none());
    }

    #[test]
    fn an_entry_is_cut_in_one_way_only() {
        let (_, rows) = rows_of(&record(Some(vec![7; 2 * PART_BYTES + 9]))).unwrap();
        let mut parts: Vec<Vec<u8>> = rows.into_iter().map(|(_, value)| value).collect();
        let byte = parts[2].remove(0);
        parts[1].push(byte);
        assert_eq!(assemble(5, &parts), None);
    }

    #[test]
    fn an_empty_entry_is_not_a_no_op() {
        assert_ne!(digest(5, 3, None), digest(5, 3, Some(&[])));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (_, rows) = rows_of(&record(Some(b"entry".to_vec()))).unwrap();
        let good = &rows[0].1;
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(assemble(5, &[damaged]), None, "bit {bit}");
        }
    }

    #[test]
    fn bytes_are_golden() {
        let (digest, rows) = rows_of(&record(Some(b"abc".to_vec()))).unwrap();
        assert_eq!(rows[0].0, *b"r\0\0\0\0\0\0\0\x05\0\0");
        let mut expected = b"\0\0\0\0\0\0\0\x03\x01\0\0\0\x03".to_vec();
        expected.extend_from_slice(&digest);
        expected.extend_from_slice(b"abc");
        assert_eq!(rows[0].1, expected);
        let mut hashed = b"raftbank/record/1\n".to_vec();
        hashed.extend_from_slice(b"\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x03\x01\0\0\0\x03abc");
        assert_eq!(digest[..], Sha256::digest(&hashed)[..]);
    }
}
