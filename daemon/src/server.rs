//! The program: what each flag does, and a node's life from start to end.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raftbank_consensus::NodeId;
use raftbank_ledger::{Block, NodeName};
use raftbank_proofs::SignerKey;
use raftbank_service::log::{self, LogError};
use raftbank_service::notify;
use raftbank_service::signals::{self, Signal};
use raftbank_service::watchdog::Watchdog;
use raftbank_store::{DiskFault, Expected, Opened, Reader, SledReader, SledStore};
use raftbank_wire::hello::Hello;
use raftbank_wire::link::{LinkConfig, spawn_link};
use raftbank_wire::server::{self as socket, BindError, Bound, ServerConfig};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::config::Config;
use crate::driver::Ended;
use crate::error::{EXIT_CORRUPT, Failure};
use crate::genesis::Bank;
use crate::loading::Loading;
use crate::node::{AHEAD_REQUESTS_MIN, Event, GATHER_CALLS_MIN, NONCES_INLINE, Node, NodeConfig};
use crate::runtime::alarm::Alarm;
use crate::runtime::clients::{Clients, READS_MAX, REPLAYS_MAX, VERIFICATIONS_MAX};
use crate::runtime::diagnosis::{Around, LOOKS_MAX};
use crate::runtime::disk::Disk;
use crate::runtime::gathering::Gathering;
use crate::runtime::loader::Loader;
use crate::runtime::miner::Miner;
use crate::runtime::{self, Report, Runtime};
use crate::status::Status;
use crate::{check, dump, folder, import, marker, signer, verify};

/// Requests of clients that may wait for the loop.
const INCOMING_MAX: usize = 1_024;
/// How long clients may take to read their last answers.
const GOODBYE: Duration = Duration::from_millis(500);

/// Name and version, as peers, the relay and `status` see it.
pub const SOFTWARE: &str = concat!("raftbankd/", env!("CARGO_PKG_VERSION"));

/// Does what the command line asks for and returns the exit code.
pub fn run(args: &Args) -> Result<u8, Failure> {
    if let Some(dir) = &args.verify {
        return verify::folder(dir, args.against, args.output);
    }
    if let Some(dir) = &args.dump {
        return dump::folder(dir).map(|()| 0);
    }
    let config = Config::load(&args.config)?;
    let bank = Bank::load(&config.node.genesis)?;
    bank.position(&config.node.id)?;
    if args.check_config {
        print!("{}", check::report(&config, &bank)?);
        return Ok(0);
    }
    // As against a disk that failed: where the unit may not write, nobody should try again.
    let in_data_dir = |failure: Failure| failure.at("node.data_dir", &config.node.data_dir);
    if args.init {
        let made = if args.rejoin { folder::rejoin(&config, &bank) } else { folder::init(&config, &bank) };
        let what = made.map_err(in_data_dir)?.told();
        println!(
            "{what} {} for {} of bank \"{}\", cluster {}",
            config.node.data_dir.display(),
            config.node.id,
            bank.name,
            bank.cluster_id
        );
        return Ok(0);
    }
    if let Some(export) = &args.import {
        let imported = import::import(&config, &bank, export).map_err(in_data_dir)?;
        println!("{}", imported.told(&config, args.output));
        return Ok(0);
    }
    if args.rejoin {
        folder::rejoin(&config, &bank).map_err(in_data_dir)?;
    }
    serve(args, &config, bank)
}

/// A node's life.
fn serve(args: &Args, config: &Config, bank: Bank) -> Result<u8, Failure> {
    let started = Instant::now();
    let logging = log::init("raftbankd", &[("NODE", &config.node.id)], &config.log.level, config.log.dir())
        .map_err(|error| cannot_log(args, error))?;
    let logging = Arc::new(Mutex::new(Some(logging)));
    let data_dir = config.node.data_dir.clone();
    let (exit_code, reason, sticky) = match live(args, config, bank, started, &logging) {
        Ok(Ended { exit_code, reason }) => (exit_code, reason, exit_code == EXIT_CORRUPT),
        Err(failure) => {
            let sticky = failure.exit_code() == EXIT_CORRUPT && !matches!(failure, Failure::Key(_));
            (failure.exit_code(), failure.to_string(), sticky)
        }
    };
    match exit_code {
        0 => tracing::info!("{reason}"),
        _ if sticky => {
            // Sticky: no supervisor and no impatient hand starts from this folder again.
            if let Err(error) = marker::write(&data_dir, &reason) {
                tracing::error!("the reason cannot be left in {}: {error}", data_dir.display());
            }
            tracing::error!(exit_code, "{reason}");
        }
        _ => tracing::error!(exit_code, "{reason}"),
    }
    notify::ended(&reason);
    // Writes out what waits for the log files.
    drop(logging.lock().unwrap_or_else(PoisonError::into_inner).take());
    Ok(exit_code)
}

fn cannot_log(args: &Args, error: LogError) -> Failure {
    match error {
        // A full disk becomes free again; a supervisor may try.
        LogError::Dir { dir, source } if DiskFault::of(&source).is_some() => {
            Failure::io(format!("log.dir = \"{}\" cannot be used", dir.display()))(source).at("log.dir", &dir)
        }
        error => Failure::Usage(format!("configuration {}: {error}", args.config.display())),
    }
}

type SharedLogging = Arc<Mutex<Option<log::Logging>>>;

/// Opens the data folder and runs the node on it.
fn live(args: &Args, config: &Config, bank: Bank, started: Instant, logging: &SharedLogging) -> Result<Ended, Failure> {
    let dir = &config.node.data_dir;
    marker::check(dir)?;
    let node = NodeName::parse(&config.node.id).map_err(|error| Failure::Usage(error.to_string()))?;
    let expected = Expected { cluster_id: bank.cluster_id, node: node.clone() };
    let mut loading = Loading::default();
    let in_data_dir = |failure: Failure| failure.at("node.data_dir", dir);
    let (store, reader, opened) = SledStore::open_watched(dir, &expected, |progress| loading.on(&progress))
        .map_err(|error| in_data_dir(error.into()))?;
    greet(config, &bank, &reader, &opened)?;
    let signer = load_key(dir, &bank, &node, &opened).map_err(in_data_dir)?;
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READS_MAX + VERIFICATIONS_MAX + REPLAYS_MAX + LOOKS_MAX + 1)
        .build()
        .map_err(Failure::io("the asynchronous runtime cannot be started"))?;
    let (reports, reported) = mpsc::channel(runtime::REPORTS_MAX);
    let _signals = watch_signals(args, logging, reports.clone())?;
    let result = executor.block_on(async {
        let bound = socket::bind(&config.node.socket).await.map_err(cannot_bind)?;
        let parts = Parts { store, reader, opened, signer, reports, reported };
        // A task of its own: what wakes the future that the runtime blocks on is written to a descriptor first, even on
        // this very thread, and costs another turn of it.
        let node = tokio::spawn(run_node(config.clone(), bank, started, parts, bound));
        node.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    });
    executor.shutdown_background();
    result
}

fn cannot_bind(error: BindError) -> Failure {
    use std::io::ErrorKind::{AddrInUse, NotFound, PermissionDenied};
    match error {
        // Whatever comes and goes, such as free descriptors; a folder that is missing does not come by itself.
        BindError::Io { path, source } if !matches!(source.kind(), AddrInUse | NotFound | PermissionDenied) => {
            Failure::io(format!("the socket {} cannot be made", path.display()))(source).at("node.socket", &path)
        }
        error => Failure::Usage(format!("node.socket: {error}")),
    }
}

/// What a run begins with.
struct Parts {
    store: SledStore,
    reader: SledReader,
    opened: Opened,
    signer: SignerKey,
    reports: mpsc::Sender<Report>,
    reported: mpsc::Receiver<Report>,
}

/// Puts node, threads and sockets together, and takes them apart when the node has ended.
async fn run_node(config: Config, bank: Bank, started: Instant, parts: Parts, bound: Bound) -> Result<Ended, Failure> {
    let Parts { store, reader, opened, signer, reports, reported } = parts;
    let id = bank.position(&config.node.id)?;
    let spawned = |what: &str| Failure::io(format!("the {what} thread cannot be started"));
    let disk = Disk::start(store).map_err(spawned("store"))?;
    let loader = start_loader(reader.clone(), reports.clone()).map_err(spawned("reading"))?;
    let miner = start_miner(reports.clone()).map_err(spawned("mining"))?;
    let alarm = Alarm::new().map_err(Failure::io("the loop's timer cannot be made"))?;

    let hello = Hello {
        cluster_id: bank.cluster_id.0,
        node: config.node.id.clone(),
        members: bank.members.iter().map(|name| name.as_str().to_owned()).collect(),
        incarnation: opened.meta.incarnation,
        software: SOFTWARE.to_owned(),
    };
    let (link, link_events) = spawn_link(LinkConfig::new(&config.relay.address, hello));
    let node_config = node_config(&config, &bank, id, &opened, signer)?;
    let names = bank.members;
    let Opened { durable, applied, state, peers, keys, .. } = opened;
    let (node, opening) = Node::open(node_config, durable, applied, state, &peers, &keys, runtime::now(started));

    let (requests, incoming) = mpsc::channel(INCOMING_MAX);
    let server = socket::spawn(bound, ServerConfig::new(SOFTWARE), requests);
    let runtime = Runtime {
        node,
        names,
        tick_ms: config.timers.tick_ms,
        disk,
        loader,
        miner,
        gathering: Gathering::default(),
        alarm,
        link,
        link_events,
        incoming,
        clients: Clients::new(reader, reports),
        reports: reported,
        // From here on, not from the start of the process: the chain may have taken minutes to load.
        status: Status::new(Instant::now()),
        watchdog: Watchdog::from_env(),
        around: Around::new(&config.relay.address, &config.node.data_dir, started),
        started,
    };
    // A task like all others: the runtime asks the kernel once more before it polls the future that it was begun with.
    let (result, disk) = match tokio::spawn(runtime.run(opening)).await {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    server.shutdown(GOODBYE).await;
    match &result {
        // Whatever was promised is durable already; this writes the rest, so that the next start has less to do.
        Ok(Ended { exit_code: 0, .. }) => disk.close()?,
        // Damage or a failed disk: nothing more is written on purpose.
        _ => std::mem::forget(disk),
    }
    result
}

fn node_config(
    config: &Config,
    bank: &Bank,
    id: NodeId,
    opened: &Opened,
    signer: SignerKey,
) -> Result<NodeConfig, Failure> {
    let seed = SysRng
        .try_next_u64()
        .map_err(|error| Failure::io("the system's random numbers cannot be read")(std::io::Error::other(error)))?;
    Ok(NodeConfig {
        id,
        names: bank.members.clone(),
        seed,
        tick_ms: config.timers.tick_ms,
        timers: config.timers.ticks(),
        batch_requests_max: config.batch.requests_max,
        batch_bytes_max: config.batch.bytes_max,
        incarnation: opened.meta.incarnation,
        rejoining: opened.meta.rejoining,
        nonces_inline: NONCES_INLINE,
        ahead_requests_min: AHEAD_REQUESTS_MIN,
        gather_calls_min: GATHER_CALLS_MIN,
        signer,
        checkpoint_ms: config.checkpoints.interval_ms,
        software: SOFTWARE.to_owned(),
    })
}

/// The node's private key. A folder that has been in use has one.
fn load_key(dir: &Path, bank: &Bank, node: &NodeName, opened: &Opened) -> Result<SignerKey, Failure> {
    let loaded = signer::load(dir, &bank.cluster_id, node)?;
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    if loaded.made && (opened.durable.last_index > 0 || opened.durable.hard.term > 0) {
        tracing::warn!(
            "this node had no private key and has a new one now: auditors need a new keys file (bankctl keys)"
        );
    }
    Ok(loaded.key)
}

fn start_loader(reader: SledReader, reports: mpsc::Sender<Report>) -> std::io::Result<Loader> {
    Loader::start(reader, move |load, records| {
        let report = match records {
            Ok(records) => Report::Event(Event::Loaded { peer: load.peer, from: load.from, records }),
            Err(error) => Report::ReadFailed(error),
        };
        // The loop has ended if nobody listens.
        let _ = reports.blocking_send(report);
    })
}

fn start_miner(reports: mpsc::Sender<Report>) -> std::io::Result<Miner> {
    Miner::start(move |job, nonce| {
        // The loop has ended if nobody listens.
        let _ = reports.blocking_send(Report::Event(Event::Mined { job, nonce }));
    })
}

/// Says who this is, and checks that the chain's ends are readable.
fn greet(config: &Config, bank: &Bank, reader: &SledReader, opened: &Opened) -> Result<(), Failure> {
    let tip = opened.state.tip();
    for (height, hash) in [(0, bank.cluster_id), (tip.height, tip.hash)] {
        let found = reader.block(height)?.and_then(|bytes| Block::decode(&bytes).ok()).map(|block| block.hash());
        if found != Some(hash) {
            return Err(Failure::Corrupt(format!(
                "block {height} in {} is not the one with hash {hash} that the state was made from",
                config.node.data_dir.display()
            )));
        }
    }
    tracing::info!(
        node = config.node.id,
        bank = bank.name,
        cluster = %bank.cluster_id,
        members = bank.names(),
        height = tip.height,
        head = %tip.hash,
        term = opened.durable.hard.term,
        beyond = opened.durable.tail.len(),
        "{SOFTWARE} starts"
    );
    for note in &opened.notes {
        tracing::warn!("{note}");
    }
    if opened.meta.rejoining {
        tracing::info!("this folder was made by --rejoin: the node promises nothing until it has caught up");
    }
    Ok(())
}

fn watch_signals(
    args: &Args,
    logging: &SharedLogging,
    reports: mpsc::Sender<Report>,
) -> Result<signals::Watch, Failure> {
    let (path, logging) = (args.config.clone(), Arc::clone(logging));
    signals::watch(move |signal| match signal {
        // The loop has ended if nobody listens.
        Signal::Stop => drop(reports.blocking_send(Report::Shutdown)),
        Signal::Reload => reload(&path, &logging),
    })
    .map_err(Failure::io("signals cannot be watched"))
}

/// `SIGHUP`: only `[log]` is taken over. A configuration that is wrong changes nothing.
fn reload(path: &Path, logging: &SharedLogging) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return tracing::error!("not reloaded: {error}"),
    };
    if let Some(logging) = logging.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        match logging.reload(&config.log.level, config.log.dir()) {
            Ok(()) => tracing::info!(level = config.log.level, "logging reloaded"),
            Err(error) => tracing::error!("not reloaded: {error}"),
        }
    }
}
