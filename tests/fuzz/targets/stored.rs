//! What a node reads back from its disk: records, rows, the high-water mark and the file `meta`. Checksums are made
//! right here, or nothing behind them would ever be reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_consensus::{Entry, Record};
use raftbank_store::fuzzing;

/// The bytes with their CRC-32 behind them.
fn sealed(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    [payload, &hasher.finalize().to_be_bytes()].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind {
        0 => check(sealed(&[], rest), fuzzing::respell_mark),
        1 => check(sealed(&[], rest), fuzzing::respell_meta),
        // As found, with whatever checksum.
        2 => check(rest.to_vec(), fuzzing::respell_mark),
        3 => check(rest.to_vec(), fuzzing::respell_meta),
        4 => {
            let (key, payload) = rest.split_at(rest.len().min(1));
            check(sealed(key, payload), |value| fuzzing::respell_row(key, value));
        }
        5 => {
            let (key, payload) = rest.split_at(rest.len().min(11));
            check(sealed(key, payload), |value| fuzzing::respell_row(key, value));
        }
        6 => {
            let size = 1 + usize::from(rest.first().copied().unwrap_or(0));
            let parts: Vec<Vec<u8>> = rest.chunks(size).map(<[u8]>::to_vec).collect();
            if let Some(again) = fuzzing::respell_record(5, &parts) {
                assert_eq!(again, parts);
            }
        }
        // A row under a key of any length.
        8 => {
            let (length, rest) = rest.split_first().unwrap_or((&0, rest));
            let (key, payload) = rest.split_at(rest.len().min(usize::from(length % 16)));
            check(sealed(key, payload), |value| fuzzing::respell_row(key, value));
        }
        _ => damaged_record(rest),
    }
});

fn check(bytes: Vec<u8>, read: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Some(again) = read(&bytes) {
        assert_eq!(again, bytes, "another spelling was accepted");
    }
}

/// A record is written, damaged and read: it comes back as it was, or not at all.
fn damaged_record(bytes: &[u8]) {
    let Some((&[index, term, place, value, how], entry)) = bytes.split_first_chunk() else { return };
    let entry = (how & 1 == 0).then(|| Entry::from(entry.repeat(1 + 300 * usize::from(how & 2))));
    let record = Record { index: u64::from(index), term: u64::from(term), entry };
    let Some(mut parts) = fuzzing::record_parts(&record) else { return };
    let whole = parts.clone();
    let at = usize::from(place) % parts.len();
    match how >> 2 {
        0 => {}
        1 => parts[at].truncate(usize::from(value)),
        2 => parts[at].push(value),
        3 => drop(parts.remove(at)),
        4 => parts.insert(at, vec![value]),
        _ => {
            let byte = usize::from(place) % parts[0].len();
            parts[0][byte] ^= value;
        }
    }
    let read = fuzzing::respell_record(record.index, &parts);
    assert_eq!(read.is_some(), parts == whole, "damage decides");
    if let Some(again) = read {
        assert_eq!(again, whole);
    }
}
