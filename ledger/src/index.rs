//! Finds rows that lie elsewhere, by a hash of their keys.
//!
//! It is divided into parts that grow one by one, each at its own time: with millions of rows no request waits until all of
//! them are in their new places. Its hashes decide no order, so a run stays a function of its inputs; they can be seeded with
//! a number that only this process knows, so that no choice of names makes it slow.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// How many parts.
const PARTS: usize = 256;

/// Numbers of rows.
#[derive(Clone)]
pub(crate) struct Index {
    parts: Vec<HashTable<u32>>,
    hasher: FixedState,
}

impl Default for Index {
    fn default() -> Self {
        Self { parts: vec![HashTable::new(); PARTS], hasher: FixedState::with_seed(0) }
    }
}

/// A table looks at the highest and at the lowest bits of a hash.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

impl Index {
    /// The hash of a row's key.
    pub fn hash<K: Hash + ?Sized>(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The number of the row with this hash that is the one.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.parts[part(hash)].find(hash, |number| is_it(*number)).copied()
    }

    /// Adds the number of a row that is not there yet. `hash_of` tells the hash of any that is.
    pub fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(&FixedState, u32) -> u64) {
        let Self { parts, hasher } = self;
        parts[part(hash)].insert_unique(hash, number, |number| hash_of(hasher, *number));
    }

    /// Puts the rows `0..count` in their places by another seed.
    pub fn seed(&mut self, seed: u64, count: u32, hash_of: impl Fn(&FixedState, u32) -> u64) {
        let hasher = FixedState::with_seed(seed);
        *self = Self { hasher: hasher.clone(), ..Self::default() };
        for number in 0..count {
            self.insert(hash_of(&hasher, number), number, &hash_of);
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows", self.parts.iter().map(HashTable::len).sum::<usize>())
    }
}
