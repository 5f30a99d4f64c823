//! The Merkle tree of RFC 6962 §2.1 over a list of leaves, with its proofs.
//!
//! Proofs are made from the hashes of complete subtrees, which whoever holds the tree reads by their place: level and
//! index, for the leaves from `index << level` on, `1 << level` of them. They are checked with nothing but hashes.

use crate::hash::Hash;

/// Hash of a leaf: SHA-256(0x00 ‖ bytes). The tag keeps a leaf from passing for a node.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Hash::of(&[&[0], bytes])
}

/// Hash of a node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// The tree hash over leaves that are hashed already; SHA-256 of nothing for none.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [leaf] => *leaf,
        _ => {
            // Level by level. One without a partner goes up as it is: the left part of the definition is always complete.
            let (mut level, mut above) = (Vec::new(), Vec::with_capacity(leaves.len().div_ceil(2)));
            put_level(leaves, &mut above);
            while above.len() > 1 {
                std::mem::swap(&mut level, &mut above);
                above.clear();
                put_level(&level, &mut above);
            }
            above[0]
        }
    }
}

fn put_level(below: &[Hash], above: &mut Vec<Hash>) {
    let (pairs, alone) = below.as_chunks();
    Hash::of_each(pairs.iter().map(|[left, right]| [&[1_u8][..], &left.0, &right.0]), above);
    above.extend(alone);
}

/// Appends the hashes of leaves (see [`leaf_hash`]).
pub(crate) fn leaf_hashes<'a>(leaves: impl IntoIterator<Item = &'a [u8]>, hashes: &mut Vec<Hash>) {
    Hash::of_each(leaves.into_iter().map(|leaf| [&[0_u8][..], leaf]), hashes);
}

/// The inclusion proof of RFC 6962 §2.1.1 for leaf `index` of `size`, the leaf's sibling first. `read` gives the hash of a
/// complete subtree by its level and index.
///
/// # Errors
/// Those of `read`.
///
/// # Panics
/// If `index` is not below `size`.
pub fn inclusion<E>(index: u64, size: u64, mut read: impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(index < size, "leaf {index} of {size}");
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + left_part(high - low);
        if index < middle {
            path.push(subtree(middle, high, &mut read)?);
            high = middle;
        } else {
            path.push(subtree(low, middle, &mut read)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The same over leaves at hand, which are hashed already.
///
/// # Panics
/// If `index` is not below the number of leaves.
pub fn inclusion_of(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    let mut rest = leaves;
    let mut at = index;
    let mut path = Vec::new();
    assert!(index < leaves.len(), "leaf {index} of {}", leaves.len());
    while rest.len() > 1 {
        let (left, right) = rest.split_at(rest.len().next_power_of_two() / 2);
        if at < left.len() {
            path.push(root(right));
            rest = left;
        } else {
            at -= left.len();
            path.push(root(left));
            rest = right;
        }
    }
    path.reverse();
    path
}

/// The consistency proof of RFC 6962 §2.1.2 between the trees of sizes `old` and `new`; empty if they are equal.
///
/// # Errors
/// Those of `read`.
///
/// # Panics
/// If `old` is 0 or above `new`.
pub fn consistency<E>(old: u64, new: u64, mut read: impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(0 < old && old <= new, "from {old} to {new}");
    let (mut low, mut high) = (0, new);
    // True as long as the part that is looked at begins where the whole tree does: its hash is the old root, if it is all
    // of the old tree, and that is known.
    let mut whole = true;
    let mut path = Vec::new();
    while old != high {
        let middle = low + left_part(high - low);
        if old <= middle {
            path.push(subtree(middle, high, &mut read)?);
            high = middle;
        } else {
            path.push(subtree(low, middle, &mut read)?);
            low = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(subtree(low, high, &mut read)?);
    }
    path.reverse();
    Ok(path)
}

/// The largest power of two below `size`, which is above 1.
fn left_part(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// Hash of the leaves `low..high`, which are a part that the tree is split into somewhere.
fn subtree<E>(low: u64, high: u64, read: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let size = high - low;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        // At most 63.
        return read(level as u8, low >> level);
    }
    let middle = low + left_part(size);
    Ok(node_hash(&subtree(low, middle, read)?, &subtree(middle, high, read)?))
}

/// A proof that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The leaf is beyond the tree, or the older tree is empty or larger than the newer one.
    #[error("there is no such proof: {0} does not fit into a tree of {1}")]
    OutOfRange(u64, u64),
    /// A proof for this place has another number of hashes.
    #[error("the proof has a wrong number of hashes")]
    Length,
    /// The hashes lead to another older root.
    #[error("the proof does not lead to the older root")]
    OldRoot,
    /// The hashes lead to another newer root.
    #[error("the proof does not lead to the newer root")]
    NewRoot,
}

/// The root that an inclusion proof leads to (RFC 9162 §2.1.3.2). The caller compares it with one that it trusts.
///
/// # Errors
/// There is no such leaf, or the proof has a wrong length.
pub fn root_by_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, MerkleError> {
    if index >= size {
        return Err(MerkleError::OutOfRange(index, size));
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(MerkleError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(MerkleError::Length) }
}

/// Checks that the tree of size `new` begins with all of that of size `old` (RFC 9162 §2.1.4.2).
///
/// # Errors
/// What is wrong.
pub fn check_consistency(
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if old == 0 || old > new {
        return Err(MerkleError::OutOfRange(old, new));
    }
    if old == new {
        return match proof {
            [] if old_root == new_root => Ok(()),
            [] => Err(MerkleError::NewRoot),
            _ => Err(MerkleError::Length),
        };
    }
    let mut hashes = proof.iter().copied();
    // An old tree that is complete is itself the first hash.
    let first = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let Some(first) = first else { return Err(MerkleError::Length) };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut from_old, mut from_new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return Err(MerkleError::Length);
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(&hash, &from_old);
            from_new = node_hash(&hash, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, &hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::Length);
    }
    if from_old != old_root {
        return Err(MerkleError::OldRoot);
    }
    if from_new != new_root {
        return Err(MerkleError::NewRoot);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
