//! The log in memory: the term of every record as runs, and the newest records themselves.
//!
//! The cache holds every record after the commit index, and committed ones as far as `cache_bytes_max` allows. Terms
//! of all records fit in memory because they change only with elections, not with records.

use std::collections::VecDeque;

use crate::message::LogEnd;
use crate::{Durable, Index, Record, Term, TermRun};

/// What one record costs beside its payload, in memory and in a message.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 32;

#[derive(Debug)]
pub(crate) struct Log {
    /// Ascending in index and term. Record 0 (term 0) is implied.
    runs: Vec<TermRun>,
    last_index: Index,
    commit: Index,
    /// Records up to here are durable on this node.
    synced: Index,
    /// Records `last_index + 1 - cache.len()` to `last_index`.
    cache: VecDeque<Record>,
    cache_bytes: usize,
    cache_bytes_max: usize,
}

pub(crate) fn record_bytes(record: &Record) -> usize {
    RECORD_OVERHEAD_BYTES + record.entry.as_ref().map_or(0, |entry| entry.len())
}

impl Log {
    /// # Panics
    /// If `durable` contradicts itself.
    pub fn open(durable: Durable, cache_bytes_max: usize) -> Self {
        let Durable { hard: _, mut terms, last_index, committed, tail } = durable;
        terms.retain(|run| run.first != 0); // the genesis block is implied
        assert!(committed <= last_index, "committed {committed} beyond the log's end {last_index}");
        assert!(
            terms.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term)
                && terms.first().map_or(last_index == 0, |run| run.first == 1 && run.term > 0)
                && terms.last().is_none_or(|run| run.first <= last_index),
            "term runs {terms:?} do not describe records 1 to {last_index}"
        );
        let mut log = Self {
            runs: terms,
            last_index,
            commit: committed,
            synced: last_index,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
        };
        assert!(
            tail.iter().zip(committed + 1..).all(|(record, index)| record.index == index)
                && tail.len() as u64 == last_index - committed,
            "the tail must hold records {} to {last_index}",
            committed + 1
        );
        for record in tail {
            assert_eq!(Some(record.term), log.term_at(record.index), "record {} and its run differ", record.index);
            log.cache_bytes += record_bytes(&record);
            log.cache.push_back(record);
        }
        log
    }

    pub fn last_index(&self) -> Index {
        self.last_index
    }

    pub fn last_term(&self) -> Term {
        self.runs.last().map_or(0, |run| run.term)
    }

    pub fn end(&self) -> LogEnd {
        LogEnd { last_term: self.last_term(), last_index: self.last_index }
    }

    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Records up to here are durable on this node.
    pub fn synced(&self) -> Index {
        self.synced
    }

    /// # Panics
    /// Beyond the end.
    pub fn set_synced(&mut self, index: Index) {
        assert!(index <= self.last_index, "record {index} cannot be durable: the log ends at {}", self.last_index);
        self.synced = index;
        self.trim();
    }

    /// First index in memory; `last_index + 1` if none is.
    pub fn first_cached(&self) -> Index {
        self.last_index + 1 - self.cache.len() as u64
    }

    /// The term of a record; `None` beyond the end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last_index {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        Some(after.checked_sub(1).map_or(0, |at| self.runs[at].term))
    }

    /// The last index at or before `index` whose term is not above `term`, with its term. Both sides of a conflict use
    /// it, so that each exchange skips all terms the other side does not have, not one record.
    pub fn last_not_above(&self, index: Index, term: Term) -> LogEnd {
        let index = index.min(self.last_index);
        let mut end = index;
        for run in self.runs.iter().rev() {
            if run.first > end {
                continue;
            }
            if run.term <= term {
                return LogEnd { last_index: end, last_term: run.term };
            }
            end = run.first - 1;
        }
        LogEnd { last_index: 0, last_term: 0 }
    }

    /// Adds one record at the end.
    ///
    /// # Panics
    /// If it leaves a gap or its term goes back.
    pub fn push(&mut self, record: Record) {
        assert_eq!(record.index, self.last_index + 1, "a log has no gaps");
        assert!(record.term >= self.last_term() && record.term > 0, "terms in a log never go back");
        if record.term != self.last_term() {
            self.runs.push(TermRun { first: record.index, term: record.term });
        }
        self.last_index = record.index;
        self.cache_bytes += record_bytes(&record);
        self.cache.push_back(record);
    }

    /// Removes every record from `from` on.
    ///
    /// # Panics
    /// If that would remove a committed record.
    pub fn cut(&mut self, from: Index) {
        assert!(from > self.commit, "record {from} is committed (up to {}) and was to be cut", self.commit);
        while self.last_index >= from {
            let record = self.cache.pop_back().expect("records after the commit index are in memory");
            self.cache_bytes -= record_bytes(&record);
            self.last_index -= 1;
        }
        while self.runs.last().is_some_and(|run| run.first >= from) {
            self.runs.pop();
        }
        self.synced = self.synced.min(self.last_index);
    }

    /// Moves the commit index on and returns the records that it passes.
    ///
    /// # Panics
    /// If it goes back or beyond the end.
    pub fn commit_to(&mut self, index: Index) -> Vec<Record> {
        assert!(self.commit <= index && index <= self.last_index, "commit {} -> {index}", self.commit);
        let first = self.first_cached();
        let records = (self.commit + 1..=index).map(|at| self.cache[(at - first) as usize].clone()).collect();
        self.commit = index;
        self.trim();
        records
    }

    /// Records from `from` on, up to `bytes_max` but at least one; `None` if the first is not in memory.
    pub fn chunk(&self, from: Index, bytes_max: usize) -> Option<Vec<Record>> {
        let at = usize::try_from(from.checked_sub(self.first_cached())?).ok()?;
        let mut bytes = 0;
        let mut records = Vec::new();
        for record in self.cache.range(at.min(self.cache.len())..) {
            bytes += record_bytes(record);
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Some(records)
    }

    fn trim(&mut self) {
        // What is not durable yet could not be read back.
        let keep_after = self.commit.min(self.synced);
        while self.cache_bytes > self.cache_bytes_max
            && self.cache.front().is_some_and(|record| record.index <= keep_after)
        {
            if let Some(record) = self.cache.pop_front() {
                self.cache_bytes -= record_bytes(&record);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Entry;

    /// A log whose records have these terms, nothing committed.
    fn log(terms: &[Term]) -> Log {
        let mut log = Log::open(Durable::default(), 100);
        for (term, index) in terms.iter().zip(1..) {
            log.push(Record { index, term: *term, entry: Some(Entry::from(vec![0; 8])) });
        }
        log
    }

    #[test]
    fn terms_are_found_through_runs() {
        let log = log(&[1, 1, 4, 4, 6]);
        let terms: Vec<_> = (0..7).map(|index| log.term_at(index)).collect();
        assert_eq!(terms, [Some(0), Some(1), Some(1), Some(4), Some(4), Some(6), None]);
        assert_eq!(log.end(), LogEnd { last_term: 6, last_index: 5 });
    }

    #[test]
    fn a_conflict_skips_whole_terms() {
        let log = log(&[1, 1, 4, 4, 6]);
        let end = |index, term| {
            let end = log.last_not_above(index, term);
            (end.last_index, end.last_term)
        };
        assert_eq!(end(9, 9), (5, 6));
        assert_eq!(end(9, 5), (4, 4));
        assert_eq!(end(4, 3), (2, 1));
        assert_eq!(end(3, 4), (3, 4));
        assert_eq!(end(3, 0), (0, 0));
        assert_eq!(end(0, 9), (0, 0));
    }

    #[test]
    fn a_cut_forgets_records_and_runs() {
        let mut log = log(&[1, 1, 4, 4, 6]);
        log.cut(4);
        assert_eq!(log.end(), LogEnd { last_term: 4, last_index: 3 });
        log.cut(3);
        assert_eq!(log.end(), LogEnd { last_term: 1, last_index: 2 });
        log.push(Record { index: 3, term: 7, entry: None });
        assert_eq!(log.term_at(3), Some(7));
    }

    #[test]
    #[should_panic(expected = "is committed")]
    fn a_committed_record_is_never_cut() {
        let mut log = log(&[1, 1]);
        log.commit_to(2);
        log.cut(2);
    }

    #[test]
    fn the_cache_keeps_what_is_uncommitted_and_some_of_the_rest() {
        let mut log = log(&[1; 10]);
        assert_eq!(log.first_cached(), 1); // 400 bytes, but nothing is committed
        let committed: Vec<Index> = log.commit_to(4).iter().map(|record| record.index).collect();
        assert_eq!(committed, [1, 2, 3, 4]);
        assert_eq!(log.first_cached(), 1); // nothing is durable
        log.set_synced(10);
        assert_eq!(log.first_cached(), 5);
        log.commit_to(10);
        assert_eq!(log.first_cached(), 9); // two records of 40 bytes fit into 100
        assert!(log.chunk(8, 1000).is_none());
        assert_eq!(log.chunk(9, 1000).unwrap().len(), 2);
        assert_eq!(log.chunk(9, 1).unwrap().len(), 1);
        assert_eq!(log.chunk(11, 1).unwrap().len(), 0);
        assert_eq!(log.term_at(1), Some(1));
    }

    #[test]
    fn opens_on_what_a_store_holds() {
        let tail = vec![Record { index: 3, term: 2, entry: None }];
        let terms = vec![TermRun { first: 1, term: 1 }, TermRun { first: 3, term: 2 }];
        let durable = Durable { terms, last_index: 3, committed: 2, tail, ..Durable::default() };
        let log = Log::open(durable, 0);
        assert_eq!((log.commit(), log.first_cached(), log.last_term()), (2, 3, 2));
    }
}
