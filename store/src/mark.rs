//! The high-water mark: what this node promised, kept beside sled because sled heals by forgetting.
//!
//! The file `mark` has two slots, each in a page of its own, written in turn; the valid slot with the higher sequence
//! number counts. A slot is far smaller than a disk sector, so a torn write spoils at most the slot being written, and
//! the other one still holds the mark before it.
//!
//! The mark never runs ahead of sled: it is written after sled's sync, and *lowered* (synced) before sled's log is cut.
//! At open, a sled below the mark has lost something it had promised.
//!
//! Slot, big-endian: magic `RBMARK01` · sequence u64 · incarnation u64 · term u64 · voted u8 (0/1) · vote u8 ·
//! last index u64 · digest of the last record [32] · committed u64 · closed u8 (0/1) · CRC-32 of all before.

use crate::{counts, crashsafe, error::StoreError};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: [u8; 8] = *b"RBMARK01";
pub(crate) const SLOT_BYTES: usize = 8 + 8 + 8 + 8 + 2 + 8 + 32 + 8 + 1 + 4;
const SLOT_STRIDE_BYTES: u64 = 4096;

/// What is known to be durable in sled. All fields are lower bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which life of this node's folder it belongs to: a mark copied from elsewhere is found out.
    pub incarnation: u64,
    pub term: u64,
    pub vote: Option<u8>,
    /// The last record synced, and its digest.
    pub last_index: u64,
    pub last_digest: [u8; 32],
    /// The last record that is known to be committed, and is synced: a start executes the stored state up to here.
    pub committed: u64,
    /// The node stopped cleanly after this mark.
    pub closed: bool,
}

/// The open mark file.
pub(crate) struct MarkFile {
    file: File,
    path: PathBuf,
    sequence: u64,
    current: Mark,
    /// Written since the last sync.
    dirty: bool,
}

/// A mark file as found at open.
pub(crate) struct FoundMark {
    pub file: MarkFile,
    /// A slot that did not check out: a torn write, or damage that the other slot makes good.
    pub bad_slots: u32,
}

impl MarkFile {
    /// Makes the file with both slots filled, synced together with its folder.
    pub fn create(path: &Path, mark: Mark) -> Result<(), StoreError> {
        let mut bytes = vec![0_u8; 2 * SLOT_STRIDE_BYTES as usize];
        for (slot, sequence) in [(0_usize, 1_u64), (1, 2)] {
            let at = slot * SLOT_STRIDE_BYTES as usize;
            bytes[at..at + SLOT_BYTES].copy_from_slice(&encode(sequence, &mark));
        }
        crashsafe::replace_file(path, &bytes)
    }

    /// Opens the file and reads the newest valid slot.
    pub fn open(path: &Path) -> Result<FoundMark, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::corrupt(format!(
                "the high-water mark {} is missing, so nobody can tell what was promised",
                path.display()
            )),
            _ => StoreError::io("opening", path, error),
        })?;
        let mut best: Option<(u64, Mark)> = None;
        let mut bad_slots = 0;
        for slot in 0..2_u64 {
            match read_slot(&file, path, slot)? {
                Some(found) if best.is_none_or(|(sequence, _)| found.0 > sequence) => best = Some(found),
                Some(_) => {}
                None => bad_slots += 1,
            }
        }
        let Some((sequence, current)) = best else {
            return Err(StoreError::corrupt(format!(
                "both slots of the high-water mark {} are damaged, so nobody can tell what was promised",
                path.display()
            )));
        };
        Ok(FoundMark { file: MarkFile { file, path: path.to_owned(), sequence, current, dirty: false }, bad_slots })
    }

    /// The mark as last written.
    pub fn current(&self) -> &Mark {
        &self.current
    }

    /// Overwrites the older slot, without a sync. Does nothing when nothing changed.
    pub fn write(&mut self, mark: Mark) -> Result<(), StoreError> {
        if mark == self.current {
            return Ok(());
        }
        self.force(mark)
    }

    /// Lowers the mark before sled's log is cut. *Both* slots are overwritten and synced: if the newer one were
    /// damaged later, the older one must not bring back a promise that was withdrawn.
    pub fn lower(&mut self, mark: Mark) -> Result<(), StoreError> {
        self.force(mark)?;
        self.sync()?;
        self.force(mark)?;
        self.sync()
    }

    /// Makes the last write durable. Does nothing when nothing was written.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        if !crate::engine::syncs_are_off() {
            counts::synced();
            self.file.sync_data().map_err(|error| StoreError::io("syncing", &self.path, error))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Written since the last sync.
    #[cfg(test)]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    fn force(&mut self, mark: Mark) -> Result<(), StoreError> {
        let sequence = self.sequence + 1;
        let slot = (sequence + 1) % 2;
        self.file
            .write_all_at(&encode(sequence, &mark), slot * SLOT_STRIDE_BYTES)
            .map_err(|error| StoreError::io("writing", &self.path, error))?;
        self.sequence = sequence;
        self.current = mark;
        self.dirty = true;
        Ok(())
    }
}

pub(crate) fn encode(sequence: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&mark.incarnation.to_be_bytes());
    bytes.extend_from_slice(&mark.term.to_be_bytes());
    bytes.extend_from_slice(&[u8::from(mark.vote.is_some()), mark.vote.unwrap_or(0)]);
    bytes.extend_from_slice(&mark.last_index.to_be_bytes());
    bytes.extend_from_slice(&mark.last_digest);
    bytes.extend_from_slice(&mark.committed.to_be_bytes());
    bytes.push(u8::from(mark.closed));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    let mut slot = [0_u8; SLOT_BYTES];
    slot.copy_from_slice(&bytes);
    slot
}

/// The slot, or `None` when it does not check out.
fn read_slot(file: &File, path: &Path, slot: u64) -> Result<Option<(u64, Mark)>, StoreError> {
    let mut bytes = [0_u8; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, slot * SLOT_STRIDE_BYTES) {
        Ok(()) => Ok(decode(&bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(StoreError::io("reading", path, error)),
    }
}

pub(crate) fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, Mark)> {
    let (body, crc) = bytes.split_at(SLOT_BYTES - 4);
    if crc32fast::hash(body).to_be_bytes() != crc || body[..8] != MAGIC {
        return None;
    }
    let number = |at: usize| -> Option<u64> { Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?)) };
    let mark = Mark {
        incarnation: number(16)?,
        term: number(24)?,
        vote: match body[32..34] {
            [0, 0] => None,
            [1, vote] => Some(vote),
            _ => return None,
        },
        last_index: number(34)?,
        last_digest: body.get(42..74)?.try_into().ok()?,
        committed: number(74)?,
        closed: match body[82] {
            0 => false,
            1 => true,
            _ => return None,
        },
    };
    Some((number(8)?, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(last_index: u64) -> Mark {
        Mark {
            incarnation: 7,
            term: 3,
            vote: Some(2),
            last_index,
            last_digest: [0xab; 32],
            committed: last_index.saturating_sub(1),
            closed: false,
        }
    }

    #[test]
    fn a_slot_has_one_spelling() {
        let mut bytes = encode(1, &Mark { vote: None, ..mark(5) });
        assert!(decode(&bytes).is_some());
        bytes[33] = 1; // a vote that was not cast
        let crc = crc32fast::hash(&bytes[..SLOT_BYTES - 4]);
        bytes[SLOT_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn slot_bytes_are_golden() {
        let hex: String = encode(5, &mark(9)).iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "52424d41524b3031", // magic
            "0000000000000005", // sequence
            "0000000000000007", // incarnation
            "0000000000000003", // term
            "0102",             // voted, vote
            "0000000000000009", // last index
            "abababababababababababababababababababababababababababababababab",
            "0000000000000008", // committed
            "00",               // closed
        );
        assert_eq!(hex[..hex.len() - 8], *expected);
        let body = encode(5, &mark(9));
        assert_eq!(body[SLOT_BYTES - 4..], crc32fast::hash(&body[..SLOT_BYTES - 4]).to_be_bytes());
        assert_eq!(decode(&body), Some((5, mark(9))));
    }

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        MarkFile::create(&path, mark(0)).unwrap();
        for last in 1..=6 {
            let mut found = MarkFile::open(&path).unwrap();
            assert_eq!(found.bad_slots, 0);
            assert_eq!(found.file.current(), &mark(last - 1));
            found.file.write(mark(last)).unwrap();
            found.file.sync().unwrap();
        }
        // Every way to tear the newest slot: the write stopped after `cut` bytes, the rest is the older slot's.
        let whole = std::fs::read(&path).unwrap();
        let newest = if decode(whole[..SLOT_BYTES].try_into().unwrap()).unwrap().1 == mark(6) { 0 } else { 4096 };
        let older = encode(6, &mark(4));
        for cut in 1..SLOT_BYTES {
            let mut torn = whole.clone();
            torn[newest + cut..newest + SLOT_BYTES].copy_from_slice(&older[cut..]);
            std::fs::write(&path, &torn).unwrap();
            let found = MarkFile::open(&path).unwrap();
            let last = found.file.current().last_index;
            assert!(last == 5 || (last == 6 && found.bad_slots == 0), "cut {cut} gave {last}");
            if torn != whole && found.bad_slots == 1 {
                assert_eq!(last, 5);
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_noticed() {
        let bytes = encode(5, &mark(9));
        for bit in 0..SLOT_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn damage_to_both_slots_and_a_missing_file_are_corruption() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let Err(missing) = MarkFile::open(&path) else { panic!("opened nothing") };
        assert_eq!(missing.exit_code(), 6);
        for content in [vec![], vec![0; 100], vec![0xff; 8192]] {
            std::fs::write(&path, content).unwrap();
            let Err(error) = MarkFile::open(&path) else { panic!("opened garbage") };
            assert_eq!(error.exit_code(), 6);
        }
    }

    #[test]
    fn a_lowered_mark_stays_lowered_whichever_slot_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        MarkFile::create(&path, mark(0)).unwrap();
        let mut found = MarkFile::open(&path).unwrap();
        found.file.write(mark(50)).unwrap();
        found.file.lower(mark(20)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for slot in [0, 4096] {
            let mut damaged = whole.clone();
            damaged[slot] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(MarkFile::open(&path).unwrap().file.current(), &mark(20));
        }
    }

    #[test]
    fn an_unchanged_mark_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        MarkFile::create(&path, mark(3)).unwrap();
        let before = std::fs::read(&path).unwrap();
        let mut found = MarkFile::open(&path).unwrap();
        found.file.write(mark(3)).unwrap();
        assert!(!found.file.dirty);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
