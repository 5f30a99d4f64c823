//! etcd: three members with default settings, plain puts, and transfers.
//!
//! A transfer is what etcd offers for one: read both balances, then a transaction that puts both if neither has changed
//! since, and reads them again if one has. The first read is answered by the leader alone, at once, which is the fastest
//! that is correct here: the transaction itself compares.

mod grpc;
mod messages;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use self::grpc::Connection;
use self::messages::Swapped;
use super::bank::{ACCOUNTS, AMOUNT_MAX, BALANCE};
use super::figures::{PATIENCE, Sample, Teller, drive};
use super::host;
use super::running::Running;

/// Most operations in one transaction, by default.
const OPERATIONS_MAX: usize = 128;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most attempts of one transfer.
const ATTEMPTS_MAX: usize = 1_000;

const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Where the program is, and its version; or why it cannot be measured.
pub(crate) fn find() -> Result<(PathBuf, String)> {
    let path = host::find("etcd").context("there is no etcd in PATH (Debian: etcd-server)")?;
    let version = host::first_line(&path, "--version")?;
    Ok((path, version))
}

/// What the clients ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One key each time.
    Put,
    /// Two balances each time.
    Transfer,
}

/// Three members that serve.
pub(crate) struct Etcd {
    members: Vec<Running>,
    leader: SocketAddr,
    seed: u64,
    // Last: removed when the members are gone.
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// Starts them, and makes all accounts.
    pub(crate) async fn start() -> Result<Self> {
        let (program, _) = find()?;
        let folder = tempfile::Builder::new().prefix("rbetcd").tempdir().context("a temporary folder")?;
        let addresses = free_addresses(6)?;
        let (clients, peers) = addresses.split_at(3);
        let members: Vec<String> = (0..3).map(|member| format!("m{member}=http://{}", peers[member])).collect();
        let mut running = Vec::new();
        for member in 0..3 {
            let mut command = Command::new(&program);
            // Its environment can change every setting.
            command.env_clear().current_dir(folder.path());
            command.arg("--name").arg(format!("m{member}"));
            command.arg("--data-dir").arg(folder.path().join(format!("m{member}")));
            for option in ["--listen-client-urls", "--advertise-client-urls"] {
                command.arg(option).arg(format!("http://{}", clients[member]));
            }
            for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
                command.arg(option).arg(format!("http://{}", peers[member]));
            }
            command.arg("--initial-cluster").arg(members.join(",")).args(["--initial-cluster-state", "new"]);
            let log = folder.path().join(format!("m{member}.log"));
            running.push(Running::start(command, &log, libc::SIGTERM).context("etcd")?);
        }
        let leader = leader(&mut running, clients).await?;
        let mut connection = Connection::open(leader).await?;
        let accounts: Vec<usize> = (0..ACCOUNTS).collect();
        for part in accounts.chunks(OPERATIONS_MAX) {
            let puts: Vec<_> = part.iter().map(|&account| (name(account), BALANCE.to_string())).collect();
            connection.call(TXN, &messages::puts(&puts)).await.context("making the accounts")?;
        }
        Ok(Self { members: running, leader, seed: 0, _folder: folder })
    }

    /// Closed loop: each client has a connection to the leader and one request under way.
    pub(crate) async fn load(&mut self, load: Load, clients: usize, time: Duration) -> Result<Sample> {
        let result = self.try_load(load, clients, time).await;
        result.with_context(|| {
            let logs: Vec<String> = self.members.iter().map(Running::log).collect();
            format!("etcd, {load:?} with {clients} clients\n{}", logs.join("\n"))
        })
    }

    async fn try_load(&mut self, load: Load, clients: usize, time: Duration) -> Result<Sample> {
        let mut tellers = Vec::new();
        for _ in 0..clients {
            self.seed += 1;
            let rng = ChaCha8Rng::seed_from_u64(self.seed);
            tellers.push(Customer { connection: Connection::open(self.leader).await?, rng, load });
        }
        drive(tellers, time).await?.sample()
    }
}

/// Waits for a member that leads.
async fn leader(running: &mut [Running], clients: &[SocketAddr]) -> Result<SocketAddr> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for &address in clients {
            if let Ok(mut connection) = Connection::open(address).await
                && let Ok(answer) = connection.call(STATUS, &[]).await
                && messages::leads(&answer)?
            {
                return Ok(address);
            }
        }
        for member in &mut *running {
            member.check().context("a member of etcd")?;
        }
        ensure!(Instant::now() < deadline, "etcd has no leader within {PATIENCE:?}:\n{}", running[0].log());
        sleep(LOOK_EVERY).await;
    }
}

/// Free ports, all different. Another process may take one before it is used; then etcd says so.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

fn name(account: usize) -> String {
    format!("a{account}")
}

struct Customer {
    connection: Connection,
    rng: ChaCha8Rng,
    load: Load,
}

impl Customer {
    async fn transfer(&mut self) -> Result<()> {
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let amount = self.rng.random_range(1..=AMOUNT_MAX);
        let names = [name(from), name(to)];
        let answer = self.connection.call(TXN, &messages::read(&names)).await?;
        let mut held = messages::held(&answer)?;
        for _ in 0..ATTEMPTS_MAX {
            let [payer, payee] = &held;
            let left = payer.balance.checked_sub(amount).context("an account of etcd's is empty")?;
            let balances = [left.to_string(), (payee.balance + amount).to_string()];
            let revisions = [payer.revision, payee.revision];
            let answer = self.connection.call(TXN, &messages::swap(&names, revisions, &balances)).await?;
            match messages::swapped(&answer)? {
                Swapped::Done => return Ok(()),
                Swapped::Changed(now) => held = now,
            }
        }
        bail!("{ATTEMPTS_MAX} attempts of one transfer were in vain");
    }
}

impl Teller for Customer {
    async fn ask(&mut self) -> Result<()> {
        match self.load {
            Load::Transfer => self.transfer().await,
            Load::Put => {
                let key = format!("put-{}", self.rng.random_range(0..ACCOUNTS));
                let answer = self.connection.call(PUT, &messages::put(&key, &BALANCE.to_string())).await?;
                ensure!(!answer.is_empty(), "an empty answer");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::messages::Held;
    use super::*;

    /// Money is neither made nor lost when many clients want the same accounts: the transaction is one.
    #[tokio::test]
    async fn transfers_keep_the_sum() {
        if let Err(why) = find() {
            println!("not run: {why:#}");
            return;
        }
        let mut etcd = Etcd::start().await.unwrap();
        let sample = etcd.load(Load::Transfer, 8, Duration::from_millis(500)).await.unwrap();
        assert!(sample.count > 0);
        let mut connection = Connection::open(etcd.leader).await.unwrap();
        let (mut sum, mut moved) = (0, false);
        for account in (0..ACCOUNTS).step_by(2) {
            let answer = connection.call(TXN, &messages::read(&[name(account), name(account + 1)])).await.unwrap();
            let held: [Held; 2] = messages::held(&answer).unwrap();
            sum += held[0].balance + held[1].balance;
            moved |= held[0].balance != BALANCE || held[1].balance != BALANCE;
        }
        assert_eq!(sum, BALANCE * ACCOUNTS as u64);
        assert!(moved);
    }
}
