//! What both stores keep in memory about the log and the state, and the rules that every batch must keep.

use crate::error::StoreError;
use crate::types::StateWrite;
use raftbank_consensus::{HardState, Index, Record, Term, TermRun};

/// A term never goes back, and within a term a vote is given once.
pub(crate) fn check_hard(old: &HardState, new: &HardState) -> Result<(), StoreError> {
    let vote_changed = new.term == old.term && old.vote.is_some() && new.vote != old.vote;
    if new.term < old.term || vote_changed {
        return Err(StoreError::corrupt(format!("term and vote were to go from {old:?} back to {new:?}")));
    }
    Ok(())
}

/// True if the log tree of the chain up to `height` has this node: all blocks under it are there.
pub(crate) fn log_has(height: u64, level: u8, index: u64) -> bool {
    // Shifting the size, not the index: no place is too far off to be asked for.
    height.checked_add(1).is_some_and(|size| size.checked_shr(u32::from(level)).unwrap_or(0) > index)
}

/// The runs of terms of records 1 to the last: ascending in index and term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<TermRun>);

impl Runs {
    /// Takes runs read from a disk; `None` if they are not strictly ascending or do not begin at record 1.
    pub fn from_stored(runs: Vec<TermRun>) -> Option<Runs> {
        let ascending = runs.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term);
        let begins_right = runs.first().is_none_or(|run| run.first == 1);
        (ascending && begins_right).then_some(Runs(runs))
    }

    /// The runs, oldest first.
    pub fn as_slice(&self) -> &[TermRun] {
        &self.0
    }

    /// The term of the record at `index`; the genesis block has term 0.
    pub fn term_at(&self, index: Index) -> Term {
        let after = self.0.partition_point(|run| run.first <= index);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(0, |run| run.term)
    }

    /// Forgets records from `from` on. Returns the first indexes of the runs that are gone.
    pub fn cut(&mut self, from: Index) -> Vec<Index> {
        let keep = self.0.partition_point(|run| run.first < from);
        self.0.drain(keep..).map(|run| run.first).collect()
    }

    /// Adds the next record. Returns true if it begins a run.
    pub fn push(&mut self, index: Index, term: Term) -> bool {
        let begins = self.0.last().is_none_or(|run| run.term != term);
        if begins {
            self.0.push(TermRun { first: index, term });
        }
        begins
    }
}

/// How far log and state reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub last_index: Index,
    pub applied: Index,
    pub height: u64,
}

impl Reach {
    /// A splice must leave no gap, keep what is applied, and ascend in index and term.
    ///
    /// `term_before` is the term of the record before `from`.
    pub fn check_splice(&self, from: Index, records: &[Record], term_before: Term) -> Result<(), StoreError> {
        if from <= self.applied {
            return Err(StoreError::corrupt(format!(
                "record {from} is committed and applied (up to {}), yet it was to be replaced",
                self.applied
            )));
        }
        if from > self.last_index + 1 {
            return Err(StoreError::corrupt(format!(
                "record {from} was to be written after record {}, which would leave a gap",
                self.last_index
            )));
        }
        let mut term = term_before;
        for (record, index) in records.iter().zip(from..) {
            if record.index != index || record.term < term || record.term == 0 {
                return Err(StoreError::corrupt(format!(
                    "record {} of term {} was to be written at {index} after term {term}",
                    record.index, record.term
                )));
            }
            term = record.term;
        }
        Ok(())
    }

    /// A state write must be the next one, of the record that is in the log there.
    ///
    /// `term` is the term of the log's record at that index.
    pub fn check_state(&self, write: &StateWrite, term: Term) -> Result<(), StoreError> {
        let next_height = self.height + 1;
        let block_fits = match (&write.height, &write.delta) {
            (None, None) => true,
            (Some(height), Some(delta)) => *height == next_height && delta.tip.height == next_height,
            _ => false,
        };
        if write.index != self.applied + 1 || write.index > self.last_index || write.term != term || !block_fits {
            return Err(StoreError::corrupt(format!(
                "the result of record {} (term {}, height {:?}) was to be written after record {} of {} (height {}), whose log has term {term} there",
                write.index, write.term, write.height, self.applied, self.last_index, self.height
            )));
        }
        Ok(())
    }

    /// Moves on by one state write that was checked.
    pub fn advance(&mut self, write: &StateWrite) {
        self.applied = write.index;
        if let Some(height) = write.height {
            self.height = height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: Index, term: Term) -> Record {
        Record { index, term, entry: None }
    }

    #[test]
    fn a_log_node_is_there_once_all_blocks_under_it_are() {
        for (height, level, index, there) in [
            (0, 0, 0, true),
            (0, 0, 1, false),
            (0, 1, 0, false),
            (6, 2, 0, true),
            (6, 2, 1, false),
            (6, 1, 2, true),
            (6, 1, 3, false),
            (7, 3, 0, true),
            (7, 64, 0, false),
            (7, 255, 0, false),
            (7, 1, u64::MAX, false),
            (u64::MAX - 1, 63, 0, true),
        ] {
            assert_eq!(log_has(height, level, index), there, "{height}: {level}, {index}");
        }
    }

    #[test]
    fn runs_follow_pushes_and_cuts() {
        let mut runs = Runs::default();
        assert_eq!(runs.term_at(0), 0);
        let began: Vec<bool> =
            [(1, 1), (2, 1), (3, 4), (4, 4), (5, 6)].map(|(index, term)| runs.push(index, term)).to_vec();
        assert_eq!(began, [true, false, true, false, true]);
        assert_eq!([0, 1, 2, 3, 4, 5, 9].map(|index| runs.term_at(index)), [0, 1, 1, 4, 4, 6, 6]);
        assert_eq!(runs.cut(4), [5]);
        assert_eq!(runs.term_at(4), 4);
        assert_eq!(runs.cut(1), [1, 3]);
        assert_eq!(runs, Runs::default());
    }

    #[test]
    fn stored_runs_must_ascend_from_record_one() {
        let run = |first, term| TermRun { first, term };
        assert!(Runs::from_stored(vec![]).is_some());
        assert!(Runs::from_stored(vec![run(1, 1), run(5, 2)]).is_some());
        for bad in [vec![run(2, 1)], vec![run(1, 2), run(5, 2)], vec![run(1, 3), run(1, 4)], vec![run(1, 3), run(4, 2)]]
        {
            assert!(Runs::from_stored(bad).is_none());
        }
    }

    #[test]
    fn a_splice_may_neither_leave_a_gap_nor_touch_applied_records_nor_go_back_in_term() {
        let reach = Reach { last_index: 10, applied: 6, height: 5 };
        reach.check_splice(7, &[record(7, 3), record(8, 3)], 3).unwrap();
        reach.check_splice(11, &[record(11, 4)], 3).unwrap();
        reach.check_splice(7, &[], 3).unwrap();
        for (from, records) in [
            (6, vec![record(6, 3)]),
            (12, vec![record(12, 3)]),
            (7, vec![record(8, 3)]),
            (7, vec![record(7, 2)]),
            (7, vec![record(7, 4), record(8, 3)]),
        ] {
            assert_eq!(reach.check_splice(from, &records, 3).unwrap_err().exit_code(), 6);
        }
    }
}
