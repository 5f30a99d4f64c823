//! Linearizable reads (Raft thesis §6.4): a read is answered from a state at least as new as the commit index that the
//! leader had after the read arrived, and only if the leader still led then.

use std::collections::BTreeMap;

use raftbank_consensus::{BarrierId, Engine, Index, Input};
use raftbank_wire::api::{ApiReply, FailKind};
use raftbank_wire::frame::REPLY_BYTES_MAX;

use super::Node;
use super::answers::failed;
use super::calls::{CallId, Kind, Place, Read};

/// Barriers in flight at a time; reads that arrive meanwhile share the next one. Those of one turn share one anyway.
const BARRIERS_MAX: usize = 4;

/// More accounts than this fit into no answer: all but 300,000 names have four characters or more, so that a row has six
/// bytes. Putting them in order would keep everybody waiting for nothing.
const ACCOUNTS_LISTED_MAX: usize = REPLY_BYTES_MAX as usize / 5;

/// Reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// For the next barrier.
    pub waiting: Vec<CallId>,
    asked: BTreeMap<BarrierId, Vec<CallId>>,
    /// Confirmed, for the state to reach the index.
    ready: Vec<(Index, Vec<CallId>)>,
    next_barrier: BarrierId,
}

impl<E: Engine> Node<E> {
    /// Asks one barrier for all reads that wait, at the end of a turn.
    pub(super) fn ask_barrier(&mut self) {
        let is_full = self.reads.asked.len() >= BARRIERS_MAX;
        if self.more_follows || !self.serving || self.reads.waiting.is_empty() || is_full {
            return;
        }
        let calls = std::mem::take(&mut self.reads.waiting);
        for id in &calls {
            self.place(*id, Place::Barrier);
        }
        self.reads.next_barrier += 1;
        let id = self.reads.next_barrier;
        self.reads.asked.insert(id, calls);
        self.inputs.push_back(Input::ReadBarrier(id));
    }

    pub(super) fn read_ready(&mut self, id: BarrierId, index: Index) {
        if let Some(calls) = self.reads.asked.remove(&id) {
            self.reads.ready.push((index, calls));
            self.serve_reads();
        }
    }

    /// The node was deposed: the next leader is asked.
    pub(super) fn read_refused(&mut self, id: BarrierId) {
        for call in self.reads.asked.remove(&id).unwrap_or_default() {
            self.place(call, Place::Waiting);
            // While this node believes to lead without serving, it waits for the retry or for a change of role.
            if !self.leads() || self.serving {
                self.route(call);
            }
        }
    }

    /// Answers the confirmed reads whose index the state has reached.
    pub(super) fn serve_reads(&mut self) {
        if self.reads.ready.is_empty() {
            return;
        }
        let (served, ready) =
            std::mem::take(&mut self.reads.ready).into_iter().partition(|(index, _)| *index <= self.applied);
        self.reads.ready = ready;
        let served: Vec<(Index, Vec<CallId>)> = served;
        for id in served.into_iter().flat_map(|(_, calls)| calls) {
            let reply = match self.calls.get(&id).map(|call| &call.kind) {
                Some(Kind::Read(read)) => {
                    let read = read.clone();
                    self.answer_read(&read, false)
                }
                _ => continue, // its deadline has passed
            };
            self.finish(id, reply);
        }
    }

    /// Answers from the applied state.
    pub(super) fn answer_read(&self, read: &Read, local: bool) -> ApiReply {
        let height = self.state.tip().height;
        match read {
            Read::Balance(account) | Read::Funds(account) => match self.state.balance(account) {
                Some(balance) => {
                    let (name, pending) = (account.as_str().to_owned(), self.pending(account));
                    if let Read::Balance(_) = read {
                        ApiReply::Balance { account: name, balance, pending, height, local }
                    } else {
                        let held = self.state.pendings().held(account);
                        ApiReply::Funds { account: name, balance, held, pending, height, local }
                    }
                }
                None => {
                    let message = format!("there is no account {}; open it first", account.as_str());
                    failed(FailKind::Refused, "unknown_account", &message)
                }
            },
            Read::Accounts if self.state.account_count() > ACCOUNTS_LISTED_MAX => {
                let message = format!("more than {ACCOUNTS_LISTED_MAX} accounts do not fit into an answer");
                failed(FailKind::Internal, "reply_too_long", &message)
            }
            Read::Accounts => {
                let accounts = self.state.accounts().filter(|row| row.1 != 0 || !planted!(AccountsDropRow));
                let accounts = accounts.map(|(account, balance)| (account.as_str().to_owned(), balance)).collect();
                ApiReply::Accounts { height, accounts }
            }
            Read::Get(key) => match self.state.value(key) {
                Some(value) => ApiReply::Value { key: key.clone(), value: value.to_vec(), height },
                None => failed(FailKind::Refused, "unknown_key", "there is no value under this key"),
            },
        }
    }
}
