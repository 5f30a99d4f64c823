//! A bank of real node processes on loopback, with the relay in this process.
#![allow(dead_code)]

pub mod disk;

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use raftbank_ledger::{Account, Amount, Operation, Request, RequestId};
use raftbank_relayd::config::{Config, Log, Relay};
use raftbank_relayd::conn;
use raftbank_relayd::hub::Hub;
use raftbank_wire::api::{ApiReply, ApiRequest, StatusReply, WriteOutcome};
use raftbank_wire::client::Client;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Long enough for any machine; never waited for when the code is right.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// The bank. Dropping it kills its nodes.
pub struct Bank {
    pub dir: TempDir,
    relay_address: SocketAddr,
    /// Dropped, it ends the relay.
    _relay: oneshot::Sender<()>,
    nodes: Vec<Option<Child>>,
}

impl Bank {
    /// A relay and as many initialized nodes, none of them running.
    pub fn new(nodes: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let members: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
        let (relay_address, relay) = start_relay(members.clone(), dir.path());
        let bank = Self { dir, relay_address, _relay: relay, nodes: (0..nodes).map(|_| None).collect() };
        bank.write_genesis("genesis.toml", "the salt of a test", &members);
        for number in 1..=nodes {
            bank.write_config(number, "genesis.toml");
            let output = bank.output(number, &["--init"]);
            assert!(output.status.success(), "{}", text(&output));
        }
        bank
    }

    /// As [`Bank::new`], with all nodes running.
    pub fn running(nodes: usize) -> Self {
        let mut bank = Self::new(nodes);
        for number in 1..=nodes {
            bank.start(number, &[]);
        }
        bank
    }

    pub fn write_genesis(&self, file: &str, salt: &str, members: &[String]) {
        let text = format!(
            "name = \"test\"\nsalt = \"{salt}\"\nmembers = {members:?}\ndifficulty = 4\ntime_ms = 1700000000000\n\
             [[accounts]]\nname = \"alice\"\nbalance = 100\n[[accounts]]\nname = \"bob\"\n"
        );
        std::fs::write(self.dir.path().join(file), text).expect("written");
    }

    pub fn write_config(&self, number: usize, genesis: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "[node]\nid = \"n{number}\"\ndata_dir = \"{dir}/n{number}\"\ngenesis = \"{dir}/{genesis}\"\n\
             socket = \"{dir}/n{number}.sock\"\n[relay]\naddress = \"{}\"\n",
            self.relay_address
        );
        std::fs::write(self.config(number), text).expect("written");
    }

    pub fn config(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("n{number}.toml"))
    }

    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("n{number}"))
    }

    pub fn socket(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("n{number}.sock"))
    }

    pub fn log_path(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("n{number}.log"))
    }

    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(self.log_path(number)).unwrap_or_default()
    }

    /// Starts a node with further arguments; its standard error goes to a file.
    pub fn start(&mut self, number: usize, arguments: &[&str]) {
        let mut command = self.command(number);
        command.args(arguments);
        self.spawn(number, command);
    }

    /// Starts a node whose files cannot grow beyond some 50 MiB. Ignored, the signal of the limit becomes an error of the
    /// write, as on a full disk.
    pub fn start_limited(&mut self, number: usize) {
        let mut command = Command::new("sh");
        command.arg("-c").arg("trap '' XFSZ; ulimit -f 98304; exec \"$0\" --config \"$1\"");
        command.arg(env!("CARGO_BIN_EXE_raftbankd")).arg(self.config(number));
        self.spawn(number, command);
    }

    /// Starts a node with these variables in its environment.
    pub fn start_with(&mut self, number: usize, variables: &[(&str, &str)]) {
        let mut command = self.command(number);
        command.envs(variables.iter().copied());
        self.spawn(number, command);
    }

    /// The process of a running node.
    pub fn pid(&self, number: usize) -> u32 {
        self.nodes[number - 1].as_ref().expect("running").id()
    }

    /// Runs a command as the node; its standard error goes to the end of a file.
    pub fn spawn(&mut self, number: usize, mut command: Command) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path(number)).expect("a log file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.nodes[number - 1] = Some(child.expect("started"));
    }

    /// Runs the program for a node to its end.
    pub fn output(&self, number: usize, arguments: &[&str]) -> Output {
        self.command(number).args(arguments).stdin(Stdio::null()).output().expect("run")
    }

    /// The program with a node's configuration.
    pub fn command(&self, number: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raftbankd"));
        command.arg("--config").arg(self.config(number));
        command
    }

    /// `kill -9`.
    pub fn kill(&mut self, number: usize) {
        let mut child = self.nodes[number - 1].take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// Sends a signal by name.
    pub fn signal(&self, number: usize, name: &str) {
        let child = self.nodes[number - 1].as_ref().expect("running");
        let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for a node to end by itself, and returns its exit code.
    pub async fn ended(&mut self, number: usize) -> i32 {
        let mut child = self.nodes[number - 1].take().expect("running");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("waited for") {
                return status.code().expect("not killed");
            }
            assert!(started.elapsed() < PATIENCE, "n{number} never ended:\n{}", self.log(number));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a node serves or has ended. True if it serves.
    pub async fn serves_or_ends(&mut self, number: usize) -> bool {
        let started = Instant::now();
        loop {
            if self.nodes[number - 1].as_mut().expect("running").try_wait().expect("waited for").is_some() {
                return false;
            }
            if let Ok(client) = Client::connect(self.socket(number), Duration::from_secs(5)).await
                && let Ok(ApiReply::Status(status)) = client.call(ApiRequest::Status, PATIENCE).await
                && status.leader.is_some()
            {
                return true;
            }
            assert!(started.elapsed() < PATIENCE, "n{number} neither serves nor ends:\n{}", self.log(number));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A finished data folder stands here.
    pub fn is_made(&self, data_dir: &Path) -> bool {
        data_dir.join("meta").exists() && !data_dir.join("creating").exists()
    }

    /// Stops a node cleanly.
    pub async fn stop(&mut self, number: usize) {
        self.signal(number, "TERM");
        assert_eq!(self.ended(number).await, 0, "{}", self.log(number));
    }

    /// A connection to a node, as soon as it listens.
    pub async fn client(&self, number: usize) -> Client {
        let started = Instant::now();
        loop {
            match Client::connect(self.socket(number), Duration::from_secs(5)).await {
                Ok(client) => return client,
                Err(error) => assert!(started.elapsed() < PATIENCE, "n{number}: {error}\n{}", self.log(number)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn call(&self, number: usize, request: ApiRequest) -> ApiReply {
        self.client(number).await.call(request, PATIENCE).await.expect("an answer")
    }

    pub async fn status(&self, number: usize) -> StatusReply {
        match self.call(number, ApiRequest::Status).await {
            ApiReply::Status(status) => status,
            other => panic!("not a status: {other:?}"),
        }
    }

    /// The number of the node that leads and serves, asked at node `at`.
    pub async fn leader(&self, at: usize) -> usize {
        let started = Instant::now();
        loop {
            if let Some(leader) = self.status(at).await.leader {
                return leader.trim_start_matches('n').parse().expect("a node's name");
            }
            assert!(started.elapsed() < PATIENCE, "no leader:\n{}", self.log(at));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until all these nodes have the same head, and returns its height.
    pub async fn agreed(&self, numbers: &[usize]) -> u64 {
        let started = Instant::now();
        loop {
            let mut heads = Vec::new();
            for number in numbers {
                let status = self.status(*number).await;
                heads.push((status.height, status.head));
            }
            if heads.windows(2).all(|pair| pair[0] == pair[1]) {
                return heads[0].0;
            }
            assert!(started.elapsed() < PATIENCE, "the heads stay apart: {heads:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn write(&self, number: usize, id: &str, operation: Operation) -> ApiReply {
        let request = Request { id: RequestId::parse(id).expect("valid"), operation }.encode();
        self.call(number, ApiRequest::Write { request, timeout_ms: 30_000 }).await
    }

    pub async fn balance(&self, number: usize, name: &str) -> i128 {
        let request = ApiRequest::Balance { account: name.to_owned(), local: false, timeout_ms: 30_000 };
        match self.call(number, request).await {
            ApiReply::Balance { balance, .. } => balance,
            other => panic!("no balance: {other:?}"),
        }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a supervisor hears of a node (`sd_notify(3)`).
pub struct Supervisor {
    socket: UnixDatagram,
    pub path: PathBuf,
}

impl Supervisor {
    pub fn new(dir: &Path) -> Self {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { socket, path }
    }

    /// The next word.
    pub fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("nothing more was told: {error}"));
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// The next word with this in it.
    pub fn heard(&self, wanted: &str) -> String {
        let started = Instant::now();
        loop {
            let text = self.next();
            if text.contains(wanted) {
                return text;
            }
            assert!(started.elapsed() < PATIENCE, "{wanted:?} was never told; the last was {text:?}");
        }
    }

    /// Throws away what has been told, and waits for `quiet`. True if nothing was told meanwhile.
    pub fn silent(&self, quiet: Duration) -> bool {
        let mut bytes = [0; 4096];
        self.socket.set_nonblocking(true).expect("set");
        while self.socket.recv(&mut bytes).is_ok() {}
        std::thread::sleep(quiet);
        let silent = self.socket.recv(&mut bytes).is_err();
        self.socket.set_nonblocking(false).expect("set");
        silent
    }
}

/// Waits until a process is stopped by a signal.
pub fn until_stopped(pid: u32) {
    let started = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "it does not stop: {stat}");
        std::thread::sleep(PAUSE);
    }
}

/// The relay on a thread of its own, so that a test may block.
fn start_relay(members: Vec<String>, dir: &Path) -> (SocketAddr, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("non-blocking");
    let listen = listener.local_addr().expect("bound");
    let socket = dir.join("relay.sock");
    let config = Config { relay: Relay { listen, members, socket, cluster: String::new() }, log: Log::default() };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let hub = Hub::new(&config).expect("a hub");
            let listener = TcpListener::from_std(listener).expect("registered");
            tokio::select! {
                () = conn::accept(Arc::clone(&hub), listener) => {}
                () = hub.run_timer() => {}
                _ = stopped => {}
            }
        });
    });
    (listen, stop)
}

pub fn transfer(from: &str, to: &str, amount: u64) -> Operation {
    let account = |name: &str| Account::parse(name).expect("valid");
    let amount = Amount::new(amount).expect("valid");
    Operation::Transfer { from: account(from), to: account(to), amount, memo: String::new() }
}

/// All that a program printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes until the node gives up, `most` times at most. What it acknowledged.
pub async fn write_until_the_end(bank: &Bank, prefix: &str, most: usize) -> Vec<String> {
    let client = bank.client(1).await;
    let mut acknowledged = Vec::new();
    for number in 0..most {
        let id = format!("{prefix}-{number}");
        let operation = Operation::Put { key: id.clone().into_bytes(), value: vec![7; 60_000] };
        let request = Request { id: RequestId::parse(&id).expect("valid"), operation }.encode();
        match client.call(ApiRequest::Write { request, timeout_ms: 30_000 }, PATIENCE).await {
            Ok(ApiReply::Written { outcome: WriteOutcome::Committed, .. }) => acknowledged.push(id),
            // Neither done nor refused: the node is ending.
            Ok(ApiReply::Failed { .. }) | Err(_) => break,
            Ok(other) => panic!("neither written nor failed: {other:?}"),
        }
    }
    acknowledged
}

/// Every one of these ids is in the bank, and there is at least one.
pub async fn all_are_there(bank: &Bank, acknowledged: &[String]) {
    assert!(!acknowledged.is_empty(), "{}", bank.log(1));
    let client = bank.client(1).await;
    for id in acknowledged {
        let request = ApiRequest::Get { key: id.clone().into_bytes(), local: false, timeout_ms: 30_000 };
        let reply = client.call(request, PATIENCE).await.expect("an answer");
        assert!(matches!(reply, ApiReply::Value { .. }), "{id} is lost: {reply:?}");
    }
}
