//! The leader's batcher: everything that arrived while the last block was in flight becomes the next block. One block
//! is in flight at a time, executed on the applied state, so there is one overlay and never a chain of rollbacks.

use raftbank_consensus::{Engine, Entry, Input, Term};
use raftbank_ledger::{Block, Decision, Executed, Header, Request, pow};

use super::apply::Checked;
use super::calls::{CallId, Kind, Place};
use super::{Action, Node};

/// What [`NodeConfig::nonces_inline`](super::NodeConfig) should be: enough for difficulties up to about 10.
pub const NONCES_INLINE: u64 = 4_096;

/// A block that is executed and waits for its nonce.
#[derive(Debug)]
pub(super) struct Mining {
    job: u64,
    header: Header,
    executed: Executed,
    waiters: Vec<(CallId, Decision)>,
}

/// A block that was proposed. The record committed at its index decides whether it is in the chain.
#[derive(Debug)]
pub(super) struct Proposal {
    /// Term of the record.
    pub term: Term,
    /// Height of the block.
    pub height: u64,
    /// Who waits, and what each will hear.
    pub waiters: Vec<(CallId, Decision)>,
}

impl<E: Engine> Node<E> {
    /// Builds and proposes the next block if this node leads and none is in flight.
    pub(super) fn build_block(&mut self) {
        while self.proposes()
            && self.mining.is_none()
            && !self.proposals.contains_key(&(self.applied + 1))
            && !self.queue.is_empty()
        {
            let (ids, batch) = self.take_batch();
            if batch.is_empty() {
                continue;
            }
            let executed = self.state.execute(batch);
            let decisions = executed.decisions.iter().cloned();
            let waiters: Vec<(CallId, Decision)> = ids.into_iter().zip(decisions).collect();
            assert!(!executed.entries.is_empty(), "what is decided in the applied state was taken out of the batch");
            let proposer = self.config.names[usize::from(self.config.id.0)].clone();
            let header = executed.seal(&self.state, self.term, proposer, self.now.wall_ms);
            for (id, _) in &waiters {
                self.place(*id, Place::Mining);
            }
            match pow::mine(&header, 0, self.config.nonces_inline) {
                Some(nonce) => self.propose(Header { nonce, ..header }, executed, waiters),
                None => {
                    let job = self.next_job;
                    self.next_job += 1;
                    let header = Header { nonce: self.config.nonces_inline, ..header };
                    self.actions.push(Action::Mine { job, header: header.clone() });
                    self.mining = Some(Mining { job, header, executed, waiters });
                }
            }
        }
    }

    /// Takes what fits into one block from the queue; what the applied state already knows is answered at once.
    fn take_batch(&mut self) -> (Vec<CallId>, Vec<Request>) {
        let (mut ids, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        while batch.len() < self.config.batch_requests_max {
            let Some(id) = self.queue.front().copied() else { break };
            let request = match self.calls.get(&id).map(|call| &call.kind) {
                Some(Kind::Write(request)) => request.clone(),
                _ => {
                    self.queue.pop_front(); // expired while it waited
                    continue;
                }
            };
            if let Some(decision) = self.state.decide(&request) {
                self.queue.pop_front();
                let reply = super::calls::decided(&request, self.state.tip().height, &decision);
                self.finish(id, reply);
                continue;
            }
            let size = request.encode().len();
            if bytes + size > self.config.batch_bytes_max && !batch.is_empty() {
                break;
            }
            self.queue.pop_front();
            bytes += size;
            ids.push(id);
            batch.push(request);
        }
        (ids, batch)
    }

    /// The runtime's miner is done.
    pub(super) fn mined(&mut self, job: u64, nonce: Option<u64>) {
        if self.mining.as_ref().is_none_or(|mining| mining.job != job) {
            return; // abandoned meanwhile
        }
        let Some(mining) = self.mining.take() else { return };
        match nonce {
            Some(nonce) => self.propose(Header { nonce, ..mining.header }, mining.executed, mining.waiters),
            None => self.queue_again(&mining.waiters),
        }
    }

    /// The node was deposed while it mined: nothing of this block ever left the node.
    pub(super) fn abandon_mining(&mut self) {
        if let Some(mining) = self.mining.take() {
            self.actions.push(Action::CancelMine { job: mining.job });
            for (id, _) in &mining.waiters {
                self.place(*id, Place::Waiting);
            }
        }
    }

    fn propose(&mut self, header: Header, executed: Executed, waiters: Vec<(CallId, Decision)>) {
        assert!(self.serving, "mining is abandoned when the leadership ends");
        let (height, index) = (header.height, self.applied + 1);
        let block = Block { header, entries: executed.entries.clone() };
        let entry = Entry::from(block.encode());
        for (id, _) in &waiters {
            self.place(*id, Place::Proposed);
        }
        let term = self.term;
        // A leader that serves has applied all that its log holds.
        self.checked.clear();
        self.checked.push_back(Checked { term, block: Some((block.header, executed)) });
        if planted!(AnswerBeforeCommit) {
            for (id, decision) in &waiters {
                if let Some(Kind::Write(request)) = self.calls.get(id).map(|call| call.kind.clone()) {
                    self.finish(*id, super::calls::decided(&request, height, decision));
                }
            }
        }
        let earlier = self.proposals.insert(index, Proposal { term, height, waiters });
        assert!(earlier.is_none(), "one block in flight");
        self.proposing = Some(index);
        self.inputs.push_back(Input::Propose { term, last_index: self.applied, entry });
    }

    /// The engine did not take the block: it is in no log. This node was deposed between building and proposing it.
    pub(super) fn proposal_refused(&mut self) {
        let Some(index) = self.proposing.take() else { return };
        if self.serving {
            // Cannot be: a node that serves has the newest term and nothing in flight. Do not try again in a loop.
            self.warn("consensus refused a block of the serving leader".to_owned());
            self.serving = false;
        }
        self.forget_checked(index);
        if let Some(proposal) = self.proposals.remove(&index) {
            self.queue_again(&proposal.waiters);
        }
    }

    /// Sends calls whose block came to nothing on their way again, in their order.
    pub(super) fn queue_again(&mut self, waiters: &[(CallId, Decision)]) {
        for (id, _) in waiters {
            self.place(*id, Place::Waiting);
            self.route(*id);
        }
    }
}
