//! Rows found by their key, in the order in which they came.
//!
//! A table lives for one block. Its hashes never decide an order, so a run stays a function of its inputs. They are seeded
//! with the hash of the block before and a number that only this process knows: no choice of names makes a table slow.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Rows of one block, at most 2^32.
#[derive(Clone)]
pub(crate) struct Table<K, V> {
    rows: Vec<(K, V)>,
    places: HashTable<u32>,
    hasher: FixedState,
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty one.
    pub fn new(seed: u64, capacity: usize) -> Self {
        Self {
            rows: Vec::with_capacity(capacity),
            places: HashTable::with_capacity(capacity),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Where the key's row is.
    pub fn place(&self, key: &K) -> Option<usize> {
        self.places.find(self.hasher.hash_one(key), |place| self.rows[*place as usize].0 == *key).map(|p| *p as usize)
    }

    /// The key's value.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).map(|place| &self.rows[place].1)
    }

    /// The value at a place.
    pub fn at(&self, place: usize) -> &V {
        &self.rows[place].1
    }

    /// The value at a place.
    pub fn at_mut(&mut self, place: usize) -> &mut V {
        &mut self.rows[place].1
    }

    /// Appends a row for a key that has none, and tells its place.
    pub fn push(&mut self, key: K, value: V) -> usize {
        let place = self.rows.len();
        let hash = self.hasher.hash_one(&key);
        let number = u32::try_from(place).expect("blocks are bounded");
        self.rows.push((key, value));
        let Self { rows, places, hasher } = self;
        places.insert_unique(hash, number, |place| hasher.hash_one(&rows[*place as usize].0));
        place
    }

    /// All rows, in order of their arrival.
    pub fn rows(&self) -> &[(K, V)] {
        &self.rows
    }

    /// All rows, in order of their arrival.
    pub fn into_rows(self) -> Vec<(K, V)> {
        self.rows
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.rows).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Table;

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds_whatever_the_seed(seed in any::<u64>(), keys in prop::collection::vec(0_u16..300, 0..400)) {
            let (mut table, mut map) = (Table::new(seed, 0), BTreeMap::new());
            for (number, key) in keys.iter().enumerate() {
                prop_assert_eq!(table.get(key), map.get(key));
                match table.place(key) {
                    Some(place) => *table.at_mut(place) = number,
                    None => {
                        let place = table.push(*key, number);
                        prop_assert_eq!((place, *table.at(place)), (table.rows().len() - 1, number));
                    }
                }
                map.insert(*key, number);
            }
            let mut first = Vec::new();
            keys.iter().for_each(|key| if !first.contains(key) { first.push(*key); });
            prop_assert_eq!(table.rows().iter().map(|row| row.0).collect::<Vec<_>>(), first);
            prop_assert_eq!(table.into_rows().into_iter().collect::<BTreeMap<_, _>>(), map);
        }
    }
}
