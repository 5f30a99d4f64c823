//! Clients that transfer money all the time, through all nodes, and remember what they were told.
//!
//! Each has one request under way. An unknown outcome is asked for again with the same id until it is known. Between
//! its transfers a client reads, linearizably or what one node has.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use raftbank_ledger::{Account, Amount, Leg, Operation, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, WriteOutcome};
use raftbank_wire::client::Client;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

pub use crate::history::{Attempt, Fate};
use crate::history::{History, Moment, Sight, View};

/// How long a client goes on asking for an unknown outcome after the load was told to end.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// Pause before the next attempt when nobody answers.
const PAUSE: Duration = Duration::from_millis(20);

/// What load there shall be.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The nodes' sockets; client k begins at the k-th and goes on to another one when it gets no answer.
    pub sockets: Vec<PathBuf>,
    /// So many requests are under way at a time.
    pub clients: usize,
    /// Chooses accounts and amounts.
    pub seed: u64,
    /// Accounts `a0`, `a1`, …
    pub accounts: usize,
    /// Most that is transferred at a time. Above the balances: some transfers are refused.
    pub amount_max: u64,
    /// Begin of all ids.
    pub prefix: String,
    /// Deadline of one attempt.
    pub timeout: Duration,
    /// Linked and pending transfers, posts and voids among the transfers.
    pub mixed: bool,
    /// How likely a client reads before a transfer, from 0 to 1.
    pub reads: f64,
    /// How long a client rests after each transfer.
    pub rest: Duration,
}

/// Nanoseconds since this process first asked.
pub fn moment() -> Moment {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<History>>,
}

impl Load {
    /// Starts all clients.
    pub fn start(plan: &LoadPlan) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients = (0..plan.clients)
            .map(|number| {
                let teller = Teller {
                    rng: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1_000_003).wrapping_add(number as u64)),
                    plan: plan.clone(),
                    number,
                    at: number % plan.sockets.len(),
                    client: None,
                    held: Vec::new(),
                    ending: Arc::clone(&ending),
                    acknowledged: Arc::clone(&acknowledged),
                };
                tokio::spawn(teller.work())
            })
            .collect();
        Self { ending, acknowledged, clients }
    }

    /// Acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `count` more are acknowledged, for at most `limit`; false: they were not.
    pub async fn progress(&self, count: u64, limit: Duration) -> bool {
        let (goal, deadline) = (self.acknowledged() + count, Instant::now() + limit);
        while self.acknowledged() < goal {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Ends the load: no new requests; unknown ones are resolved as far as that is possible.
    ///
    /// # Errors
    /// A client panicked.
    pub async fn finish(self) -> Result<History> {
        self.ending.store(true, Ordering::Relaxed);
        let mut all = History::default();
        for client in self.clients {
            all.extend(client.await.context("a client of the load")?);
        }
        Ok(all)
    }
}

/// One client.
struct Teller {
    rng: ChaCha8Rng,
    plan: LoadPlan,
    number: usize,
    /// The node it talks to.
    at: usize,
    client: Option<Client>,
    /// Its pending transfers that it has not asked to end.
    held: Vec<RequestId>,
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Teller {
    async fn work(mut self) -> History {
        let mut history = History::default();
        while !self.ending.load(Ordering::Relaxed) {
            if self.rng.random_bool(self.plan.reads) {
                history.views.extend(self.look().await);
            }
            let id = format!("{}-{}-{}", self.plan.prefix, self.number, history.attempts.len());
            let attempt = match self.transfer(&id) {
                Ok(request) => self.ask(id, request).await,
                Err(error) => {
                    let now = moment();
                    Attempt { id, sent: now, known: now, tries: 0, fate: Fate::Surprise(format!("{error:#}")) }
                }
            };
            match attempt.fate {
                Fate::Acknowledged { .. } => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    if !self.plan.rest.is_zero() {
                        tokio::time::sleep(self.plan.rest).await;
                    }
                }
                // Nobody is there: do not spin.
                _ => tokio::time::sleep(PAUSE).await,
            }
            history.attempts.push(attempt);
        }
        history
    }

    /// Reads something, at the node that it talks to. No answer is no lie.
    async fn look(&mut self) -> Option<View> {
        let client = self.client().await?;
        let (timeout, sent) = (self.plan.timeout, moment());
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let local = self.rng.random_bool(0.3);
        let asked = if self.rng.random_bool(0.2) {
            ApiRequest::Accounts { local, timeout_ms }
        } else {
            let account = format!("a{}", self.rng.random_range(0..self.plan.accounts));
            ApiRequest::Balance { account, local, timeout_ms }
        };
        let (height, sight) = match client.call(asked, timeout + Duration::from_secs(1)).await {
            Ok(ApiReply::Balance { account, balance, height, .. }) => (height, Sight::Balance(account, Some(balance))),
            Ok(ApiReply::Accounts { height, accounts }) => (height, Sight::Accounts(accounts)),
            _ => {
                self.elsewhere();
                return None;
            }
        };
        let (node, known) = (self.at, moment());
        Some(View { node, sent, known, linearizable: !local, height: Some(height), sight })
    }

    /// The connection, made anew if need be.
    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            self.client = Client::connect(&self.plan.sockets[self.at], self.plan.timeout).await.ok();
            if self.client.is_none() {
                self.elsewhere();
            }
        }
        self.client.clone()
    }

    fn transfer(&mut self, id: &str) -> Result<Request> {
        let accounts = self.plan.accounts;
        let from = self.rng.random_range(0..accounts);
        let to = (from + self.rng.random_range(1..accounts)) % accounts;
        let amount = self.rng.random_range(1..=self.plan.amount_max);
        let (from, to) = (format!("a{from}"), format!("a{to}"));
        let kind = if self.plan.mixed { self.rng.random_range(0..10) } else { 9 };
        let mut request = transfer(id, &from, &to, amount)?;
        let (from, to, amount) = (Account::parse(&from)?, Account::parse(&to)?, Amount::new(amount)?);
        let memo = String::new();
        request.operation = match kind {
            0 => {
                let back = Leg { from: to.clone(), to: from.clone(), amount: Amount::new(1)?, memo: String::new() };
                Operation::Linked { legs: vec![Leg { from, to, amount, memo }, back] }
            }
            1 | 2 => {
                self.held.push(request.id.clone());
                // Little, and not for long: most of the other transfers are to succeed.
                let amount = Amount::new(amount.get().div_ceil(10))?;
                let timeout_ms = self.rng.random_range(1..3_000);
                Operation::Pending { from, to, amount, timeout_ms, memo }
            }
            3 | 4 if !self.held.is_empty() => {
                let pending = self.held.swap_remove(self.rng.random_range(0..self.held.len()));
                if kind == 3 { Operation::Post { pending, amount: None } } else { Operation::Void { pending } }
            }
            _ => return Ok(request),
        };
        Ok(request)
    }

    async fn ask(&mut self, id: String, request: Request) -> Attempt {
        let sent = moment();
        let mut attempt = Attempt { id, sent, known: sent, tries: 0, fate: Fate::Unknown };
        let mut patience = None;
        loop {
            attempt.tries += 1;
            let fate = self.try_once(&request).await;
            attempt.known = moment();
            match fate {
                // "Not executed" tells about this attempt; an earlier one may still be under way.
                Fate::NotExecuted if attempt.tries > 1 => {}
                Fate::Unknown => {}
                fate => {
                    attempt.fate = fate;
                    return attempt;
                }
            }
            if self.ending.load(Ordering::Relaxed) && patience.get_or_insert_with(Instant::now).elapsed() > AFTERWARDS {
                return attempt;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_once(&mut self, request: &Request) -> Fate {
        let Some(client) = self.client().await else { return Fate::NotExecuted };
        let fate = write(&client, request, self.plan.timeout).await;
        if matches!(fate, Fate::Unknown | Fate::NotExecuted) {
            self.elsewhere();
        }
        fate
    }

    fn elsewhere(&mut self) {
        self.client = None;
        self.at = (self.at + 1) % self.plan.sockets.len();
    }
}

/// A transfer.
///
/// # Errors
/// A bad id, name or amount.
pub fn transfer(id: &str, from: &str, to: &str, amount: u64) -> Result<Request> {
    let operation = Operation::Transfer {
        from: Account::parse(from)?,
        to: Account::parse(to)?,
        amount: Amount::new(amount)?,
        memo: String::new(),
    };
    Ok(Request::new(RequestId::parse(id)?, operation)?)
}

/// Sends a request once, and tells what the answer says about it.
pub async fn write(client: &Client, request: &Request, timeout: Duration) -> Fate {
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let asked = ApiRequest::Write { request: request.encode(), timeout_ms };
    // The node answers at its deadline; the answer needs a moment to arrive.
    match client.call(asked, timeout + Duration::from_secs(1)).await {
        Ok(ApiReply::Written { id, outcome, height, index, duplicate }) if id == request.id.as_str() => {
            let outcome = match outcome {
                WriteOutcome::Committed => "committed".to_owned(),
                WriteOutcome::Refused { code, .. } => code,
            };
            Fate::Acknowledged { height, index, outcome, duplicate }
        }
        Ok(ApiReply::Failed { kind: FailKind::NotExecuted, .. }) => Fate::NotExecuted,
        Ok(ApiReply::Failed { kind: FailKind::Unknown, .. }) => Fate::Unknown,
        Ok(other) => Fate::Surprise(format!("{other:?}")),
        Err(error) if error.not_sent() => Fate::NotExecuted,
        Err(_) => Fate::Unknown,
    }
}
