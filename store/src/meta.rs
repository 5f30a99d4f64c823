//! Whose folder this is: the file `meta`, written last when a folder is made, so its presence says "finished".
//!
//! Bytes, big-endian: magic `RAFTBANK` · format u32 · cluster id [32] · incarnation u64 · rejoining u8 (0/1) ·
//! node id (u8 length, then bytes) · CRC-32 of all before. Magic, format and the final CRC stay where they are in every
//! later format, so that an older program can say "newer format" rather than "damaged".

use crate::{crashsafe, error::StoreError};
use raftbank_ledger::{Hash, NodeName};
use std::{fs, io::ErrorKind, path::Path};

/// The format of everything under a data folder. Raised with any change that an older program would misread.
///
/// 1: without the log tree and the members' keys. 2: with them (rows `l` and `k`). 3: without the rows that follow
/// from the blocks (`i`, `b`, `l`), with the state written late and executed again at open; rows `w`, `o`. See `rows.rs`.
pub const FORMAT: u32 = 3;
/// The oldest format that is still read: opening such a folder brings it up to [`FORMAT`].
pub(crate) const FORMAT_OLDEST: u32 = 1;

const MAGIC: [u8; 8] = *b"RAFTBANK";
const FIXED_BYTES: usize = 8 + 4 + 32 + 8 + 1 + 1;
/// More than the longest valid file; a larger one is not read at all.
const META_BYTES_MAX: u64 = 4096;

/// Identity of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Version of the storage format: [`FORMAT`], or an older one until the folder is opened.
    pub format: u32,
    /// Hash of block 0.
    pub cluster_id: Hash,
    /// The node this folder belongs to.
    pub node: NodeName,
    /// Random number drawn when the folder was made: a node that lost its disk comes back with another one.
    pub incarnation: u64,
    /// Made by `--rejoin` and not caught up yet: the node must not vote.
    pub rejoining: bool,
}

/// Writes the file as a whole, synced.
pub(crate) fn write(path: &Path, meta: &Meta) -> Result<(), StoreError> {
    crashsafe::replace_file(path, &encode(meta))
}

/// Reads the file; `None` when there is none.
pub(crate) fn read(path: &Path, dir: &Path) -> Result<Option<Meta>, StoreError> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("reading", path, error)),
    };
    let damaged = || StoreError::corrupt(format!("{} is damaged", path.display()));
    if size > META_BYTES_MAX {
        return Err(damaged());
    }
    let bytes = fs::read(path).map_err(|error| StoreError::io("reading", path, error))?;
    match decode(&bytes) {
        Decoded::Meta(meta) => Ok(Some(meta)),
        Decoded::OtherFormat(found) => Err(StoreError::Format { dir: dir.to_owned(), found }),
        Decoded::Damaged => Err(damaged()),
    }
}

/// Compares with what the configuration asks for.
pub(crate) fn check(meta: &Meta, dir: &Path, cluster_id: &Hash, node: &NodeName) -> Result<(), StoreError> {
    if meta.cluster_id != *cluster_id {
        return Err(StoreError::Mismatch {
            dir: dir.to_owned(),
            what: "cluster id",
            expected: cluster_id.to_string(),
            found: meta.cluster_id.to_string(),
        });
    }
    if meta.node != *node {
        return Err(StoreError::Mismatch {
            dir: dir.to_owned(),
            what: "node id",
            expected: node.to_string(),
            found: meta.node.to_string(),
        });
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) enum Decoded {
    Meta(Meta),
    OtherFormat(u32),
    Damaged,
}

pub(crate) fn encode(meta: &Meta) -> Vec<u8> {
    let node = meta.node.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(FIXED_BYTES + node.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&meta.format.to_be_bytes());
    bytes.extend_from_slice(&meta.cluster_id.0);
    bytes.extend_from_slice(&meta.incarnation.to_be_bytes());
    bytes.push(u8::from(meta.rejoining));
    // A node name has at most 32 bytes.
    bytes.push(node.len() as u8);
    bytes.extend_from_slice(node);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Decoded::Damaged;
    };
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Decoded::Damaged;
    }
    let Some((magic, rest)) = body.split_first_chunk::<8>() else {
        return Decoded::Damaged;
    };
    let Some((format, rest)) = rest.split_first_chunk::<4>() else {
        return Decoded::Damaged;
    };
    if *magic != MAGIC {
        return Decoded::Damaged;
    }
    let format = u32::from_be_bytes(*format);
    if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
        return Decoded::OtherFormat(format);
    }
    match decode_rest(format, rest) {
        Some(meta) => Decoded::Meta(meta),
        None => Decoded::Damaged,
    }
}

fn decode_rest(format: u32, rest: &[u8]) -> Option<Meta> {
    let (cluster_id, rest) = rest.split_first_chunk::<32>()?;
    let (incarnation, rest) = rest.split_first_chunk::<8>()?;
    let (flags, node) = rest.split_first_chunk::<2>()?;
    let rejoining = match flags[0] {
        0 => false,
        1 => true,
        _ => return None,
    };
    if node.len() != usize::from(flags[1]) {
        return None;
    }
    Some(Meta {
        format,
        cluster_id: Hash(*cluster_id),
        node: NodeName::parse(std::str::from_utf8(node).ok()?).ok()?,
        incarnation: u64::from_be_bytes(*incarnation),
        rejoining,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            format: FORMAT,
            cluster_id: Hash([0x11; 32]),
            node: NodeName::parse("n1").unwrap(),
            incarnation: 0x0102_0304_0506_0708,
            rejoining: true,
        }
    }

    #[test]
    fn bytes_are_golden_and_read_back() {
        let bytes = encode(&meta());
        let mut expected = b"RAFTBANK\0\0\0\x03".to_vec();
        expected.extend_from_slice(&[0x11; 32]);
        expected.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 1, 2, b'n', b'1']);
        assert_eq!(bytes[..bytes.len() - 4], expected);
        assert_eq!(bytes[bytes.len() - 4..], crc32fast::hash(&expected).to_be_bytes());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        assert!(read(&path, dir.path()).unwrap().is_none());
        write(&path, &meta()).unwrap();
        assert_eq!(read(&path, dir.path()).unwrap(), Some(meta()));
        write(&path, &Meta { format: 1, ..meta() }).unwrap();
        assert_eq!(read(&path, dir.path()).unwrap(), Some(Meta { format: 1, ..meta() }));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_corruption() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let bytes = encode(&meta());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path, dir.path()).unwrap_err().exit_code(), 6, "bit {bit}");
        }
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            assert_eq!(read(&path, dir.path()).unwrap_err().exit_code(), 6, "length {length}");
        }
        fs::write(&path, vec![0; 5000]).unwrap();
        assert_eq!(read(&path, dir.path()).unwrap_err().exit_code(), 6);
    }

    #[test]
    fn another_format_cluster_or_node_is_refused_with_both_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        for format in [0, 4, 9] {
            write(&path, &Meta { format, ..meta() }).unwrap();
            let error = read(&path, dir.path()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let words = [format!("of format {format},"), format!("{FORMAT_OLDEST} to {FORMAT}")];
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        }

        let other = Hash([0x22; 32]);
        let error = check(&meta(), dir.path(), &other, &meta().node).unwrap_err();
        assert!(error.to_string().contains(&other.to_string()), "{error}");
        assert!(error.to_string().contains(&meta().cluster_id.to_string()), "{error}");
        let error = check(&meta(), dir.path(), &meta().cluster_id, &NodeName::parse("n2").unwrap()).unwrap_err();
        assert!(error.to_string().contains("node id n1") && error.to_string().contains("n2"), "{error}");
        check(&meta(), dir.path(), &meta().cluster_id, &meta().node).unwrap();
    }
}
