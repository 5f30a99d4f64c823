//! The leader's batcher: everything that arrived while the last block was in flight becomes the next block. One block
//! is in flight at a time, executed on the applied state, so there is one overlay and never a chain of rollbacks.

use raftbank_consensus::{Engine, Entry, Input, Term};
use raftbank_ledger::{BLOCK_BYTES_MAX, BLOCK_REQUESTS_MAX, Decision, Executed, Hash, Header, Request, pow};
use raftbank_wire::api::{MANY_BYTES_MAX, MANY_REQUESTS_MAX};

use super::answers::decided;
use super::apply::Checked;
use super::calls::{CallId, Kind, Place};
use super::many;
use super::{Action, Node};

/// What [`NodeConfig::nonces_inline`](super::NodeConfig) should be: enough for difficulties up to about 10.
pub const NONCES_INLINE: u64 = 4_096;

/// What [`NodeConfig::ahead_requests_min`](super::NodeConfig) should be: some milliseconds of execution. Single requests
/// of many clients stay far below it, and share one sync.
pub const AHEAD_REQUESTS_MIN: usize = 1_024;

/// A block that is executed. On top of one in flight, it is proposed once that is committed.
#[derive(Debug)]
pub(super) struct Built {
    header: Header,
    executed: Executed,
    waiters: Waiters,
}

/// A block that is executed and waits for its nonce.
#[derive(Debug)]
pub(super) struct Mining {
    job: u64,
    header: Header,
    executed: Executed,
    waiters: Waiters,
}

/// The calls that wait for a block, and what each request of theirs will hear.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// With the number of its requests, in the order of the batch.
    calls: Vec<(CallId, usize)>,
    /// Of all requests, in the order of the batch.
    decisions: Vec<Decision>,
}

impl Waiters {
    /// The calls.
    pub fn ids(&self) -> impl Iterator<Item = CallId> {
        self.calls.iter().map(|(id, _)| *id)
    }

    /// Each call with the decisions of its requests.
    pub fn each(&self) -> impl Iterator<Item = (CallId, &[Decision])> {
        let mut rest = &self.decisions[..];
        self.calls.iter().map(move |(id, count)| {
            let (own, behind) = rest.split_at(*count);
            rest = behind;
            (*id, own)
        })
    }
}

/// A block that was proposed. The record committed at its index decides whether it is in the chain.
#[derive(Debug)]
pub(super) struct Proposal {
    /// Term of the record.
    pub term: Term,
    /// Height of the block.
    pub height: u64,
    /// Who waits, and what each will hear.
    pub waiters: Waiters,
}

impl<E: Engine> Node<E> {
    /// Builds and proposes the next block if this node leads and none is in flight.
    pub(super) fn build_block(&mut self) {
        if !self.proposes()
            && let Some(ahead) = self.ahead.take()
        {
            // It never will be proposed here.
            self.queue_again(&ahead.waiters);
        }
        while self.proposes() && self.mining.is_none() {
            if self.proposals.contains_key(&(self.applied + 1)) {
                return self.execute_ahead();
            }
            if let Some(Built { header, executed, waiters }) = self.take_ahead() {
                self.mine(header, executed, waiters);
                continue;
            }
            if self.queue.is_empty() || self.gathering.waits(self.queue.len()) && !self.fills_a_block() {
                return;
            }
            self.gathering.end();
            let calls = self.take_batch();
            if calls.is_empty() {
                continue;
            }
            let executed = self.state.execute(self.requests_of(&calls), self.now.wall_ms);
            assert!(executed.requests() > 0, "what is decided in the applied state was taken out of the batch");
            let Built { header, executed, waiters } = self.built(self.state.tip().hash, executed, calls);
            self.mine(header, executed, waiters);
        }
    }

    /// A block behind the one with this hash, without its nonce. Its calls wait for it.
    fn built(&mut self, previous: Hash, mut executed: Executed, calls: Vec<(CallId, usize)>) -> Built {
        let proposer = self.config.names[usize::from(self.config.id.0)].clone();
        let header = executed.seal_behind(previous, &self.state, self.term, proposer);
        let waiters = Waiters { calls, decisions: std::mem::take(&mut executed.decisions) };
        for id in waiters.ids() {
            self.place(id, Place::Mining);
        }
        Built { header, executed, waiters }
    }

    /// Looks for a nonce, and proposes the block if it finds one at once.
    fn mine(&mut self, header: Header, executed: Executed, waiters: Waiters) {
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

    /// While a block is being stored and agreed on, executes the next one on top of it, if much waits for it. It leaves this
    /// node only once the block in flight is committed: if that comes to nothing, so does this.
    fn execute_ahead(&mut self) {
        let index = self.applied + 1;
        // Not in the step that proposes: what it asks for is done before anything else is begun.
        if self.proposed_now
            || self.ahead.is_some()
            || self.ahead_of == index
            || self.waiting_requests() < self.config.ahead_requests_min
        {
            return;
        }
        self.ahead_of = index;
        if self.checked.len() != 1 {
            return;
        }
        let calls = self.take_batch();
        let below = self.checked.front().and_then(|checked| checked.block.as_ref());
        let (header, below) = below.expect("the block in flight was executed here");
        let time_ms = self.now.wall_ms;
        let executed = self.state.execute_behind((header, below), self.requests_of(&calls), time_ms);
        let previous = header.hash();
        if executed.requests() == 0 {
            // Repeats of what is in flight: answered once that is committed.
            calls.iter().rev().for_each(|(id, _)| self.queue.push_front(*id));
            return;
        }
        self.ahead = Some(self.built(previous, executed, calls));
    }

    /// A block was committed, and so many of this node's clients were answered: the next one may wait for them a moment.
    pub(super) fn gather(&mut self, answered: usize) {
        if answered.saturating_add(self.queue.len()) < self.config.gather_calls_min
            || !self.proposes()
            || self.ahead.is_some()
            || self.fills_a_block()
        {
            return;
        }
        if let Some(turn) = self.gathering.begin(answered, self.queue.len(), self.config.batch_requests_max) {
            self.actions.push(Action::Gather { turn });
        }
    }

    /// A moment of a turn is over.
    pub(super) fn gathered(&mut self, turn: u64) {
        if self.gathering.look(turn, self.queue.len()) {
            self.actions.push(Action::Gather { turn });
        }
    }

    /// What waits is a block worth of requests, or may be one of bytes: nothing is won by waiting for more.
    fn fills_a_block(&self) -> bool {
        self.calls_bytes >= self.config.batch_bytes_max
            || self.waiting_requests() >= self.config.ahead_requests_min.min(self.config.batch_requests_max)
    }

    /// The turn under way for which the next block waits: its [`Event::Gathered`](super::Event::Gathered) is still wanted.
    pub fn gathering(&self) -> Option<u64> {
        self.gathering.turn()
    }

    /// How many requests wait, as far as it matters.
    fn waiting_requests(&self) -> usize {
        if self.batches.is_empty() {
            return self.queue.len();
        }
        let mut waiting = 0;
        for id in &self.queue {
            waiting += match self.calls.get(id).map(|call| &call.kind) {
                Some(Kind::Many(many)) => many.len(),
                Some(_) => 1,
                None => 0,
            };
            if waiting >= self.config.ahead_requests_min {
                break;
            }
        }
        waiting
    }

    /// The block that was executed ahead, if it stands on the tip. If not, its requests wait again.
    fn take_ahead(&mut self) -> Option<Built> {
        let ahead = self.ahead.take()?;
        if ahead.header.previous == self.state.tip().hash && ahead.header.term == self.term {
            return Some(ahead);
        }
        self.queue_again(&ahead.waiters);
        None
    }

    /// Takes what fits into one block from the queue; what the applied state already knows is answered at once. A client's
    /// batch is not divided: one that is larger than a block of this node's configuration is a block of its own, for it
    /// is never larger than what the format allows.
    fn take_batch(&mut self) -> Vec<(CallId, usize)> {
        const { assert!(MANY_REQUESTS_MAX <= BLOCK_REQUESTS_MAX && 2 * MANY_BYTES_MAX <= BLOCK_BYTES_MAX) };
        let (mut calls, mut count, mut bytes) = (Vec::new(), 0, 0);
        while count < self.config.batch_requests_max {
            let Some(id) = self.queue.front().copied() else { break };
            let (requests, size): (usize, usize) = match self.calls.get(&id).map(|call| (&call.kind, call.bytes)) {
                Some((Kind::Write(request), call_bytes)) => {
                    if let Some(decision) = self.state.decide(request) {
                        self.queue.pop_front();
                        let reply = decided(request, self.state.tip().height, &decision);
                        self.finish(id, reply);
                        continue;
                    }
                    (1, call_bytes)
                }
                Some((Kind::Many(many), _)) => {
                    if let Some(results) = many.known(&self.state) {
                        self.queue.pop_front();
                        self.finish(id, many::answer(results));
                        continue;
                    }
                    (many.len(), many.packed().len())
                }
                _ => {
                    self.queue.pop_front(); // expired while it waited
                    continue;
                }
            };
            let is_full =
                bytes + size > self.config.batch_bytes_max || count + requests > self.config.batch_requests_max;
            if is_full && !calls.is_empty() {
                break;
            }
            self.queue.pop_front();
            bytes += size;
            count += requests;
            calls.push((id, requests));
        }
        calls
    }

    /// The requests of these calls, in their order.
    fn requests_of(&self, calls: &[(CallId, usize)]) -> Vec<&Request> {
        let mut requests = Vec::with_capacity(calls.iter().map(|(_, count)| count).sum());
        for (id, _) in calls {
            match self.calls.get(id).map(|call| &call.kind) {
                Some(Kind::Write(request)) => requests.push(request),
                Some(Kind::Many(many)) => requests.extend(many.requests().unwrap_or_default()),
                Some(Kind::Read(_)) | None => {}
            }
        }
        requests
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
        if let Some(ahead) = self.ahead.take() {
            for id in ahead.waiters.ids() {
                self.place(id, Place::Waiting);
            }
        }
        if let Some(mining) = self.mining.take() {
            self.actions.push(Action::CancelMine { job: mining.job });
            for id in mining.waiters.ids() {
                self.place(id, Place::Waiting);
            }
        }
    }

    fn propose(&mut self, header: Header, executed: Executed, waiters: Waiters) {
        assert!(self.serving, "mining is abandoned when the leadership ends");
        let (height, index) = (header.height, self.applied + 1);
        let entry = Entry::from(executed.block_bytes(&header));
        for id in waiters.ids() {
            self.place(id, Place::Proposed);
        }
        let term = self.term;
        // A leader that serves has applied all that its log holds.
        self.checked.clear();
        self.checked.push_back(Checked { term, block: Some((header, executed)) });
        let proposal = Proposal { term, height, waiters };
        if planted!(AnswerBeforeCommit) {
            let _ = self.answer_waiters_of(&proposal);
        }
        self.proposed_now = true;
        let earlier = self.proposals.insert(index, proposal);
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
    pub(super) fn queue_again(&mut self, waiters: &Waiters) {
        for id in waiters.ids() {
            self.place(id, Place::Waiting);
            self.route(id);
        }
    }
}
