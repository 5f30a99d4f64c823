//! Clients of the Unix socket: who waits for which answer, and the questions that the store answers without the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raftbank_consensus::Entry;
use raftbank_store::{Reader, SledReader, StoreError};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::server::{Incoming, Responder};
use tokio::sync::{Semaphore, mpsc};

use super::Report;
use crate::node::{Event, Node};
use crate::verify;

/// Reads of blocks at a time; further ones wait.
pub const READS_MAX: usize = 3;
/// Verifications at a time: each holds a second state in memory.
pub const VERIFICATIONS_MAX: usize = 1;

/// Everybody who waits for an answer.
pub struct Clients {
    waiting: BTreeMap<u64, Responder>,
    next_token: u64,
    reader: SledReader,
    reads: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
}

/// How long a block that is committed may be on its way to the store; longer than any sync that is not hopeless.
const STORED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A question that the store answers.
enum Direct {
    Block(u64),
    Blocks { from: u64, to: Option<u64> },
    Verify,
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
            reports,
        }
    }

    /// Takes a request: `Some` event for the node, or none if it is answered beside it.
    pub fn admit(&mut self, incoming: Incoming, node: &Node) -> Option<Event> {
        let Incoming { request, responder } = incoming;
        let direct = match request {
            ApiRequest::Block { height } => Direct::Block(height),
            ApiRequest::Blocks { from, to } => Direct::Blocks { from, to },
            ApiRequest::Verify => Direct::Verify,
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
        let turn = Arc::clone(if matches!(direct, Direct::Verify) { &self.verifications } else { &self.reads });
        tokio::spawn(async move {
            // The semaphores are never closed.
            let Ok(_permit) = turn.acquire_owned().await else { return };
            let job = move || match direct {
                Direct::Block(at) => block(&reader, at, height, responder),
                Direct::Blocks { from, to } => blocks(&reader, from, to, height, responder),
                Direct::Verify => verify(&reader, height, responder),
            };
            let outcome = tokio::task::spawn_blocking(job).await;
            let report = match outcome {
                Ok(Ok(None)) => return,
                Ok(Ok(Some(problem))) => Report::Damaged(problem),
                Ok(Err(error)) => Report::ReadFailed(error),
                Err(error) => return tracing::error!("a reading thread ended early: {error}"),
            };
            // The loop has ended if nobody listens.
            let _ = reports.send(report).await;
        });
    }
}

/// `Some`: damage was found. `Err`: the store cannot be read.
type Outcome = Result<Option<String>, StoreError>;

/// Reads a block. One up to `head`, this node's height, is committed, but may still be on its way to the store.
fn stored(reader: &SledReader, height: u64, head: u64) -> Result<Option<Entry>, StoreError> {
    let started = Instant::now();
    loop {
        let found = reader.block(height)?;
        if found.is_some() || height > head || started.elapsed() >= STORED_WITHIN {
            return Ok(found);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn block(reader: &SledReader, height: u64, head: u64, responder: Responder) -> Outcome {
    match stored(reader, height, head) {
        Ok(Some(bytes)) => responder.finish(&ApiReply::Block { bytes: bytes.to_vec() }),
        Ok(None) => {
            let message = format!("there is no block {height} here yet");
            responder.finish(&failed(FailKind::Refused, "unknown_block", message))
        }
        Err(error) => return unreadable(error, responder),
    };
    Ok(None)
}

fn blocks(reader: &SledReader, from: u64, to: Option<u64>, head: u64, responder: Responder) -> Outcome {
    if to.is_some_and(|to| from > to) {
        let message = "the first height is above the last one".to_owned();
        responder.finish(&failed(FailKind::Usage, "bad_range", message));
        return Ok(None);
    }
    let mut count = 0;
    for height in from..=to.map_or(head, |to| to.min(head)) {
        match stored(reader, height, head) {
            Ok(Some(bytes)) => {
                if !responder.send_blocking(&ApiReply::Block { bytes: bytes.to_vec() }) {
                    return Ok(None);
                }
                count += 1;
            }
            Ok(None) => {
                let message = format!("the disk is slow: block {height} is not there yet; ask again");
                responder.finish(&failed(FailKind::NotExecuted, "disk_slow", message));
                return Ok(None);
            }
            Err(error) => return unreadable(error, responder),
        }
    }
    responder.finish(&ApiReply::End { count });
    Ok(None)
}

fn verify(reader: &SledReader, head: u64, responder: Responder) -> Outcome {
    // What is committed now is verified, too.
    if let Err(error) = stored(reader, head, head) {
        return unreadable(error, responder);
    }
    let report = verify::books(reader, None, &mut |done, total| {
        // A client that does not keep up misses some progress, no more.
        responder.send(&ApiReply::Progress { done, total });
        !responder.is_closed()
    });
    let report = match report {
        Ok(Some(report)) => report,
        Ok(None) => return Ok(None),
        Err(error) => return unreadable(error, responder),
    };
    let problem = report.problem.clone();
    responder.finish(&ApiReply::Verified {
        ok: problem.is_none(),
        height: report.height,
        head: report.head.0,
        blocks: report.blocks,
        transactions: report.transactions,
        uncommitted: report.uncommitted,
        problem: report.problem,
    });
    Ok(problem)
}

fn unreadable(error: StoreError, responder: Responder) -> Outcome {
    let (kind, code) = match error {
        StoreError::Corrupt { .. } => (FailKind::Corruption, "corruption"),
        _ => (FailKind::Internal, "disk"),
    };
    responder.finish(&failed(kind, code, error.to_string()));
    Err(error)
}

fn failed(kind: FailKind, code: &str, message: String) -> ApiReply {
    ApiReply::Failed { kind, code: code.to_owned(), message }
}
