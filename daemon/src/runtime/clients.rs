//! Clients of the Unix socket: who waits for which answer, and the questions that the store answers without the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use raftbank_ledger::{Account, Hash, NameError};
use raftbank_store::SledReader;
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::server::{Incoming, Responder};
use tokio::sync::{Semaphore, mpsc};

use super::Report;
use super::direct::{self, Answer, Direct, failed};
use crate::node::{Event, Node};
use crate::verify::Against;

/// Reads of blocks at a time; further ones wait.
pub const READS_MAX: usize = 3;
/// Verifications at a time: each holds a second state in memory.
pub const VERIFICATIONS_MAX: usize = 1;
/// Readers of the past or of all rows at a time: the same.
pub const REPLAYS_MAX: usize = 1;

/// Everybody who waits for an answer.
pub struct Clients {
    waiting: BTreeMap<u64, Responder>,
    next_token: u64,
    reader: SledReader,
    reads: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
    replays: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
}

impl Clients {
    /// Nobody waits yet. Damage found while reading goes to `reports`.
    pub fn new(reader: SledReader, reports: mpsc::Sender<Report>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_token: 1,
            reader,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
            reports,
        }
    }

    /// Takes a request: `Some` event for the node, or none if it is answered beside it.
    pub fn admit(&mut self, incoming: Incoming, node: &Node) -> Option<Event> {
        let Incoming { request, responder } = incoming;
        let direct = match request {
            ApiRequest::Block { height } => Direct::Block(height),
            ApiRequest::Blocks { from, to } => Direct::Blocks { from, to },
            ApiRequest::Verify => Direct::Verify(None),
            ApiRequest::VerifyAgainst { size, root } => Direct::Verify(Some(Against { size, root: Hash(root) })),
            ApiRequest::Inclusion { height, size } => Direct::Inclusion { height, size },
            ApiRequest::Consistency { old, new } => Direct::Consistency { old, new },
            ApiRequest::Rows => Direct::Rows,
            ApiRequest::BalanceAt { account, height } => match balance_at(&account, height, node) {
                Ok(direct) => direct,
                Err(reply) => {
                    responder.finish(&reply);
                    return None;
                }
            },
            request => {
                let token = self.next_token;
                self.next_token += 1;
                self.waiting.insert(token, responder);
                return Some(Event::Api { token, request });
            }
        };
        self.answer(direct, responder, node.state().tip().height);
        None
    }

    /// Hands an answer on. False: the client is gone, or was dropped because it does not keep up.
    pub fn reply(&mut self, token: u64, reply: ApiReply, last: bool) -> bool {
        if last {
            return self.waiting.remove(&token).is_some_and(|responder| responder.finish(&reply));
        }
        let Some(responder) = self.waiting.get(&token) else { return false };
        if responder.send(&reply) {
            return true;
        }
        if let Some(responder) = self.waiting.remove(&token) {
            let message = "this client reads more slowly than things happen here; watch again".to_owned();
            responder.finish(&failed(FailKind::NotExecuted, "lagging", message));
        }
        false
    }

    /// Hands over who waits for an answer that is given elsewhere.
    pub fn take(&mut self, token: u64) -> Option<Responder> {
        self.waiting.remove(&token)
    }

    /// Looks for clients that have gone away.
    pub fn sweep(&mut self) -> Vec<Event> {
        let gone: Vec<u64> =
            self.waiting.iter().filter(|(_, responder)| responder.is_closed()).map(|(token, _)| *token).collect();
        for token in &gone {
            self.waiting.remove(token);
        }
        gone.into_iter().map(|token| Event::ApiGone { token }).collect()
    }

    /// Answers from the store, on a thread of its own.
    fn answer(&self, direct: Direct, responder: Responder, height: u64) {
        let (reader, reports) = (self.reader.clone(), self.reports.clone());
        let turn = Arc::clone(match direct {
            Direct::Verify(_) => &self.verifications,
            Direct::BalanceAt(..) | Direct::Rows => &self.replays,
            _ => &self.reads,
        });
        tokio::spawn(async move {
            // The semaphores are never closed.
            let Ok(_permit) = turn.acquire_owned().await else { return };
            let job = move || {
                let Answer { last, report } = direct::answer(&direct, &reader, height, &responder);
                if let Some(last) = last {
                    responder.finish(&last);
                }
                report
            };
            let report = match tokio::task::spawn_blocking(job).await {
                Ok(None) => return,
                Ok(Some(report)) => report,
                Err(error) => return tracing::error!("a reading thread ended early: {error}"),
            };
            // The loop has ended if nobody listens.
            let _ = reports.send(report).await;
        });
    }
}

/// Balances after the head are answered from the node's state at once.
fn balance_at(account: &str, height: Option<u64>, node: &Node) -> Result<Direct, Box<ApiReply>> {
    let bad_name = |error: NameError| Box::new(failed(FailKind::Usage, "bad_name", error.to_string()));
    let account = Account::parse(account).map_err(bad_name)?;
    let head = node.state().tip().height;
    match height {
        Some(height) if height > head => Err(Box::new(direct::unknown_block(height))),
        Some(height) if height < head => Ok(Direct::BalanceAt(account, height)),
        _ => {
            let (balance, proof) = node.state().prove(&account);
            Err(Box::new(direct::balance_reply(&account, balance, head, proof)))
        }
    }
}
