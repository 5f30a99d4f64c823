//! The program: what each flag does, and the relay's life from start to end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftbank_service::config::ConfigError;
use raftbank_service::disk;
use raftbank_service::log::{self, LogError, Logging};
use raftbank_service::notify;
use raftbank_service::signals::{self, Signal};
use raftbank_service::watchdog::Watchdog;
use raftbank_wire::server::{self, BindError, ServerConfig};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::config::Config;
use crate::hub::{Hub, SOFTWARE};
use crate::{admin, conn};

/// Exit code: internal error.
const EXIT_INTERNAL: u8 = 1;
/// Exit code: wrong usage or configuration.
const EXIT_USAGE: u8 = 2;
/// Exit code: the disk is full, read-only or failed.
const EXIT_DISK: u8 = 7;
/// Requests of operators that wait.
const REQUESTS_MAX: usize = 64;
/// Operators' connections at a time.
const OPERATORS_MAX: usize = 64;
/// Signals that wait.
const SIGNALS_MAX: usize = 16;
/// For the answers in flight when the relay stops.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Why the relay ends other than as asked. Each message is a whole sentence for the operator.
#[derive(Debug, Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logs cannot be written as wanted.
    #[error("configuration {path}: {source}")]
    Log {
        /// The configuration file.
        path: String,
        /// Why not.
        source: LogError,
    },
    /// The operators' socket cannot be served.
    #[error("relay.socket: {0}")]
    Socket(BindError),
    /// The address cannot be listened on.
    #[error("relay.listen = \"{address}\" cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A path that the relay's unit may not write.
    #[error("{0}")]
    Outside(String),
    /// The operating system refuses something that the relay needs.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The operating system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
}

impl Failure {
    /// The exit code of the contract. A supervisor must not try again after 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            // A full disk becomes free again; a supervisor takes its time.
            Self::Log { source: LogError::Dir { source, .. }, .. } | Self::Socket(BindError::Io { source, .. })
                if disk::is_fault(source) =>
            {
                EXIT_DISK
            }
            Self::Config(_) | Self::Log { .. } | Self::Outside(_) => EXIT_USAGE,
            // A port becomes free, an address may come with the network, descriptors are closed: worth another try.
            Self::Socket(BindError::Io { source, .. }) | Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => EXIT_USAGE,
                _ => EXIT_INTERNAL,
            },
            Self::Socket(_) => EXIT_USAGE,
            Self::Io { .. } | Self::Random(_) => EXIT_INTERNAL,
        }
    }
}

/// Does what the command line asks for and returns the exit code. What ends a running relay is logged.
///
/// # Errors
/// See [`Failure`]; nothing was logged.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let config = Config::load(&args.config)?;
    if args.check_config {
        print!("{}", report(&config));
        return Ok(0);
    }
    let logging = log::init("raftbank-relayd", &[], &config.log.level, config.log.dir())
        .map_err(|error| cannot_log(args, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { what: "the asynchronous runtime cannot be started", source })?;
    let Err(failure) = runtime.block_on(live(args, &config, &logging)) else { return Ok(0) };
    let exit_code = failure.exit_code();
    tracing::error!(exit_code, "{failure}");
    notify::ended(&failure.to_string());
    Ok(exit_code)
}

fn cannot_log(args: &Args, error: LogError) -> Failure {
    let outside = match &error {
        LogError::Dir { dir, source } => disk::outside_unit("log.dir", dir, source),
        LogError::Level { .. } | LogError::Already(_) => None,
    };
    outside.map_or_else(|| Failure::Log { path: args.config.display().to_string(), source: error }, Failure::Outside)
}

fn cannot_bind(error: BindError) -> Failure {
    let outside = match &error {
        BindError::Io { path, source } => disk::outside_unit("relay.socket", path, source),
        BindError::InUse { .. } | BindError::NotASocket { .. } | BindError::TooLong { .. } => None,
    };
    outside.map_or_else(|| Failure::Socket(error), Failure::Outside)
}

/// What the configuration says, a line each.
fn report(config: &Config) -> String {
    let relay = &config.relay;
    let cluster = if relay.cluster.is_empty() { "that of the first node that connects" } else { &relay.cluster };
    let messages = if config.log.messages { "all are logged" } else { "not logged" };
    let lines = [
        ("listen", relay.listen.to_string()),
        ("members", relay.members.join(", ")),
        ("cluster id", cluster.to_owned()),
        ("socket", relay.socket.display().to_string()),
        ("messages", messages.to_owned()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
}

/// From the first open socket to the last.
async fn live(args: &Args, config: &Config, logging: &Logging) -> Result<(), Failure> {
    let (signal_sender, mut signals) = mpsc::channel(SIGNALS_MAX);
    // Before the sockets: a stop that comes during the start is a clean one, too.
    let _watch = signals::watch(move |signal| {
        // Nobody listens: the relay is ending already.
        let _ = signal_sender.blocking_send(signal);
    })
    .map_err(|source| Failure::Io { what: "signals cannot be watched", source })?;
    let hub = Hub::new(config)?;
    let listen = |source| Failure::Listen { address: config.relay.listen.to_string(), source };
    let listener = TcpListener::bind(config.relay.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    // Last: this leaves a file behind.
    let bound = server::bind(&config.relay.socket).await.map_err(cannot_bind)?;

    let (requests, requests_in) = mpsc::channel(REQUESTS_MAX);
    let bounds = ServerConfig { connections_max: OPERATORS_MAX, ..ServerConfig::new(SOFTWARE) };
    let operators = server::spawn(bound, bounds, requests);
    tracing::info!(
        %address,
        members = config.relay.members.join(","),
        socket = %config.relay.socket.display(),
        "{SOFTWARE} starts, without faults: partitions, cuts, delay and loss of an earlier run are gone"
    );
    let mut ready = false;
    let tell = |summary: &str| {
        let line = format!("listening on {address}; {summary}");
        if ready {
            notify::status(&line);
        } else {
            ready = notify::ready(&line);
        }
        ready
    };

    let accepting = conn::accept(Arc::clone(&hub), listener);
    let answering = admin::serve(Arc::clone(&hub), requests_in);
    tokio::select! {
        () = until_stopped(&args.config, &hub, logging, &mut signals) => {}
        () = accepting => {}
        () = answering => {}
        () = hub.run(Watchdog::from_env(), tell) => {}
    }
    notify::stopping();
    operators.shutdown(STOP_GRACE).await;
    tracing::info!("stopped as asked");
    notify::ended("stopped as asked");
    Ok(())
}

/// Reloads as often as asked, and returns when asked to stop.
async fn until_stopped(path: &Path, hub: &Hub, logging: &Logging, signals: &mut mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Stop => return,
            Signal::Reload => reload(path, hub, logging),
        }
    }
}

/// Only `[log]` is taken over. A configuration that is wrong changes nothing.
fn reload(path: &Path, hub: &Hub, logging: &Logging) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return tracing::error!("not reloaded: {error}"),
    };
    match logging.reload(&config.log.level, config.log.dir()) {
        Ok(()) => {
            hub.log_messages(config.log.messages);
            tracing::info!(level = config.log.level, messages = config.log.messages, "logging reloaded");
        }
        Err(error) => tracing::error!("not reloaded: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use raftbank_service::log::LogError;
    use raftbank_wire::server::BindError;

    use super::Failure;

    #[test]
    fn a_disk_fault_is_seven_and_what_nobody_mends_by_waiting_is_two() {
        for (number, log, socket) in [(28, 7, 7), (30, 7, 7), (5, 7, 7), (13, 2, 2), (2, 2, 2), (24, 2, 1)] {
            let source = || io::Error::from_raw_os_error(number);
            let failed = Failure::Log {
                path: "relayd.toml".to_owned(),
                source: LogError::Dir { dir: "/var/log/raftbank".into(), source: source() },
            };
            assert_eq!(failed.exit_code(), log, "{failed}");
            let failed = Failure::Socket(BindError::Io { path: "/run/relayd.sock".into(), source: source() });
            assert_eq!(failed.exit_code(), socket, "{failed}");
        }
        assert_eq!(Failure::Outside("elsewhere".to_owned()).exit_code(), 2);
    }
}
