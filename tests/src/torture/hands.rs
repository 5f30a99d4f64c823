//! The hands that make faults and mend them, and the supervisor that starts what ended, as systemd would.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raftbank_wire::api::{ApiRequest, LinkCommand};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::faults::Fault;
use crate::ask;
use crate::cluster::{Cluster, Plan, name};
use crate::process::told;
use crate::volume::{Volume, tool};

/// Size of each node's file system. The file is sparse.
const VOLUME_BYTES: u64 = 1 << 30;
/// Pause between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A call that failed just before the healing may end its node a moment later.
const AFTERMATH: Duration = Duration::from_secs(5);
/// A node that ended with 7 is started again after this time.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// A cluster and what is wrong with it now.
pub struct Hands {
    /// The processes.
    pub cluster: Cluster,
    /// Processes that were killed or ended because of a fault.
    pub ended: u64,
    /// One for each node, if there are any.
    disks: Vec<Volume>,
    paused: BTreeSet<usize>,
    full: BTreeSet<usize>,
    read_only: BTreeSet<usize>,
    limited: BTreeMap<usize, rustix::process::Rlimit>,
    tracers: BTreeMap<usize, Child>,
    /// Nodes whose disk fails, or did a moment ago: they may end with 7. With the time of the healing.
    failing: BTreeMap<usize, Option<Instant>>,
    /// Nodes that were told to stop: they may end with 0.
    stopping: BTreeSet<usize>,
    restart_at: BTreeMap<usize, Instant>,
    relay_at: Option<Instant>,
    // Goes last: the disks' folder.
    _folder: tempfile::TempDir,
}

/// Why no system call can be made to fail here, if so.
pub fn tracer() -> Option<String> {
    let run = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    match run {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("strace: {error}")),
    }
}

impl Hands {
    /// Starts a cluster, each node on a file system of its own if `disks`.
    pub async fn new(mut plan: Plan, disks: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rbtorture").tempdir()?;
        let mut volumes = Vec::new();
        if disks {
            for node in 0..plan.nodes {
                let image = folder.path().join(format!("{}.image", name(node)));
                volumes.push(Volume::make(image, folder.path().join(name(node)), VOLUME_BYTES)?);
            }
            plan.data = Some(folder.path().to_owned());
        }
        // A line for each block would hide what matters.
        plan.environment.push(("RAFTBANKD_LOG__LEVEL".to_owned(), "warn".to_owned()));
        let cluster = Cluster::start(plan).await?;
        Ok(Self {
            cluster,
            ended: 0,
            disks: volumes,
            paused: BTreeSet::new(),
            full: BTreeSet::new(),
            read_only: BTreeSet::new(),
            limited: BTreeMap::new(),
            tracers: BTreeMap::new(),
            failing: BTreeMap::new(),
            stopping: BTreeSet::new(),
            restart_at: BTreeMap::new(),
            relay_at: None,
            _folder: folder,
        })
    }

    /// Half of the time the leader, if anyone knows it.
    pub async fn victim(&self, rng: &mut ChaCha8Rng) -> usize {
        let any = rng.random_range(0..self.cluster.size());
        if rng.random_bool(0.5) {
            for node in (0..self.cluster.size()).filter(|node| !self.paused.contains(node)) {
                let Some(status) = self.cluster.status(node).await else { continue };
                if let Some(leader) = status.leader
                    && let Some(leader) = (0..self.cluster.size()).find(|&node| name(node) == leader)
                {
                    return leader;
                }
            }
        }
        any
    }

    /// Makes a fault; false: it cannot be made now.
    pub async fn make(&mut self, fault: Fault, node: usize, rng: &mut ChaCha8Rng) -> Result<bool> {
        let size = self.cluster.size();
        let runs = self.cluster.pid(node).is_some();
        match fault {
            Fault::Kill if runs => self.kill(node, rng)?,
            Fault::KillAll => {
                for node in 0..size {
                    if self.cluster.pid(node).is_some() {
                        self.kill(node, rng)?;
                    }
                }
                self.kill_relay(rng)?;
            }
            Fault::Terminate if runs && !self.paused.contains(&node) => {
                self.cluster.terminate(node)?;
                self.stopping.insert(node);
            }
            Fault::Pause if runs => {
                self.cluster.freeze(node)?;
                self.paused.insert(node);
            }
            Fault::KillRelay if self.cluster.has_relay() => self.kill_relay(rng)?,
            Fault::Partition if self.cluster.has_relay() => {
                let side: Vec<bool> = (0..size).map(|_| rng.random_bool(0.5)).collect();
                let group = |which: bool| (0..size).filter(|&node| side[node] == which).collect::<Vec<_>>();
                let (a, b) = (group(true), group(false));
                if a.is_empty() || b.is_empty() {
                    return Ok(false);
                }
                ask::partition(&self.cluster, &[&a, &b]).await?;
            }
            Fault::Isolate if self.cluster.has_relay() => {
                let rest: Vec<usize> = (0..size).filter(|&other| other != node).collect();
                ask::partition(&self.cluster, &[&[node], &rest]).await?;
            }
            Fault::OneWay if self.cluster.has_relay() => {
                let hears = rng.random_bool(0.5);
                for other in (0..size).filter(|&other| other != node) {
                    if rng.random_bool(0.7) {
                        let (from, to) = if hears { (node, other) } else { (other, node) };
                        ask::cut(&self.cluster, from, to, true).await?;
                    }
                }
            }
            Fault::Loss if self.cluster.has_relay() => {
                let percent = f64::from(rng.random_range(1..40_u8));
                self.cluster.relay(ApiRequest::Link(LinkCommand::Loss { percent, for_ms: None })).await?;
            }
            Fault::Delay if self.cluster.has_relay() => {
                let max_ms = rng.random_range(1..80);
                self.cluster.relay(ApiRequest::Link(LinkCommand::Delay { min_ms: 0, max_ms, for_ms: None })).await?;
            }
            Fault::DiskFull if !self.read_only.contains(&node) => self.fill(node)?,
            Fault::ReadOnly if !self.read_only.contains(&node) => {
                // What the kernel does by itself when the device under ext4 fails.
                tool(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.disks[node].mount))?;
                self.read_only.insert(node);
                self.failing.insert(node, None);
            }
            Fault::SyncError if runs => return self.fail_calls(node, "fdatasync", rng),
            Fault::WriteError if runs => return self.fail_calls(node, "pwrite64", rng),
            Fault::FilesOut if runs && !self.limited.contains_key(&node) => return self.limit_files(node),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn kill(&mut self, node: usize, rng: &mut ChaCha8Rng) -> Result<()> {
        self.untrace(node)?;
        self.cluster.kill_node(node)?;
        self.gone(node, Duration::from_millis(rng.random_range(0..1_500)));
        Ok(())
    }

    fn kill_relay(&mut self, rng: &mut ChaCha8Rng) -> Result<()> {
        if self.cluster.has_relay() {
            self.cluster.kill_relay()?;
            self.ended += 1;
            self.relay_at = Some(Instant::now() + Duration::from_millis(rng.random_range(0..1_500)));
        }
        Ok(())
    }

    /// A process is gone: what was wrong with it, and not with its disk, is gone with it.
    fn gone(&mut self, node: usize, down: Duration) {
        self.ended += 1;
        self.paused.remove(&node);
        self.limited.remove(&node);
        self.stopping.remove(&node);
        self.restart_at.insert(node, Instant::now() + down);
    }

    /// Takes all the room there is.
    fn fill(&mut self, node: usize) -> Result<()> {
        let mount = &self.disks[node].mount;
        let file = fs::File::options().create(true).append(true).open(mount.join("filler"))?;
        // In ever smaller pieces, so that nothing is left.
        for piece in [64 << 20, 1 << 20, 64 << 10, 4 << 10_u64] {
            loop {
                let length = file.metadata()?.len();
                match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, piece) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        self.full.insert(node);
        self.failing.insert(node, None);
        Ok(())
    }

    /// The node's next call of this kind, or a later one, fails with EIO.
    fn fail_calls(&mut self, node: usize, call: &str, rng: &mut ChaCha8Rng) -> Result<bool> {
        let Some(pid) = self.cluster.pid(node).filter(|_| !self.tracers.contains_key(&node)) else { return Ok(false) };
        let nth = rng.random_range(1..20);
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={call}"))
            .arg("-e")
            .arg(format!("inject={call}:error=EIO:when={nth}"))
            .arg("-p")
            .arg(pid.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("strace")?;
        self.tracers.insert(node, child);
        self.failing.insert(node, None);
        Ok(true)
    }

    fn untrace(&mut self, node: usize) -> Result<()> {
        if let Some(mut child) = self.tracers.remove(&node) {
            // SIGTERM lets it detach; a killed tracer would leave its tracee running, too, but stopped in a call.
            crate::process::signal_to(child.id(), libc::SIGTERM)
                .or_else(|error| if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) })?;
            child.wait()?;
        }
        Ok(())
    }

    /// Not one file more than the node has open now.
    fn limit_files(&mut self, node: usize) -> Result<bool> {
        let Some(pid) = self.cluster.pid(node) else { return Ok(false) };
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(false) };
        let open = files.count() as u64;
        let before = set_limit(pid, open)?;
        self.limited.insert(node, before);
        Ok(true)
    }

    /// Lets time pass; starts what ended, and fails if it ended in a way that nothing explains.
    pub async fn watch(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.look().await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        for node in 0..self.cluster.size() {
            if let Some(status) = self.cluster.end_of(node)? {
                let explained = match (status.code(), status.signal()) {
                    (Some(7), _) if self.failing.contains_key(&node) => true,
                    // Too few files to begin with.
                    (Some(1 | 7), _) if self.limited.contains_key(&node) => true,
                    // The signal itself ends a process that has only just begun.
                    (Some(0), _) | (_, Some(libc::SIGTERM)) => self.stopping.contains(&node),
                    _ => false,
                };
                if !explained {
                    bail!("{} ended: {}\n{}", name(node), told(status), self.cluster.logs());
                }
                self.untrace(node)?;
                self.gone(node, RESTART_AFTER);
            }
        }
        let now = Instant::now();
        self.failing.retain(|_, healed| healed.is_none_or(|healed| now.duration_since(healed) < AFTERMATH));
        if self.relay_at.is_some_and(|at| at <= now) {
            self.relay_at = None;
            self.cluster.start_relay().await?;
        }
        let due: Vec<usize> = self.restart_at.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in due {
            self.restart_at.remove(&node);
            self.cluster.start_node(node)?;
        }
        let casualties = self.cluster.casualties();
        ensure!(casualties.iter().all(|end| !end.starts_with("the relay")), "{casualties:?}\n{}", self.cluster.logs());
        Ok(())
    }

    /// Ends all faults and starts everything that is down.
    pub async fn heal_all(&mut self) -> Result<()> {
        for (node, before) in std::mem::take(&mut self.limited) {
            if let Some(pid) = self.cluster.pid(node) {
                rustix::process::prlimit(Some(process(pid)?), rustix::process::Resource::Nofile, before)?;
            }
        }
        for node in self.tracers.keys().copied().collect::<Vec<_>>() {
            self.untrace(node)?;
        }
        // After the tracers are gone: one that lets go of a stopped process leaves it stopped.
        self.paused.clear();
        for node in 0..self.cluster.size() {
            if self.cluster.pid(node).is_some() {
                // It may have ended just now; the supervisor looks at that.
                let _ = self.cluster.thaw(node);
            }
        }
        for node in std::mem::take(&mut self.full) {
            match fs::remove_file(self.disks[node].mount.join("filler")) {
                Ok(()) => {}
                // The same disk turned read-only: it is mounted anew below.
                Err(_) if self.read_only.contains(&node) => {}
                Err(error) => return Err(error).context("making room"),
            }
        }
        for node in std::mem::take(&mut self.read_only) {
            // The machine is repaired: the process ends, the file system is checked and mounted again.
            let runs = self.cluster.pid(node).is_some();
            self.cluster.end_of(node)?;
            if runs {
                self.cluster.kill_node(node)?;
                self.gone(node, Duration::ZERO);
            }
            self.disks[node].unmount()?;
            self.disks[node].repair()?;
            self.disks[node].mount()?;
            match fs::remove_file(self.disks[node].mount.join("filler")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("making room"),
                _ => {}
            }
        }
        self.relay_at = self.relay_at.map(|_| Instant::now());
        for at in self.restart_at.values_mut() {
            *at = Instant::now();
        }
        self.look().await?;
        // What failed, or was told to stop, before the healing may still be about to end.
        let ending: BTreeSet<usize> = self.failing.keys().chain(&self.stopping).copied().collect();
        for node in ending {
            self.settle(node).await?;
        }
        ask::heal(&self.cluster).await?;
        ask::clear(&self.cluster).await
    }

    /// A node whose disk failed either answers, and so lives on a disk that works, or ends and is started again.
    async fn settle(&mut self, node: usize) -> Result<()> {
        let deadline = Instant::now() + super::RECOVERY;
        loop {
            self.look().await?;
            if !self.stopping.contains(&node) && self.cluster.status(node).await.is_some() {
                if let Some(healed) = self.failing.get_mut(&node) {
                    *healed = Some(Instant::now());
                }
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not come back\n{}", name(node), self.cluster.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Hands {
    /// What the threads of every node are doing: for finding out why nothing goes on.
    pub fn autopsy(&self) -> String {
        let mut text = String::new();
        for pid in (0..self.cluster.size()).filter_map(|node| self.cluster.pid(node)) {
            let _ = writeln!(text, "--- threads of process {pid}");
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
                let state = read("status").lines().find(|line| line.starts_with("State")).unwrap_or("?").to_owned();
                let _ = writeln!(text, "{:<16} {state}  {}", read("comm").trim(), read("syscall").trim());
            }
            let pid = pid.to_string();
            let debugger = Command::new("gdb").args(["-p", &pid, "-batch", "-ex", "thread apply all bt 14"]).output();
            if let Ok(output) = debugger {
                text.push_str(&String::from_utf8_lossy(&output.stdout));
            }
        }
        text
    }

    /// Waits until every node answers.
    pub async fn all_up(&mut self) -> Result<()> {
        for node in 0..self.cluster.size() {
            self.settle(node).await?;
        }
        Ok(())
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        for node in self.tracers.keys().copied().collect::<Vec<_>>() {
            let _ = self.untrace(node);
        }
        let _ = self.cluster.kill_all();
    }
}

fn process(pid: u32) -> Result<rustix::process::Pid> {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("a process id")
}

/// Sets the soft limit of open files; returns what was before.
fn set_limit(pid: u32, files: u64) -> Result<rustix::process::Rlimit> {
    let pid = process(pid)?;
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: Some(files), maximum: before.maximum };
    Ok(rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit)?)
}
