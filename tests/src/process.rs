//! Single processes: starting, signalling and ending them, and their logs.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// How much of each log is shown when something fails.
const TAIL_BYTES: u64 = 6_000;

/// A free port of the loopback interface. Another process may take it before it is used; then the relay says so.
///
/// # Errors
/// The operating system's.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?)
}

/// Sends a signal to a process that this test started and has not yet waited for.
#[allow(unsafe_code)]
pub(crate) fn signal_to(pid: u32, signal: libc::c_int) -> std::io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(std::io::Error::other)?;
    // SAFETY: kill() takes two integers and touches no memory of this process.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Starts a program whose output goes to the end of a log.
pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Child> {
    let file = fs::File::options().create(true).append(true).open(log)?;
    let program = command.get_program().to_owned();
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {}", Path::new(&program).display()))
}

/// `kill -9`, and waits until the process is gone.
pub(crate) fn end(child: &mut Option<Child>) -> Result<()> {
    if let Some(mut child) = child.take() {
        child.kill().context("kill -9")?;
        child.wait().context("waiting for the killed process")?;
    }
    Ok(())
}

/// How a process ended.
pub(crate) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {signal:?}"),
    }
}

/// The end of a log.
pub(crate) fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
