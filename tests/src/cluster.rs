//! A bank of real processes: a relay and its nodes, each in a folder of its own, to be killed, frozen and restarted.

mod plan;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raftbank_wire::api::{ApiReply, ApiRequest, NodeRole, StatusReply};
use raftbank_wire::client::Client;

pub use plan::Plan;

use crate::process::{end, free_address, signal_to, spawn, tail, told};

/// Longest wait for anything that must happen soon; far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The processes and their files. Dropping it ends the processes and removes the files.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    folder: tempfile::TempDir,
    listen: SocketAddr,
    relay: Option<Child>,
    nodes: Vec<Option<Child>>,
    frozen: BTreeSet<usize>,
}

impl Cluster {
    /// Starts everything; does not wait for a leader.
    ///
    /// # Errors
    /// Whatever is in the way.
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut cluster = Self::make(plan)?;
        cluster.start_relay().await?;
        for node in 0..cluster.plan.nodes {
            cluster.start_node(node)?;
        }
        Ok(cluster)
    }

    /// Writes all files and makes the data folders; starts nothing.
    ///
    /// # Errors
    /// Whatever is in the way.
    pub fn make(plan: Plan) -> Result<Self> {
        // Short, for a socket's path has 107 bytes.
        let folder = tempfile::Builder::new().prefix("rb").tempdir().context("a temporary folder")?;
        let listen = free_address()?;
        let nodes = (0..plan.nodes).map(|_| None).collect();
        let cluster = Self { plan, folder, listen, relay: None, nodes, frozen: BTreeSet::new() };
        fs::write(cluster.file("genesis.toml"), cluster.plan.genesis())?;
        fs::write(cluster.file("relayd.toml"), cluster.relay_config())?;
        for node in 0..cluster.plan.nodes {
            fs::write(cluster.config(node), cluster.node_config(node))?;
            let output = Command::new(&cluster.plan.binaries.node)
                .arg("--config")
                .arg(cluster.config(node))
                .arg("--init")
                .output()
                .context("raftbankd --init")?;
            ensure!(output.status.success(), "raftbankd --init: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(cluster)
    }

    /// How many nodes the bank has.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A file of the cluster's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node's configuration.
    pub fn config(&self, node: usize) -> PathBuf {
        self.file(&format!("{}.toml", name(node)))
    }

    /// A node's data folder.
    pub fn data(&self, node: usize) -> PathBuf {
        let folder =
            self.plan.data.as_ref().map_or_else(|| self.folder.path().to_owned(), |base| base.join(name(node)));
        folder.join(format!("{}.data", name(node)))
    }

    /// A node's socket.
    pub fn socket(&self, node: usize) -> PathBuf {
        self.file(&format!("{}.sock", name(node)))
    }

    /// The sockets of all nodes.
    pub fn sockets(&self) -> Vec<PathBuf> {
        (0..self.size()).map(|node| self.socket(node)).collect()
    }

    /// The relay's socket.
    pub fn relay_socket(&self) -> PathBuf {
        self.file("relay.sock")
    }

    /// Where the relay listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The process id of a node that runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].as_ref().map(Child::id)
    }

    /// The process id of the relay, if it runs.
    pub fn relay_pid(&self) -> Option<u32> {
        self.relay.as_ref().map(Child::id)
    }

    /// Starts the relay, and waits until its socket answers.
    ///
    /// # Errors
    /// It ends, or does not answer.
    pub async fn start_relay(&mut self) -> Result<()> {
        ensure!(self.relay.is_none(), "the relay runs already");
        let mut command = Command::new(&self.plan.binaries.relay);
        command.arg("--config").arg(self.file("relayd.toml"));
        self.relay = Some(spawn(command, &self.file("relay.log"))?);
        let deadline = Instant::now() + PATIENCE;
        while Client::connect(self.relay_socket(), Duration::from_secs(1)).await.is_err() {
            if let Some(status) = self.relay.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the relay ended with {status}:\n{}", self.logs());
            }
            ensure!(Instant::now() < deadline, "the relay does not answer:\n{}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Starts a node that is down; does not wait for it.
    ///
    /// # Errors
    /// The process cannot be made.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        self.start_node_with(node, &[])
    }

    /// Starts a node that is down, with further arguments.
    ///
    /// # Errors
    /// The process cannot be made.
    pub fn start_node_with(&mut self, node: usize, arguments: &[&str]) -> Result<()> {
        ensure!(self.nodes[node].is_none(), "{} runs already", name(node));
        let mut command = match self.plan.wrapper.split_first() {
            None => Command::new(&self.plan.binaries.node),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments.iter().map(|argument| argument.replace("NODE", &name(node))));
                command.arg(&self.plan.binaries.node);
                command
            }
        };
        command.current_dir(self.folder.path()).arg("--config").arg(self.config(node)).args(arguments);
        command.envs(self.plan.environment.iter().map(|(key, value)| (key, value)));
        self.nodes[node] = Some(spawn(command, &self.file(&format!("{}.log", name(node))))?);
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone. Nothing happens to a node that is down.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        self.frozen.remove(&node);
        end(&mut self.nodes[node])
    }

    /// `kill -9` of the relay.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill_relay(&mut self) -> Result<()> {
        end(&mut self.relay)
    }

    /// `kill -9` of all processes at the same moment.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill_all(&mut self) -> Result<()> {
        for child in self.nodes.iter_mut().chain([&mut self.relay]).flatten() {
            child.kill().context("kill -9")?;
        }
        for node in 0..self.size() {
            self.kill_node(node)?;
        }
        self.kill_relay()
    }

    /// SIGTERM; waits for the end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop_node(&mut self, node: usize) -> Result<ExitStatus> {
        self.signal(node, libc::SIGTERM)?;
        self.ended(node).await
    }

    /// SIGTERM; does not wait.
    ///
    /// # Errors
    /// The node does not run.
    pub fn terminate(&self, node: usize) -> Result<()> {
        self.signal(node, libc::SIGTERM)
    }

    /// How a node ended, if it did since it was last asked. It is down then.
    ///
    /// # Errors
    /// The operating system's.
    pub fn end_of(&mut self, node: usize) -> Result<Option<ExitStatus>> {
        let status = self.nodes[node].as_mut().map(Child::try_wait).transpose()?.flatten();
        if status.is_some() {
            self.nodes[node] = None;
            self.frozen.remove(&node);
        }
        Ok(status)
    }

    /// The relay runs.
    pub fn has_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Waits until a node ends by itself.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self, node: usize) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.nodes[node].as_mut().with_context(|| format!("{} does not run", name(node)))?;
            if let Some(status) = child.try_wait()? {
                self.nodes[node] = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} does not end:\n{}", name(node), self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// The node does not run.
    pub fn freeze(&mut self, node: usize) -> Result<()> {
        self.frozen.insert(node);
        self.signal(node, libc::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The node does not run.
    pub fn thaw(&mut self, node: usize) -> Result<()> {
        self.frozen.remove(&node);
        self.signal(node, libc::SIGCONT)
    }

    fn signal(&self, node: usize, signal: libc::c_int) -> Result<()> {
        let child = self.nodes[node].as_ref().with_context(|| format!("{} does not run", name(node)))?;
        signal_to(child.id(), signal).with_context(|| format!("signal {signal} to {}", name(node)))
    }

    /// Processes that ended though nobody here ended them: with how they ended.
    pub fn casualties(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (node, child) in self.nodes.iter_mut().enumerate() {
            if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                found.push(format!("{} ended: {}", name(node), told(status)));
            }
        }
        if let Some(Ok(Some(status))) = self.relay.as_mut().map(Child::try_wait) {
            found.push(format!("the relay ended: {}", told(status)));
        }
        found
    }

    /// A fresh connection to a node.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn client(&self, node: usize) -> Result<Client> {
        Ok(Client::connect(self.socket(node), Duration::from_secs(5)).await?)
    }

    /// A fresh connection to the relay.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn relay_client(&self) -> Result<Client> {
        Ok(Client::connect(self.relay_socket(), Duration::from_secs(5)).await?)
    }

    /// Asks the relay, and fails on a refusal.
    ///
    /// # Errors
    /// The refusal, or none at all.
    pub async fn relay(&self, request: ApiRequest) -> Result<ApiReply> {
        match self.relay_client().await?.call(request, Duration::from_secs(5)).await? {
            ApiReply::Failed { message, .. } => bail!("the relay refuses: {message}"),
            reply => Ok(reply),
        }
    }

    /// A node's status, if it answers.
    pub async fn status(&self, node: usize) -> Option<StatusReply> {
        let client = Client::connect(self.socket(node), Duration::from_millis(500)).await.ok()?;
        match client.call(ApiRequest::Status, Duration::from_millis(500)).await {
            Ok(ApiReply::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// Waits for a node of `among` that leads, and is seen to lead by a majority of all nodes.
    ///
    /// # Errors
    /// There is none in time; the logs are in the error.
    pub async fn leader_among(&mut self, among: &[usize]) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut seen: Vec<StatusReply> = Vec::new();
            for &node in among {
                if self.nodes[node].is_some() && !self.frozen.contains(&node) {
                    seen.extend(self.status(node).await);
                }
            }
            for status in seen.iter().filter(|status| status.role == NodeRole::Leader) {
                let follows = |other: &&StatusReply| {
                    other.term == status.term && other.leader.as_deref() == Some(status.node.as_str())
                };
                if 2 * seen.iter().filter(follows).count() > self.size()
                    && let Some(node) = (0..self.size()).find(|&node| name(node) == status.node)
                {
                    return Ok(node);
                }
            }
            let casualties = self.casualties();
            ensure!(
                Instant::now() < deadline && casualties.is_empty(),
                "no leader among {among:?}; {casualties:?}\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for a leader.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn leader(&mut self) -> Result<usize> {
        let all: Vec<usize> = (0..self.size()).collect();
        self.leader_among(&all).await
    }

    /// Waits until all nodes have the same head, applied everything they hold, and stay so for a moment.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn converged(&mut self) -> Result<StatusReply> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let mut all = Vec::new();
            for node in 0..self.size() {
                all.extend(self.status(node).await);
            }
            let same = all.len() == self.size()
                && all.iter().all(|status| {
                    status.head == all[0].head && status.applied_index == all[0].last_index && status.leader.is_some()
                });
            if same && before == Some(all[0].head) {
                return Ok(all.swap_remove(0));
            }
            before = same.then(|| all[0].head);
            let casualties = self.casualties();
            if Instant::now() > deadline || !casualties.is_empty() {
                let seen: Vec<String> = all
                    .iter()
                    .map(|status| format!("{} {:?} height {}", status.node, status.role, status.height))
                    .collect();
                bail!("the nodes do not agree: {seen:?} {casualties:?}\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The end of each log.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for log in ["relay".to_owned()].into_iter().chain((0..self.size()).map(name)) {
            let _ = write!(text, "--- {log}\n{}\n", tail(&self.file(&format!("{log}.log"))).unwrap_or_default());
        }
        text
    }

    /// The whole log of a node.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.file(&format!("{}.log", name(node)))).unwrap_or_default()
    }

    fn relay_config(&self) -> String {
        let members: Vec<String> = (0..self.plan.nodes).map(|node| format!("\"{}\"", name(node))).collect();
        format!(
            "[relay]\nlisten = \"{}\"\nmembers = [{}]\nsocket = \"{}\"\n",
            self.listen,
            members.join(", "),
            self.relay_socket().display()
        )
    }

    fn node_config(&self, node: usize) -> String {
        let mut text = format!(
            "[node]\nid = \"{}\"\ndata_dir = \"{}\"\ngenesis = \"{}\"\nsocket = \"{}\"\n\n[relay]\naddress = \"{}\"\n",
            name(node),
            self.data(node).display(),
            self.file("genesis.toml").display(),
            self.socket(node).display(),
            self.listen
        );
        if let Some([heartbeat, min, max]) = self.plan.timers {
            let _ = write!(
                text,
                "\n[timers]\nheartbeat_ms = {heartbeat}\nelection_min_ms = {min}\nelection_max_ms = {max}\n"
            );
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        let _ = self.kill_all();
    }
}

/// `n1` for node 0.
pub fn name(node: usize) -> String {
    format!("n{}", node + 1)
}
