//! `dev up` and `dev start`: a whole cluster on this machine, each daemon a process of its own, without root.

pub mod files;
pub mod supervisor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use raftbank_wire::api::{ApiReply, ApiRequest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use self::files::Layout;
use self::supervisor::Supervisor;
use crate::failure::Failure;
use crate::output::{line, note};
use crate::session::{Daemon, Session};

/// How long a question on the control socket may take.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks for a leader.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a development cluster is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many nodes; 3 for a new folder, all for an old one.
    pub nodes: Option<u8>,
    /// Restart a process that dies, as systemd would.
    pub restart: bool,
    /// Timers for message delays of seconds.
    pub slow: bool,
}

/// A program of this project: beside this one, or in the path.
///
/// # Errors
/// It is not there.
pub fn binary(name: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(name)));
    if let Some(path) = beside.filter(|path| path.is_file()) {
        return Ok(path);
    }
    let found = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file()));
    found.ok_or_else(|| {
        Failure::internal(format!("the program {name} is neither beside bankctl nor in the path"))
            .hint("cargo build --release builds all three programs")
    })
}

/// `dev up`, until Ctrl-C.
///
/// # Errors
/// The folder cannot be used, or a process cannot be started.
pub async fn up(dir: &Path, options: Options) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::internal(error.to_string()))?;
    let cluster = Cluster::start(dir, options).await?;
    let layout = cluster.layout();
    note(&format!("cluster of {} nodes in {}; Ctrl-C stops it", layout.nodes.len(), layout.dir.display()));
    let first = layout.socket(&layout.nodes[0]);
    {
        let served = cluster.serving();
        tokio::pin!(served);
        let mut waiting = true;
        loop {
            tokio::select! {
                () = &mut served, if waiting => {
                    waiting = false;
                    line("ready");
                    note(&format!("try: bankctl --socket {} status", first.display()));
                }
                _ = tokio::signal::ctrl_c() => break,
                _ = terminate.recv() => break,
            }
        }
    }
    note("stopping");
    cluster.stop().await;
    Ok(())
}

/// `dev start`: asks the running `dev up`.
///
/// # Errors
/// No `dev up` runs there, or it refuses.
pub async fn start(dir: &Path, node: &str, limit: Duration) -> Result<(), Failure> {
    let path = dir.join(files::CONTROL_SOCKET);
    let answer = timeout(limit, ask_control(&path, &format!("start {node}"))).await;
    match answer {
        Ok(Ok(answer)) if answer == "ok" => {
            note(&format!("{node} is started"));
            Ok(())
        }
        Ok(Ok(answer)) => Err(Failure::usage("dev", answer)),
        Ok(Err(_)) | Err(_) => {
            let message = format!("no `bankctl dev up` runs on {}", dir.display());
            Err(Failure::usage("no_dev_up", message).hint(format!("bankctl dev up --dir {}", dir.display())))
        }
    }
}

async fn ask_control(path: &Path, question: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(format!("{question}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(4_096).read_to_string(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

/// A running development cluster.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Supervisor,
    control: tokio::task::JoinHandle<()>,
}

impl Cluster {
    /// Writes what is missing in the folder, and starts relay and nodes.
    ///
    /// # Errors
    /// The folder cannot be used, or a program is missing.
    pub async fn start(dir: &Path, options: Options) -> Result<Self, Failure> {
        let (daemon, relay) = (binary("raftbankd")?, binary("raftbank-relayd")?);
        let layout = Layout::prepare(dir, options.nodes)?;
        let control = layout.dir.join(files::CONTROL_SOCKET);
        if ask_control(&control, "hello").await.is_ok() {
            let message = format!("another `bankctl dev up` runs on {}", layout.dir.display());
            return Err(Failure::usage("in_use", message).hint("stop it first, or give another --dir"));
        }
        supervisor::end_leftovers(&layout).await;
        layout.write_configs(options.slow)?;
        for node in &layout.nodes {
            supervisor::init(&daemon, &layout, node).await?;
        }
        let _ = std::fs::remove_file(&control); // left behind by a killed one
        let listener = UnixListener::bind(&control)
            .map_err(|error| Failure::internal(format!("{}: {error}", control.display())))?;
        let supervisor = Supervisor::start(layout, daemon, relay, options.restart)?;
        let control = tokio::spawn(serve_control(listener, supervisor.clone()));
        Ok(Self { supervisor, control })
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        self.supervisor.layout()
    }

    /// The process id of a node or of `relay`, while it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.supervisor.pid(name)
    }

    /// Returns once a linearizable read is answered: a leader serves.
    pub async fn serving(&self) {
        loop {
            for node in &self.layout().nodes {
                let path = self.layout().socket(node);
                let mut session = Session::new(&path, Daemon::Node, Duration::from_secs(1));
                let asked = ApiRequest::Accounts { local: false, timeout_ms: 1_000 };
                if matches!(session.ask(asked).await, Ok(ApiReply::Accounts { .. })) {
                    return;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Stops every process.
    pub async fn stop(self) {
        self.control.abort();
        self.supervisor.stop().await;
        let _ = std::fs::remove_file(self.supervisor.layout().dir.join(files::CONTROL_SOCKET));
    }
}

async fn serve_control(listener: UnixListener, supervisor: Supervisor) {
    while let Ok((stream, _)) = listener.accept().await {
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            let _ = timeout(CONTROL_TIMEOUT, answer_control(stream, &supervisor)).await;
        });
    }
}

async fn answer_control(stream: UnixStream, supervisor: &Supervisor) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut question = String::new();
    BufReader::new(reader.take(256)).read_line(&mut question).await?;
    let answer = match question.trim_end().split_once(' ') {
        Some(("start", name)) => supervisor.start_again(name).map_or_else(|problem| problem, |()| "ok".to_owned()),
        _ => "ok".to_owned(),
    };
    writer.write_all(answer.as_bytes()).await
}
