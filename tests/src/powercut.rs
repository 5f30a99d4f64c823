//! Power cuts: each node's data is on a file system of its own, which forgets what was not synced.
//!
//! A cut shuts the ext4 file system down without flushing its journal (`EXT4_IOC_SHUTDOWN`), kills the node, unmounts
//! and mounts again: what was synced is there, what was not is gone. That needs root and loop devices.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::binaries::Binaries;
use crate::cluster::{Cluster, PATIENCE, Plan, name};
use crate::history;
use crate::load::{Load, LoadPlan};

/// Set for nodes of a build that obeys it: nothing is synced.
const NO_SYNC: &str = "RAFTBANK_TEST_UNSAFE_NO_SYNC";
const NODES: usize = 3;
const IMAGE_BYTES: u64 = 256 << 20;

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
    match Disk::make("probe").and_then(|mut disk| disk.cut().and_then(|()| disk.restore())) {
        Ok(()) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Cuts the power again and again under load, and compares the books with what was acknowledged after every cut. With
/// [`Options::without_sync`], ends at the first loss.
///
/// # Errors
/// Something other than a loss went wrong; the logs are in the error.
pub async fn run(options: Options) -> Result<Report> {
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
    let (mut report, mut attempts) = (Report::default(), Vec::new());
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
        // A node that finds its books damaged ends at once.
        let served = load.progress(20, PATIENCE).await;
        attempts.extend(load.finish().await?);
        let casualties = cluster.casualties();
        let wrong = if served && casualties.is_empty() {
            history::check(&mut cluster, &attempts).await.err().map(|error| format!("{error:#}"))
        } else {
            Some(format!("no service after the cut; {casualties:?}\n{}", cluster.logs()))
        };
        report.acknowledged = attempts.iter().filter(|attempt| attempt.is_acknowledged()).count() as u64;
        if let Some(wrong) = wrong {
            report.lost = Some(format!("after cut {cut} of {victims:?}: {wrong}"));
            return Ok(report);
        }
    }
    Ok(report)
}

/// A file system in a file, mounted.
#[derive(Debug)]
struct Disk {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
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
        let (image, mount) = (folder.join(format!("{name}.ext4")), folder.join(name));
        fs::create_dir(&mount)?;
        fs::File::create_new(&image)?.set_len(IMAGE_BYTES)?;
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let mut disk = Self { image, mount, is_mounted: false, _folder: None };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<()> {
        tool(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        tool(Command::new("sync").arg("-f").arg(&self.mount))
    }

    /// From here on nothing is written any more, and everything fails that was not synced.
    fn cut(&mut self) -> Result<()> {
        let folder = fs::File::open(&self.mount)?;
        shut_down(&folder).with_context(|| format!("the power of {}", self.mount.display()))
    }

    /// The machine boots: the journal is read as it is on the disk.
    fn restore(&mut self) -> Result<()> {
        tool(Command::new("umount").arg(&self.mount))?;
        self.is_mounted = false;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = tool(Command::new("umount").arg("-l").arg(&self.mount))
        {
            eprintln!("{} stays mounted: {error:#}", self.mount.display());
        }
    }
}

/// Runs a tool of the system.
fn tool(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Ends all writing to the file system at once, its journal not flushed.
#[allow(unsafe_code)]
fn shut_down(folder: &fs::File) -> std::io::Result<()> {
    // EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); 2 is EXT4_GOING_FLAGS_NOLOGFLUSH.
    const SHUTDOWN: u32 = 0x8004_587d;
    let no_log_flush: u32 = 2;
    // SAFETY: the descriptor is open, and the kernel reads one u32 through the pointer, which lives until the call ends.
    let result = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN as _, &raw const no_log_flush) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
