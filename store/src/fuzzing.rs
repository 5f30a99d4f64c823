//! A way in for the fuzz targets: reads stored bytes and spells again what they were taken for. Not for programs.

use raftbank_consensus::{Index, Record};

use crate::{mark, meta, record, rows};

/// A record from its parts, and the parts as they are written.
pub fn record(index: Index, parts: &[&[u8]]) -> Option<(Record, Vec<Vec<u8>>)> {
    let (record, digest) = record::assemble(index, parts)?;
    let (again, rows) = record::rows_of(&record)?;
    assert_eq!(digest, again, "one record, two digests");
    Some((record, rows.into_iter().map(|(_, part)| part).collect()))
}

/// The parts of a record as they are written.
pub fn parts_of(record: &Record) -> Option<Vec<Vec<u8>>> {
    Some(record::rows_of(record)?.1.into_iter().map(|(_, part)| part).collect())
}

/// A slot of the high-water mark, its checksum included.
pub fn mark(slot: &[u8]) -> Option<Vec<u8>> {
    mark::respell(slot)
}

/// The file `meta`, its checksum included.
pub fn meta(bytes: &[u8]) -> Option<Vec<u8>> {
    meta::respell(bytes)
}

/// A row with a checksum: its key tells its kind. `None` also for kinds without a structure of their own.
pub fn row(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    match *key.first()? {
        rows::HARD if key.len() == 1 => Some(rows::seal_hard(&rows::unseal_hard(value)?)),
        rows::APPLIED if key.len() == 1 => Some(rows::seal_applied(&rows::unseal_applied(value)?)),
        rows::PEER | rows::RUN | rows::BLOCK => Some(rows::seal_number(key, rows::unseal_number(key, value)?)),
        rows::ACCOUNT => Some(rows::seal_balance(key, rows::unseal_balance(key, value)?)),
        rows::IDS => {
            let ids = rows::unseal_ids(key, value)?;
            let (height, _) = rows::parse_ids_key(key)?;
            // More than fits into one row is cut elsewhere; the ids are the same.
            let sealed = rows::seal_ids(height, &ids);
            let mut again = Vec::new();
            for (key, value) in &sealed {
                again.extend(rows::unseal_ids(key, value)?);
            }
            assert!(again == ids, "ids were lost on their way");
            let payload = sealed.iter().flat_map(|(_, value)| value[..value.len() - 4].to_vec()).collect();
            Some(rows::seal(key, payload))
        }
        _ => None,
    }
}
