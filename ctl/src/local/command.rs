//! Other programs, with a deadline and a bound on what they print.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// What a program has printed, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; none: a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Why a program has said nothing.
#[derive(Debug, Error)]
pub enum NotRun {
    /// There is no such program.
    #[error("the program {0} is not there")]
    Missing(String),
    /// It took too long and was ended.
    #[error("{0} did not end within {1:?}")]
    Late(String, Duration),
    /// It cannot be run.
    #[error("{0} cannot be run: {1}")]
    Failed(String, io::Error),
}

/// Runs a program without input and with nothing of this project in its environment but what is given, so that what is
/// looked at is what the files say. More than `bytes_max` of each output is dropped.
///
/// # Errors
/// It could not be run, or did not end in time.
pub async fn run(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    environment: &[(String, String)],
    limit: Duration,
    bytes_max: usize,
) -> Result<Ran, NotRun> {
    let name = || program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => NotRun::Missing(name()),
        _ => NotRun::Failed(name(), error),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("RAFTBANK") {
            command.env_remove(&variable);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.env("LC_ALL", "C").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (stdout, stderr) = tokio::join!(drain(stdout, bytes_max), drain(stderr, bytes_max));
        let status = child.wait().await?;
        Ok(Ran { code: status.code(), stdout: stdout?, stderr: stderr? })
    };
    match timeout(limit, all).await {
        Ok(ran) => ran.map_err(failed),
        // Dropping the child ends it.
        Err(_) => Err(NotRun::Late(name(), limit)),
    }
}

/// Reads to the end and keeps the beginning, so that a program that prints too much still ends.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> io::Result<String> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let (mut kept, mut part) = (Vec::new(), [0; 8 << 10]);
    loop {
        let read = pipe.read(&mut part).await?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        let room = bytes_max.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&part[..room]);
    }
}

/// A program of this project: beside this one, or in the path.
pub fn own(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    beside.filter(|path| path.is_file()).or_else(|| in_path(name))
}

/// A program in the path.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::{NotRun, run};

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_printed_is_bounded_and_the_end_is_told() {
        let shell = Path::new("/bin/sh");
        let ran =
            run(shell, ["-c", "yes | head -c 1000000; echo wrong >&2; exit 3"], &[], LONG, 10).await.expect("run");
        assert_eq!((ran.code, ran.stdout.len(), ran.stderr.as_str()), (Some(3), 10, "wrong\n"));
    }

    #[tokio::test]
    async fn nothing_is_waited_for_without_end() {
        let late = run(Path::new("/bin/sleep"), ["600"], &[], Duration::from_millis(50), 10).await;
        assert!(matches!(late, Err(NotRun::Late(..))), "{late:?}");
        let missing = run(Path::new("/nowhere/at/all"), [""; 0], &[], LONG, 10).await;
        assert!(matches!(missing, Err(NotRun::Missing(_))), "{missing:?}");
    }
}
