//! The state tree: a compact sparse Merkle tree over 256-bit keys.
//!
//! An empty subtree hashes to 32 zero bytes. A subtree with one key is that leaf, wherever it stands: SHA-256(0x00 ‖ key ‖
//! SHA-256(value)). Any other is SHA-256(0x01 ‖ left ‖ right), split by the key's next bit, most significant first. So
//! the root depends on the content alone, not on the order in which it came.
//!
//! An update costs in the keys that it changes.

mod tree;

pub use tree::{Smt, TreeUpdate};

use crate::hash::Hash;

/// What stands where a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceInTree {
    /// The key, with the SHA-256 of its value.
    Value(Hash),
    /// Another key, alone in the subtree: the one that was looked for is not in the tree.
    Other {
        /// That key.
        key: Hash,
        /// The SHA-256 of its value.
        value: Hash,
    },
    /// Nothing: the key is not in the tree.
    Empty,
}

/// That a key has a value, or is not in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// What stands there.
    pub end: PlaceInTree,
    /// Roots of the sibling subtrees from there up to the root, zero for empty ones.
    pub siblings: Vec<Hash>,
}

/// A state proof that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// More than one for each bit of a key.
    #[error("a state proof has at most 256 hashes, this one has {0}")]
    TooLong(usize),
    /// The other leaf is the key itself, or does not stand where the key leads to.
    #[error("the other leaf does not stand in the place of this key")]
    Elsewhere,
}

impl StateProof {
    /// The state root that this proof leads to, for `key`. The caller compares it with one that it trusts.
    ///
    /// # Errors
    /// It is a proof for no tree.
    pub fn root(&self, key: &Hash) -> Result<Hash, StateProofError> {
        let depth = self.siblings.len();
        if depth > 256 {
            return Err(StateProofError::TooLong(depth));
        }
        let mut hash = match &self.end {
            PlaceInTree::Value(value) => leaf_hash(key, value),
            PlaceInTree::Empty => Hash::ZERO,
            PlaceInTree::Other { key: other, value } => {
                if other == key || (0..depth).any(|at| bit(other, at) != bit(key, at)) {
                    return Err(StateProofError::Elsewhere);
                }
                leaf_hash(other, value)
            }
        };
        for (sibling, at) in self.siblings.iter().zip((0..depth).rev()) {
            hash = if bit(key, at) { branch_hash(sibling, &hash) } else { branch_hash(&hash, sibling) };
        }
        Ok(hash)
    }
}

/// Hash of a subtree with this key alone.
fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    Hash::of(&leaf_parts(key, value))
}

fn branch_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&branch_parts(left, right))
}

/// What is hashed for a leaf.
fn leaf_parts<'a>(key: &'a Hash, value: &'a Hash) -> [&'a [u8]; 3] {
    [&[0], &key.0, &value.0]
}

/// What is hashed for a branch.
fn branch_parts<'a>(left: &'a Hash, right: &'a Hash) -> [&'a [u8]; 3] {
    [&[1], &left.0, &right.0]
}

fn bit(key: &Hash, depth: usize) -> bool {
    key.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PlaceInTree, Smt, TreeUpdate, bit};
    use crate::hash::Hash;

    type Change = (Hash, Hash);

    /// The definition, word for word.
    fn naive(changes: &[Change], depth: usize) -> Hash {
        match changes {
            [] => Hash::ZERO,
            [(key, value)] => Hash::of(&[&[0], &key.0, &value.0]),
            _ => {
                let (right, left): (Vec<Change>, Vec<Change>) = changes.iter().partition(|(key, _)| bit(key, depth));
                Hash::of(&[&[1], &naive(&left, depth + 1).0, &naive(&right, depth + 1).0])
            }
        }
    }

    /// Keys that share long prefixes as well as none.
    fn key() -> impl Strategy<Value = Hash> {
        (0_u8..4, 0_u8..4, 0_u8..3).prop_map(|(first, last, deep)| {
            let mut key = [0; 32];
            key[0] = first << 6;
            key[31] = last;
            key[15] = deep;
            Hash(key)
        })
    }

    proptest! {
        #[test]
        fn any_order_and_grouping_gives_the_root_of_the_definition(
            groups in prop::collection::vec((prop::collection::vec((key(), any::<u8>()), 0..8), 0_u8..3), 0..8)
        ) {
            let mut tree = Smt::default();
            let mut content = std::collections::BTreeMap::new();
            let mut waiting: Vec<TreeUpdate> = Vec::new();
            for (group, applied) in groups {
                let changes: Vec<Change> = group.iter().map(|(key, value)| (*key, Hash::of(&[&[*value]]))).collect();
                content.extend(changes.iter().copied());
                let before = tree.root();
                let update = tree.plan(&waiting.iter().collect::<Vec<_>>(), changes);
                prop_assert_eq!(tree.root(), before);
                let all: Vec<Change> = content.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(update.root(), naive(&all, 0));
                waiting.push(update);
                // Some of what waits, the oldest first, as blocks are committed.
                for update in waiting.drain(..waiting.len().min(applied.into())) {
                    let root = update.root();
                    tree.apply(update);
                    prop_assert_eq!(tree.root(), root);
                }
            }
            waiting.into_iter().for_each(|update| tree.apply(update));
            for (key, value) in &content {
                let proof = tree.prove(key);
                prop_assert_eq!(proof.end, PlaceInTree::Value(*value));
                prop_assert_eq!(proof.root(key), Ok(tree.root()));
            }
        }

        #[test]
        fn every_key_is_proven_to_be_there_or_not(
            changes in prop::collection::vec((key(), any::<u8>()), 0..16), asked in key(), flip in any::<usize>(),
        ) {
            let changes: Vec<Change> = changes.iter().map(|(key, value)| (*key, Hash::of(&[&[*value]]))).collect();
            let mut tree = Smt::default();
            tree.set(changes.clone());
            let content: std::collections::BTreeMap<_, _> = changes.into_iter().collect();
            let mut proof = tree.prove(&asked);
            match (content.get(&asked), proof.end) {
                (Some(value), PlaceInTree::Value(found)) => prop_assert_eq!(*value, found),
                (None, PlaceInTree::Empty) => {}
                (None, PlaceInTree::Other { key, value }) => prop_assert_eq!(content.get(&key), Some(&value)),
                (there, found) => prop_assert!(false, "{:?} is proven to be {:?}", there, found),
            }
            prop_assert_eq!(proof.root(&asked), Ok(tree.root()));
            // Nothing else can be proven with these hashes.
            let end = proof.end;
            let other = Hash::of(&[b"another value"]);
            for lie in [PlaceInTree::Empty, PlaceInTree::Value(other), PlaceInTree::Other { key: other, value: other }] {
                if lie != end {
                    proof.end = lie;
                    prop_assert_ne!(proof.root(&asked), Ok(tree.root()));
                }
            }
            proof.end = end;
            if !proof.siblings.is_empty() {
                let at = flip % (proof.siblings.len() * 256);
                proof.siblings[at / 256].0[at % 256 / 8] ^= 1 << (at % 8);
                prop_assert_ne!(proof.root(&asked), Ok(tree.root()));
            }
        }
    }

    #[test]
    fn a_plan_that_is_dropped_leaves_nothing_behind() {
        let mut tree = Smt::default();
        tree.set(vec![(Hash([1; 32]), Hash([2; 32]))]);
        let root = tree.root();
        let change = |value| vec![(Hash([1; 32]), Hash([value; 32])), (Hash([9; 32]), Hash([3; 32]))];
        drop(tree.plan(&[], change(7)));
        assert_eq!(tree.root(), root);
        let update = tree.plan(&[], change(8));
        let promised = update.root();
        tree.apply(update);
        assert_eq!(tree.root(), promised);
        assert_eq!(tree.prove(&Hash([1; 32])).end, PlaceInTree::Value(Hash([8; 32])));
    }

    #[test]
    fn a_tree_that_is_set_part_by_part_is_the_same() {
        let key = |number: u32| Hash::of(&[&number.to_be_bytes()]);
        let all: Vec<Change> = (0..150_000).map(|number| (key(number), key(number + 1))).collect();
        let (mut at_once, mut by_and_by) = (Smt::default(), Smt::default());
        at_once.set(all.clone());
        all.chunks(7_001).for_each(|some| by_and_by.set(some.to_vec()));
        assert_eq!(at_once.root(), by_and_by.root());
        assert_eq!(at_once.prove(&key(77)), by_and_by.prove(&key(77)));
    }

    #[test]
    #[should_panic(expected = "planned on this tree")]
    fn what_was_planned_on_another_tree_is_not_written() {
        let mut tree = Smt::default();
        let update = tree.plan(&[], vec![(Hash([1; 32]), Hash([2; 32]))]);
        tree.set(vec![(Hash([5; 32]), Hash([2; 32]))]);
        tree.apply(update);
    }
}
