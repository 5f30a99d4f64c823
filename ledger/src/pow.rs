//! Proof-of-work: a nonce that gives the block's hash enough leading zero bits.

use crate::block::Header;
use crate::hash::{Beginning, Hash};

/// The highest difficulty, in leading zero bits.
pub const DIFFICULTY_MAX: u8 = 24;

/// True if the hash has at least `difficulty` leading zero bits.
pub fn meets(hash: &Hash, difficulty: u8) -> bool {
    hash.leading_zero_bits() >= u32::from(difficulty)
}

/// Tries `count` nonces from `start` on and returns the first that meets the header's difficulty.
pub fn mine(header: &Header, start: u64, count: u64) -> Option<u64> {
    // The nonce comes last, so everything before it is hashed once.
    let mut beginning = Beginning::new(&header.hashed_prefix());
    (0..count)
        .map(|step| start.wrapping_add(step))
        .find(|nonce| meets(&beginning.hash_with(nonce.to_be_bytes()), header.difficulty))
}
