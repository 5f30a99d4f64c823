//! Power cuts: each node's data is on a disk of its own, which forgets what was not synced.
//!
//! The disk is an ext4 file system in a file on another ext4 file system, both on loop devices. The outer one is the
//! platter, and the kernel's cache of the file on it is the disk's volatile cache: only a flush (what `fdatasync` ends
//! with) reaches the platter. That matters, because sled's own `sync_file_range` writes to the disk without a flush, and
//! a simpler model, one file system without such a cache, keeps what it overwrote in place. A cut shuts both down
//! without flushing their journals (`EXT4_IOC_SHUTDOWN`), kills the node, unmounts and mounts again. It needs root.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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
/// Size of the file system that a node sees, and of the one that holds it. Both files are sparse.
const IMAGE_BYTES: u64 = 192 << 20;
const PLATTER_BYTES: u64 = 320 << 20;
/// Pause between two looks at what the kernel still holds.
const PAUSE: Duration = Duration::from_millis(20);

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
        let served = load.progress(20, PATIENCE).await;
        attempts.extend(load.finish().await?);
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
            history::check(&mut cluster, &attempts).await.err().map(|error| format!("{error:#}"))
        };
        report.acknowledged = attempts.iter().filter(|attempt| attempt.is_acknowledged()).count() as u64;
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

/// A file system in a file.
#[derive(Debug)]
struct Volume {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
}

impl Volume {
    fn make(image: PathBuf, mount: PathBuf, bytes: u64) -> Result<Self> {
        fs::create_dir(&mount)?;
        fs::File::create_new(&image)?.set_len(bytes)?;
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let mut volume = Self { image, mount, is_mounted: false };
        volume.mount()?;
        Ok(volume)
    }

    fn mount(&mut self) -> Result<()> {
        tool(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts, and waits until the kernel has let go of the file: another mount namespace may hold on to it for a
    /// moment, and then a new mount would be the old one that was shut down.
    fn unmount(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut unmounted = tool(Command::new("umount").arg(&self.mount));
        while unmounted.is_err() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            unmounted = tool(Command::new("umount").arg(&self.mount));
        }
        unmounted?;
        self.is_mounted = false;
        while is_held(&self.image)? {
            ensure!(Instant::now() < deadline, "another mount namespace holds on to {}", self.image.display());
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn cut(&self) -> Result<()> {
        let folder = fs::File::open(&self.mount)?;
        shut_down(&folder).with_context(|| format!("the power of {}", self.mount.display()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = tool(Command::new("umount").arg("-l").arg(&self.mount))
        {
            eprintln!("{} stays mounted: {error:#}", self.mount.display());
        }
    }
}

/// A loop device still has this file.
fn is_held(image: &Path) -> Result<bool> {
    let output = Command::new("losetup").arg("-j").arg(image).output().context("losetup cannot be run")?;
    Ok(!output.stdout.is_empty())
}

/// Gives this thread, and the processes that it starts, a mount namespace of their own. Else a container that is started
/// meanwhile would inherit the disks and keep them alive through a cut. With the last process the mounts go, too.
#[allow(unsafe_code)]
fn own_mounts() -> Result<()> {
    // SAFETY: unshare() takes one integer and touches no memory of this process.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a mount namespace of its own");
    }
    tool(Command::new("mount").args(["--make-rprivate", "/"]))
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
