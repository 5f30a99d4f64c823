//! `bankctl demo`: a narrated tour on a cluster of its own. Every step is checked; it ends well only if all held.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, PartitionCommand, StatusReply, WriteOutcome};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::dev::{Cluster, Options};
use crate::failure::Failure;
use crate::output::{Out, hex, line, note};
use crate::session::{Daemon, Session};

/// Longest wait for anything the tour waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the minority may think about a write that it must refuse.
const MINORITY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Transfers under way when the leader is killed.
const LOAD: usize = 40;

/// Runs the tour.
///
/// # Errors
/// The first step that did not hold.
pub async fn run(out: Out, keep: bool) -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("raftbank-demo-{}", std::process::id()));
    let started = Instant::now();
    line(&out.bold("raftbank: a tour on a cluster of three nodes and a relay, each a process of its own"));
    let options = Options { nodes: Some(3), restart: true, slow: false };
    let cluster = Cluster::start(&dir, options).await?;
    let mut tour = Tour { cluster, out, step: 0 };
    let result = tour.all().await;
    tour.cluster.stop().await;
    if result.is_err() || keep {
        note(&format!("the cluster's folder, with its logs, is kept: {}", dir.display()));
    } else if let Err(error) = std::fs::remove_dir_all(&dir) {
        note(&format!("{} could not be removed: {error}", dir.display()));
    }
    result?;
    line(&format!("\n{} in {:.1} s", out.green("every step held"), started.elapsed().as_secs_f32()));
    line("next: bankctl dev up starts a cluster to play with");
    Ok(())
}

struct Tour {
    cluster: Cluster,
    out: Out,
    step: u32,
}

impl Tour {
    async fn all(&mut self) -> Result<(), Failure> {
        self.title("The cluster starts");
        tokio::time::timeout(PATIENCE, self.cluster.serving()).await.map_err(|_| broken("no leader serves"))?;
        let leader = self.leader(None).await?;
        self.say(&format!("{leader} leads"));
        self.transfers(&leader).await?;
        let leader = self.partition().await?;
        self.kill_leader(&leader).await?;
        self.verify().await
    }

    async fn transfers(&mut self, leader: &str) -> Result<(), Failure> {
        self.title("Accounts and transfers, at any node");
        let nodes = self.cluster.layout().nodes.clone();
        for name in ["alice", "bob"] {
            self.committed(leader, &format!("open-{name}"), Operation::Open { account: account(name)? }).await?;
        }
        self.committed(&nodes[0], "cash-in", Operation::Credit { account: account("alice")?, amount: amount(100)? })
            .await?;
        self.say("opened alice and bob, credited alice with 100");
        let other = nodes.iter().find(|node| *node != leader).cloned().unwrap_or_default();
        let first = self.committed(&other, "rent", transfer("alice", "bob", 30, "rent")?).await?;
        self.say(&format!("alice -> bob 30, sent to {other}, committed at height {}, index {}", first.0, first.1));
        let again = self.write(&other, "rent", transfer("alice", "bob", 30, "rent")?, PATIENCE).await?;
        let ApiReply::Written { height, index, duplicate: true, .. } = again else {
            return Err(broken("the same id again was not recognized"));
        };
        check((height, index) == (first.0, first.1), "the repeat got another place")?;
        self.say("the same id again: the first answer, and no second payment");
        let refused = self.write(leader, "too-much", transfer("alice", "bob", 71, "")?, PATIENCE).await?;
        let refused = matches!(&refused, ApiReply::Written { outcome: WriteOutcome::Refused { code, .. }, .. } if code == "insufficient_funds");
        check(refused, "an overdraft was not refused")?;
        self.say("one unit more than alice has: refused");
        for node in &nodes {
            self.balance_is(node, "alice", 70).await?;
            self.balance_is(node, "bob", 30).await?;
        }
        self.say("alice 70, bob 30, read linearizably at each node");
        Ok(())
    }

    /// Isolates the leader, and returns the new one.
    async fn partition(&mut self) -> Result<String, Failure> {
        let nodes = self.cluster.layout().nodes.clone();
        let old = self.leader(None).await?;
        let others: Vec<String> = nodes.iter().filter(|node| **node != old).cloned().collect();
        self.title(&format!("A partition: the leader {old} alone"));
        self.relay(PartitionCommand::Set { groups: format!("{old}/{}", others.join(",")), for_ms: None }).await?;
        let lonely = self.write(&old, "lonely", transfer("alice", "bob", 1, "")?, MINORITY_TIMEOUT).await;
        match lonely {
            Err(failure) if [FailKind::NotExecuted, FailKind::Unknown].contains(&failure.kind) => {
                self.say(&format!("{old} cannot commit: {}", failure.code));
            }
            other => return Err(broken(&format!("the minority answered {other:?}"))),
        }
        let new = self.leader(Some(&old)).await?;
        self.committed(&new, "majority", transfer("alice", "bob", 10, "")?).await?;
        self.say(&format!("{new} leads the majority and commits"));
        self.relay(PartitionCommand::Heal).await?;
        // Its id decides: committed now, or executed now, but once.
        self.committed(&old, "lonely", transfer("alice", "bob", 1, "")?).await?;
        self.same_heads().await?;
        for node in &nodes {
            self.balance_is(node, "alice", 59).await?;
        }
        self.say(&format!("healed: {old} follows, the lonely transfer executed once, all heads are equal"));
        self.leader(None).await
    }

    async fn kill_leader(&mut self, leader: &str) -> Result<(), Failure> {
        self.title(&format!("kill -9 of the leader {leader}, with {LOAD} transfers under way"));
        let nodes = self.cluster.layout().nodes.clone();
        let mut tasks = Vec::new();
        let mut sessions = Vec::new();
        for number in 0..LOAD {
            let mut session = self.session(&nodes[number % nodes.len()], PATIENCE);
            // Connected before the kill: from then on a session reconnects by itself.
            session.client().await?;
            sessions.push(session);
        }
        for (number, mut session) in sessions.into_iter().enumerate() {
            let id = format!("load-{number}");
            let request = request(&id, transfer("alice", "bob", 1, "")?)?;
            tasks.push(tokio::spawn(async move { session.write(&id, request.encode()).await }));
            if number == LOAD / 2 {
                sleep(Duration::from_millis(20)).await;
                self.kill(leader)?;
            }
        }
        for task in tasks {
            let reply = task.await.map_err(|error| broken(&error.to_string()))??;
            check(is_committed(&reply), "a transfer under way was lost")?;
        }
        let new = self.leader(None).await?;
        self.say(&format!("{new} leads; all {LOAD} transfers committed, retried under their ids"));
        self.same_heads().await?;
        for node in &nodes {
            self.balance_is(node, "alice", 59 - LOAD as i128).await?;
            self.balance_is(node, "bob", 41 + LOAD as i128).await?;
        }
        self.say(&format!("{leader} is back and has caught up; no transfer was lost, none executed twice"));
        Ok(())
    }

    async fn verify(&mut self) -> Result<(), Failure> {
        self.title("The books: every node re-executes its chain from genesis");
        let mut heads = Vec::new();
        for node in self.cluster.layout().nodes.clone() {
            let mut session = self.session(&node, PATIENCE);
            let mut stream = session.client().await?.stream(ApiRequest::Verify).await;
            loop {
                match stream.recv().await {
                    Some(ApiReply::Progress { .. }) => {}
                    Some(ApiReply::Verified { ok: true, height, head, blocks, transactions, .. }) => {
                        self.say(&format!("{node}: {blocks} blocks, {transactions} requests, height {height}, ok"));
                        heads.push(head);
                        break;
                    }
                    other => return Err(broken(&format!("verification at {node}: {other:?}"))),
                }
            }
        }
        heads.dedup();
        check(heads.len() == 1, "the nodes have different heads")?;
        self.say(&format!("one head: {}", hex(&heads[0])));
        Ok(())
    }

    // -- what the steps are made of

    fn title(&mut self, text: &str) {
        self.step += 1;
        line(&format!("\n{}", self.out.bold(&format!("{}. {text}", self.step))));
    }

    fn say(&self, text: &str) {
        line(&format!("   {} {text}", self.out.green("ok")));
    }

    fn session(&self, node: &str, timeout: Duration) -> Session {
        let path: PathBuf = self.cluster.layout().socket(node);
        Session::new(&path, Daemon::Node, timeout)
    }

    async fn write(&self, node: &str, id: &str, operation: Operation, timeout: Duration) -> Result<ApiReply, Failure> {
        self.session(node, timeout).write(id, request(id, operation)?.encode()).await
    }

    async fn committed(&self, node: &str, id: &str, operation: Operation) -> Result<(u64, u32), Failure> {
        match self.write(node, id, operation, PATIENCE).await? {
            ApiReply::Written { outcome: WriteOutcome::Committed, height, index, .. } => Ok((height, index)),
            other => Err(broken(&format!("{id} was not committed: {other:?}"))),
        }
    }

    async fn balance_is(&self, node: &str, name: &str, wanted: i128) -> Result<(), Failure> {
        let timeout_ms = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
        let asked = ApiRequest::Balance { account: name.to_owned(), local: false, timeout_ms };
        match self.session(node, PATIENCE).ask(asked).await? {
            ApiReply::Balance { balance, .. } if balance == wanted => Ok(()),
            other => Err(broken(&format!("{name} at {node} should hold {wanted}: {other:?}"))),
        }
    }

    async fn status(&self, node: &str) -> Result<StatusReply, Failure> {
        match self.session(node, Duration::from_secs(1)).ask(ApiRequest::Status).await? {
            ApiReply::Status(status) => Ok(status),
            other => Err(broken(&format!("{other:?}"))),
        }
    }

    /// The node that leads, other than `not`.
    async fn leader(&self, not: Option<&str>) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for node in self.cluster.layout().nodes.iter().filter(|node| not != Some(node.as_str())) {
                if let Ok(status) = self.status(node).await
                    && status.leader.as_deref() == Some(node)
                {
                    return Ok(node.clone());
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(broken("no node leads"))
    }

    async fn same_heads(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut heads = Vec::new();
            for node in &self.cluster.layout().nodes {
                heads.push(self.status(node).await.ok().map(|status| status.head));
            }
            if heads[0].is_some() && heads.iter().all(|head| *head == heads[0]) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(broken("the heads stay different"))
    }

    async fn relay(&self, command: PartitionCommand) -> Result<(), Failure> {
        let mut session = Session::new(&self.cluster.layout().relay_socket(), Daemon::Relay, PATIENCE);
        session.ask(ApiRequest::Partition(command)).await.map(|_| ())
    }

    fn kill(&self, node: &str) -> Result<(), Failure> {
        let pid = self.cluster.pid(node).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| broken("the leader is down already"))?;
        kill_process(pid, Signal::KILL).map_err(|error| broken(&error.to_string()))
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(FailKind::Internal, "demo", format!("the tour stops here: {what}"))
}

fn check(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(broken(otherwise)) }
}

fn is_committed(reply: &ApiReply) -> bool {
    matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. })
}

fn account(name: &str) -> Result<Account, Failure> {
    crate::verbs::writes::account(name)
}

fn amount(value: u64) -> Result<Amount, Failure> {
    Amount::new(value).map_err(|error| broken(&error.to_string()))
}

fn transfer(from: &str, to: &str, value: u64, memo: &str) -> Result<Operation, Failure> {
    Ok(Operation::Transfer { from: account(from)?, to: account(to)?, amount: amount(value)?, memo: memo.to_owned() })
}

fn request(id: &str, operation: Operation) -> Result<Request, Failure> {
    let id = RequestId::parse(id).map_err(|error| broken(&error.to_string()))?;
    crate::verbs::writes::request(id, operation)
}
