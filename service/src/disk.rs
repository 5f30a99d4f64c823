//! What an error of the system says about a folder that a daemon has to write: a disk that fails, or a place that its unit
//! may not write.
//!
//! Under `ProtectSystem=strict` (`systemd.exec(5)`) the unit sees each file system through a mount of its own that is
//! read-only, but for a few folders. A write elsewhere ends in the same error as one to a disk that the kernel made
//! read-only after a failure; the file system's own flags tell them apart (`proc_pid_mountinfo(5)`).

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// `EIO`: the device failed. The standard library has no stable kind for it.
const EIO: i32 = 5;
/// `EUCLEAN`: the file system is damaged.
const EUCLEAN: i32 = 117;

/// True if the disk is full, read-only or failed: it may be mended while a supervisor tries again.
pub fn is_fault(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
        || matches!(error.raw_os_error(), Some(EIO | EUCLEAN))
}

/// What to do about `error` on `path`, which the setting `key` names, if it comes from the unit's settings and not from
/// the disk: the path's mount is read-only and its file system is not. A whole sentence.
pub fn outside_unit(key: &str, path: &Path, error: &io::Error) -> Option<String> {
    if error.kind() != ErrorKind::ReadOnlyFilesystem {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|folder| folder.exists())?;
    mount_options(there)?.is_closed_here_only().then(|| {
        let folder = if there == path && !path.is_dir() { path.parent().unwrap_or(there) } else { there };
        format!(
            "{key} = \"{}\" is outside the folders that the unit may write: the disk is well, but mounted read-only for this \
             process. Use a folder that the unit makes (below /var/lib, /var/log or /run), or allow this one: `systemctl edit` \
             the unit, with the lines [Service] and ReadWritePaths={}, and restart it",
            path.display(),
            folder.display()
        )
    })
}

/// Whether a mount and its file system are read-only.
#[derive(Debug, PartialEq, Eq)]
struct MountOptions {
    mount_read_only: bool,
    system_read_only: bool,
}

impl MountOptions {
    fn is_closed_here_only(&self) -> bool {
        self.mount_read_only && !self.system_read_only
    }
}

/// Of the mount that `path` lies on; `None` if the kernel does not say.
fn mount_options(path: &Path) -> Option<MountOptions> {
    // Needs no right to read the folder.
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", opened.as_raw_fd())).ok()?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    // Mounts may have names that are not text.
    options_of(&String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").ok()?), id)
}

/// Of the mount with this id, from the text of `mountinfo`. A line that is odd is skipped.
fn options_of(mounts: &str, id: &str) -> Option<MountOptions> {
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    mounts.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        if mount.next() != Some(id) {
            return None;
        }
        // Id, parent, device, root and mount point come before the mount's options; type and source before the system's.
        let (mount, system) = (mount.nth(4)?, system.split(' ').nth(2)?);
        Some(MountOptions { mount_read_only: read_only(mount), system_read_only: read_only(system) })
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::{MountOptions, is_fault, mount_options, options_of, outside_unit};

    #[test]
    fn only_what_a_supervisor_may_wait_for_is_a_fault() {
        let faults: Vec<i32> = [28, 122, 30, 5, 117, 2, 13, 24]
            .into_iter()
            .filter(|n| is_fault(&io::Error::from_raw_os_error(*n)))
            .collect();
        assert_eq!(faults, [28, 122, 30, 5, 117]);
    }

    #[test]
    fn a_mount_of_the_unit_is_told_from_a_disk_that_is_read_only() {
        let mounts = "odd\n\
            35 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
            36 35 254:0 / /srv/a\\040b ro,nosuid,relatime shared:1 master:2 - ext4 /dev/vda rw,errors=remount-ro\n\
            37 35 254:16 / /data rw,relatime - ext4 /dev/vdb ro,errors=remount-ro\n\
            38 35 254:16 / /media ro,relatime - ext4 /dev/vdb ro\n\
            39 35 0:5 / /short ro\n";
        let found = |id| options_of(mounts, id);
        let options = |mount_read_only, system_read_only| Some(MountOptions { mount_read_only, system_read_only });
        assert_eq!(found("35"), options(false, false));
        assert_eq!(found("36"), options(true, false));
        assert_eq!(found("37"), options(false, true));
        assert_eq!(found("38"), options(true, true));
        assert_eq!((found("39"), found("3"), found("")), (None, None, None));
        let closed: Vec<&str> = ["35", "36", "37", "38"]
            .into_iter()
            .filter(|id| found(id).is_some_and(|o| o.is_closed_here_only()))
            .collect();
        assert_eq!(closed, ["36"]);
    }

    #[test]
    fn a_folder_that_can_be_written_is_never_outside() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(mount_options(dir.path()).map(|options| options.is_closed_here_only()), Some(false));
        assert_eq!(mount_options(Path::new("/no/such/folder")), None);
        // Whatever the error says: this mount is open, and another error is another matter.
        for number in [30, 28] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(outside_unit("node.data_dir", &dir.path().join("n1/sled"), &error), None);
        }
    }
}
