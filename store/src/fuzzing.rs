//! For tests and fuzz targets only: each decoder of what is stored, followed by its encoder.
//!
//! `respell_…` decodes bytes and encodes what it got; `None` where the bytes are refused.

use crate::record::{self, assemble, rows_of};
use crate::rows::{self, ACCOUNT, RUN};
use crate::{mark, meta};
use raftbank_consensus::Record;

/// Parts of the record at `index`, which must be put together into one that is cut into the same parts.
pub fn respell_record(index: u64, parts: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let (record, digest) = assemble(index, parts)?;
    assert_eq!(record::digest(index, record.term, record.entry.as_deref()), digest);
    let (again, rows) = rows_of(&record)?;
    assert_eq!(again, digest);
    for (number, (key, _)) in rows.iter().enumerate() {
        assert_eq!(rows::parse_record_key(key), Some((index, number as u16)));
    }
    Some(rows.into_iter().map(|(_, part)| part).collect())
}

/// The parts of a record.
pub fn record_parts(record: &Record) -> Option<Vec<Vec<u8>>> {
    Some(rows_of(record)?.1.into_iter().map(|(_, part)| part).collect())
}

/// One slot of the file `mark`.
pub fn respell_mark(bytes: &[u8]) -> Option<Vec<u8>> {
    let (sequence, found) = mark::decode(bytes.try_into().ok()?)?;
    Some(mark::encode(sequence, &found).to_vec())
}

/// The file `meta`. One of another format is accepted as such, and is nobody's to spell.
pub fn respell_meta(bytes: &[u8]) -> Option<Vec<u8>> {
    match meta::decode(bytes) {
        meta::Decoded::Meta(found) => Some(meta::encode(&found)),
        meta::Decoded::OtherFormat(format) => {
            assert!(!(meta::FORMAT_OLDEST..=crate::FORMAT).contains(&format));
            None
        }
        meta::Decoded::Damaged => None,
    }
}

/// A row: its key, then its value. What a value means depends on the first byte of its key.
pub fn respell_row(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    match *key.first()? {
        rows::OWNER if key.len() == 1 => {
            rows::unseal_number(key, value).map(|incarnation| rows::seal_number(key, incarnation))
        }
        rows::HARD if key.len() == 1 => rows::unseal_hard(value).map(|hard| rows::seal_hard(&hard)),
        rows::APPLIED if key.len() == 1 => rows::unseal_applied(value).map(|applied| rows::seal_applied(&applied)),
        RUN => {
            let number = rows::parse_number_key(RUN, key)?;
            assert_eq!(rows::number_key(RUN, number)[..], *key);
            rows::unseal_number(key, value).map(|number| rows::seal_number(key, number))
        }
        rows::PEER if key.len() == 2 => {
            rows::unseal_number(key, value).map(|incarnation| rows::seal_number(key, incarnation))
        }
        rows::KEY if key.len() == 2 => rows::unseal_32(key, value).map(|public| rows::seal_32(key, &public)),
        ACCOUNT => rows::unseal_balance(key, value).map(|balance| rows::seal_balance(key, balance)),
        rows::BASE if key.len() == 1 => rows::unseal_base(value).map(|base| rows::seal_base(&base)),
        rows::CHANGED if key.len() > 9 => {
            rows::unseal_balance(key, value).map(|balance| rows::seal_balance(key, balance))
        }
        rows::PIECE if key.len() == 6 => rows::unseal_piece(key, value).map(|(generation, accounts)| {
            let mut piece = rows::begin_piece(generation);
            accounts.iter().for_each(|(name, balance)| rows::push_account(&mut piece, name.as_str(), *balance));
            rows::seal(key, piece)
        }),
        rows::VALUE => rows::unseal(key, value).map(|payload| rows::seal(key, payload.to_vec())),
        rows::PENDING => rows::unseal_pending(key, value).map(|pending| rows::seal_pending(key, &pending)),
        _ => None,
    }
}

/// A value with the checksum that it needs under this key.
pub fn sealed(key: &[u8], payload: &[u8]) -> Vec<u8> {
    rows::seal(key, payload.to_vec())
}

/// Puts the right checksum at the end of a mark's slot or of a `meta` file.
pub fn with_checksum(bytes: &mut [u8]) {
    if let Some((body, crc)) = bytes.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_be_bytes();
    }
}

/// A mark's slot and a `meta` file, as they are written.
pub fn marks_and_metas() -> [Vec<u8>; 4] {
    let mark = |vote, closed| mark::Mark {
        incarnation: 7,
        term: 3,
        vote,
        last_index: 9,
        last_digest: [0xab; 32],
        committed: 8,
        closed,
    };
    let meta = |rejoining| {
        meta::encode(&meta::Meta {
            format: crate::FORMAT,
            cluster_id: raftbank_ledger::Hash([0x11; 32]),
            node: raftbank_ledger::NodeName::parse("n1").expect("a name"),
            incarnation: 7,
            rejoining,
        })
    };
    [
        mark::encode(5, &mark(Some(2), false)).to_vec(),
        mark::encode(6, &mark(None, true)).to_vec(),
        meta(false),
        meta(true),
    ]
}
