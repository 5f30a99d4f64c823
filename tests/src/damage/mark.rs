//! The high-water mark as the format says (store/src/mark.rs), read independently of the store.

/// What a folder promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    sequence: u64,
    /// Its term.
    pub term: u64,
    /// Its vote in that term.
    pub vote: Option<u8>,
    /// The last record that was synced.
    pub last_index: u64,
    /// The last record whose results were synced.
    pub committed: u64,
    /// It stopped cleanly.
    pub closed: bool,
}

const SLOT_BYTES: usize = 87;
const STRIDE: usize = 4096;

impl Mark {
    /// The newest valid slot of the file.
    pub fn newest(bytes: &[u8]) -> Option<Self> {
        [0, STRIDE].into_iter().filter_map(|at| slot(bytes.get(at..at + SLOT_BYTES)?)).max_by_key(|mark| mark.sequence)
    }
}

fn slot(bytes: &[u8]) -> Option<Mark> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if !body.starts_with(b"RBMARK01") || crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
    Some(Mark {
        sequence: number(8)?,
        term: number(24)?,
        vote: (body[32] == 1).then_some(body[33]),
        last_index: number(34)?,
        committed: number(74)?,
        closed: body[82] == 1,
    })
}
