//! Finds rows that lie elsewhere, by a hash of their keys.
//!
//! It is divided into parts that grow one by one, each at its own time: with millions of rows no request waits until all of
//! them are in their new places. Its hashes decide no order, so a run stays a function of its inputs; they can be seeded with
//! a number that only this process knows, so that no choice of names makes it slow.

use std::hash::{BuildHasher, Hash as Key};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// How many parts.
const PARTS: usize = 256;

/// The hash of a row's key, as much of it as is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short(u32);

impl Short {
    /// A table looks at the lowest bits and at the highest ones.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn part(self) -> usize {
        (self.spread() >> 40) as usize % PARTS
    }
}

/// Numbers of rows, with their hashes: to grow, and to pass by what only looks alike, no row is fetched from memory.
#[derive(Clone)]
pub(crate) struct Index {
    parts: Vec<HashTable<(u32, Short)>>,
    hasher: FixedState,
    seed: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Index {
    /// The hash of a row's key.
    pub fn hash<K: Key + ?Sized>(&self, key: &K) -> Short {
        Short((self.hasher.hash_one(key) >> 32) as u32)
    }

    /// The number of the row with this hash that is the one.
    pub fn find(&self, hash: Short, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.parts[hash.part()].find(hash.spread(), |(number, short)| *short == hash && is_it(*number));
        found.map(|(number, _)| *number)
    }

    /// Adds the number of a row that is not there yet.
    pub fn insert(&mut self, hash: Short, number: u32) {
        self.parts[hash.part()].insert_unique(hash.spread(), (number, hash), |(_, short)| short.spread());
    }

    /// An empty one that hashes by this seed; 0 is known to everybody.
    pub fn seeded(seed: u64) -> Self {
        Self { parts: vec![HashTable::new(); PARTS], hasher: FixedState::with_seed(seed), seed }
    }

    /// What it hashes by.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows", self.parts.iter().map(HashTable::len).sum::<usize>())
    }
}
