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

/// A tree. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Smt {
    root: Option<Arc<Node>>,
}

#[derive(Debug)]
enum Node {
    Leaf { key: Hash, hash: Hash },
    Branch { left: Option<Arc<Node>>, right: Option<Arc<Node>>, hash: Hash },
}

/// A key and the hash of its new value.
type Change = (Hash, Hash);

impl Smt {
    /// The root hash; zero for the empty tree.
    pub fn root(&self) -> Hash {
        hash(self.root.as_ref())
    }

    /// The tree with these keys set to the values whose hashes are given. Of a key given twice the last counts.
    #[must_use]
    pub fn update(&self, mut changes: Vec<Change>) -> Self {
        changes.reverse();
        changes.sort_by_key(|(key, _)| *key);
        changes.dedup_by_key(|(key, _)| *key);
        Self { root: set(self.root.as_ref(), &changes, 0) }
    }
}

fn hash(node: Option<&Arc<Node>>) -> Hash {
    match node.map(AsRef::as_ref) {
        None => Hash::ZERO,
        Some(Node::Leaf { hash, .. } | Node::Branch { hash, .. }) => *hash,
    }
}

fn leaf((key, value): &Change) -> Arc<Node> {
    Arc::new(Node::Leaf { key: *key, hash: Hash::of(&[&[0], &key.0, &value.0]) })
}

/// `changes` is sorted by key, has each key once, and shares the first `depth` bits with this subtree.
fn set(node: Option<&Arc<Node>>, changes: &[Change], depth: usize) -> Option<Arc<Node>> {
    if changes.is_empty() {
        return node.cloned();
    }
    let (left, right) = match node.map(AsRef::as_ref) {
        None => {
            if let [change] = changes {
                return Some(leaf(change));
            }
            (None, None)
        }
        Some(Node::Leaf { key, .. }) => {
            if let [change] = changes
                && change.0 == *key
            {
                return Some(leaf(change));
            }
            if changes.binary_search_by_key(key, |(key, _)| *key).is_ok() {
                (None, None) // replaced below
            } else if bit(key, depth) {
                (None, node)
            } else {
                (node, None)
            }
        }
        Some(Node::Branch { left, right, .. }) => (left.as_ref(), right.as_ref()),
    };
    let split = changes.partition_point(|(key, _)| !bit(key, depth));
    let left = set(left, &changes[..split], depth + 1);
    let right = set(right, &changes[split..], depth + 1);
    let hash = Hash::of(&[&[1], &hash(left.as_ref()).0, &hash(right.as_ref()).0]);
    Some(Arc::new(Node::Branch { left, right, hash }))
}

fn bit(key: &Hash, depth: usize) -> bool {
    key.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Change, Smt, bit};
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
