//! Asking a node or the relay: connect, ask, and ask again on a new connection while there is time. A write is asked
//! again under the same id, so it executes once however often it is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::client::{Client, ClientError};
use raftbank_wire::retry::{Heard, Next, WriteRetry, is_stopping};
use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// Between two tries to reach a daemon that was reached before.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Which daemon a socket belongs to, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// A node.
    Node,
    /// The relay.
    Relay,
}

/// A connection that is made when it is needed, and made again when it is lost.
#[derive(Debug)]
pub struct Session {
    path: PathBuf,
    daemon: Daemon,
    timeout: Duration,
    client: Option<Client>,
}

impl Session {
    /// Nothing is connected yet.
    pub fn new(path: &Path, daemon: Daemon, timeout: Duration) -> Self {
        Self { path: path.to_owned(), daemon, timeout, client: None }
    }

    /// Where the daemon listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another session on the same connection, as long as that lives.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { path: self.path.clone(), daemon: self.daemon, timeout: self.timeout, client: self.client.clone() }
    }

    /// How long a command waits.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The timeout as the daemon is told it, in milliseconds.
    pub fn timeout_ms(&self) -> u32 {
        u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX)
    }

    /// A connected client.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn client(&mut self) -> Result<Client, Failure> {
        if let Some(client) = self.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        match Client::connect(&self.path, self.timeout).await {
            Ok(client) => {
                self.client = Some(client.clone());
                Ok(client)
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// Asks a question that changes nothing, until the timeout.
    ///
    /// # Errors
    /// The daemon is not there, did not answer in time, or says that it failed.
    pub async fn ask(&mut self, request: ApiRequest) -> Result<ApiReply, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut client = self.client().await?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match client.call(request.clone(), left).await {
                // The next daemon on this socket answers.
                Ok(reply) if is_stopping(&reply) => sleep(RETRY_EVERY.min(left)).await,
                Ok(reply) => return unfailed(reply),
                Err(_) => {}
            }
            self.client = None;
            client = self.reconnect(deadline).await.ok_or_else(|| self.silent())?;
        }
    }

    /// Asks for a write, until the timeout.
    ///
    /// # Errors
    /// Not executed if it was never handed to a daemon; unknown if it was and nothing was heard.
    pub async fn write(&mut self, id: &str, request: Vec<u8>) -> Result<ApiReply, Failure> {
        let ask = |timeout_ms| ApiRequest::Write { request: request.clone(), timeout_ms };
        self.write_as(ask).await.map_err(|failure| with_id(failure, id))
    }

    /// Asks for a batch of writes, until the timeout.
    ///
    /// # Errors
    /// As [`Session::write`]; it speaks of all requests of the batch.
    pub async fn write_many(&mut self, requests: Vec<u8>) -> Result<ApiReply, Failure> {
        self.write_as(|timeout_ms| ApiRequest::WriteMany { requests: requests.clone(), timeout_ms }).await
    }

    async fn write_as(&mut self, ask: impl Fn(u32) -> ApiRequest) -> Result<ApiReply, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut client = self.client().await?;
        let mut retry = WriteRetry::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout_ms = WriteRetry::timeout_ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            match client.call(ask(timeout_ms), left).await {
                Ok(reply) => {
                    if retry.heard(Heard::Reply(&reply)) == Next::Done {
                        return unfailed(reply);
                    }
                    // The daemon is there and has nothing better to say yet: do not spin.
                    sleep(RETRY_EVERY.min(left)).await;
                }
                Err(error) => {
                    retry.heard(if error.not_sent() { Heard::NotSent } else { Heard::Nothing });
                }
            }
            self.client = None;
            match self.reconnect(deadline).await {
                Some(again) => client = again,
                None if retry.is_unknown() => return Err(lost()),
                None => return Err(self.silent()),
            }
        }
    }

    async fn reconnect(&mut self, deadline: Instant) -> Option<Client> {
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            if let Ok(client) = Client::connect(&self.path, left).await {
                self.client = Some(client.clone());
                return Some(client);
            }
            sleep(RETRY_EVERY.min(left)).await;
        }
    }

    fn unreachable(&self, error: &ClientError) -> Failure {
        let (what, hint) = match self.daemon {
            Daemon::Node => {
                ("no node answers", "`bankctl doctor` finds out why; if you mean another node: --socket PATH")
            }
            Daemon::Relay => (
                "no relay answers",
                "is raftbank-relayd running? try: systemctl status raftbank-relayd; another socket: --relay-socket PATH",
            ),
        };
        let message = format!("{what}: {error}");
        Failure::new(FailKind::NotExecuted, "unreachable", message).hint(hint)
    }

    fn silent(&self) -> Failure {
        let message =
            format!("no answer within {} from {}", humantime::format_duration(self.timeout), self.path.display());
        Failure::new(FailKind::NotExecuted, "timeout", message)
            .hint("look at: bankctl status; a longer wait: --timeout 30s")
    }
}

/// A write of which nothing was heard.
pub fn unknown(id: &str) -> Failure {
    with_id(lost(), id)
}

fn lost() -> Failure {
    let message = "the outcome is not known: the connection was lost while the request was under way";
    Failure::new(FailKind::Unknown, "outcome_unknown", message)
}

fn with_id(mut failure: Failure, id: &str) -> Failure {
    failure.id = Some(id.to_owned());
    if failure.kind == FailKind::Unknown {
        failure.next = vec![format!("ask again with the same id; it executes once: --id {id}")];
    }
    failure
}

/// A daemon's word that it failed is a failure.
///
/// # Errors
/// That failure.
pub fn unfailed(reply: ApiReply) -> Result<ApiReply, Failure> {
    match reply {
        ApiReply::Failed { kind, code, message } => {
            let hint = match code.as_str() {
                "unknown_account" => Some("bankctl accounts lists all accounts; bankctl open NAME opens one"),
                "unknown_request" => Some(
                    "an id is printed before its request is sent; bankctl history ACCOUNT lists those of an account",
                ),
                "not_supported_yet" => Some("bankctl doctor shows which version each member runs"),
                "unknown_block" => Some("bankctl status shows this node's height"),
                "no_leader" | "timeout" => Some("look at: bankctl status"),
                _ => None,
            };
            Err(Failure { next: hint.map(str::to_owned).into_iter().collect(), ..Failure::new(kind, &code, message) })
        }
        reply => Ok(reply),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raftbank_wire::api::WriteOutcome;
    use raftbank_wire::server::{ServerConfig, bind, spawn};

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_is_stopping_is_asked_until_the_next_one_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let (sender, mut requests) = tokio::sync::mpsc::channel(8);
        let _server = spawn(bind(&path).await.unwrap(), ServerConfig::new("bank/1"), sender);
        let daemon = tokio::spawn(async move {
            let mut asked = 0;
            while let Some(incoming) = requests.recv().await {
                asked += 1;
                let (id, outcome) = ("x".to_owned(), WriteOutcome::Committed);
                incoming.responder.finish(&match asked {
                    1 | 2 | 4 => ApiReply::Failed {
                        kind: FailKind::NotExecuted,
                        code: "stopping".to_owned(),
                        message: "this node is stopping".to_owned(),
                    },
                    3 => ApiReply::Written { id, outcome, height: 1, index: 0, duplicate: false },
                    _ => ApiReply::Found { height: 1, index: 0 },
                });
            }
        });
        let mut session = Session::new(&path, Daemon::Node, Duration::from_secs(60));
        assert!(matches!(session.write("x", vec![1]).await, Ok(ApiReply::Written { .. })));
        let found = session.ask(ApiRequest::Find { id: "x".to_owned() }).await;
        assert!(matches!(found, Ok(ApiReply::Found { height: 1, .. })));
        daemon.abort();
    }
}
