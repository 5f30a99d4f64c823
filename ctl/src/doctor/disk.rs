//! The disk under the data folder: what kind it is, how it is mounted, what is left of it, how long a sync takes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raftbank_wire::api::FolderFigures;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Finding, View};
use crate::local::files;

/// With less free space a node is about to stop.
const FREE_BYTES_PROBLEM: u64 = 64 << 20;
/// With less free space it is time to act.
const FREE_BYTES_WARNING: u64 = 1 << 30;
/// The same in percent of the file system.
const FREE_PERCENT_WARNING: u64 = 10;
/// So many syncs are measured, as long as there is time.
const SYNCS: usize = 16;
/// A disk that takes longer makes each block wait.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Longer than the shortest election timeout of a default configuration, several times over.
const VERY_SLOW_SYNC: Duration = Duration::from_secs(1);

/// Looks at the disk.
pub fn check(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(dir) = view.data_dir() else { return findings };
    // Before `--init` the place where it will be.
    let Some(there) = dir.ancestors().find(|path| path.exists()) else { return findings };
    findings.push(kind(there));
    findings.extend(mount(there));
    findings.extend(space(view, there));
    if dir.is_dir() {
        findings.push(syncs(view, dir));
    }
    findings
}

/// Magic numbers of `statfs(2)`.
fn name(magic: u64) -> Option<(&'static str, bool)> {
    Some(match magic {
        0xef53 => ("ext4", true),
        0x5846_5342 => ("xfs", true),
        0x9123_683e => ("btrfs", true),
        0x2fc1_2fc1 => ("zfs", true),
        0xf2f5_2010 => ("f2fs", true),
        0x0102_1994 => ("tmpfs", false),
        0x8584_58f6 => ("ramfs", false),
        0x794c_7630 => ("overlay", false),
        0x6969 => ("nfs", false),
        0x6573_5546 => ("fuse", false),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => ("smb", false),
        0x0102_1997 => ("9p", false),
        0x00c3_6400 => ("ceph", false),
        _ => return None,
    })
}

fn kind(dir: &Path) -> Finding {
    let check = "disk.type";
    let Ok(system) = rustix::fs::statfs(dir) else {
        return Finding::note(check, format!("the file system of {} cannot be seen", dir.display()));
    };
    // The kernel's numbers have 32 bits, whatever the type here.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let magic = (system.f_type as u64) & 0xffff_ffff;
    match name(magic) {
        Some((name, true)) => Finding::ok(check, name),
        Some((name @ ("tmpfs" | "ramfs"), false)) => Finding::warning(
            check,
            format!("{} is in memory ({name}): the books are gone with a power cut", dir.display()),
            "for more than trying out: node.data_dir on a disk",
        ),
        Some((name, false)) => Finding::warning(
            check,
            format!("{} is on {name}: whether a sync reaches a disk is not in this machine's hands", dir.display()),
            "for more than trying out: node.data_dir on a local ext4, xfs or btrfs",
        ),
        None => Finding::note(check, format!("a file system that nothing is known of here ({magic:#x})")),
    }
}

/// A line of `/proc/self/mountinfo` that matters: where, and its options.
fn mount_of(table: &str, device: &str, path: &Path) -> Option<(PathBuf, String)> {
    let mut best: Option<(PathBuf, String)> = None;
    for line in table.lines() {
        // 36 35 98:0 /root /mnt rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = left.split(' ').collect();
        let [_, _, number, _, point, options, ..] = fields[..] else { continue };
        let point = PathBuf::from(point.replace("\\040", " "));
        let fits = number == device && path.starts_with(&point);
        if fits && best.as_ref().is_none_or(|(known, _)| known.components().count() <= point.components().count()) {
            best = Some((point, format!("{options},{}", right.split(' ').nth(2).unwrap_or_default())));
        }
    }
    best
}

fn mount(dir: &Path) -> Option<Finding> {
    let check = "disk.mount";
    let path = dir.canonicalize().ok()?;
    let device = fs::metadata(&path).ok()?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let table = files::text(Path::new("/proc/self/mountinfo")).ok()?;
    // Some file systems show another device number than their mount: then nothing is said.
    let (point, options) = mount_of(&table, &device, &path)?;
    Some(judge(check, &point, &options))
}

fn judge(check: &'static str, point: &Path, options: &str) -> Finding {
    let has = |option: &str| options.split(',').any(|has| has == option);
    if has("ro") {
        let message = format!("{} is mounted read-only", point.display());
        let remedy = "look at dmesg: a file system turns read-only after an error of its disk";
        return Finding::problem(check, message, remedy);
    }
    if has("nobarrier") || has("barrier=0") {
        let message =
            format!("{} is mounted without barriers: a power cut may take what was promised", point.display());
        return Finding::warning(check, message, "mount it with barriers, unless the disk's cache has a battery");
    }
    Finding::ok(check, format!("{}, writable, with barriers", point.display()))
}

fn space(view: &View, dir: &Path) -> Option<Finding> {
    let seen = rustix::fs::statvfs(dir).ok().map(|system| FolderFigures {
        used_bytes: 0,
        free_bytes: system.f_bavail.saturating_mul(system.f_frsize),
        total_bytes: system.f_blocks.saturating_mul(system.f_frsize),
    });
    let told = view.diagnosed().and_then(|diagnosis| diagnosis.folder);
    let FolderFigures { free_bytes: free, total_bytes: total, .. } = told.or(seen)?;
    Some(room(free, total))
}

fn room(free: u64, total: u64) -> Finding {
    let check = "disk.space";
    let percent = free.saturating_mul(100).checked_div(total).unwrap_or(0);
    let message = format!("{} free of {} ({percent} %)", bytes(free), bytes(total));
    let remedy = "make room, or move to a larger disk: a full disk stops the node with exit code 7";
    if free < FREE_BYTES_PROBLEM {
        Finding::problem(check, message, remedy)
    } else if free < FREE_BYTES_WARNING || percent < FREE_PERCENT_WARNING {
        Finding::warning(check, message, remedy)
    } else {
        Finding::ok(check, message)
    }
}

/// Measures syncs of a file without a name in the data folder; or tells what the node has measured.
fn syncs(view: &View, dir: &Path) -> Finding {
    let check = "disk.sync";
    let by_node = view.diagnosed().map(|diagnosis| diagnosis.syncs).filter(|syncs| syncs.count > 0);
    let (whose, p50, max) = match (measure(dir, view.limit / 2), by_node) {
        (Ok(times), _) => {
            let p50 = times.get(times.len() / 2).copied().unwrap_or_default();
            (format!("{} syncs measured", times.len()), p50, times.last().copied().unwrap_or_default())
        }
        (Err(_), Some(syncs)) => (
            format!("{} syncs of the node", syncs.window),
            Duration::from_micros(syncs.p50_us),
            Duration::from_micros(syncs.p99_us),
        ),
        (Err(why), None) => return unmeasured(why),
    };
    let message = format!("{whose}: half within {p50:.1?}, nearly all within {max:.1?}");
    let remedy = "a disk of its own, an SSD, or fewer neighbours: each block waits for a sync of a majority";
    if p50 > SLOW_SYNC || max > VERY_SLOW_SYNC {
        Finding::warning(check, message, remedy)
    } else {
        Finding::ok(check, message)
    }
}

/// Why nothing was measured. An error of the disk itself is more than that.
fn unmeasured(why: Errno) -> Finding {
    let check = "disk.sync";
    let note = |why: &str| Finding::note(check, format!("not measured: {why}"));
    match why {
        Errno::ACCESS | Errno::PERM => note("this user may not write to the data folder"),
        // Which a kernel that knows of no such files takes for a folder that is to be written.
        Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL => note("this file system has no files without a name"),
        Errno::NOENT => note("the data folder has gone"),
        Errno::NOSPC | Errno::DQUOT => Finding::problem(
            check,
            format!("not measured: {why}"),
            "make room: a full disk stops the node with exit code 7",
        ),
        _ => Finding::problem(
            check,
            format!("the data folder cannot be written: {why}"),
            "look at the disk: dmesg | tail",
        ),
    }
}

/// Times of syncs in ascending order; an error if it cannot be measured. Leaves nothing behind, whatever happens.
fn measure(dir: &Path, limit: Duration) -> Result<Vec<Duration>, Errno> {
    let number_of = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(dir, unnamed, Mode::RUSR | Mode::WUSR)?);
    let begun = Instant::now();
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS as u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 4_096], number * 4_096).map_err(number_of)?;
        let started = Instant::now();
        file.sync_data().map_err(number_of)?;
        times.push(started.elapsed());
        if begun.elapsed() > limit {
            break;
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// Bytes for people.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::Level;
    use rustix::io::Errno;

    use super::{judge, kind, measure, mount_of, room, unmeasured};

    #[test]
    fn room_is_judged_by_bytes_and_percent() {
        let level = |free, total| room(free, total).level;
        assert_eq!(level((64 << 20) - 1, 1 << 40), Level::Problem);
        assert_eq!(level(0, 0), Level::Problem);
        assert_eq!(level(64 << 20, 100 << 20), Level::Warning);
        assert_eq!(level(9 << 30, 100 << 30), Level::Warning);
        assert_eq!(level(11 << 30, 100 << 30), Level::Ok);
    }

    #[test]
    fn the_mount_is_the_deepest_of_the_device() {
        let table = "an odd line\n1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     2 1 8:2 / /var rw,noatime shared:1 - ext4 /dev/sda2 rw,nobarrier\n\
                     3 2 8:2 / /var/lib\\040x ro - xfs /dev/sda2 rw\n";
        let (point, options) = mount_of(table, "8:2", Path::new("/var/lib/y")).expect("found");
        assert_eq!((point.as_path(), options.as_str()), (Path::new("/var"), "rw,noatime,rw,nobarrier"));
        assert_eq!(judge("c", &point, &options).level, Level::Warning);
        let (point, options) = mount_of(table, "8:2", Path::new("/var/lib x/y")).expect("found");
        assert_eq!(judge("c", &point, &options).level, Level::Problem);
        assert_eq!(judge("c", &point, "rw,errors=remount-ro").level, Level::Ok);
        assert_eq!(mount_of(table, "8:9", Path::new("/var")), None);
    }

    #[test]
    fn memory_is_warned_of_and_measuring_leaves_nothing() {
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(kind(Path::new("/dev/shm")).level, Level::Warning);
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        if let Ok(times) = measure(dir.path(), Duration::from_secs(9)) {
            assert!(!times.is_empty() && times.is_sorted());
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
        assert_eq!(measure(&dir.path().join("missing"), Duration::from_secs(9)), Err(Errno::NOENT));
        let reason = |why| unmeasured(why).message;
        assert!(reason(Errno::ACCESS).contains("this user"));
        for other in [Errno::OPNOTSUPP, Errno::NOSPC, Errno::ROFS, Errno::IO] {
            assert!(!reason(other).contains("this user"), "{other}");
        }
        assert_eq!(unmeasured(Errno::NOSPC).level, Level::Problem);
        assert_eq!(unmeasured(Errno::OPNOTSUPP).level, Level::Note);
    }
}
