//! The same damages before the real programs: `raftbankd` on the folder, `bankctl verify`, and `--rejoin` in a bank.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::Hash;
use raftbank_wire::api::{ApiReply, ApiRequest, StatusReply};
use raftbank_wire::client::Client;

use super::judge::{Judged, KEY, KEY_ADVICE, Verdict};
use super::kinds::Damage;
use super::templates::{Template, Templates, plan};
use crate::binaries::program;
use crate::cluster::{Cluster, PATIENCE, name};
use crate::history;
use crate::load::{Load, LoadPlan};
use crate::process::{end, free_address, signal_to, told};

const PAUSE: Duration = Duration::from_millis(10);

/// Runs `bankctl verify --data-dir` and then `raftbankd` on a damaged folder. Returns what is wrong, measured by what
/// was found in-process.
///
/// # Errors
/// The programs cannot be run.
pub fn start(templates: &Templates, damage: &Damage, judged: &Judged, work: &Path) -> Result<Option<String>> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    let dir = work.join("data");
    damage.files.write(&dir)?;
    let verified = verify(&dir, work)?;
    if let Some(path) = damage.files.difference(&dir)? {
        return Ok(Some(format!("bankctl verify --data-dir changed {path}")));
    }
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let fits = match (judged.0, verified.status.code()) {
        (Verdict::KeyRefused | Verdict::NoEffect | Verdict::TailCut | Verdict::Behind | Verdict::Older, Some(0)) => {
            true
        }
        (Verdict::Refused, Some(6)) => said.contains("--rejoin"),
        // It asks nobody whose folder it should be.
        (Verdict::NotOurs | Verdict::FoundInUse, Some(0 | 6)) | (Verdict::Failure, _) => true,
        _ => false,
    };
    if !fits {
        return Ok(Some(format!("bankctl verify --data-dir ended with {}: {said}", told(verified.status))));
    }
    let template = templates.get(&damage.template);
    let config = configure(template, work)?;
    let ran = run(template, &config, work);
    let log = fs::read_to_string(work.join("log")).unwrap_or_default();
    let wrong = match (judged.0, ran) {
        (_, Err(error)) => Some(format!("{error:#}")),
        _ if log.contains("panicked") => Some("a panic was printed".to_owned()),
        (Verdict::NoEffect | Verdict::TailCut | Verdict::Behind | Verdict::FoundInUse, Ok(Ended::Served(status))) => {
            let tip = &template.picture.rows.tip;
            let whole = status.height == tip.height && Hash(status.head) == tip.hash;
            (!matches!(judged.0, Verdict::TailCut | Verdict::Behind) && !whole).then(|| format!("it serves {status:?}"))
        }
        (Verdict::Older, Ok(Ended::Served(_))) | (Verdict::Failure, _) => None,
        (Verdict::Refused | Verdict::FoundInUse, Ok(Ended::Code(6))) if log.contains("--rejoin") => {
            // Once found, it stays found.
            match run(template, &config, work)? {
                Ended::Code(6) => None,
                other => Some(format!("the second start: {other:?}")),
            }
        }
        (Verdict::NotOurs, Ok(Ended::Code(2))) => None,
        (Verdict::KeyRefused, Ok(Ended::Code(6))) if log.contains(KEY_ADVICE) => {
            // It is enough to do as it says.
            fs::remove_file(dir.join(KEY))?;
            match run(template, &config, work)? {
                Ended::Served(status) if status.height == template.picture.rows.tip.height => None,
                other => Some(format!("without the key: {other:?}")),
            }
        }
        (_, Ok(ended)) => Some(format!("raftbankd: {ended:?}")),
    };
    fs::remove_dir_all(work)?;
    Ok(wrong.map(|wrong| format!("{wrong}\n{log}")))
}

/// How a start of the real program ended.
#[derive(Debug)]
enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// It answered, and was then stopped cleanly.
    Served(Box<StatusReply>),
}

/// `bankctl verify --data-dir`.
///
/// # Errors
/// It cannot be run.
pub fn verify(dir: &Path, work: &Path) -> Result<Output> {
    program("raftbankd")?;
    Command::new(program("bankctl")?)
        .args(["verify", "--data-dir"])
        .arg(dir)
        .env("TMPDIR", work)
        .stdin(Stdio::null())
        .output()
        .context("bankctl verify")
}

/// The configuration of a node that is alone: nobody listens at its relay's address.
fn configure(template: &Template, work: &Path) -> Result<std::path::PathBuf> {
    fs::write(work.join("genesis.toml"), plan()?.genesis())?;
    let config = work.join("node.toml");
    let show = |name: &str| work.join(name).display().to_string();
    let text = format!(
        "[node]\nid = \"{}\"\ndata_dir = \"{}\"\ngenesis = \"{}\"\nsocket = \"{}\"\n\n[relay]\naddress = \"{}\"\n",
        template.picture.meta.node,
        show("data"),
        show("genesis.toml"),
        show("sock"),
        free_address()?
    );
    fs::write(&config, text)?;
    Ok(config)
}

fn run(template: &Template, config: &Path, work: &Path) -> Result<Ended> {
    let log = File::options().create(true).append(true).open(work.join("log"))?;
    let mut child = Some(
        Command::new(program("raftbankd")?)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("raftbankd")?,
    );
    let ended = watch(template, child.as_mut().context("a child")?, &work.join("sock"));
    end(&mut child)?;
    ended
}

fn watch(template: &Template, child: &mut Child, socket: &Path) -> Result<Ended> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return status.code().map(Ended::Code).with_context(|| told(status));
        }
        if UnixStream::connect(socket).is_ok() {
            break;
        }
        ensure!(Instant::now() < deadline, "ENDLESS START of {}", template.name);
        std::thread::sleep(PAUSE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let client = Client::connect(socket, PATIENCE).await?;
        match client.call(ApiRequest::Status, PATIENCE).await? {
            ApiReply::Status(status) => Ok(status),
            other => bail!("no status: {other:?}"),
        }
    })?;
    signal_to(child.id(), libc::SIGTERM)?;
    loop {
        match child.try_wait()? {
            Some(exit) if exit.success() => return Ok(Ended::Served(Box::new(status))),
            Some(exit) => bail!("after it had served, it ended with {}", told(exit)),
            None => ensure!(Instant::now() < deadline, "it does not stop"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// A bank of three whose other two nodes are as they were when the template was made. The damaged node is started on its
/// folder; if it refuses, that is moved away, and it comes back with `--rejoin`. In the end all nodes agree, nothing that
/// was committed is missing, and the bank serves. Says whether it had to rejoin;
/// `None`: this damage is not for this.
///
/// # Errors
/// Whatever did not hold.
pub async fn rejoin(templates: &Templates, damage: &Damage, judged: &Judged) -> Result<Option<bool>> {
    let mut cluster = Cluster::make(plan()?)?;
    let template = templates.get(&damage.template);
    let (stage, victim) = damage.template.split_once('/').context("a template's name")?;
    let victim = (0..cluster.size()).find(|&node| name(node) == victim).context("a node")?;
    let mut committed: &Template = template;
    for node in 0..cluster.size() {
        let other = templates.get(&format!("{stage}/{}", name(node)));
        let files = if node == victim { &damage.files } else { &other.files };
        fs::remove_dir_all(cluster.data(node))?;
        files.write(&cluster.data(node))?;
        if other.picture.applied > committed.picture.applied {
            committed = other;
        }
    }
    cluster.start_relay().await?;
    for node in (0..cluster.size()).filter(|&node| node != victim) {
        cluster.start_node(node)?;
    }
    let others: Vec<usize> = (0..cluster.size()).filter(|&node| node != victim).collect();
    cluster.leader_among(&others).await?;
    cluster.start_node(victim)?;
    let refuses = match judged.0 {
        Verdict::Refused => Some(6),
        Verdict::NotOurs => Some(2),
        Verdict::NoEffect | Verdict::TailCut | Verdict::Behind | Verdict::Older => None,
        Verdict::KeyRefused => {
            let status = cluster.ended(victim).await?;
            ensure!(status.code() == Some(6), "{} ended with {}", name(victim), told(status));
            fs::rename(cluster.data(victim).join(KEY), cluster.file("evidence"))?;
            cluster.start_node(victim)?;
            None
        }
        // It may start, and it may end whenever it meets the damage.
        Verdict::FoundInUse | Verdict::Failure => return Ok(None),
    };
    if let Some(code) = refuses {
        let status = cluster.ended(victim).await?;
        ensure!(status.code() == Some(code), "{} ended with {}\n{}", name(victim), told(status), cluster.logs());
        fs::rename(cluster.data(victim), cluster.file("evidence"))?;
        cluster.start_node_with(victim, &["--rejoin"])?;
    }
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: 3,
        seed: damage.number,
        accounts: 4,
        amount_max: 4_000,
        prefix: "after".to_owned(),
        timeout: Duration::from_secs(5),
        mixed: true,
        reads: 0.3,
        rest: Duration::ZERO,
    });
    let served = load.progress(20, PATIENCE).await;
    let told = load.finish().await?;
    ensure!(served, "the bank does not serve\n{}", cluster.logs());
    history::check(&mut cluster, &told).await?;
    let chain = history::blocks(&cluster.client(victim).await?).await?;
    let applied = committed.picture.records.iter().filter(|record| record.index <= committed.picture.applied);
    let before: Vec<&[u8]> = applied.filter_map(|record| record.entry.as_deref()).collect();
    let kept = chain.len() >= before.len() && chain.iter().zip(&before).all(|(now, before)| now == before);
    ensure!(kept, "blocks that were committed before the damage are gone\n{}", cluster.logs());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match cluster.status(victim).await {
            // It holds everything a moment before it has heard all the others.
            Some(status) if status.condition.is_none() => break status,
            status => ensure!(Instant::now() < deadline, "it takes no full part: {status:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let same_life = status.incarnation == template.picture.meta.incarnation;
    ensure!(same_life == refuses.is_none(), "the incarnation: {status:?}");
    if refuses.is_some() {
        // It is a member as before: with one of the others down, its vote and its disk are needed.
        cluster.kill_node(others[0])?;
        let rest: Vec<usize> = (0..cluster.size()).filter(|&node| node != others[0]).collect();
        cluster.leader_among(&rest).await.context("without another node")?;
    }
    Ok(Some(refuses.is_some()))
}
