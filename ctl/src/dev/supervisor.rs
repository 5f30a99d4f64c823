//! Keeps the processes of a development cluster running, as systemd would.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::files::Layout;
use crate::failure::Failure;
use crate::output::note;

/// Before a process that died is started again, as `RestartSec=` does.
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// A process that does not stop by then is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Exit codes after which a restart would change nothing.
const FINAL: [i32; 2] = [2, 6];

/// All processes of a cluster. Clones share them.
#[derive(Clone, Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    restart: bool,
    stop: watch::Sender<bool>,
    slots: Mutex<BTreeMap<String, Slot>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Slot {
    pid: Option<u32>,
    again: Arc<Notify>,
}

impl Supervisor {
    /// Starts the relay and every node.
    ///
    /// # Errors
    /// `cluster.json` cannot be written.
    pub fn start(layout: Layout, daemon: PathBuf, relay: PathBuf, restart: bool) -> Result<Self, Failure> {
        let names: Vec<String> = std::iter::once("relay".to_owned()).chain(layout.nodes.clone()).collect();
        let slots = names.iter().map(|name| (name.clone(), Slot::default())).collect();
        let supervisor = Self {
            shared: Arc::new(Shared {
                layout,
                restart,
                stop: watch::Sender::new(false),
                slots: Mutex::new(slots),
                tasks: Mutex::default(),
            }),
        };
        supervisor.tell()?;
        let tasks = names
            .into_iter()
            .map(|name| {
                let program = if name == "relay" { relay.clone() } else { daemon.clone() };
                tokio::spawn(supervisor.clone().keep(name, program))
            })
            .collect();
        *lock(&supervisor.shared.tasks) = tasks;
        Ok(supervisor)
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The process id of a node or of `relay`, while it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        lock(&self.shared.slots).get(name).and_then(|slot| slot.pid)
    }

    /// Starts a process that is down.
    ///
    /// # Errors
    /// A sentence: there is no such process, or it runs.
    pub fn start_again(&self, name: &str) -> Result<(), String> {
        let slots = lock(&self.shared.slots);
        match slots.get(name) {
            None => {
                Err(format!("there is no {name}; there are {}", slots.keys().cloned().collect::<Vec<_>>().join(", ")))
            }
            Some(Slot { pid: Some(pid), .. }) => Err(format!("{name} runs already (pid {pid})")),
            Some(slot) => {
                slot.again.notify_one();
                Ok(())
            }
        }
    }

    /// Stops every process and waits for them.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.shared.tasks));
        for task in tasks {
            let _ = task.await; // a task that panicked has nothing left to stop
        }
    }

    /// One process, from its first start to the end of the cluster.
    async fn keep(self, name: String, program: PathBuf) {
        let mut stop = self.shared.stop.subscribe();
        loop {
            let ended = match spawn(&program, &self.shared.layout, &name) {
                Ok(child) => self.watch(&name, child, &mut stop).await,
                Err(failure) => {
                    note(&format!("{name}: {}", failure.message));
                    None
                }
            };
            if *stop.borrow() {
                return;
            }
            let code = ended.and_then(|status| status.code());
            let how = ended.map_or_else(|| "it could not be started".to_owned(), |status| status.to_string());
            let log = self.shared.layout.log(&name);
            if self.shared.restart && !code.is_some_and(|code| FINAL.contains(&code)) {
                note(&format!("{name} ended ({how}); starting it again"));
                tokio::select! {
                    () = sleep(RESTART_AFTER) => {}
                    () = stopped(&mut stop) => return,
                }
                continue;
            }
            note(&format!("{name} ended ({how}) and stays down; why: {}", log.display()));
            let again = lock(&self.shared.slots).get(&name).map(|slot| Arc::clone(&slot.again));
            let Some(again) = again else { return };
            tokio::select! {
                () = again.notified() => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn watch(&self, name: &str, mut child: Child, stop: &mut watch::Receiver<bool>) -> Option<ExitStatus> {
        self.set_pid(name, child.id());
        let status = tokio::select! {
            status = child.wait() => status.ok(),
            () = stopped(stop) => {
                terminate(child.id());
                match timeout(STOP_WITHIN, child.wait()).await {
                    Ok(status) => status.ok(),
                    Err(_) => {
                        note(&format!("{name} does not stop; it is killed"));
                        let _ = child.kill().await; // it may have stopped just now
                        None
                    }
                }
            }
        };
        self.set_pid(name, None);
        status
    }

    fn set_pid(&self, name: &str, pid: Option<u32>) {
        if let Some(slot) = lock(&self.shared.slots).get_mut(name) {
            slot.pid = pid;
        }
        if let Err(failure) = self.tell() {
            note(&failure.message);
        }
    }

    /// Keeps `cluster.json` true.
    fn tell(&self) -> Result<(), Failure> {
        let slots = lock(&self.shared.slots);
        self.shared.layout.write_cluster_file(|name| slots.get(name).and_then(|slot| slot.pid))
    }
}

/// Returns when the cluster is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it the cluster.
    let _ = stop.wait_for(|stop| *stop).await.is_ok();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn terminate(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM); // it may have ended already
    }
}

fn spawn(program: &Path, layout: &Layout, name: &str) -> Result<Child, Failure> {
    let path = layout.log(name);
    let trouble = |what: &Path, error: std::io::Error| Failure::internal(format!("{}: {error}", what.display()));
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| trouble(&path, error))?;
    let copy = log.try_clone().map_err(|error| trouble(&path, error))?;
    Command::new(program)
        .arg("--config")
        .arg(layout.config(name))
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(log)
        // Ctrl-C on the terminal is for `dev up`, which stops the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| trouble(program, error))
}

/// Makes a node's data folder, once.
///
/// # Errors
/// `raftbankd --init` refuses.
pub async fn init(daemon: &Path, layout: &Layout, node: &str) -> Result<(), Failure> {
    if layout.data_dir(node).exists() {
        return Ok(());
    }
    let output = Command::new(daemon)
        .arg("--config")
        .arg(layout.config(node))
        .arg("--init")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| Failure::internal(format!("{}: {error}", daemon.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Failure::internal(format!("raftbankd --init of {node} failed ({}): {}", output.status, text.trim())))
}

/// Ends daemons of this very folder that a killed `dev up` has left running. They are known by their command line.
pub async fn end_leftovers(layout: &Layout) {
    let configs: Vec<PathBuf> = std::iter::once("relay")
        .chain(layout.nodes.iter().map(String::as_str))
        .map(|name| layout.config(name))
        .collect();
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    let mut ended = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let ours = words
            .first()
            .is_some_and(|program| program.ends_with(b"raftbankd") || program.ends_with(b"raftbank-relayd"))
            && words.iter().any(|word| configs.iter().any(|config| config.as_os_str().as_encoded_bytes() == *word));
        if ours {
            note(&format!("process {pid} is left over from an earlier run; it is stopped"));
            terminate(Some(pid));
            ended.push(pid);
        }
    }
    for _ in 0..500 {
        ended.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
        if ended.is_empty() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
