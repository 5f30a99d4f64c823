//! A connection that clients share, and one question on it: asked again on a new connection while there is time, as
//! every verb of `bankctl` does; a transfer under the same id.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, ManyResult, WriteOutcome};
use raftbank_wire::client::{Client, ClientError};
use raftbank_wire::retry::{Heard, Next, WriteRetry, is_stopping};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::tally::Fate;

/// Between two tries to reach a node that was reached before.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// A connection, made when it is needed and made again when it is lost.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    /// The connection, and when making one failed last.
    slot: Mutex<(Option<Client>, Option<Instant>)>,
}

impl Link {
    /// Nothing is connected yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), slot: Mutex::default() }
    }

    /// Connects if need be.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn client(&self, limit: Duration) -> Result<Client, ClientError> {
        let deadline = Instant::now() + limit;
        let not_now = |why: &str| ClientError::NotSent(why.to_owned());
        let mut slot = timeout_at(deadline, self.slot.lock()).await.map_err(|_| not_now("nobody answers"))?;
        if let Some(client) = slot.0.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        // Of many clients that wait for this connection only one tries each time.
        if slot.1.is_some_and(|failed| failed.elapsed() < RETRY_EVERY) {
            return Err(not_now("the last try to connect has just failed"));
        }
        let connected = Client::connect(&self.path, deadline.saturating_duration_since(Instant::now())).await;
        *slot = match &connected {
            Ok(client) => (Some(client.clone()), None),
            Err(_) => (None, Some(Instant::now())),
        };
        connected
    }

    /// Asks for a transfer, for at most `limit`.
    pub async fn write(&self, bytes: &[u8], limit: Duration) -> Fate {
        let ask = |timeout_ms| ApiRequest::Write { request: bytes.to_vec(), timeout_ms };
        self.write_as(ask, limit).await.map_or_else(|fate| fate, fate)
    }

    /// Asks for a batch of transfers, for at most `limit`. The error is the fate of each of them.
    pub async fn write_many(&self, requests: &[u8], limit: Duration) -> Result<Vec<Fate>, Fate> {
        let ask = |timeout_ms| ApiRequest::WriteMany { requests: requests.to_vec(), timeout_ms };
        match self.write_as(ask, limit).await? {
            ApiReply::WrittenMany { results } => Ok(results.into_iter().map(fate_of).collect()),
            reply => Err(fate(reply)),
        }
    }

    async fn write_as(&self, ask: impl Fn(u32) -> ApiRequest, limit: Duration) -> Result<ApiReply, Fate> {
        let deadline = Instant::now() + limit;
        let mut retry = WriteRetry::default();
        let mut connected = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(over(retry.is_unknown(), connected));
            }
            let Ok(client) = self.client(left).await else {
                connected = false;
                sleep(RETRY_EVERY.min(left)).await;
                continue;
            };
            connected = true;
            let timeout_ms = WriteRetry::timeout_ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            match client.call(ask(timeout_ms), left).await {
                Ok(reply) => {
                    if retry.heard(Heard::Reply(&reply)) == Next::Done {
                        return Ok(reply);
                    }
                    sleep(RETRY_EVERY.min(left)).await;
                }
                Err(error) => {
                    retry.heard(if error.not_sent() { Heard::NotSent } else { Heard::Nothing });
                }
            }
        }
    }

    /// Asks a question that changes nothing, for at most `limit`.
    pub async fn read(&self, question: impl Fn(u32) -> ApiRequest, limit: Duration) -> Fate {
        let deadline = Instant::now() + limit;
        let mut connected = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return over(false, connected);
            }
            let Ok(client) = self.client(left).await else {
                connected = false;
                sleep(RETRY_EVERY.min(left)).await;
                continue;
            };
            connected = true;
            let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
            match client.call(question(timeout_ms), left).await {
                Ok(reply) if is_stopping(&reply) => sleep(RETRY_EVERY.min(left)).await,
                Ok(reply) => return fate(reply),
                Err(_) => {}
            }
        }
    }
}

/// The time is up.
fn over(unknown: bool, connected: bool) -> Fate {
    match (unknown, connected) {
        (true, _) => Fate::Failed(FailKind::Unknown, "outcome_unknown".to_owned()),
        (false, true) => Fate::Failed(FailKind::NotExecuted, "timeout".to_owned()),
        (false, false) => Fate::Failed(FailKind::NotExecuted, "unreachable".to_owned()),
    }
}

fn fate_of(result: ManyResult) -> Fate {
    match result {
        ManyResult::Written { outcome: WriteOutcome::Committed, .. } => Fate::Done,
        ManyResult::Written { outcome: WriteOutcome::Refused { code, .. }, .. }
        | ManyResult::Failed { kind: FailKind::Refused, code, .. } => Fate::Refused(code),
        ManyResult::Failed { kind, code, .. } => Fate::Failed(kind, code),
    }
}

fn fate(reply: ApiReply) -> Fate {
    match reply {
        ApiReply::Written { outcome: WriteOutcome::Committed, .. } | ApiReply::Balance { .. } => Fate::Done,
        ApiReply::Written { outcome: WriteOutcome::Refused { code, .. }, .. }
        | ApiReply::Failed { kind: FailKind::Refused, code, .. } => Fate::Refused(code),
        ApiReply::Failed { kind, code, .. } => Fate::Failed(kind, code),
        _ => Fate::Failed(FailKind::Internal, "wrong_answer".to_owned()),
    }
}
