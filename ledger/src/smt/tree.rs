//! The tree itself: its nodes lie in two slabs and refer to each other by number.
//!
//! Nothing is ever removed, so a node stays where it is: an update computes new contents for the nodes above the keys that it
//! changes, and numbers for the nodes that it adds ([`Smt::plan`]); [`Smt::apply`] writes them. In between the tree is as it
//! was, so a block's effect can be computed, checked and dropped without touching the state. Updates can be planned on top
//! of others that are not applied yet.
//!
//! With many keys, nearly every node that an update reads comes from memory that is in no cache. So all nodes of one depth
//! are read one after the other, without waiting for what is in them: the processor fetches several at a time.

use std::ops::Range;
use std::sync::OnceLock;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{PlaceInTree, StateProof, bit, branch_hash, branch_parts, leaf_parts};
use crate::hash::Hash;
use crate::slab::Slab;

/// A key and the hash of its new value.
type Change = (Hash, Hash);

/// How many keys are set at a time.
const PART: usize = 1 << 16;

/// How deep a tree of a hundred million keys is, most often.
const DEPTHS: usize = 32;

/// Where a subtree's first node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

/// The same, told apart.
#[derive(Clone, Copy)]
enum Node {
    Empty,
    Leaf(u32),
    Branch(u32),
}

impl Place {
    const LEAF: u32 = 1 << 31;
    const EMPTY: Self = Self(u32::MAX);

    fn leaf(number: u32) -> Self {
        assert!(number < Self::LEAF - 1, "more leaves than numbers");
        Self(number | Self::LEAF)
    }

    fn branch(number: u32) -> Self {
        assert!(number < Self::LEAF, "more branches than numbers");
        Self(number)
    }

    #[inline]
    fn node(self) -> Node {
        match self {
            Self::EMPTY => Node::Empty,
            Self(number) if number & Self::LEAF != 0 => Node::Leaf(number & !Self::LEAF),
            Self(number) => Node::Branch(number),
        }
    }
}

/// A subtree with its hash. The hash stands beside the number and not in the node: to hash a branch anew, the side that did
/// not change need not be fetched from memory.
#[derive(Clone, Copy, Debug)]
struct Subtree {
    hash: Hash,
    place: Place,
}

const NOTHING: Subtree = Subtree { hash: Hash::ZERO, place: Place::EMPTY };

/// Left and right.
type Branch = [Subtree; 2];

#[derive(Clone, Copy, Debug)]
struct Leaf {
    key: Hash,
    value: Hash,
}

/// A tree.
#[derive(Clone, Debug)]
pub struct Smt {
    root: Subtree,
    branches: Slab<Branch>,
    leaves: Slab<Leaf>,
}

impl Default for Smt {
    fn default() -> Self {
        Self { root: NOTHING, branches: Slab::default(), leaves: Slab::default() }
    }
}

/// What an update of a tree will write.
#[derive(Clone, Debug)]
pub struct TreeUpdate {
    /// The root hash that it was planned on.
    before: Hash,
    root: Subtree,
    branches: Vec<(u32, Branch)>,
    leaves: Vec<(u32, Leaf)>,
    /// How many there will be.
    branch_count: u32,
    leaf_count: u32,
    /// Where a node stands in `branches` and `leaves`, by its place. Made when another update is planned on top.
    found: OnceLock<HashMap<u32, u32, FixedState>>,
}

impl TreeUpdate {
    /// The root hash once it is applied.
    pub fn root(&self) -> Hash {
        self.root.hash
    }

    fn found(&self, place: Place) -> Option<usize> {
        let found = self.found.get_or_init(|| {
            let branches = (0..).zip(&self.branches).map(|(at, (number, _))| (Place::branch(*number).0, at));
            let leaves = (0..).zip(&self.leaves).map(|(at, (number, _))| (Place::leaf(*number).0, at));
            branches.chain(leaves).collect()
        });
        found.get(&place.0).map(|at| *at as usize)
    }
}

impl Smt {
    /// The root hash; zero for the empty tree.
    pub fn root(&self) -> Hash {
        self.root.hash
    }

    /// What is under `key`, with the hashes that lead from there to the root.
    pub fn prove(&self, key: &Hash) -> StateProof {
        let mut siblings = Vec::new();
        let mut place = self.root.place;
        let end = loop {
            match place.node() {
                Node::Empty => break PlaceInTree::Empty,
                Node::Leaf(number) => match *self.leaves.at(number) {
                    Leaf { key: found, value } if found == *key => break PlaceInTree::Value(value),
                    Leaf { key, value } => break PlaceInTree::Other { key, value },
                },
                Node::Branch(number) => {
                    let [left, right] = self.branches.at(number);
                    let (next, sibling) = if bit(key, siblings.len()) { (right, left) } else { (left, right) };
                    siblings.push(sibling.hash);
                    place = next.place;
                }
            }
        };
        siblings.reverse();
        StateProof { end, siblings }
    }

    /// Sets these keys to the values whose hashes are given. Of a key given twice the last counts.
    pub fn set(&mut self, changes: Vec<Change>) {
        let changes = in_order(changes);
        // Not all of a large tree at once: what is planned is in memory twice.
        for part in changes.chunks(PART) {
            let update = self.plan_sorted(&[], part);
            self.apply(update);
        }
    }

    /// What [`Smt::set`] would write after these updates (the oldest first) are applied.
    #[must_use]
    pub fn plan(&self, under: &[&TreeUpdate], changes: Vec<Change>) -> TreeUpdate {
        self.plan_sorted(under, &in_order(changes))
    }

    fn plan_sorted(&self, under: &[&TreeUpdate], changes: &[Change]) -> TreeUpdate {
        let mut plan = Plan::new(View { tree: self, under }, changes);
        let before = plan.view.root();
        let root = plan.run(before);
        let Plan { branches, leaves, branch_count, leaf_count, .. } = plan;
        TreeUpdate { before: before.hash, root, branches, leaves, branch_count, leaf_count, found: OnceLock::new() }
    }

    /// Writes an update.
    ///
    /// # Panics
    /// If it was planned on another tree.
    pub fn apply(&mut self, update: TreeUpdate) {
        assert_eq!(update.before, self.root.hash, "planned on this tree");
        self.root = update.root;
        for (number, branch) in update.branches {
            self.branches.put(number, branch);
        }
        for (number, leaf) in update.leaves {
            self.leaves.put(number, leaf);
        }
        assert_eq!(self.branches.len(), update.branch_count as usize, "each branch has its number");
        assert_eq!(self.leaves.len(), update.leaf_count as usize, "each leaf has its number");
    }
}

/// A tree with updates that are not applied to it yet.
#[derive(Clone, Copy)]
struct View<'a> {
    tree: &'a Smt,
    under: &'a [&'a TreeUpdate],
}

impl View<'_> {
    fn root(&self) -> Subtree {
        self.under.last().map_or(self.tree.root, |update| update.root)
    }

    #[inline]
    fn branch(&self, number: u32) -> Branch {
        let newer = self
            .under
            .iter()
            .rev()
            .find_map(|update| update.found(Place::branch(number)).map(|at| update.branches[at].1));
        newer.unwrap_or_else(|| *self.tree.branches.at(number))
    }

    #[inline]
    fn leaf(&self, number: u32) -> Leaf {
        let newer =
            self.under.iter().rev().find_map(|update| update.found(Place::leaf(number)).map(|at| update.leaves[at].1));
        newer.unwrap_or_else(|| *self.tree.leaves.at(number))
    }
}

/// A branch above changed keys.
struct Item {
    /// The changes below it, as positions among all of them.
    changes: Range<usize>,
    /// Which item it hangs on, and on which side. The first one hangs on none.
    on: usize,
    side: usize,
}

/// Where changed keys come to a leaf, or to nothing.
struct End {
    old: Subtree,
    changes: Range<usize>,
    on: usize,
    side: usize,
    depth: usize,
}

/// A leaf that is in the tree, with its number and its hash.
#[derive(Clone, Copy)]
struct Old {
    number: u32,
    key: Hash,
    hash: Hash,
}

/// An update that is being planned.
struct Plan<'a> {
    view: View<'a>,
    /// Sorted by key, each key once.
    changes: &'a [Change],
    /// The hashes of the leaves that these become.
    hashes: Vec<Hash>,
    branches: Vec<(u32, Branch)>,
    leaves: Vec<(u32, Leaf)>,
    branch_count: u32,
    leaf_count: u32,
}

impl<'a> Plan<'a> {
    fn new(view: View<'a>, changes: &'a [Change]) -> Self {
        let count = |length: usize| u32::try_from(length).expect("checked when the numbers were given");
        let (branch_count, leaf_count) = match view.under.last() {
            Some(update) => (update.branch_count, update.leaf_count),
            None => (count(view.tree.branches.len()), count(view.tree.leaves.len())),
        };
        let leaves = Vec::with_capacity(changes.len());
        let mut hashes = Vec::with_capacity(changes.len());
        Hash::of_each(changes.iter().map(|(key, value)| leaf_parts(key, value)), &mut hashes);
        Self { view, changes, hashes, branches: Vec::new(), leaves, branch_count, leaf_count }
    }

    /// The new root.
    fn run(&mut self, root: Subtree) -> Subtree {
        if self.changes.is_empty() {
            return root;
        }
        let Node::Branch(number) = root.place.node() else {
            return self.grow(self.old(root), 0..self.changes.len(), 0);
        };
        self.branches.push((number, self.view.branch(number)));
        let mut items = vec![Item { changes: 0..self.changes.len(), on: 0, side: 0 }];
        let mut depths = Vec::with_capacity(DEPTHS);
        let ends = self.descend(&mut items, &mut depths);
        // All leaves are read before anything is done with one.
        let olds: Vec<Option<Old>> = ends.iter().map(|end| self.old(end.old)).collect();
        for (End { changes, on, side, depth, .. }, old) in ends.into_iter().zip(olds) {
            self.branches[on].1[side] = self.grow(old, changes, depth);
        }
        // What hangs on an item is one deeper.
        let mut hashes = Vec::with_capacity(self.changes.len());
        for Range { start, end } in depths.into_iter().skip(1).rev() {
            hashes.clear();
            let branches = self.branches[start..end].iter();
            Hash::of_each(branches.map(|(_, [left, right])| branch_parts(&left.hash, &right.hash)), &mut hashes);
            for (Item { on, side, .. }, hash) in items[start..end].iter().zip(&hashes) {
                self.branches[*on].1[*side].hash = *hash;
            }
        }
        Subtree { hash: hash_of(&self.branches[0].1), place: root.place }
    }

    /// Appends all branches above changed keys, depth by depth: `branches[n]` is that of `items[n]`. Tells where that ends,
    /// and which items are of each depth.
    fn descend(&mut self, items: &mut Vec<Item>, depths: &mut Vec<Range<usize>>) -> Vec<End> {
        let mut ends = Vec::with_capacity(self.changes.len());
        let mut numbers = Vec::new();
        let (mut begin, mut depth) = (0, 0);
        while begin < items.len() {
            let end = items.len();
            depths.push(begin..end);
            for on in begin..end {
                let Range { start, end } = items[on].changes;
                let split = start + self.changes[start..end].partition_point(|(key, _)| !bit(key, depth));
                for (side, changes) in [start..split, split..end].into_iter().enumerate() {
                    let old = self.branches[on].1[side];
                    match old.place.node() {
                        _ if changes.is_empty() => {}
                        Node::Branch(number) => {
                            numbers.push(number);
                            items.push(Item { changes, on, side });
                        }
                        Node::Leaf(_) | Node::Empty => ends.push(End { old, changes, on, side, depth: depth + 1 }),
                    }
                }
            }
            let view = self.view;
            self.branches.extend(numbers.drain(..).map(|number| (number, view.branch(number))));
            (begin, depth) = (end, depth + 1);
        }
        ends
    }

    fn old(&self, subtree: Subtree) -> Option<Old> {
        match subtree.place.node() {
            Node::Leaf(number) => Some(Old { number, key: self.view.leaf(number).key, hash: subtree.hash }),
            Node::Empty | Node::Branch(_) => None,
        }
    }

    /// The subtree at this depth that has had one leaf or none, with these changes.
    fn grow(&mut self, old: Option<Old>, changes: Range<usize>, depth: usize) -> Subtree {
        match (old, changes.len()) {
            (None, 0) => NOTHING,
            (Some(old), 0) => Subtree { hash: old.hash, place: Place::leaf(old.number) },
            (Some(old), 1) if old.key == self.changes[changes.start].0 => self.leaf(old.number, changes.start),
            (None, 1) => {
                let number = self.leaf_count;
                self.leaf_count += 1;
                self.leaf(number, changes.start)
            }
            _ => {
                let (old_left, old_right) = match old {
                    Some(old) if bit(&old.key, depth) => (None, Some(old)),
                    left => (left, None),
                };
                let Range { start, end } = changes;
                let split = start + self.changes[start..end].partition_point(|(key, _)| !bit(key, depth));
                let left = self.grow(old_left, start..split, depth + 1);
                let right = self.grow(old_right, split..end, depth + 1);
                let (number, branch) = (self.branch_count, [left, right]);
                self.branch_count += 1;
                self.branches.push((number, branch));
                Subtree { hash: hash_of(&branch), place: Place::branch(number) }
            }
        }
    }

    fn leaf(&mut self, number: u32, change: usize) -> Subtree {
        let (key, value) = self.changes[change];
        self.leaves.push((number, Leaf { key, value }));
        Subtree { hash: self.hashes[change], place: Place::leaf(number) }
    }
}

/// Ordered by key, each key once. Of a key given twice the last counts.
fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.reverse();
    changes.sort_by_key(|(key, _)| *key);
    changes.dedup_by_key(|(key, _)| *key);
    changes
}

fn hash_of([left, right]: &Branch) -> Hash {
    branch_hash(&left.hash, &right.hash)
}
