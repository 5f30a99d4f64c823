//! The state tree: a compact sparse Merkle tree over 256-bit keys.
//!
//! An empty subtree hashes to 32 zero bytes. A subtree with one key is that leaf, wherever it stands: SHA-256(0x00 ‖ key ‖
//! SHA-256(value)). Any other is SHA-256(0x01 ‖ left ‖ right), split by the key's next bit, most significant first. So
//! the root depends on the content alone, not on the order in which it came.
//!
//! The tree is persistent: an update makes a new tree that shares all that it did not touch, so a block's effect can be
//! computed, checked and dropped without touching the state. It costs in the keys it changes.

use std::sync::Arc;

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

/// A tree. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Smt {
    root: Subtree,
}

/// A subtree with its hash. The hash stands beside the pointer and not behind it: to hash a branch anew, the side that did
/// not change need not be fetched from memory.
#[derive(Clone, Debug, Default)]
struct Subtree {
    hash: Hash,
    node: Node,
}

#[derive(Clone, Debug, Default)]
enum Node {
    #[default]
    Empty,
    Leaf(Arc<Leaf>),
    Branch(Arc<Branch>),
}

#[derive(Debug)]
struct Leaf {
    key: Hash,
    value: Hash,
}

#[derive(Debug)]
struct Branch {
    left: Subtree,
    right: Subtree,
}

/// A key and the hash of its new value.
type Change = (Hash, Hash);

impl Smt {
    /// The root hash; zero for the empty tree.
    pub fn root(&self) -> Hash {
        self.root.hash
    }

    /// What is under `key`, with the hashes that lead from there to the root.
    pub fn prove(&self, key: &Hash) -> StateProof {
        let mut siblings = Vec::new();
        let mut node = &self.root.node;
        let end = loop {
            match node {
                Node::Empty => break PlaceInTree::Empty,
                Node::Leaf(leaf) if leaf.key == *key => break PlaceInTree::Value(leaf.value),
                Node::Leaf(leaf) => break PlaceInTree::Other { key: leaf.key, value: leaf.value },
                Node::Branch(branch) => {
                    let Branch { left, right } = branch.as_ref();
                    let (next, sibling) = if bit(key, siblings.len()) { (right, left) } else { (left, right) };
                    siblings.push(sibling.hash);
                    node = &next.node;
                }
            }
        };
        siblings.reverse();
        StateProof { end, siblings }
    }

    /// The tree with these keys set to the values whose hashes are given. Of a key given twice the last counts.
    #[must_use]
    pub fn update(&self, mut changes: Vec<Change>) -> Self {
        changes.reverse();
        changes.sort_by_key(|(key, _)| *key);
        changes.dedup_by_key(|(key, _)| *key);
        Self { root: set(&self.root, &changes, 0) }
    }
}

fn leaf((key, value): &Change) -> Subtree {
    Subtree { hash: leaf_hash(key, value), node: Node::Leaf(Arc::new(Leaf { key: *key, value: *value })) }
}

/// Hash of a subtree with this key alone.
fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    Hash::of(&[&[0], &key.0, &value.0])
}

fn branch_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// `changes` is sorted by key, has each key once, and shares the first `depth` bits with this subtree.
fn set(subtree: &Subtree, changes: &[Change], depth: usize) -> Subtree {
    const NONE: &Subtree = &Subtree { hash: Hash::ZERO, node: Node::Empty };
    if changes.is_empty() {
        return subtree.clone();
    }
    let (left, right) = match &subtree.node {
        Node::Empty => {
            if let [change] = changes {
                return leaf(change);
            }
            (NONE, NONE)
        }
        Node::Leaf(old) => {
            if let [change] = changes
                && change.0 == old.key
            {
                return leaf(change);
            }
            if changes.binary_search_by_key(&old.key, |(key, _)| *key).is_ok() {
                (NONE, NONE) // replaced below
            } else if bit(&old.key, depth) {
                (NONE, subtree)
            } else {
                (subtree, NONE)
            }
        }
        Node::Branch(branch) => (&branch.left, &branch.right),
    };
    let split = changes.partition_point(|(key, _)| !bit(key, depth));
    let left = set(left, &changes[..split], depth + 1);
    let right = set(right, &changes[split..], depth + 1);
    Subtree { hash: branch_hash(&left.hash, &right.hash), node: Node::Branch(Arc::new(Branch { left, right })) }
}

fn bit(key: &Hash, depth: usize) -> bool {
    key.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Change, PlaceInTree, Smt, bit};
    use crate::hash::Hash;

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
            groups in prop::collection::vec(prop::collection::vec((key(), any::<u8>()), 0..8), 0..8)
        ) {
            let mut tree = Smt::default();
            let mut content = std::collections::BTreeMap::new();
            for group in groups {
                let changes: Vec<Change> = group.iter().map(|(key, value)| (*key, Hash::of(&[&[*value]]))).collect();
                content.extend(changes.iter().copied());
                tree = tree.update(changes);
                let all: Vec<Change> = content.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(tree.root(), naive(&all, 0));
            }
        }

        #[test]
        fn every_key_is_proven_to_be_there_or_not(
            changes in prop::collection::vec((key(), any::<u8>()), 0..16), asked in key(), flip in any::<usize>(),
        ) {
            let changes: Vec<Change> = changes.iter().map(|(key, value)| (*key, Hash::of(&[&[*value]]))).collect();
            let tree = Smt::default().update(changes.clone());
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
    fn an_update_leaves_the_old_tree_alone() {
        let old = Smt::default().update(vec![(Hash([1; 32]), Hash([2; 32]))]);
        let root = old.root();
        let new = old.update(vec![(Hash([1; 32]), Hash([3; 32])), (Hash([9; 32]), Hash([3; 32]))]);
        assert_eq!(old.root(), root);
        assert_ne!(new.root(), root);
    }
}
