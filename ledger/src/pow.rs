//! Proof-of-work: a nonce that gives the block's hash enough leading zero bits.

use crate::block::Header;
use crate::hash::{ABREAST, Beginning, Hash};

/// The highest difficulty, in leading zero bits.
pub const DIFFICULTY_MAX: u8 = 24;

/// True if the hash has at least `difficulty` leading zero bits.
pub fn meets(hash: &Hash, difficulty: u8) -> bool {
    hash.leading_zero_bits() >= u32::from(difficulty)
}

/// Tries `count` nonces from `start` on and returns the first that meets the header's difficulty.
pub fn mine(header: &Header, start: u64, count: u64) -> Option<u64> {
    if header.difficulty == 0 {
        return (count > 0).then_some(start);
    }
    // The nonce comes last, so everything before it is hashed once.
    let beginning = Beginning::new(&header.hashed_prefix());
    (0..count).step_by(ABREAST).find_map(|step| {
        let nonces: [u64; ABREAST] = std::array::from_fn(|at| start.wrapping_add(step).wrapping_add(at as u64));
        let hashes = beginning.hashes_with(nonces.map(u64::to_be_bytes));
        let found = hashes.iter().position(|hash| meets(hash, header.difficulty))?;
        (step + (found as u64) < count).then_some(nonces[found])
    })
}

#[cfg(test)]
mod tests {
    use super::{meets, mine};
    use crate::genesis::Genesis;
    use crate::names::NodeName;

    #[test]
    fn the_first_nonce_that_meets_is_found_and_none_beyond_the_count() {
        let node = NodeName::parse("n1").expect("a name");
        let (name, salt) = ("bank".to_owned(), "salt".to_owned());
        let (accounts, transfers) = (Vec::new(), Vec::new());
        let genesis = Genesis { name, salt, members: vec![node], difficulty: 0, time_ms: 1, accounts, transfers };
        let mut header = genesis.block().expect("a block").header;
        let hard = crate::block::Header { difficulty: 4, ..header.clone() };
        let good = |nonce| meets(&crate::block::Header { nonce, ..hard.clone() }.hash(), 4);
        assert_eq!((mine(&header, 5, 1), mine(&header, 5, 0)), (Some(5), None), "any nonce does without difficulty");
        header.difficulty = 4;
        for start in [0, 7, 1_000, u64::MAX - 20] {
            let wanted = (0..300).find(|step| good(u64::wrapping_add(start, *step))).expect("one of sixteen");
            let nonce = start.wrapping_add(wanted);
            assert_eq!(mine(&header, start, 300), Some(nonce));
            assert_eq!((mine(&header, start, wanted + 1), mine(&header, start, wanted)), (Some(nonce), None));
        }
    }
}
