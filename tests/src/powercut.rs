//! Power cuts: each node's data is on a disk of its own, which forgets what was not synced.
//!
//! The disk is an ext4 file system in a file on another ext4 file system, both on loop devices. The outer one is the
//! platter, and the kernel's cache of the file on it is the disk's volatile cache: only a flush (what `fdatasync` ends
//! with) reaches the platter. That matters, because sled's own `sync_file_range` writes to the disk without a flush, and
//! a simpler model, one file system without such a cache, keeps what it overwrote in place. A cut shuts both down
//! without flushing their journals (`EXT4_IOC_SHUTDOWN`), kills the node, unmounts and mounts again. It needs root.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::binaries::Binaries;
use crate::cluster::{Cluster, PATIENCE, Plan, name};
use crate::history::{self, History};
use crate::load::{Load, LoadPlan};
use crate::volume::{Volume, own_mounts, tool};

/// Set for nodes of a build that obeys it: nothing is synced.
const NO_SYNC: &str = "RAFTBANK_TEST_UNSAFE_NO_SYNC";
const NODES: usize = 3;
/// Size of the file system that a node sees, and of the one that holds it. Both files are sparse.
const IMAGE_BYTES: u64 = 192 << 20;
const PLATTER_BYTES: u64 = 320 << 20;

/// What is cut how often.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Cuts in all; every other one takes all nodes, the others one.
    pub cuts: u32,
    /// Chooses nodes, moments and transfers.
    pub seed: u64,
    /// Nodes that do not sync: something must be lost, else this test proves nothing.
    pub without_sync: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cuts of one node.
    pub single: u32,
    /// Cuts of all nodes.
    pub total: u32,
    /// Transfers that were acknowledged.
    pub acknowledged: u64,
    /// What was lost: an acknowledged transfer that is gone, or a node that finds its books damaged.
    pub lost: Option<String>,
}

/// Why this machine cannot do it, if it cannot.
pub fn obstacle() -> Option<String> {
    let probe = || -> Result<Disk> {
        own_mounts()?;
        Disk::make("probe")
    };
    match probe().and_then(|mut disk| disk.cut().and_then(|()| disk.restore())) {
        Ok(()) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Cuts the power again and again under load, and compares the books with what was acknowledged after every cut. With
/// [`Options::without_sync`], ends at the first loss. All of it must run on one thread: the disks are mounted for that
/// thread alone.
///
/// # Errors
/// Something other than a loss went wrong; the logs are in the error.
pub async fn run(options: Options) -> Result<Report> {
    own_mounts()?;
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let base = tempfile::Builder::new().prefix("rbcut").tempdir()?;
    let mut disks = Vec::new();
    for node in 0..NODES {
        disks.push(Disk::in_folder(base.path(), &name(node))?);
    }
    let mut plan = Plan::new(NODES)?;
    plan.data = Some(base.path().to_owned());
    if options.without_sync {
        plan.binaries = Binaries::without_guard()?;
        plan.environment.push((NO_SYNC.to_owned(), "1".to_owned()));
    }
    let mut cluster = Cluster::make(plan)?;
    for disk in &disks {
        // The folders themselves are no part of the question.
        disk.sync()?;
    }
    cluster.start_relay().await?;
    for node in 0..NODES {
        cluster.start_node(node)?;
    }
    let (mut report, mut told) = (Report::default(), History::default());
    for cut in 0..options.cuts {
        cluster.leader().await?;
        let load = Load::start(&LoadPlan {
            sockets: cluster.sockets(),
            clients: 16,
            seed: options.seed.wrapping_add(u64::from(cut)),
            accounts: 4,
            amount_max: 10_000,
            prefix: format!("cut-{cut}"),
            timeout: Duration::from_secs(3),
            mixed: true,
            reads: 0.3,
            rest: Duration::ZERO,
        });
        let goal = rng.random_range(50..200);
        ensure!(load.progress(goal, PATIENCE).await, "no progress before cut {cut}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..20_000))).await;
        let victims: Vec<usize> = if cut % 2 == 0 { (0..NODES).collect() } else { vec![rng.random_range(0..NODES)] };
        *(if victims.len() == NODES { &mut report.total } else { &mut report.single }) += 1;
        for &node in &victims {
            disks[node].cut()?;
        }
        for &node in &victims {
            cluster.kill_node(node)?;
        }
        for &node in &victims {
            disks[node].restore()?;
            cluster.start_node(node)?;
        }
        let served = load.progress(20, PATIENCE).await;
        told.extend(load.finish().await?);
        let casualties = cluster.casualties();
        // A node that finds its books damaged ends at once, with exit code 6.
        let damaged = casualties.iter().any(|end| end.ends_with("exit code 6"));
        ensure!(
            damaged || served && casualties.is_empty(),
            "no service after cut {cut} of {victims:?}; {casualties:?}\n{}",
            cluster.logs()
        );
        let wrong = if damaged {
            Some(format!("{casualties:?}\n{}", cluster.logs()))
        } else {
            history::check(&mut cluster, &told).await.err().map(|error| format!("{error:#}"))
        };
        report.acknowledged = told.acknowledged();
        if let Some(wrong) = wrong {
            report.lost = Some(format!("after cut {cut} of {victims:?}: {wrong}"));
            return Ok(report);
        }
    }
    Ok(report)
}

/// A node's disk: a platter that holds the image of the file system that the node sees.
#[derive(Debug)]
struct Disk {
    // In this order: the inner one is unmounted first.
    inner: Volume,
    platter: Volume,
    /// Goes last.
    _folder: Option<tempfile::TempDir>,
}

impl Disk {
    fn make(name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut disk = Self::in_folder(folder.path(), name)?;
        disk._folder = Some(folder);
        Ok(disk)
    }

    fn in_folder(folder: &Path, name: &str) -> Result<Self> {
        let platter =
            Volume::make(folder.join(format!("{name}.platter")), folder.join(format!("{name}.mount")), PLATTER_BYTES)?;
        let inner = Volume::make(platter.mount.join("image"), folder.join(name), IMAGE_BYTES)?;
        let disk = Self { inner, platter, _folder: None };
        disk.sync()?;
        Ok(disk)
    }

    /// What is there so far is durable.
    fn sync(&self) -> Result<()> {
        tool(Command::new("sync").arg("-f").arg(&self.inner.mount))?;
        tool(Command::new("sync").arg("-f").arg(&self.platter.mount))
    }

    /// From here on nothing reaches the platter any more, and everything fails that was not synced.
    fn cut(&mut self) -> Result<()> {
        self.platter.cut()?;
        self.inner.cut()
    }

    /// The machine boots: the journals are read as they are on the platter.
    fn restore(&mut self) -> Result<()> {
        self.inner.unmount()?;
        self.platter.unmount()?;
        self.platter.mount()?;
        self.inner.mount()
    }
}
