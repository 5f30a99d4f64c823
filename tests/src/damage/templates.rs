//! The undamaged folders: made once per run by a cluster of real processes, kept as files.
//!
//! `old`: all nodes stopped cleanly after a third of the requests. `clean`: the same later. `killed`: `kill -9` of all in
//! the middle of a load, later still. `unsynced`: `clean` of n1, on which our own store then wrote records that it never
//! synced, as bytes that a power cut may or may not have let reach the disk; `synced` is that folder before those bytes.
//! `unsynced` of n2 and n3 is `clean` with their vote for n1 in that term: without it nobody could have written them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raftbank_consensus::{Entry, HardState, Index, NodeId, Record, Write};
use raftbank_ledger::{Account, Block, NodeName, Operation, Request, RequestId, State, pow};
use raftbank_store::{Batch, Expected, Reader, SledStore, Store};
use raftbank_wire::client::Client;

use super::files::Files;
use super::mark::Mark;
use super::picture::Picture;
use crate::cluster::{Cluster, PATIENCE, Plan, name};
use crate::history::{self, History};
use crate::load::{Fate, Load, LoadPlan, write};

/// Nodes of the cluster.
pub const NODES: usize = 3;
/// Stages that are saved for every node.
const STAGES: [&str; 3] = ["old", "clean", "killed"];
/// Deadline of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(20);
/// Records of the unsynced tail.
const UNSYNCED: u64 = 12;

/// One undamaged folder.
#[derive(Debug)]
pub struct Template {
    /// Its name, such as `clean/n1`.
    pub name: String,
    /// Its files.
    pub files: Files,
    /// What it promised.
    pub mark: Mark,
    /// What it says when it is opened.
    pub picture: Picture,
}

/// All of them.
#[derive(Debug)]
pub struct Templates {
    /// By name.
    pub all: BTreeMap<String, Template>,
    /// Where they are kept.
    pub dir: PathBuf,
}

/// What a cluster of these folders is made of.
///
/// # Errors
/// The programs cannot be built.
pub fn plan() -> Result<Plan> {
    let mut plan = Plan::new(NODES)?;
    plan.balance = 5_000;
    plan.salt = "damage".to_owned();
    Ok(plan)
}

impl Templates {
    /// Makes them in `dir`, unless they are there.
    ///
    /// # Errors
    /// Whatever is in the way.
    pub async fn make(dir: &Path) -> Result<()> {
        let done = dir.join("done");
        if done.is_file() {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        let mut cluster = Cluster::start(plan()?).await?;
        let mut requests = 0;
        busy(&mut cluster, &mut requests, 100).await?;
        // More than one term.
        let leader = cluster.leader().await?;
        cluster.kill_node(leader)?;
        cluster.start_node(leader)?;
        busy(&mut cluster, &mut requests, 60).await?;
        let chain = stop(&mut cluster).await?;
        save(&cluster, dir, "old", Some(&chain))?;
        restart(&mut cluster)?;
        busy(&mut cluster, &mut requests, 200).await?;
        let chain = stop(&mut cluster).await?;
        save(&cluster, dir, "clean", Some(&chain))?;
        restart(&mut cluster)?;
        busy(&mut cluster, &mut requests, 40).await?;
        let load = Load::start(&LoadPlan {
            sockets: cluster.sockets(),
            clients: 6,
            seed: 1,
            accounts: 4,
            amount_max: 4_000,
            prefix: "killed".to_owned(),
            timeout: TIMEOUT,
            mixed: true,
            reads: 0.0,
            rest: Duration::ZERO,
        });
        ensure!(load.progress(60, PATIENCE).await, "no progress\n{}", cluster.logs());
        cluster.kill_all()?;
        save(&cluster, dir, "killed", None)?;
        drop(load);
        unsynced(dir)?;
        fs::write(done, "")?;
        Ok(())
    }

    /// Reads them, and what each says.
    ///
    /// # Errors
    /// They cannot be read, or one of them is not in order.
    pub fn load(dir: &Path) -> Result<Self> {
        let mut names: Vec<String> =
            STAGES.iter().flat_map(|stage| (0..NODES).map(move |node| format!("{stage}/{}", name(node)))).collect();
        names.push("synced/n1".to_owned());
        names.extend((0..NODES).map(|node| format!("unsynced/{}", name(node))));
        let mut all = BTreeMap::new();
        for template in names {
            let files = Files::read(&dir.join(&template))?;
            let mark = files.files.get("mark").and_then(|bytes| Mark::newest(bytes)).context("a mark")?;
            let picture = Picture::of_files(&files).with_context(|| format!("template {template}"))?;
            all.insert(template.clone(), Template { name: template, files, mark, picture });
        }
        Ok(Self { all, dir: dir.to_owned() })
    }

    /// One by its name.
    ///
    /// # Panics
    /// There is none of this name.
    pub fn get(&self, name: &str) -> &Template {
        self.all.get(name).unwrap_or_else(|| panic!("template {name}"))
    }
}

/// Requests of every kind, some of them refused, and values up to the longest.
async fn busy(cluster: &mut Cluster, number: &mut u64, count: u64) -> Result<()> {
    cluster.leader().await?;
    let mut tasks = Vec::new();
    for (at, socket) in cluster.sockets().into_iter().enumerate() {
        let (from, to) = (*number, *number + count);
        tasks.push(tokio::spawn(async move {
            for number in (from..to).skip(at).step_by(NODES) {
                let request = Request::new(RequestId::parse(&format!("r-{number}"))?, operation(number)?)?;
                acknowledged(&socket, &request).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    *number += count;
    Ok(())
}

/// Asks one node until it acknowledges. It may have been started a moment ago, and may not know a leader yet.
async fn acknowledged(socket: &Path, request: &Request) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let fate = match Client::connect(socket, TIMEOUT).await {
            Ok(client) => write(&client, request, TIMEOUT).await,
            Err(_) => Fate::NotExecuted,
        };
        match fate {
            Fate::Acknowledged { .. } => return Ok(()),
            Fate::NotExecuted | Fate::Unknown if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            fate => bail!("{:?}: {fate:?}", request.id),
        }
    }
}

fn operation(number: u64) -> Result<Operation> {
    let account = |name: String| Account::parse(&name);
    let transfer = |from: String, to: String, amount| -> Result<Operation> {
        let memo = "m".repeat(number as usize % 90);
        let amount = raftbank_ledger::Amount::new(amount)?;
        Ok(Operation::Transfer { from: account(from)?, to: account(to)?, amount, memo })
    };
    let put = |key: u64, length: u64| {
        let value = (0..length).map(|at| (at * 31 + number * 7) as u8).collect();
        Operation::Put { key: format!("key-{key}").into_bytes(), value }
    };
    Ok(match number % 10 {
        0 => Operation::Open { account: account(format!("x{number}"))? },
        // Refused: it is there.
        1 => Operation::Open { account: account("a0".to_owned())? },
        // Refused: nobody has as much.
        2 => transfer("a1".to_owned(), "a2".to_owned(), 1_000_000)?,
        // Every key is overwritten now and then.
        3 => put(number / 10 % 7, 20),
        4 => put(number / 10 % 5 + 100, 3_000),
        5 if number % 50 == 5 => put(200 + number / 50 % 2, 65_536),
        n => transfer(format!("a{}", n % 4), format!("a{}", (n + 1) % 4), 1 + number % 5)?,
    })
}

/// All agree; then all stop cleanly. Returns the chain as a client saw it.
async fn stop(cluster: &mut Cluster) -> Result<Vec<Vec<u8>>> {
    history::check(cluster, &History::default()).await?;
    let chain = history::blocks(&cluster.client(0).await?).await?;
    for node in 0..NODES {
        let status = cluster.stop_node(node).await?;
        ensure!(status.success(), "{} ended with {status}\n{}", name(node), cluster.logs());
    }
    Ok(chain)
}

fn restart(cluster: &mut Cluster) -> Result<()> {
    (0..NODES).try_for_each(|node| cluster.start_node(node))
}

/// Keeps the folders of all nodes, once it is sure that they hold what clients saw.
fn save(cluster: &Cluster, dir: &Path, stage: &str, chain: Option<&Vec<Vec<u8>>>) -> Result<()> {
    for node in 0..NODES {
        let to = dir.join(stage).join(name(node));
        let files = Files::read(&cluster.data(node))?;
        files.write(&to)?;
        let picture = Picture::of_files(&files)?;
        if let Some(chain) = chain {
            // A follower may have stopped before it heard that the last blocks are committed.
            let log: Vec<&[u8]> = picture.records.iter().filter_map(|record| record.entry.as_deref()).collect();
            ensure!(log.len() == chain.len() && log.iter().zip(chain).all(|(a, b)| a == b), "{stage}: the chain");
        }
    }
    Ok(())
}

/// A folder whose last records were written and never synced, and the same folder before.
fn unsynced(dir: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let data = work.path().join("data");
    Files::read(&dir.join("clean/n1"))?.write(&data)?;
    let meta = SledStore::meta(&data)?;
    let expected = Expected { cluster_id: meta.cluster_id, node: meta.node.clone() };
    let (mut store, reader, opened) = SledStore::open(&data, &expected)?;
    // The state at the log's end.
    let mut state = opened.state;
    for record in &opened.durable.tail {
        if let Some(entry) = &record.entry {
            let block = Block::decode(entry)?;
            let executed = state.check(&block)?;
            state.commit(executed, &block.header)?;
        }
    }
    // After every term of any member: those that were stopped later may have been elected later.
    let terms =
        (0..NODES).map(|node| Ok(Picture::of_files(&Files::read(&dir.join("clean").join(name(node)))?)?.hard.term));
    let term = terms.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0) + 1;
    let from = opened.durable.last_index + 1;
    // The term is synced, as it is before its leader appends anything.
    store.write(&Batch { writes: vec![Write::Hard(HardState { term, vote: Some(NodeId(0)) })], ..Batch::default() })?;
    store.sync()?;
    Files::read(&data)?.write(&dir.join("synced/n1"))?;
    for index in from..from + UNSYNCED {
        let record = if index == from {
            Record { index, term, entry: None }
        } else {
            block(&mut state, &meta.node, index, term)?
        };
        store
            .write(&Batch { writes: vec![Write::Splice { from: index, records: vec![record] }], ..Batch::default() })?;
    }
    ensure!(reader.records(from, usize::MAX)?.len() as u64 == UNSYNCED, "the unsynced records");
    // sled writes what it holds when it is let go; nothing is synced, and the mark stays.
    drop((store, reader));
    let files = Files::read(&data)?;
    files.write(&dir.join("unsynced/n1"))?;
    let picture = Picture::of_files(&files)?;
    ensure!(picture.last_index == from + UNSYNCED - 1, "the unsynced records are not in the file");
    (1..NODES).try_for_each(|node| voter(dir, &name(node), term))
}

/// `clean` of another node, which has voted for n1 in this term and heard nothing since.
fn voter(dir: &Path, node: &str, term: u64) -> Result<()> {
    let data = dir.join("unsynced").join(node);
    Files::read(&dir.join("clean").join(node))?.write(&data)?;
    let meta = SledStore::meta(&data)?;
    let expected = Expected { cluster_id: meta.cluster_id, node: meta.node };
    let (mut store, reader, _) = SledStore::open(&data, &expected)?;
    store.write(&Batch { writes: vec![Write::Hard(HardState { term, vote: Some(NodeId(0)) })], ..Batch::default() })?;
    drop(reader);
    Ok(store.close()?)
}

/// The next block, mined.
fn block(state: &mut State, proposer: &NodeName, index: Index, term: u64) -> Result<Record> {
    let request = Request::new(RequestId::parse(&format!("u-{index}"))?, operation(index * 5)?)?;
    let executed = state.execute(vec![request], state.tip().time_ms + 1);
    let mut header = executed.seal(state, term, proposer.clone());
    header.nonce = pow::mine(&header, 0, u64::MAX).context("a nonce")?;
    let block = Block { header, entries: executed.entries() };
    state.commit(executed, &block.header)?;
    Ok(Record { index, term, entry: Some(Entry::from(block.encode())) })
}
