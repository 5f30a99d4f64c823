//! The machine: what it is, what else it does, and what a process has used of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// Of the times in `/proc/PID/stat`: USER_HZ, which is 100 on every architecture that this is built for.
const TICKS_PER_SECOND: u64 = 100;

/// Under which conditions was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// Processors that this process may use.
    pub cores: usize,
    /// The kernel's version.
    pub kernel: String,
    /// Kind of the file system that holds all data.
    pub file_system: String,
    /// Processes that ran or waited to run, mean of one minute: before the first round.
    pub load_before: f64,
    /// The same after the last one; our own are in it.
    pub load_after: f64,
    /// What measured, and how it was built.
    pub build: &'static str,
    /// Versions of the peers.
    pub peers: Vec<String>,
}

impl Conditions {
    /// As they are now.
    pub(crate) fn now() -> Self {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: line("/proc/sys/kernel/osrelease"),
            file_system: file_system(&std::env::temp_dir()).unwrap_or_else(|| "unknown".to_owned()),
            load_before: load(),
            load_after: 0.0,
            build: if cfg!(debug_assertions) { "debug: the figures say little" } else { "release" },
            peers: Vec::new(),
        }
    }
}

/// Load average of one minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// The kind of the file system that a folder lies on: of the mount with the longest path that leads there.
fn file_system(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    fields
        .filter(|(path, _)| folder.starts_with(path))
        .max_by_key(|(path, _)| path.len())
        .map(|(_, kind)| kind.to_owned())
}

/// Processor time of this process so far.
pub(crate) fn own_processor_time() -> Result<Duration> {
    processor_time(std::process::id())
}

/// Processor time of a process so far, in steps of 10 ms: `utime` and `stime` of proc(5).
///
/// # Errors
/// It is gone.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    ticks(&text).map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)).context("/proc/PID/stat")
}

/// Fields 14 and 15. The second one, the name, may have spaces and brackets in it.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

/// Bytes that a process has caused to be written to storage so far.
///
/// # Errors
/// It is gone, or another user's.
pub(crate) fn written_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("process {pid}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).context("/proc/PID/io")
}

/// The first line that a program prints, or why it cannot be run.
pub(crate) fn first_line(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output().with_context(|| program.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).with_context(|| format!("{} prints nothing", program.display()))
}

/// A program of the search path.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let line = "7 (a b) c) S 1 7 7 0 -1 4194304 1 2 3 4 150 25 9 9 20 0 1 0 100 1 1";
        assert_eq!(ticks(line), Some(175));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let before = own_processor_time().unwrap();
        let mut sum = 0_u64;
        while own_processor_time().unwrap() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(written_bytes(std::process::id()).is_ok());
    }
}
