//! A relay as a process of its own, nodes on real TCP connections, and an operator at the Unix socket.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc as threads;
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest, LinkCommand, PartitionCommand, RelayStatusReply};
use raftbank_wire::client::Client;
use raftbank_wire::hello::{Answer, Hello, greet};
use raftbank_wire::link::{LinkConfig, LinkEvent, LinkSender, spawn_link};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No test waits longer for anything; reaching it is a failure, however slow the machine.
pub const LONG: Duration = Duration::from_secs(60);
/// The cluster of all nodes that are not strangers.
pub const CLUSTER: [u8; 32] = [0xc1; 32];

/// A running `raftbank-relayd`.
pub struct Relay {
    child: Child,
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub config: PathBuf,
    lines: threads::Receiver<String>,
    dir: tempfile::TempDir,
}

/// The configuration of a relay for n1, n2 and n3, with more lines in `[log]`.
pub fn configure(dir: &Path, log: &str) -> PathBuf {
    let path = dir.join("relayd.toml");
    let socket = dir.join("relay.sock");
    let text = format!(
        "[relay]\nlisten = \"127.0.0.1:0\"\nmembers = [\"n1\", \"n2\", \"n3\"]\nsocket = \"{}\"\n[log]\n{log}\n",
        socket.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftbank-relayd"));
    command.env_clear().stdin(Stdio::null());
    command
}

impl Relay {
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    pub fn start_with(log: &str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = configure(dir.path(), log);
        Self::start_in(dir, config, variables)
    }

    fn start_in(dir: tempfile::TempDir, config: PathBuf, variables: &[(&str, &str)]) -> Self {
        let mut child = program()
            .envs(variables.iter().copied())
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = threads::channel();
        // Ends with the process; a receiver that is gone must not fill the pipe.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let socket = dir.path().join("relay.sock");
        let mut relay = Self { child, address: ([127, 0, 0, 1], 0).into(), socket, config, lines, dir };
        let line = relay.lines.recv_timeout(LONG).unwrap();
        assert!(line.contains("starts, without faults"), "{line}");
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        relay.address = address.parse().unwrap();
        relay
    }

    /// Waits for a line of the log.
    pub async fn line(&self, word: &str) -> String {
        for _ in 0..6_000 {
            while let Ok(line) = self.lines.try_recv() {
                if line.contains(word) {
                    return line;
                }
            }
            // The nodes of this test live on the same thread.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no line with {word:?}");
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until the process is stopped by a signal.
    pub fn until_stopped(&self) {
        for _ in 0..6_000 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            if stat.rsplit_once(") ").unwrap().1.starts_with('T') {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the relay does not stop");
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        for _ in 0..6_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the relay does not end");
    }

    /// Kills the process and starts another one in its place.
    pub fn restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let config = self.config.clone();
        Self::start_in(dir, config, &[])
    }

    pub async fn operator(&self) -> Operator {
        Operator { client: Client::connect(&self.socket, LONG).await.unwrap() }
    }

    /// A node that has connected.
    pub async fn node(&self, name: &str) -> Node {
        let mut node = self.attempt(hello(name));
        assert_eq!(node.next().await, LinkEvent::Connected);
        node
    }

    /// A node that tries to connect.
    pub fn attempt(&self, hello: Hello) -> Node {
        let (sender, events) = spawn_link(LinkConfig::new(self.address.to_string(), hello));
        Node { sender, events }
    }

    /// n1, n2 and n3, connected and told about each other.
    pub async fn three(&self) -> [Node; 3] {
        let mut nodes = [self.node("n1").await, self.node("n2").await, self.node("n3").await];
        for (place, node) in nodes.iter_mut().enumerate() {
            let mut peers = Vec::new();
            for _ in 0..2 {
                let LinkEvent::PeerUp(peer) = node.next().await else { panic!("no peer") };
                peers.push(usize::from(peer));
            }
            peers.sort_unstable();
            assert!(peers.into_iter().eq((0..3).filter(|peer| *peer != place)));
        }
        nodes
    }

    /// A connection that speaks for itself, after its handshake.
    pub async fn raw(&self, name: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let answer = greet(&mut stream, &hello(name), LONG).await.unwrap();
        assert!(matches!(answer, Answer::Welcome { .. }), "{answer:?}");
        stream
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn hello(name: &str) -> Hello {
    Hello {
        cluster_id: CLUSTER,
        node: name.to_owned(),
        members: ["n1", "n2", "n3"].map(String::from).to_vec(),
        incarnation: 7,
        software: "test/1".to_owned(),
    }
}

/// A node's end of a link.
pub struct Node {
    pub sender: LinkSender,
    pub events: mpsc::Receiver<LinkEvent>,
}

impl Node {
    pub async fn next(&mut self) -> LinkEvent {
        timeout(LONG, self.events.recv()).await.expect("an event in time").expect("the link lives")
    }

    /// The next message; what is told about peers is passed over.
    pub async fn message(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.next().await {
                LinkEvent::Frame { from, payload } => return (from, payload),
                LinkEvent::PeerUp(_) | LinkEvent::PeerDown(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn send(&self, to: u8, text: &str) {
        assert!(self.sender.send(to, text.as_bytes().to_vec()));
    }

    /// The next message is this one.
    pub async fn hears(&mut self, from: u8, text: &str) {
        let (source, payload) = self.message().await;
        assert_eq!((source, String::from_utf8(payload).unwrap().as_str()), (from, text));
    }
}

/// All three exchange a round of messages, each with each.
pub async fn exchange(nodes: &mut [Node; 3], text: &str) {
    for (place, node) in nodes.iter().enumerate() {
        for to in (0..3).filter(|to| usize::from(*to) != place) {
            node.send(to, text);
        }
    }
    for node in nodes.iter_mut() {
        for _ in 0..2 {
            assert_eq!(node.message().await.1, text.as_bytes());
        }
    }
}

/// An operator at the Unix socket.
pub struct Operator {
    pub client: Client,
}

impl Operator {
    pub async fn ask(&self, request: ApiRequest) -> ApiReply {
        self.client.call(request, LONG).await.unwrap()
    }

    pub async fn status(&self) -> RelayStatusReply {
        match self.ask(ApiRequest::Status).await {
            ApiReply::RelayStatus(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub async fn link(&self, command: LinkCommand) {
        let reply = self.ask(ApiRequest::Link(command)).await;
        assert!(matches!(reply, ApiReply::Link(_)), "{reply:?}");
    }

    pub async fn partition(&self, groups: &str, for_ms: Option<u64>) -> ApiReply {
        self.ask(ApiRequest::Partition(PartitionCommand::Set { groups: groups.to_owned(), for_ms })).await
    }

    pub async fn heal(&self) {
        let reply = self.ask(ApiRequest::Partition(PartitionCommand::Heal)).await;
        assert!(matches!(reply, ApiReply::Partition { ref groups, .. } if groups.len() == 1), "{reply:?}");
    }

    /// Waits until the status is as wanted.
    pub async fn until(&self, wanted: impl Fn(&RelayStatusReply) -> bool) -> RelayStatusReply {
        for _ in 0..6_000 {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the status never became as wanted: {:?}", self.status().await);
    }
}
