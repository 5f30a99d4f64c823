//! Reading the log's rows: single records, and the check of its end at open.

use crate::{
    engine::Tree,
    error::StoreError,
    progress::{Counter, OnProgress},
    record::{self, Head, RecordDigest},
    rows,
};
use raftbank_consensus::{Index, Record};

/// One record, checked against its digest; `None` if there is none.
pub(super) fn read_record(tree: &Tree, index: Index) -> Result<Option<(Record, RecordDigest)>, StoreError> {
    let mut parts: Vec<sled::IVec> = Vec::new();
    for row in tree.scan(rows::record_key(index, 0)..=rows::record_key(index, u16::MAX))? {
        let (key, value) = row?;
        if rows::parse_record_key(&key) != Some((index, parts.len() as u16)) {
            return Err(tree.corrupt(format!("parts of record {index} are missing")));
        }
        parts.push(value);
    }
    if parts.is_empty() {
        return Ok(None);
    }
    match record::assemble(index, &parts) {
        Some(found) => Ok(Some(found)),
        None => Err(tree.corrupt(format!("record {index} does not match its digest"))),
    }
}

/// All records from `from` to `to` in order, each checked against its digest. One that is missing is corruption.
pub(super) fn each(
    tree: &Tree,
    from: Index,
    to: Index,
    mut take: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = from;
    let mut parts: Vec<sled::IVec> = Vec::new();
    let mut parts_wanted = 1;
    for row in tree.scan(rows::record_key(from, 0)..=rows::record_key(to, u16::MAX))? {
        let (key, value) = row?;
        if rows::parse_record_key(&key) != Some((next, parts.len() as u16)) {
            return Err(tree.corrupt(format!("record {next} or a part of it is missing")));
        }
        if parts.is_empty() {
            let Some((head, _)) = Head::decode(&value) else {
                return Err(tree.corrupt(format!("the head of record {next} is damaged")));
            };
            parts_wanted = head.parts();
        }
        parts.push(value);
        if parts.len() == parts_wanted {
            let Some((record, _)) = record::assemble(next, &parts) else {
                return Err(tree.corrupt(format!("record {next} does not match its digest")));
            };
            parts.clear();
            take(record)?;
            next += 1;
        }
    }
    if next <= to {
        return Err(tree.corrupt(format!("record {next} or a part of it is missing")));
    }
    Ok(())
}

/// The digest a record is stored with.
pub(super) fn digest_at(tree: &Tree, index: Index) -> Result<RecordDigest, StoreError> {
    tree.get(&rows::record_key(index, 0))?
        .and_then(|part| Head::decode(&part).map(|(head, _)| head.digest))
        .ok_or_else(|| tree.corrupt(format!("record {index} is missing or damaged")))
}

/// The keys of all rows of records `from` to `to`.
pub(super) fn keys(tree: &Tree, from: Index, to: Index) -> Result<Vec<sled::IVec>, StoreError> {
    tree.scan(rows::record_key(from, 0)..=rows::record_key(to, u16::MAX))?.map(|row| row.map(|(key, _)| key)).collect()
}

/// The end of the log as found at open.
#[derive(Debug)]
pub(super) struct End {
    pub last_index: Index,
    pub last_digest: RecordDigest,
    /// The records after `applied`, in order.
    pub tail: Vec<Record>,
    /// Rows of a torn tail, to be removed.
    pub torn: Vec<sled::IVec>,
    /// Indexes and terms of the checked records, newest first.
    pub checked: Vec<(Index, u64)>,
}

/// Reads the log from its end down to the last applied record; [`each`] reads those before.
///
/// A damaged record is a torn tail only if it is above `promised` (the mark) and no good record follows it; then its
/// rows are returned for removal. Anything else that is damaged or missing is corruption.
pub(super) fn read_end(
    tree: &Tree,
    applied: Index,
    promised: Index,
    on_progress: OnProgress<'_>,
) -> Result<End, StoreError> {
    let mut end = End { last_index: 0, last_digest: [0; 32], tail: Vec::new(), torn: Vec::new(), checked: Vec::new() };
    let mut counter = Counter::new(on_progress, "records of the log", None);
    let mut parts: Vec<sled::IVec> = Vec::new();
    let mut part_keys: Vec<sled::IVec> = Vec::new();
    let mut rows = tree.scan(rows::record_key(0, 0)..=rows::record_key(Index::MAX, u16::MAX))?.rev().peekable();
    while let Some(row) = rows.next() {
        let (key, value) = row?;
        let Some((index, part)) = rows::parse_record_key(&key) else {
            return Err(tree.corrupt("a row of the log has an impossible key"));
        };
        parts.push(value);
        part_keys.push(key);
        // The next row may be unreadable: then this record is judged by what there is, and the error comes next turn.
        let record_ends = match rows.peek() {
            Some(Ok((key, _))) => rows::parse_record_key(key).is_none_or(|(next, _)| next != index),
            Some(Err(_)) => part == 0,
            None => true,
        };
        if !record_ends {
            continue;
        }
        parts.reverse();
        let found = record::assemble(index, &parts);
        parts.clear();
        match found {
            Some((record, digest)) => {
                part_keys.clear();
                if let Some((above, _)) = end.checked.last()
                    && *above != index + 1
                {
                    return Err(tree.corrupt(format!("the log has a gap between records {index} and {above}")));
                }
                if end.checked.is_empty() {
                    end.last_index = index;
                    end.last_digest = digest;
                }
                end.checked.push((index, record.term));
                counter.add(1);
                if index > applied {
                    end.tail.push(record);
                }
            }
            None if planted!(DamageTakenForTornTail) => {
                end.torn = keys(tree, index, Index::MAX)?;
                end.checked.clear();
                end.tail.clear();
                part_keys.clear();
            }
            None if end.checked.is_empty() && index > promised => end.torn.append(&mut part_keys),
            None => {
                return Err(tree.corrupt(format!(
                    "record {index} does not match its digest, and it is no torn tail: record {promised} was promised"
                )));
            }
        }
        if index <= applied {
            break;
        }
    }
    end.tail.reverse();
    match end.checked.last() {
        Some((lowest, _)) if *lowest <= applied.saturating_add(1) => Ok(end),
        _ => Err(tree.corrupt(format!("the log does not reach down to record {applied}, which is applied"))),
    }
}
