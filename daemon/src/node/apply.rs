//! What consensus has committed becomes the state of the bank; and what a leader wants written is executed before it
//! is acknowledged, so that a leader with a wrong state cannot commit.

use std::collections::BTreeSet;

use raftbank_consensus::{Engine, Index, Input, Record, Term, Write};
use raftbank_ledger::{Account, Balance, Executed, Header, Violation};
use raftbank_store::StateWrite;

use super::answers::decided;
use super::batch::Proposal;
use super::calls::{Kind, Origin};
use super::many;
use super::{Action, Node, Notice};

/// Most records behind the applied state that are checked before they are committed. There are rarely more than two: a
/// block is only proposed on an applied one.
const CHECKED_MAX: usize = 64;

/// A record behind the applied state that this node has checked, kept until it is committed or replaced.
#[derive(Debug)]
pub(super) struct Checked {
    pub term: Term,
    /// The block's header and what it does, on top of the blocks before it; `None` for a no-op.
    pub block: Option<(Header, Executed)>,
}

impl<E: Engine> Node<E> {
    /// Checks the blocks that a leader wants stored; returns the first record that must not be acknowledged. Each is
    /// executed on the applied state and the checked blocks between. A new leader may bring several that are not known to
    /// be committed, and if one of them is wrong, a follower that lags must not help to commit it.
    pub(super) fn check_spliced(&mut self, writes: &[Write]) -> Option<Index> {
        for write in writes.iter().filter(|_| !planted!(StateNotChecked)) {
            let Write::Splice { from, records } = write else { continue };
            for record in records {
                if record.index <= self.applied || self.is_checked(record) {
                    continue;
                }
                self.forget_checked(record.index);
                if let Err(violation) = self.check_record(record) {
                    let leader = self.leader.map_or("?", |leader| self.name(leader)).to_owned();
                    self.warn(format!(
                        "record {} of term {} from {leader} is not acknowledged: {violation}",
                        record.index, record.term
                    ));
                    return Some(record.index);
                }
            }
            // What stood behind is cut off.
            self.forget_checked(from + records.len() as u64);
        }
        None
    }

    /// Checks what this node's own log holds behind its state, at start. What is wrong there was written by this node
    /// when its memory was damaged; whoever leads will hear so.
    pub(super) fn check_tail(&mut self, tail: &[Record]) {
        for record in tail {
            if let Err(violation) = self.check_record(record) {
                return self.warn(format!("record {} of this node's own log is wrong: {violation}", record.index));
            }
        }
    }

    /// The checked record at an index.
    fn checked_at(&self, index: Index) -> Option<&Checked> {
        let place = index.checked_sub(self.applied + 1)?;
        self.checked.get(usize::try_from(place).ok()?)
    }

    fn is_checked(&self, record: &Record) -> bool {
        self.checked_at(record.index).is_some_and(|checked| checked.term == record.term)
    }

    /// Forgets the checked records from an index on.
    pub(super) fn forget_checked(&mut self, from: Index) {
        let keep = from.saturating_sub(self.applied + 1);
        self.checked.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    fn check_record(&mut self, record: &Record) -> Result<(), Violation> {
        let follows = record.index == self.applied + 1 + self.checked.len() as u64 && self.checked.len() < CHECKED_MAX;
        let block = match &record.entry {
            None => None,
            Some(entry) => {
                let block = self.state.read_block(entry)?;
                block.check_term(record.term)?;
                if !follows {
                    return Ok(()); // checked when it is committed
                }
                let under: Vec<(&Header, &Executed)> = self
                    .checked
                    .iter()
                    .filter_map(|checked| checked.block.as_ref().map(|(header, executed)| (header, executed)))
                    .collect();
                let executed = self.state.check_after(&under, &block)?;
                Some((block.header, executed))
            }
        };
        if follows {
            self.checked.push_back(Checked { term: record.term, block });
        }
        Ok(())
    }

    /// Applies committed records in order and answers those who wait for them.
    pub(super) fn committed(&mut self, records: Vec<Record>) {
        for record in records {
            assert_eq!(record.index, self.applied + 1, "records are committed in order, each once");
            match &record.entry {
                None => {
                    if self.is_checked(&record) {
                        self.checked.pop_front();
                    } else {
                        self.checked.clear();
                    }
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
        let known = if self.is_checked(record) { self.checked.pop_front() } else { None };
        let (header, executed) = match known.and_then(|checked| checked.block) {
            Some(checked) => checked,
            None => {
                self.checked.clear();
                let block = self.state.read_block(bytes)?;
                block.check_term(record.term)?;
                let executed = self.state.check(&block)?;
                (block.header, executed)
            }
        };
        let requests = executed.requests();
        self.new_verbs |= executed.has_new_verbs();
        let mut balances: Vec<(Account, Option<Balance>, Balance)> =
            executed.accounts_changed().map(|(account, before, after)| (account.clone(), before, after)).collect();
        balances.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let delta = self.state.commit(executed, &header)?;
        self.heads.grown(self.state.log());
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
        self.tell_forwarders(&proposal);
        let answered = self.answer_waiters_of(&proposal);
        self.gather(answered);
    }

    /// A node that passes on an answer is to have the block by then: its client may ask it for what it wrote. So it hears of
    /// the commit right before. Repeats of what is committed are answered without: their block is an older one, of which
    /// it hears with the next tick.
    fn tell_forwarders(&mut self, proposal: &Proposal) {
        let mut forwarders = BTreeSet::new();
        for (id, _) in proposal.waiters.each() {
            if let Some(Origin::Peer { peer, .. }) = self.calls.get(&id).map(|call| &call.origin) {
                forwarders.insert(*peer);
            }
        }
        for peer in forwarders {
            let output = self.engine.step(Input::TellCommits(peer));
            self.absorb(output);
        }
    }

    /// Tells those who wait for a block what became of their requests. Returns how many of this node's own clients were
    /// answered.
    pub(super) fn answer_waiters_of(&mut self, proposal: &Proposal) -> usize {
        let mut answered = 0;
        for (id, decisions) in proposal.waiters.each() {
            let call = self.calls.get(&id);
            answered += usize::from(call.is_some_and(|call| matches!(call.origin, Origin::Client { .. })));
            let reply = match (call.map(|call| &call.kind), decisions) {
                (Some(Kind::Write(request)), [decision]) => decided(request, proposal.height, decision),
                (Some(Kind::Many(batch)), decisions) => many::answer(batch.results(proposal.height, decisions)),
                _ => continue, // its deadline has passed
            };
            self.finish(id, reply);
        }
        answered
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
