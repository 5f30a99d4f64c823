//! The log tree: the Merkle tree of RFC 6962 §2.1 over the hashes of all blocks, grown one block at a time.
//!
//! In memory there are only the roots of its complete subtrees, one for each set bit of its size. Every node of the tree
//! that will ever be complete is handed out once, by the [`LogTree::push`] that completes it, so that a store can keep
//! them all: a block costs two nodes on average, however long the chain is.

use crate::hash::Hash;
use crate::merkle::{leaf_hash, node_hash};

/// A complete subtree: it covers the leaves `index << level` up to, but not including, `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogNode {
    /// Its height above the leaves; 0 for a leaf.
    pub level: u8,
    /// Its place among those of its level.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// The growing end of a log tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTree {
    size: u64,
    peaks: Vec<Hash>,
}

impl LogTree {
    /// The tree of this size whose complete subtrees have these roots, from left to right, the largest first. `None` if
    /// there are more or fewer than a tree of this size has.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (u32::try_from(peaks.len()).ok()? == size.count_ones()).then_some(Self { size, peaks })
    }

    /// Appends a block. Returns the nodes that are complete with it: its leaf first, then upward.
    pub fn push(&mut self, block_hash: Hash) -> Vec<LogNode> {
        let mut node = LogNode { level: 0, index: self.size, hash: leaf_hash(&block_hash.0) };
        let mut completed = vec![node];
        // As in a binary counter: each trailing one is a subtree of the node's size that stands left of it.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a peak for each bit");
            node = LogNode { level: node.level + 1, index: node.index >> 1, hash: node_hash(&left, &node.hash) };
            completed.push(node);
        }
        self.peaks.push(node.hash);
        self.size += 1;
        completed
    }

    /// How many blocks it holds.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its complete subtrees, from left to right, the largest first. [`peak_places`] says where they stand.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The hash of the whole tree; SHA-256 of nothing for the empty one.
    #[must_use]
    pub fn root(&self) -> Hash {
        let right_to_left = self.peaks.iter().rev().copied();
        right_to_left.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(|| Hash::of(&[]))
    }
}

/// Level and index of the complete subtrees of a tree of `size` leaves, from left to right, the largest first.
#[must_use]
pub fn peak_places(size: u64) -> Vec<(u8, u64)> {
    // A subtree of 2^level leaves stands at index (all leaves up to its end >> level) - 1; its bit is the lowest then.
    (0..64_u8).rev().filter(|level| size >> level & 1 == 1).map(|level| (level, (size >> level) - 1)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::merkle;

    fn block(number: u64) -> Hash {
        Hash::of(&[&number.to_be_bytes()])
    }

    fn leaves(range: std::ops::Range<u64>) -> Vec<Hash> {
        range.map(|number| leaf_hash(&block(number).0)).collect()
    }

    #[test]
    fn every_size_has_the_root_of_the_whole_list() {
        let mut tree = LogTree::default();
        let all = leaves(0..300);
        for size in 0..=300_u64 {
            assert_eq!(tree.size(), size);
            assert_eq!(tree.root(), merkle::root(&all[..size as usize]), "{size} blocks");
            tree.push(block(size));
        }
    }

    #[test]
    fn every_node_is_handed_out_once_when_its_last_leaf_comes() {
        let (mut tree, all) = (LogTree::default(), leaves(0..300));
        let mut nodes = BTreeMap::new();
        for number in 0..300_u64 {
            for LogNode { level, index, hash } in tree.push(block(number)) {
                let (first, end) = (index << level, (index + 1) << level);
                assert_eq!(end, number + 1, "complete with this block");
                assert_eq!(hash, merkle::root(&all[first as usize..end as usize]), "level {level}, index {index}");
                assert_eq!(nodes.insert((level, index), hash), None, "twice");
            }
            // All of them: half as many on each next level.
            let wanted: u64 = (0..64).map(|level| (number + 1) >> level).sum();
            assert_eq!(nodes.len() as u64, wanted);
            // Whoever has the nodes has the tree.
            let peaks = peak_places(number + 1).into_iter().map(|place| nodes[&place]).collect();
            assert_eq!(LogTree::from_peaks(number + 1, peaks), Some(tree.clone()));
        }
    }

    #[test]
    fn places_are_those_of_the_set_bits() {
        assert_eq!(peak_places(0), []);
        assert_eq!(peak_places(1), [(0, 0)]);
        assert_eq!(peak_places(7), [(2, 0), (1, 2), (0, 6)]);
        assert_eq!(peak_places(8), [(3, 0)]);
        assert_eq!(peak_places(u64::MAX).len(), 64);
        assert_eq!(peak_places(1 << 63), [(63, 0)]);
    }

    #[test]
    fn the_number_of_peaks_is_that_of_the_size() {
        let peaks = |count| vec![Hash::ZERO; count];
        assert!(LogTree::from_peaks(0, peaks(0)).is_some());
        assert!(LogTree::from_peaks(11, peaks(3)).is_some());
        for (size, count) in [(0, 1), (11, 2), (11, 4), (1 << 40, 0)] {
            assert_eq!(LogTree::from_peaks(size, peaks(count)), None, "{size}, {count}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_tree_that_was_put_away_grows_on(before in 0_u64..3_000, after in 0_u64..200) {
            let mut tree = LogTree::default();
            for number in 0..before {
                tree.push(block(number));
            }
            let mut again = LogTree::from_peaks(before, tree.peaks().to_vec()).unwrap();
            for number in before..before + after {
                prop_assert_eq!(again.push(block(number)), tree.push(block(number)));
            }
            prop_assert_eq!(again.root(), merkle::root(&leaves(0..before + after)));
            prop_assert_eq!(again, tree);
        }
    }
}
