//! What a node keeps in memory about the chain it has applied: where each block stands in the log, and the log tree.
//!
//! Both follow from the blocks alone, which are read at open, so nothing of it is stored. Blocks follow each other in the
//! log but for a no-op now and then, so their places are a few runs; the log tree takes two hashes a block.

use raftbank_consensus::Index;
use raftbank_ledger::{Hash, LogNode, LogTree, log_tree::peak_places};

/// Places of blocks, and nodes of the log tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    blocks: u64,
    /// Height and record index of the first block of each run without a gap.
    runs: Vec<(u64, Index)>,
    /// Complete nodes of the log tree, level by level.
    levels: Vec<Vec<Hash>>,
}

impl Chain {
    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Appends the next block, which is that of record `index`, with the nodes of the log tree that it completes.
    pub fn push(&mut self, index: Index, nodes: &[LogNode]) {
        let height = self.blocks;
        let follows = self.runs.last().is_some_and(|(first, at)| at + (height - first) == index);
        if !follows {
            self.runs.push((height, index));
        }
        for node in nodes {
            let level = usize::from(node.level);
            if self.levels.len() <= level {
                self.levels.resize(level + 1, Vec::new());
            }
            self.levels[level].push(node.hash);
        }
        self.blocks += 1;
    }

    /// The index of a block's record.
    pub fn index_of(&self, height: u64) -> Option<Index> {
        if height >= self.blocks {
            return None;
        }
        let after = self.runs.partition_point(|(first, _)| *first <= height);
        let (first, index) = self.runs.get(after.checked_sub(1)?)?;
        Some(index + (height - first))
    }

    /// A node of the log tree; `None` while not all blocks under it are there.
    pub fn node(&self, level: u8, index: u64) -> Option<Hash> {
        self.levels.get(usize::from(level))?.get(usize::try_from(index).ok()?).copied()
    }

    /// The log tree over all blocks.
    pub fn log(&self) -> Option<LogTree> {
        let peaks = peak_places(self.blocks).into_iter().map(|(level, index)| self.node(level, index));
        LogTree::from_peaks(self.blocks, peaks.collect::<Option<Vec<_>>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftbank_ledger::merkle::{leaf_hash, root};

    #[test]
    fn blocks_are_found_across_no_ops_and_the_tree_is_that_of_the_ledger() {
        let (mut chain, mut tree) = (Chain::default(), LogTree::default());
        let mut index = 0;
        let (mut places, mut leaves) = (Vec::new(), Vec::new());
        assert_eq!((chain.index_of(0), chain.node(0, 0)), (None, None));
        for height in 0..100_u64 {
            // No-ops stand before some blocks, several before one of them.
            index += [1, 1, 1, 2, 1, 4][height as usize % 6];
            let hash = Hash([height as u8; 32]);
            chain.push(index, &tree.push(hash));
            places.push(index);
            leaves.push(leaf_hash(&hash.0));
            assert_eq!(chain.log().as_ref(), Some(&tree));
        }
        for (height, index) in (0..).zip(&places) {
            assert_eq!(chain.index_of(height), Some(*index));
        }
        assert_eq!(chain.index_of(100), None);
        assert_eq!(chain.index_of(u64::MAX), None);
        for (index, under) in (0..).zip(leaves.chunks_exact(8)) {
            assert_eq!(chain.node(3, index), Some(root(under)));
        }
        assert_eq!((chain.node(3, 12), chain.node(64, 0), chain.node(0, u64::MAX)), (None, None, None));
    }
}
