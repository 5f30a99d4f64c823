//! Clients that each transfer once at a time, evenly over all accounts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use raftbank_wire::api::{ApiReply, ApiRequest, WriteOutcome};
use raftbank_wire::client::Client;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::folder::{AMOUNT_MAX, pair};
use crate::bench::figures::{Measured, Teller, drive};
use crate::load::transfer;

/// Clients of the load.
const CLIENTS: usize = 64;
/// Deadline of each request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a load has committed, its warm-up included.
#[derive(Debug, Default)]
pub(super) struct Committed {
    pub requests: AtomicU64,
    /// Canonical bytes.
    pub bytes: AtomicU64,
}

/// Runs the load at one node for so long. `number` makes the ids unlike those of any other load.
pub(super) async fn transfers(
    socket: &Path,
    accounts: u64,
    number: u64,
    time: Duration,
    committed: &Arc<Committed>,
) -> Result<Measured> {
    let mut customers = Vec::new();
    for client in 0..CLIENTS {
        customers.push(Customer {
            client: Client::connect(socket, TIMEOUT).await?,
            rng: ChaCha8Rng::seed_from_u64(number * 1_000 + client as u64),
            prefix: format!("l{number}-{client}"),
            count: 0,
            accounts,
            committed: Arc::clone(committed),
        });
    }
    drive(customers, time).await
}

struct Customer {
    client: Client,
    rng: ChaCha8Rng,
    prefix: String,
    count: u64,
    accounts: u64,
    committed: Arc<Committed>,
}

impl Teller for Customer {
    async fn ask(&mut self) -> Result<()> {
        self.count += 1;
        let (from, to) = pair(&mut self.rng, self.accounts);
        let id = format!("{}-{}", self.prefix, self.count);
        let amount = self.rng.random_range(1..=AMOUNT_MAX);
        let request = transfer(&id, &format!("a{from}"), &format!("a{to}"), amount)?.encode();
        let bytes = request.len() as u64;
        let asked = ApiRequest::Write { request, timeout_ms: u32::try_from(TIMEOUT.as_millis())? };
        match self.client.call(asked, TIMEOUT).await? {
            ApiReply::Written { outcome: WriteOutcome::Committed, duplicate: false, .. } => {
                self.committed.requests.fetch_add(1, Ordering::Relaxed);
                self.committed.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            other => bail!("the answer: {other:?}"),
        }
    }
}
