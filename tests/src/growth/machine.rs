//! What the machine has left, and what processes and folders take of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Resident memory of a process in bytes: now, and at most so far.
pub(super) fn memory(pid: u32) -> Result<[u64; 2]> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    Ok([kibibytes(&text, "VmRSS:")?, kibibytes(&text, "VmHWM:")?])
}

/// Bytes that a process has handed to write calls: `wchar` of proc(5), files and connections alike. What its neighbour
/// `write_bytes` counts depends on how the page cache groups pages.
pub(super) fn written(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("process {pid}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"));
    line.and_then(|number| number.trim().parse().ok()).context("wchar in /proc/PID/io")
}

/// Memory that new processes can have, in bytes.
pub(super) fn memory_available() -> Result<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:")
}

fn kibibytes(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    Ok(number.with_context(|| format!("{name} is not told"))? * 1_024)
}

/// Free bytes of the file system of a folder.
pub(super) fn disk_available(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder).with_context(|| folder.display().to_string())?;
    Ok(found.f_bavail * found.f_frsize)
}

/// Bytes that a folder takes on its disk.
pub(super) fn on_disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        // A file that its process removed meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![7; 100_000]).unwrap();
        fs::File::open(dir.path().join("below/file")).unwrap().sync_all().unwrap();
        assert!((100_000..300_000).contains(&on_disk(dir.path()).unwrap()));
        assert!(disk_available(dir.path()).unwrap() > 0);
    }

    #[test]
    fn this_process_has_memory() {
        let [now, most] = memory(std::process::id()).unwrap();
        assert!(now > 0 && most >= now);
        assert!(memory_available().unwrap() > 0);
        assert!(kibibytes("VmRSS: much", "VmRSS:").is_err());
    }
}
