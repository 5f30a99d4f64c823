//! What must hold of signed heads, seen from outside of the nodes.
//!
//! - **Nobody signs another chain**: whatever signature leaves a machine is its own, of the root of the chain that was
//!   witnessed, and never that of a machine that is rejoining.
//! - **A majority has signed**: each head that a node takes for one has exactly that many signatures, each of another
//!   member and with a key which that member really had.
//! - **One root for each size**: it is that of the chain that was witnessed.

use std::collections::BTreeSet;

use raftbank_consensus::NodeId;
use raftbank_ledger::{Hash, LogTree};
use raftbank_proofs::{Checkpoint, Head, VerifierKey};

use super::Violation;
use super::machine::Machine;
use super::observe::violated;

/// Watches heads.
#[derive(Debug)]
pub struct Heads {
    cluster_id: Hash,
    tree: LogTree,
    /// Root of the tree of each size, from size 1 on.
    roots: Vec<Hash>,
    /// The keys that each member had so far.
    keys: Vec<Vec<VerifierKey>>,
    /// Signatures that were looked at: signer, its key's number, size.
    signed: BTreeSet<(NodeId, usize, u64)>,
    /// Heads that were looked at.
    adopted: BTreeSet<String>,
}

impl Heads {
    /// Of a bank with so many members.
    pub fn new(cluster_id: Hash, members: usize) -> Self {
        let mut heads = Self {
            cluster_id,
            tree: LogTree::default(),
            roots: Vec::new(),
            keys: vec![Vec::new(); members],
            signed: BTreeSet::new(),
            adopted: BTreeSet::new(),
        };
        heads.block(cluster_id);
        heads
    }

    /// Someone was the first to apply a block.
    pub fn block(&mut self, hash: Hash) {
        self.tree.push(hash);
        self.roots.push(self.tree.root());
    }

    /// A machine starts with this key.
    pub fn key(&mut self, node: NodeId, key: VerifierKey) {
        let keys = &mut self.keys[usize::from(node.0)];
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }

    fn root(&self, size: u64) -> Option<Hash> {
        self.roots.get(usize::try_from(size.checked_sub(1)?).ok()?).copied()
    }

    /// A signature leaves a machine.
    pub fn leaves(&mut self, machine: &Machine, size: u64, signature: &[u8]) -> Result<(), Violation> {
        let node = machine.id;
        let keys = &self.keys[usize::from(node.0)];
        let (Some(key), Some(root)) = (keys.last(), self.root(size)) else {
            violated!("{node:?} signs a head of {size} blocks, and there are {}", self.roots.len())
        };
        if machine.disk.is_rejoining() {
            violated!("{node:?} signs a head of {size} blocks while it is rejoining");
        }
        let head = Head { cluster_id: self.cluster_id, size, root };
        if self.signed.insert((node, keys.len(), size)) && !key.verify(&head.text(), signature) {
            violated!("{node:?} signs something else than the root of the chain of {size} blocks");
        }
        Ok(())
    }

    /// A node has adopted a head. True if that is the first to do so.
    pub fn adopted(&mut self, node: NodeId, checkpoint: &Checkpoint) -> Result<bool, Violation> {
        if !self.adopted.insert(checkpoint.to_string()) {
            return Ok(false);
        }
        let Head { cluster_id, size, root } = checkpoint.head;
        if cluster_id != self.cluster_id {
            violated!("{node:?} adopts a head of another bank");
        }
        if self.root(size) != Some(root) {
            violated!(
                "{node:?} adopts {root} as the root of {size} blocks, it is {:?} of {} blocks",
                self.root(size),
                self.roots.len()
            );
        }
        let text = checkpoint.head.text();
        let mut signers = BTreeSet::new();
        for line in &checkpoint.signatures {
            let all = self.keys.iter().enumerate().flat_map(|(member, keys)| keys.iter().map(move |key| (member, key)));
            let mut known = all.filter(|(_, key)| key.name() == line.name && key.id() == line.id);
            match known.next_back() {
                Some((member, key)) if key.verify(&text, &line.signature) && signers.insert(member) => {}
                _ => violated!("{node:?} adopts a head of {size} blocks with a signature that does not count: {line}"),
            }
        }
        if signers.len() != self.keys.len() / 2 + 1 {
            violated!("{node:?} adopts a head of {size} blocks with the signatures of {signers:?}");
        }
        Ok(true)
    }
}
