//! SHA-256 values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

use crate::counts;

const BLOCK_BYTES: usize = 64;
/// How many messages are hashed side by side. A node of a tree takes 85 ns alone, 64 of two, 59 of four,
/// 57 of eight.
pub(crate) const ABREAST: usize = 4;
/// What fits into two blocks with its padding: a byte 0x80 and the length in eight bytes.
const SHORT_BYTES_MAX: usize = 2 * BLOCK_BYTES - 9;
/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A SHA-256 value; shown as lower-case hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 32 zero bytes.
    pub const ZERO: Self = Self([0; 32]);

    /// The SHA-256 of these parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        counts::hashed(length);
        if length > SHORT_BYTES_MAX {
            return Self::of_long(parts);
        }
        let mut message = Message::EMPTY;
        message.put(parts, length);
        let mut state = INITIAL;
        compress256(&mut state, &message.blocks[..message.used]);
        Self::of_state(&state)
    }

    /// Appends the SHA-256 of each of these messages, which are in parts.
    ///
    /// Each round of SHA-256 waits for the one before. Those of another message do not: of several messages in turns, block
    /// by block, the processor computes two at a time, which takes two thirds of the time.
    pub(crate) fn of_each<'a, const PARTS: usize>(
        messages: impl IntoIterator<Item = [&'a [u8]; PARTS]>,
        hashes: &mut Vec<Self>,
    ) {
        let mut group = [Message::EMPTY; ABREAST];
        let mut waiting = 0;
        for parts in messages {
            let length = parts.iter().map(|part| part.len()).sum();
            counts::hashed(length);
            if length > SHORT_BYTES_MAX {
                Self::abreast(&group[..std::mem::take(&mut waiting)], hashes);
                hashes.push(Self::of_long(&parts));
                continue;
            }
            group[waiting].put(&parts, length);
            waiting += 1;
            if waiting == ABREAST {
                Self::abreast(&group, hashes);
                waiting = 0;
            }
        }
        Self::abreast(&group[..waiting], hashes);
    }

    fn abreast(group: &[Message], hashes: &mut Vec<Self>) {
        let mut states = [INITIAL; ABREAST];
        go_on(&mut states, group);
        hashes.extend(states.iter().zip(group).map(|(state, _)| Self::of_state(state)));
    }

    fn of_state(state: &[u32; 8]) -> Self {
        let mut hash = [0; 32];
        for (word, bytes) in state.iter().zip(hash.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Self(hash)
    }

    fn of_long(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The number of leading zero bits, 0 to 256.
    pub fn leading_zero_bits(&self) -> u32 {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        let partial = self.0.get(zeros).map_or(0, |byte| byte.leading_zeros());
        u32::try_from(zeros).unwrap_or(32) * 8 + partial
    }
}

/// A message of one or two blocks, with its padding (FIPS 180-4 §5.1.1). Nearly all that is hashed is such a one, a node of
/// a tree: padded in place, it costs a third less than by way of the general interface and its buffer.
#[derive(Clone, Copy)]
struct Message {
    blocks: [[u8; BLOCK_BYTES]; 2],
    used: usize,
}

impl Message {
    const EMPTY: Self = Self { blocks: [[0; BLOCK_BYTES]; 2], used: 0 };

    fn put(&mut self, parts: &[&[u8]], length: usize) {
        self.used = if length < BLOCK_BYTES - 8 { 1 } else { 2 };
        let bytes = self.blocks.as_flattened_mut();
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let end = self.used * BLOCK_BYTES;
        bytes[at] = 0x80;
        bytes[at + 1..end - 8].fill(0);
        bytes[end - 8..end].copy_from_slice(&(8 * length as u64).to_be_bytes());
    }
}

/// Hashes on from each of these states with these messages, side by side.
fn go_on(states: &mut [[u32; 8]; ABREAST], messages: &[Message]) {
    for (state, message) in states.iter_mut().zip(messages) {
        compress256(state, &message.blocks[..1]);
    }
    for (state, message) in states.iter_mut().zip(messages).filter(|(_, message)| message.used == 2) {
        compress256(state, &message.blocks[1..]);
    }
}

/// The beginning of messages that differ in their last eight bytes only: hashed once, and padded once.
pub(crate) struct Beginning {
    length: usize,
    state: [u32; 8],
    /// What follows the whole blocks, with room for the eight bytes, and the padding.
    blocks: [[u8; BLOCK_BYTES]; 2],
    used: usize,
}

impl Beginning {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let (whole, rest) = bytes.as_chunks();
        let mut state = INITIAL;
        compress256(&mut state, whole);
        let mut blocks = [[0; BLOCK_BYTES]; 2];
        let used = if rest.len() + 8 < BLOCK_BYTES - 8 { 1 } else { 2 };
        let tail = blocks.as_flattened_mut();
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len() + 8] = 0x80;
        let bits = 8 * (bytes.len() as u64 + 8);
        tail[used * BLOCK_BYTES - 8..used * BLOCK_BYTES].copy_from_slice(&bits.to_be_bytes());
        Self { length: bytes.len(), state, blocks, used }
    }

    /// The SHA-256 of this beginning and each of these.
    pub(crate) fn hashes_with(&self, lasts: [[u8; 8]; ABREAST]) -> [Hash; ABREAST] {
        let at = self.length % BLOCK_BYTES;
        let messages = lasts.map(|last| {
            counts::hashed_after(self.length, last.len());
            let mut blocks = self.blocks;
            blocks.as_flattened_mut()[at..at + last.len()].copy_from_slice(&last);
            Message { blocks, used: self.used }
        });
        let mut states = [self.state; ABREAST];
        go_on(&mut states, &messages);
        states.map(|state| Hash::of_state(&state))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct HashError;

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| HashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| HashError)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::{Beginning, Hash, SHORT_BYTES_MAX};

    #[test]
    fn short_and_long_are_the_librarys_however_they_are_cut() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..SHORT_BYTES_MAX + 70 {
            let wanted: [u8; 32] = Sha256::digest(&bytes[..length]).into();
            for cut in [0, 1, length / 2, length] {
                let (front, back) = bytes[..length].split_at(cut.min(length));
                assert_eq!(Hash::of(&[front, &[], back]).0, wanted, "{length} bytes cut at {cut}");
            }
        }
        assert_eq!(Hash::of(&[]).0[..], Sha256::digest([])[..]);
    }

    proptest! {
        #[test]
        fn each_of_many_is_as_one_alone(lengths in prop::collection::vec(0_usize..140, 0..20), first in any::<u8>()) {
            // No two have the same byte at a place.
            let message = |(number, length): (u8, &usize)| vec![number.wrapping_mul(11) ^ first; *length];
            let all: Vec<Vec<u8>> = (1..).zip(&lengths).map(message).collect();
            let messages = || all.iter().map(|bytes| [&bytes[..bytes.len() / 3], &bytes[bytes.len() / 3..]]);
            let mut hashes = vec![Hash::ZERO];
            Hash::of_each(messages(), &mut hashes);
            prop_assert_eq!(&hashes[1..], messages().map(|parts| Hash::of(&parts)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_beginning_goes_on_with_any_eight_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..bytes.len() {
            let lasts = [[0; 8], [0xff; 8], *b"12345678", [1; 8]];
            for (hash, last) in Beginning::new(&bytes[..length]).hashes_with(lasts).iter().zip(lasts) {
                let wanted: [u8; 32] = Sha256::digest([&bytes[..length], &last].concat()).into();
                assert_eq!(hash.0, wanted, "after {length} bytes");
            }
        }
    }
}
