//! What consensus has committed becomes the state of the bank; and what a leader wants written is executed before it
//! is acknowledged, so that a leader with a wrong state cannot commit.

use raftbank_consensus::{Engine, Index, Record, Term, Write};
use raftbank_ledger::{Account, Balance, Block, Executed, Header, Violation};
use raftbank_store::StateWrite;

use super::calls::decided;
use super::{Action, Node, Notice};

/// A block that this node has executed on its applied state, kept until its record is committed or replaced.
#[derive(Debug)]
pub(super) struct Checked {
    pub index: Index,
    pub term: Term,
    pub header: Header,
    pub executed: Executed,
}

impl<E: Engine> Node<E> {
    /// Checks the blocks that a leader wants stored; returns the first record that must not be acknowledged. The block
    /// right after the applied state is executed; of those behind it all is checked that needs no state.
    pub(super) fn check_spliced(&mut self, writes: &[Write]) -> Option<Index> {
        for write in writes.iter().filter(|_| !planted!(StateNotChecked)) {
            let Write::Splice { from, records } = write else { continue };
            if self.checked.as_ref().is_some_and(|checked| {
                checked.index >= *from
                    && records.iter().all(|record| (record.index, record.term) != (checked.index, checked.term))
            }) {
                self.checked = None; // its record was cut off
            }
            for record in records {
                if record.index <= self.applied || self.is_checked(record) {
                    continue;
                }
                if let Err(violation) = self.check_record(record) {
                    let leader = self.leader.map_or("?", |leader| self.name(leader)).to_owned();
                    self.warn(format!(
                        "record {} of term {} from {leader} is not acknowledged: {violation}",
                        record.index, record.term
                    ));
                    return Some(record.index);
                }
            }
        }
        None
    }

    fn is_checked(&self, record: &Record) -> bool {
        self.checked.as_ref().is_some_and(|checked| (checked.index, checked.term) == (record.index, record.term))
    }

    fn check_record(&mut self, record: &Record) -> Result<(), Violation> {
        let Some(entry) = &record.entry else { return Ok(()) };
        let block = Block::decode(entry)?;
        block.check_static(self.state.difficulty(), self.state.cluster_id())?;
        check_term(&block, record.term)?;
        if record.index == self.applied + 1 {
            let executed = self.state.check(&block)?;
            self.checked = Some(Checked { index: record.index, term: record.term, header: block.header, executed });
        }
        Ok(())
    }

    /// Applies committed records in order and answers those who wait for them.
    pub(super) fn committed(&mut self, records: Vec<Record>) {
        for record in records {
            assert_eq!(record.index, self.applied + 1, "records are committed in order, each once");
            match &record.entry {
                None => {
                    self.applied = record.index;
                    self.unsaved_state.push(StateWrite {
                        index: record.index,
                        term: record.term,
                        height: None,
                        delta: None,
                    });
                    if self.leads() && record.term == self.term {
                        self.serving = true;
                        self.info(format!("leading in term {}", self.term));
                        self.reroute();
                    }
                }
                Some(entry) => {
                    let result = self.commit_block(&record, entry);
                    if planted!(WrongResultIgnored) && result.is_err() {
                        self.applied = record.index;
                        let (index, term) = (record.index, record.term);
                        self.unsaved_state.push(StateWrite { index, term, height: None, delta: None });
                        continue;
                    }
                    if let Err(violation) = result {
                        return self.stop(
                            6,
                            format!(
                                "the committed block in record {} contradicts this node's state ({violation}): this \
                                 node's data is damaged; move its data folder away and start it with --rejoin",
                                record.index
                            ),
                        );
                    }
                }
            }
            self.resolve(record.index, record.term);
            self.serve_reads();
        }
    }

    fn commit_block(&mut self, record: &Record, bytes: &[u8]) -> Result<(), Violation> {
        let checked = if self.is_checked(record) {
            self.checked.take().expect("just seen")
        } else {
            let block = Block::decode(bytes)?;
            block.check_static(self.state.difficulty(), self.state.cluster_id())?;
            check_term(&block, record.term)?;
            let executed = self.state.check(&block)?;
            Checked { index: record.index, term: record.term, header: block.header, executed }
        };
        self.checked = None;
        let requests = checked.executed.entries.len();
        let before: Vec<(Account, Option<Balance>)> =
            checked.executed.accounts_changed().map(|account| (account.clone(), self.state.balance(account))).collect();
        let delta = self.state.commit(checked.executed, &checked.header)?;
        let balances: Vec<(Account, Option<Balance>, Balance)> = before
            .into_iter()
            .map(|(account, before)| {
                let after = self.state.balance(&account).unwrap_or(0);
                (account, before, after)
            })
            .collect();
        let (height, hash) = (delta.tip.height, delta.tip.hash);
        self.applied = record.index;
        self.unsaved_state.push(StateWrite {
            index: record.index,
            term: record.term,
            height: Some(height),
            delta: Some(delta),
        });
        self.watch_block(height, hash, requests, &balances);
        self.actions.push(Action::Notice(Notice::Committed { height, hash, requests, balances }));
        Ok(())
    }

    /// The record committed at an index decides what became of the block that this node proposed there.
    fn resolve(&mut self, index: Index, term: Term) {
        let Some(proposal) = self.proposals.remove(&index) else { return };
        if proposal.term != term && !planted!(AnyCommitAnswers) {
            // Another record stands there for ever: that block is in no chain and its requests are free again.
            return self.queue_again(&proposal.waiters);
        }
        for (id, decision) in proposal.waiters {
            let reply = match self.calls.get(&id).map(|call| &call.kind) {
                Some(super::calls::Kind::Write(request)) => decided(request, proposal.height, &decision),
                _ => continue, // its deadline has passed
            };
            self.finish(id, reply);
        }
    }
}

/// Takes a record, and what follows it, out of what is to be written. What stood there before is cut off nevertheless.
pub(super) fn without_records(writes: &mut [Write], from: Index) {
    for write in writes {
        if let Write::Splice { records, .. } = write {
            records.retain(|record| record.index < from);
        }
    }
}

fn check_term(block: &Block, term: Term) -> Result<(), Violation> {
    if block.header.term == term { Ok(()) } else { Err(Violation::Term { expected: term, found: block.header.term }) }
}
