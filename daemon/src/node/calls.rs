//! Every request that this node owes an answer for: its own clients' and those that peers forwarded to it as leader.
//!
//! A call ends in exactly one answer: an outcome, a refusal, "not executed" (it provably is in no log and never can
//! be), or "unknown" (its deadline passed while that was not provable). Retries across a change of leader carry the
//! same request id, so they cannot execute twice.

use raftbank_consensus::{Engine, NodeId};
use raftbank_ledger::{Account, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::retry::STOPPING;

use super::answers::{answers, decided, failed};
use super::many::{self, Many};
use super::message::{Ask, Body, CallName};
use super::{Action, Node};

/// Numbers the calls of one node, in order of arrival.
pub(super) type CallId = u64;

/// Most calls in flight at one node.
const CALLS_MAX: usize = 65_536;
/// Most bytes of requests in flight at one node.
const CALLS_BYTES_MAX: usize = 64 << 20;
/// Election time-outs after which a batch that was forwarded and is not answered is sent again.
const MANY_PATIENCE: u64 = 5;
/// The longest a call may wait, whatever its client says.
pub(super) const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this node.
    Client { token: u64 },
    /// A peer, under its own number.
    Peer { peer: NodeId, call: CallName },
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Write(Request),
    Many(Many),
    Read(Read),
}

/// A linearizable read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Balance(Account),
    Accounts,
    Get(Vec<u8>),
    /// A balance with what is held of it.
    Funds(Account),
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No leader is known, or the leader just said that it is not.
    Waiting,
    /// Sent to a peer at this time.
    Forwarded { to: NodeId, at_ms: u64 },
    /// Leader: waits for the next block or barrier.
    Queued,
    /// Leader: in a block that is being mined.
    Mining,
    /// In a block that was proposed; only the record committed at its index decides.
    Proposed,
    /// Waits for a barrier.
    Barrier,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub kind: Kind,
    pub origin: Origin,
    pub deadline_ms: u64,
    pub place: Place,
    /// It was handed to a peer. From then on nobody here can say that it will never be executed: even if that peer gives
    /// it back, another copy of the frame may still be on its way.
    pub exposed: bool,
    /// Of its request, as they count for the bound on all calls.
    pub bytes: usize,
}

impl<E: Engine> Node<E> {
    /// A client of this node asks.
    pub(super) fn api(&mut self, token: u64, request: ApiRequest) {
        if self.is_stopping() {
            return self.fail(token, FailKind::NotExecuted, STOPPING, "this node is stopping; ask another one");
        }
        match request {
            ApiRequest::Write { request, timeout_ms } => self.admit_bytes(token, &request, timeout_ms),
            ApiRequest::WriteMany { requests, timeout_ms } => match Many::new(requests) {
                Ok(many) => self.admit_many(many, Origin::Client { token }, timeout_ms),
                Err(error) => self.fail(token, FailKind::Usage, "bad_batch", &error.to_string()),
            },
            ApiRequest::Balance { account, local, timeout_ms } => match Account::parse(&account) {
                Ok(account) => self.read(token, Read::Balance(account), local, timeout_ms),
                Err(error) => self.fail(token, FailKind::Usage, "bad_name", &error.to_string()),
            },
            ApiRequest::Accounts { local, timeout_ms } => self.read(token, Read::Accounts, local, timeout_ms),
            ApiRequest::Get { key, local, timeout_ms } => self.read(token, Read::Get(key), local, timeout_ms),
            ApiRequest::Funds { account, local, timeout_ms } => match Account::parse(&account) {
                Ok(account) => self.read(token, Read::Funds(account), local, timeout_ms),
                Err(error) => self.fail(token, FailKind::Usage, "bad_name", &error.to_string()),
            },
            ApiRequest::Held { account, after } => {
                let reply = self.held(account.as_deref(), after);
                self.reply(token, reply);
            }
            ApiRequest::HeldById { ids } => {
                let reply = self.held_by_id(&ids);
                self.reply(token, reply);
            }
            ApiRequest::Status => {
                let reply = self.status();
                self.reply(token, reply);
            }
            ApiRequest::Diagnose => {
                let reply = self.diagnosis();
                self.reply(token, reply);
            }
            ApiRequest::Watch => self.watch(token),
            ApiRequest::Find { id } => self.find(token, &id),
            ApiRequest::Checkpoint { size_min, timeout_ms } => self.checkpoint(token, size_min, timeout_ms),
            ApiRequest::Keys => {
                let reply = self.keys_reply();
                self.reply(token, reply);
            }
            _ => {
                self.fail(token, FailKind::Usage, "wrong_socket", "a node does not answer this; ask the relay's socket")
            }
        }
    }

    /// Where a request stands in the chain, as far as it is applied here.
    fn find(&mut self, token: u64, id: &str) {
        let reply = match RequestId::parse(id) {
            Ok(id) => match self.state.request(&id) {
                Some(record) => ApiReply::Found { height: record.height, index: record.index },
                None => {
                    let height = self.state.tip().height;
                    let message = format!("no request with the id {id} is in the chain up to block {height}");
                    failed(FailKind::Refused, "unknown_request", &message)
                }
            },
            Err(error) => failed(FailKind::Usage, "bad_id", &error.to_string()),
        };
        self.reply(token, reply);
    }

    fn admit_bytes(&mut self, token: u64, bytes: &[u8], timeout_ms: u32) {
        match Request::decode(bytes) {
            Ok(request) => {
                self.admit(Kind::Write(request), bytes.len(), Origin::Client { token }, timeout_ms);
            }
            Err(error) => self.fail(token, FailKind::Usage, "bad_request", &error.to_string()),
        }
    }

    fn admit_many(&mut self, many: Many, origin: Origin, timeout_ms: u32) {
        // As it came, and once more when it is read.
        let bytes = 2 * many.packed().len() + many.len() * size_of::<Request>();
        self.admit(Kind::Many(many), bytes, origin, timeout_ms);
    }

    fn read(&mut self, token: u64, read: Read, local: bool, timeout_ms: u32) {
        if local || planted!(LocalReads) {
            let reply = self.answer_read(&read, local);
            return self.reply(token, reply);
        }
        let bytes = if let Read::Get(key) = &read { key.len() } else { 64 };
        self.admit(Kind::Read(read), bytes, Origin::Client { token }, timeout_ms);
    }

    /// The leader is asked by a peer.
    pub(super) fn forwarded(&mut self, peer: NodeId, call: CallName, ask: Ask, timeout_ms: u32) {
        if self.calls_by_peer.contains_key(&(peer, call)) {
            return; // sent again because the answer was slow: it is on its way
        }
        if !self.leads() || self.is_stopping() {
            return self.send(peer, Body::Answer { call, reply: None });
        }
        let origin = Origin::Peer { peer, call };
        let refused =
            |error: String| ApiReply::Failed { kind: FailKind::Usage, code: "bad_request".into(), message: error };
        match ask {
            Ask::Write(bytes) => match Request::decode(&bytes) {
                Ok(request) => self.admit(Kind::Write(request), bytes.len(), origin, timeout_ms),
                Err(error) => self.send(peer, Body::Answer { call, reply: Some(refused(error.to_string())) }),
            },
            Ask::WriteMany(packed) => match Many::new(packed) {
                Ok(many) => self.admit_many(many, origin, timeout_ms),
                Err(error) => self.send(peer, Body::Answer { call, reply: Some(refused(error.to_string())) }),
            },
            Ask::Balance(name) => match Account::parse(&name) {
                Ok(account) => self.admit(Kind::Read(Read::Balance(account)), 64, origin, timeout_ms),
                Err(error) => self.send(peer, Body::Answer { call, reply: Some(refused(error.to_string())) }),
            },
            Ask::Funds(name) => match Account::parse(&name) {
                Ok(account) => self.admit(Kind::Read(Read::Funds(account)), 64, origin, timeout_ms),
                Err(error) => self.send(peer, Body::Answer { call, reply: Some(refused(error.to_string())) }),
            },
            Ask::Accounts => self.admit(Kind::Read(Read::Accounts), 64, origin, timeout_ms),
            Ask::Get(key) => {
                let bytes = key.len();
                self.admit(Kind::Read(Read::Get(key)), bytes, origin, timeout_ms);
            }
        }
    }

    fn admit(&mut self, kind: Kind, bytes: usize, origin: Origin, timeout_ms: u32) {
        let id = self.next_call;
        self.next_call += 1;
        let deadline_ms = self.now.mono_ms.saturating_add(u64::from(timeout_ms).min(TIMEOUT_MS_MAX));
        match &kind {
            Kind::Write(request) => self.count_pending(request, 1),
            Kind::Many(_) => _ = self.batches.insert(id),
            Kind::Read(_) => {}
        }
        match origin {
            Origin::Client { token } => self.calls_by_token.insert(token, id),
            Origin::Peer { peer, call } => self.calls_by_peer.insert((peer, call), id),
        };
        self.calls_bytes += bytes;
        self.deadlines.insert((deadline_ms, id));
        let call = Call { kind, origin, deadline_ms, place: Place::Waiting, exposed: false, bytes };
        self.calls.insert(id, Box::new(call));
        if self.calls.len() > CALLS_MAX || self.calls_bytes > CALLS_BYTES_MAX {
            let message = "too many requests are in flight at this node; ask again in a moment";
            return self.finish(id, failed(FailKind::NotExecuted, "overloaded", message));
        }
        if let Some(message) = self.not_supported_yet(id) {
            return self.finish(id, failed(FailKind::NotExecuted, "not_supported_yet", &message));
        }
        self.route(id);
    }

    /// Sends a call where it can be served: the queue, the leader, or nowhere yet.
    pub(super) fn route(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        match &call.kind {
            Kind::Write(request) => {
                if let Some(decision) = self.state.decide(request) {
                    let reply = decided(request, self.state.tip().height, &decision);
                    return self.finish(id, reply);
                }
            }
            // Only a leader reads them.
            Kind::Many(many) if self.leads() => {
                if let Err(message) = many.requests() {
                    return self.finish(id, failed(FailKind::Usage, "bad_request", &message));
                }
                if let Some(results) = many.known(&self.state) {
                    return self.finish(id, many::answer(results));
                }
            }
            Kind::Many(_) | Kind::Read(_) => {}
        }
        if self.leads() {
            match call.kind {
                Kind::Write(_) | Kind::Many(_) => self.queue.push_back(id),
                Kind::Read(_) => self.reads.waiting.push(id),
            }
            return self.place(id, Place::Queued);
        }
        if let Origin::Peer { .. } = call.origin {
            return self.give_back(id);
        }
        let is_many = matches!(call.kind, Kind::Many(_));
        match self.leader {
            // A leader that could not read a batch would drop it, and nobody could say any more that it is in no log.
            Some(leader) if self.linked && leader != self.config.id && (!is_many || self.reads_batches(leader)) => {
                self.forward(id, leader);
            }
            _ => self.place(id, Place::Waiting),
        }
    }

    fn forward(&mut self, id: CallId, to: NodeId) {
        let now = self.now.mono_ms;
        let asks_funds = self.calls.get(&id).is_some_and(|call| matches!(call.kind, Kind::Read(Read::Funds(_))));
        let all_know = asks_funds && self.not_supported_by().is_none();
        let Some(call) = self.calls.get_mut(&id) else { return };
        if planted!(RetryNewId)
            && let (Kind::Write(request), true) = (&mut call.kind, call.exposed)
        {
            request.id = RequestId::parse(&format!("retry-{}-{id}-{now}", to.0)).expect("a valid id");
        }
        let ask = match &call.kind {
            Kind::Write(request) => Ask::Write(request.encode()),
            Kind::Many(many) => Ask::WriteMany(many.packed().to_vec()),
            Kind::Read(Read::Balance(account)) => Ask::Balance(account.as_str().to_owned()),
            // A leader that may be older is asked for what it knows.
            Kind::Read(Read::Funds(account)) if all_know => Ask::Funds(account.as_str().to_owned()),
            Kind::Read(Read::Funds(account)) => Ask::Balance(account.as_str().to_owned()),
            Kind::Read(Read::Accounts) => Ask::Accounts,
            Kind::Read(Read::Get(key)) => Ask::Get(key.clone()),
        };
        call.exposed = true;
        call.place = Place::Forwarded { to, at_ms: now };
        let timeout_ms = u32::try_from(call.deadline_ms.saturating_sub(now)).unwrap_or(u32::MAX);
        let call = CallName { life: self.config.seed, number: id };
        self.send(to, Body::Forward { call, ask, timeout_ms });
    }

    /// A peer answers what was forwarded to it.
    pub(super) fn answered(&mut self, from: NodeId, name: CallName, reply: Option<ApiReply>) {
        let id = name.number;
        let Some(call) = self.calls.get_mut(&id).filter(|_| name.life == self.config.seed || planted!(LateAnswerTaken))
        else {
            return;
        };
        // What is no answer to this question was not given by an honest member, and is none.
        let reply = reply.filter(|reply| answers(&call.kind, reply));
        match reply {
            // Whatever reason the peer gave (it does not lead, it has too much to do), the call is tried again until its
            // own deadline.
            None | Some(ApiReply::Failed { kind: FailKind::NotExecuted, .. }) => {
                call.exposed &= !planted!(GiveBackTrusted);
                if matches!(call.place, Place::Forwarded { to, .. } if to == from) {
                    call.place = Place::Waiting;
                }
            }
            Some(reply) => {
                // A call that came back here because this node leads now is decided by this node's own log.
                if matches!(call.place, Place::Forwarded { .. } | Place::Waiting) {
                    self.finish(id, reply);
                }
            }
        }
    }

    /// After a change of leader or link: everything that waits for one is routed anew.
    pub(super) fn reroute(&mut self) {
        let (leads, leader) = (self.leads(), self.leader);
        let moved: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| match call.place {
                Place::Waiting => true,
                Place::Forwarded { to, .. } => leads || leader.is_some_and(|leader| leader != to),
                Place::Queued => !leads,
                Place::Mining | Place::Proposed | Place::Barrier => false,
            })
            .map(|(id, _)| *id)
            .collect();
        if !leads {
            self.queue.clear();
            self.reads.waiting.clear();
        }
        for id in moved {
            self.route(id);
        }
    }

    /// A frame may have been lost: what was forwarded and not answered for an election time-out is sent again. Looked
    /// at once in a heartbeat.
    pub(super) fn retry_calls(&mut self) {
        let (now, patience) = (self.now.mono_ms, self.election_ms());
        if self.leads() || self.leader.is_none() || now.saturating_sub(self.last_retry_ms) < self.heartbeat_ms() {
            return;
        }
        self.last_retry_ms = now;
        let stale: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| match call.place {
                Place::Waiting => true,
                Place::Forwarded { at_ms, .. } => {
                    // Up to a megabyte is not sent again as lightly: a busy leader may need longer.
                    let patience = if matches!(call.kind, Kind::Many(_)) { MANY_PATIENCE * patience } else { patience };
                    now.saturating_sub(at_ms) >= patience
                }
                _ => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in stale {
            self.route(id);
        }
    }

    /// Ends the calls whose deadline has passed, saying no more than what is known.
    pub(super) fn expire_calls(&mut self) {
        while let Some(&(deadline_ms, id)) = self.deadlines.first() {
            if deadline_ms > self.now.mono_ms {
                return;
            }
            let reply = self.calls.get(&id).map(|call| self.expired(call));
            match reply {
                Some(reply) => self.finish(id, reply),
                None => {
                    self.deadlines.pop_first();
                }
            }
        }
    }

    /// Tells a peer that its request is in no log through this node and never will be.
    pub(super) fn give_back(&mut self, id: CallId) {
        if let Some(call) = self.forget(id)
            && let Origin::Peer { peer, call } = call.origin
        {
            self.send(peer, Body::Answer { call, reply: None });
        }
    }

    /// Answers a call; it is over.
    pub(super) fn finish(&mut self, id: CallId, reply: ApiReply) {
        let Some(call) = self.forget(id) else { return };
        match call.origin {
            Origin::Client { token } => self.reply(token, reply),
            Origin::Peer { peer, call } => self.send(peer, Body::Answer { call, reply: Some(reply) }),
        }
    }

    fn forget(&mut self, id: CallId) -> Option<Box<Call>> {
        let call = self.calls.remove(&id)?;
        self.deadlines.remove(&(call.deadline_ms, id));
        self.calls_bytes -= call.bytes;
        match call.origin {
            Origin::Client { token } => self.calls_by_token.remove(&token),
            Origin::Peer { peer, call } => self.calls_by_peer.remove(&(peer, call)),
        };
        match &call.kind {
            Kind::Write(request) if !planted!(PendingStays) => self.count_pending(request, -1),
            Kind::Many(_) => _ = self.batches.remove(&id),
            Kind::Write(_) | Kind::Read(_) => {}
        }
        Some(call)
    }

    /// The client is gone. A write that may be in a log stays, only nobody is told; a read is dropped.
    pub(super) fn api_gone(&mut self, token: u64) {
        self.watchers.remove(&token);
        self.forget_waiter(token);
        let Some(id) = self.calls_by_token.get(&token).copied() else { return };
        let drop = self.calls.get(&id).is_some_and(|call| {
            matches!(call.kind, Kind::Read(_)) || matches!(call.place, Place::Waiting | Place::Queued)
        });
        if drop {
            self.forget(id);
        }
    }

    /// This process is about to end: say what is known of every call.
    pub(super) fn fail_all_calls(&mut self) {
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        for id in ids {
            let Some(call) = self.calls.get(&id) else { continue };
            match call.origin {
                Origin::Peer { .. } if matches!(call.place, Place::Queued | Place::Waiting | Place::Barrier) => {
                    self.give_back(id);
                }
                Origin::Peer { .. } => {
                    self.forget(id);
                }
                Origin::Client { .. } => {
                    let reply = self.expired(call);
                    self.finish(id, reply);
                }
            }
        }
    }

    pub(super) fn place(&mut self, id: CallId, place: Place) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.place = place;
        }
    }

    pub(super) fn reply(&mut self, token: u64, reply: ApiReply) {
        self.actions.push(Action::Reply { token, reply, last: true });
    }

    fn fail(&mut self, token: u64, kind: FailKind, code: &str, message: &str) {
        self.reply(token, failed(kind, code, message));
    }
}
