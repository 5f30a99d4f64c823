//! raftbank's loads: single transfers, one account that everyone wants, reads, and many transfers at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Account, Amount, Operation, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, Many, ManyResult, WriteOutcome};
use raftbank_wire::client::Client;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::figures::{Measured, PATIENCE, Sample, Teller, drive};
use super::host;
use crate::cluster::{Cluster, Plan};
use crate::load::transfer;

/// Accounts of every load, the peers' too.
pub(crate) const ACCOUNTS: usize = 10_000;
/// So many of them stand in the genesis file; a block has at most 16,384 requests, and each account takes two.
const GENESIS_ACCOUNTS: usize = 8_000;
/// What each has at the begin.
pub(crate) const BALANCE: u64 = 1_000_000_000;
/// Transfers that are sent together.
pub(crate) const BATCH: usize = 8_000;
/// Most that is transferred at a time.
pub(crate) const AMOUNT_MAX: u64 = 10;
/// Clients of a crowd.
pub(crate) const CROWD: usize = 64;
/// Clients that send batches.
const BATCHERS: usize = 4;
/// More transfers a second than are packed for.
const RATE_MAX: usize = 400_000;
/// Deadline of each request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the clients ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Transfers between any two accounts.
    Uniform,
    /// The same, with the clients at all nodes in turn, not only at the leader.
    Spread,
    /// Transfers from or to one account.
    Hot,
    /// Linearizable reads of any balance.
    Read,
}

/// A bank of three nodes that serves.
pub(crate) struct Bank {
    cluster: Cluster,
    /// The leader's socket: the peers' clients talk to their leader too.
    socket: PathBuf,
    seed: u64,
}

impl Bank {
    pub(crate) async fn start() -> Result<Self> {
        let plan = Plan { accounts: GENESIS_ACCOUNTS, balance: BALANCE, ..Plan::new(3)? };
        let mut cluster = Cluster::start(plan).await?;
        let leader = cluster.leader().await?;
        let socket = cluster.socket(leader);
        let bank = Self { cluster, socket, seed: 0 };
        bank.open_others().await.with_context(|| format!("opening accounts\n{}", bank.cluster.logs()))?;
        Ok(bank)
    }

    /// The accounts that are not in the genesis file.
    async fn open_others(&self) -> Result<()> {
        let (mut opened, mut paid) = (Vec::new(), Vec::new());
        for number in GENESIS_ACCOUNTS..ACCOUNTS {
            let account = Account::parse(&format!("a{number}"))?;
            let open = Operation::Open { account: account.clone() };
            let pay = Operation::Credit { account, amount: Amount::new(BALANCE)? };
            opened.push(Request::new(RequestId::parse(&format!("open-{number}"))?, open)?);
            paid.push(Request::new(RequestId::parse(&format!("pay-{number}"))?, pay)?);
        }
        let client = Client::connect(&self.socket, TIMEOUT).await?;
        send(&client, pack(&opened)?).await?;
        send(&client, pack(&paid)?).await
    }

    /// Closed loop: each client has one request under way, at the leader if nothing else is said.
    pub(crate) async fn load(&mut self, load: Load, clients: usize, time: Duration) -> Result<Measured> {
        let result = self.try_load(load, clients, time).await;
        result.with_context(|| format!("{load:?} with {clients} clients\n{}", self.cluster.logs()))
    }

    async fn try_load(&mut self, load: Load, clients: usize, time: Duration) -> Result<Measured> {
        let mut tellers = Vec::new();
        for number in 0..clients {
            let socket = match load {
                Load::Spread => &self.cluster.socket(number % self.cluster.size()),
                Load::Uniform | Load::Hot | Load::Read => &self.socket,
            };
            let client = Client::connect(socket, TIMEOUT).await?;
            let choice = self.choice(&format!("{number}"));
            tellers.push(Customer { client, choice, load });
        }
        drive(tellers, time).await
    }

    /// Batches of so many clients, each of which sends its next one when the last is answered. They are packed before, so
    /// that the clients take little from the servers. The rate counts transfers, the times whole batches.
    pub(crate) async fn batches(&mut self, time: Duration) -> Result<Sample> {
        let result = self.try_batches(time).await;
        result.with_context(|| format!("batches of {BATCH}\n{}", self.cluster.logs()))
    }

    async fn try_batches(&mut self, time: Duration) -> Result<Sample> {
        let mut choice = self.choice("batch");
        let most = BATCHERS + usize::try_from(time.as_millis())? * RATE_MAX / 1_000 / BATCH;
        let packed: Vec<Vec<u8>> = (0..most).map(|_| choice.packed()).collect::<Result<_>>()?;
        let packed = Arc::new(Mutex::new(packed));
        let mut clients = JoinSet::new();
        // The first batch of each warms up.
        let ready = Arc::new(tokio::sync::Barrier::new(BATCHERS));
        let (begun, spent) = (Arc::new(OnceLock::new()), host::own_processor_time()?);
        for _ in 0..BATCHERS {
            let client = Client::connect(&self.socket, TIMEOUT).await?;
            let (packed, ready, begun) = (Arc::clone(&packed), Arc::clone(&ready), Arc::clone(&begun));
            clients.spawn(async move {
                let next = || packed.lock().unwrap_or_else(PoisonError::into_inner).pop();
                send(&client, next().context("a first batch")?).await?;
                ready.wait().await;
                let until = *begun.get_or_init(Instant::now) + time;
                let mut times = Vec::new();
                while Instant::now() < until
                    && let Some(batch) = next()
                {
                    let sent = Instant::now();
                    send(&client, batch).await?;
                    times.push(sent.elapsed());
                }
                anyhow::Ok((times, Instant::now()))
            });
        }
        let (mut times, mut end) = (Vec::new(), Instant::now());
        while let Some(client) = timeout_at(Instant::now() + PATIENCE, clients.join_next()).await? {
            let (of_one, ended) = client??;
            times.extend(of_one);
            end = end.max(ended);
        }
        let all = end - *begun.get().context("a begin")?;
        let spent = host::own_processor_time()?.saturating_sub(spent);
        let rate = (times.len() * BATCH) as f64 / all.as_secs_f64();
        let mut sample = Sample::new(times, rate)?;
        sample.client_cores = Some(spent.as_secs_f64() / all.as_secs_f64());
        Ok(sample)
    }

    /// Other accounts and ids than ever before.
    fn choice(&mut self, name: &str) -> Choice {
        self.seed += 1;
        Choice { rng: ChaCha8Rng::seed_from_u64(self.seed), prefix: format!("{}-{name}", self.seed), count: 0 }
    }

    /// The sum of all balances is what it was, `world`'s debt included.
    pub(crate) async fn audit(&mut self) -> Result<()> {
        let asked = ApiRequest::Accounts { local: false, timeout_ms: 10_000 };
        let client = Client::connect(&self.socket, TIMEOUT).await?;
        match client.call(asked, TIMEOUT).await? {
            ApiReply::Accounts { accounts, .. } => {
                let all: BTreeMap<_, _> = accounts.into_iter().collect();
                ensure!(all.values().sum::<i128>() == 0, "the bank's balances do not add up");
                Ok(())
            }
            other => bail!("the accounts: {other:?}"),
        }
    }
}

/// Sends all at once, over all connections in turn, and waits until each is committed.
async fn send(client: &Client, requests: Vec<u8>) -> Result<()> {
    let timeout_ms = u32::try_from(TIMEOUT.as_millis())?;
    match client.call(ApiRequest::WriteMany { requests, timeout_ms }, TIMEOUT).await? {
        ApiReply::WrittenMany { results } => results.iter().try_for_each(|result| match result {
            ManyResult::Written { outcome: WriteOutcome::Committed, duplicate: false, .. } => Ok(()),
            other => bail!("a request of a batch was not committed: {other:?}"),
        }),
        other => bail!("a batch was not committed: {other:?}"),
    }
}

/// Chooses accounts.
struct Choice {
    rng: ChaCha8Rng,
    prefix: String,
    count: u64,
}

impl Choice {
    fn packed(&mut self) -> Result<Vec<u8>> {
        pack(&(0..BATCH).map(|_| self.transfer(Load::Uniform)).collect::<Result<Vec<_>>>()?)
    }

    fn transfer(&mut self, load: Load) -> Result<Request> {
        self.count += 1;
        let step = self.rng.random_range(1..ACCOUNTS);
        let mut from = match load {
            Load::Hot => 0,
            Load::Uniform | Load::Spread | Load::Read => self.rng.random_range(0..ACCOUNTS),
        };
        let mut to = (from + step) % ACCOUNTS;
        if self.rng.random_bool(0.5) {
            (from, to) = (to, from);
        }
        let amount = self.rng.random_range(1..=AMOUNT_MAX);
        transfer(&format!("{}-{}", self.prefix, self.count), &format!("a{from}"), &format!("a{to}"), amount)
    }
}

fn pack(requests: &[Request]) -> Result<Vec<u8>> {
    let mut many = Many::default();
    for request in requests {
        ensure!(many.push(&request.encode()), "a batch is too large");
    }
    Ok(many.into_bytes())
}

/// One client.
struct Customer {
    client: Client,
    choice: Choice,
    load: Load,
}

impl Teller for Customer {
    async fn ask(&mut self) -> Result<()> {
        let timeout_ms = u32::try_from(TIMEOUT.as_millis())?;
        let asked = match self.load {
            Load::Uniform | Load::Spread | Load::Hot => {
                ApiRequest::Write { request: self.choice.transfer(self.load)?.encode(), timeout_ms }
            }
            Load::Read => {
                let account = format!("a{}", self.choice.rng.random_range(0..ACCOUNTS));
                ApiRequest::Balance { account, local: false, timeout_ms }
            }
        };
        match self.client.call(asked, TIMEOUT).await? {
            ApiReply::Written { outcome: WriteOutcome::Committed, duplicate: false, .. }
            | ApiReply::Balance { local: false, .. } => Ok(()),
            other => bail!("the answer: {other:?}"),
        }
    }
}
