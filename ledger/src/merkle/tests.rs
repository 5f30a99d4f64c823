//! Trees and proofs against known answers from outside, and against the definition.

use std::convert::Infallible;

use proptest::prelude::*;

use super::{
    MerkleError, check_consistency, consistency, inclusion, inclusion_of, leaf_hash, node_hash, root, root_by_inclusion,
};
use crate::hash::Hash;

/// Inputs and roots of the certificate-transparency project's own tests.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn known_answers() {
    for (count, wanted) in ROOTS.iter().enumerate() {
        let leaves: Vec<_> = LEAVES.iter().take(count).map(|leaf| leaf_hash(leaf)).collect();
        assert_eq!(root(&leaves).to_string(), *wanted, "{count} leaves");
    }
}
/// Inclusion proofs of the certificate-transparency project's tests: leaf (from 1), size, hashes.
const PATHS: [(u64, u64, &[&str]); 6] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        2,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (5, 5, &["d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
];

/// Consistency proofs of the same tests: older size, newer size, hashes.
const CONSISTENCY: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| text.parse().expect("a hash")).collect()
}

fn known(count: u64) -> Vec<Hash> {
    LEAVES.iter().take(count as usize).map(|leaf| leaf_hash(leaf)).collect()
}

fn some_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

/// Reads complete subtrees from a list of leaves.
fn reader(leaves: &[Hash]) -> impl Fn(u8, u64) -> Result<Hash, Infallible> {
    move |level, index| {
        let first = (index << level) as usize;
        Ok(root(&leaves[first..first + (1 << level)]))
    }
}

#[test]
fn known_inclusion_proofs() {
    for (leaf, size, path) in PATHS {
        let leaves = known(size);
        let Ok(made) = inclusion(leaf - 1, size, reader(&leaves));
        assert_eq!(made, hashes(path), "leaf {leaf} of {size}");
        assert_eq!(inclusion_of(leaf as usize - 1, &leaves), made);
        let led = root_by_inclusion(leaves[leaf as usize - 1], leaf - 1, size, &made);
        assert_eq!(led.expect("a proof").to_string(), ROOTS[size as usize]);
    }
}

#[test]
fn known_consistency_proofs() {
    for (old, new, path) in CONSISTENCY {
        let leaves = known(new);
        let Ok(made) = consistency(old, new, reader(&leaves));
        assert_eq!(made, hashes(path), "{old} and {new}");
        let (old_root, new_root) = hashes(&[ROOTS[old as usize], ROOTS[new as usize]])[..]
            .try_into()
            .map(|[a, b]: [Hash; 2]| (a, b))
            .expect("two");
        assert_eq!(check_consistency((old, old_root), (new, new_root), &made), Ok(()));
    }
}

#[test]
fn every_place_of_small_trees() {
    for size in 1..70_u64 {
        let leaves = some_leaves(size);
        let whole = root(&leaves);
        for index in 0..size {
            let Ok(path) = inclusion(index, size, reader(&leaves));
            assert_eq!(path, inclusion_of(index as usize, &leaves));
            assert_eq!(root_by_inclusion(leaves[index as usize], index, size, &path), Ok(whole), "{index} of {size}");
            // Another place, another size, a node for a leaf: never this root.
            for other in (0..size).filter(|other| *other != index) {
                assert_ne!(root_by_inclusion(leaves[index as usize], other, size, &path), Ok(whole));
            }
            assert_eq!(
                root_by_inclusion(leaves[index as usize], size, size, &path),
                Err(MerkleError::OutOfRange(size, size))
            );
            if let [sibling, rest @ ..] = &path[..] {
                for parent in [node_hash(sibling, &leaves[index as usize]), node_hash(&leaves[index as usize], sibling)]
                {
                    // As the hash of a leaf it must be hashed with the leaf's tag, and then leads elsewhere.
                    assert_ne!(root_by_inclusion(leaf_hash(&parent.0), index, size, rest), Ok(whole));
                    assert_eq!(root_by_inclusion(parent, index, size, rest), Err(MerkleError::Length));
                }
            }
            let longer = [&path[..], &[whole]].concat();
            assert_eq!(root_by_inclusion(leaves[index as usize], index, size, &longer), Err(MerkleError::Length));
        }
        for old in 1..=size {
            let Ok(proof) = consistency(old, size, reader(&leaves));
            let old_root = root(&leaves[..old as usize]);
            assert_eq!(check_consistency((old, old_root), (size, whole), &proof), Ok(()), "{old} and {size}");
            assert!(check_consistency((old, whole), (size, old_root), &proof).is_err() || old == size);
            for other in (1..=size).filter(|other| *other != old) {
                let claimed = check_consistency((other, old_root), (size, whole), &proof);
                assert!(claimed.is_err(), "{old} passes for {other} of {size}");
            }
            let longer = [&proof[..], &[whole]].concat();
            assert!(check_consistency((old, old_root), (size, whole), &longer).is_err());
        }
    }
}

/// RFC 6962 §2.1, word for word.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [leaf] => *leaf,
        _ => {
            // The left part is the largest power of two that is smaller than the whole.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&defined(left), &defined(right))
        }
    }
}

#[test]
fn a_root_is_that_of_the_definition() {
    let leaves = some_leaves(300);
    (0..=leaves.len())
        .for_each(|count| assert_eq!(root(&leaves[..count]), defined(&leaves[..count]), "{count} leaves"));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_found(size in 2_u64..2_000, at in any::<u64>(), old in any::<u64>(), bit in any::<usize>()) {
        let leaves = some_leaves(size);
        let whole = root(&leaves);
        let index = at % size;
        let Ok(mut path) = inclusion(index, size, reader(&leaves));
        prop_assert_eq!(root_by_inclusion(leaves[index as usize], index, size, &path), Ok(whole));
        let bit = bit % (path.len() * 256);
        path[bit / 256].0[bit % 256 / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(root_by_inclusion(leaves[index as usize], index, size, &path), Ok(whole));

        let old = 1 + old % size;
        let old_root = root(&leaves[..old as usize]);
        let Ok(mut proof) = consistency(old, size, reader(&leaves));
        prop_assert_eq!(check_consistency((old, old_root), (size, whole), &proof), Ok(()));
        if !proof.is_empty() {
            let bit = bit % (proof.len() * 256);
            proof[bit / 256].0[bit % 256 / 8] ^= 1 << (bit % 8);
            prop_assert!(check_consistency((old, old_root), (size, whole), &proof).is_err());
        }
    }
}
