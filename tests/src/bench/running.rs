//! A peer's process: ended when it is dropped, gently first if it knows a signal for that.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{signal_to, spawn, tail, told};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process of ours.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: std::path::PathBuf,
    signal: libc::c_int,
}

impl Running {
    /// Starts it, with its output in `log`; `signal` ends it. In a process group of its own: Ctrl-C is for us to handle.
    pub(crate) fn start(mut command: Command, log: &Path, signal: libc::c_int) -> Result<Self> {
        command.process_group(0);
        Ok(Self { child: spawn(command, log)?, log: log.to_owned(), signal })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It runs.
    ///
    /// # Errors
    /// It does not; with the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {}:\n{}", told(status), self.log()),
        }
    }

    /// Waits until it ends by itself, and well.
    ///
    /// # Errors
    /// It does not in time, or not well; with the end of its log.
    pub(crate) async fn finish(mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("it ended with {}:\n{}", told(status), self.log()),
                None if Instant::now() > deadline => bail!("it did not end within {limit:?}:\n{}", self.log()),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        tail(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        if matches!(self.child.try_wait(), Ok(None)) && signal_to(self.child.id(), self.signal).is_ok() {
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        // Does nothing to a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It fails; with what it said.
pub(crate) async fn run(command: Command, log: &Path, limit: Duration) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    Running::start(command, log, libc::SIGTERM)?.finish(limit).await.with_context(|| program)
}
