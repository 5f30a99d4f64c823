//! File systems in files, to be cut off, filled and taken away. They need root and loop devices.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cluster::PATIENCE;

/// Pause between two looks at what the kernel still holds.
const PAUSE: Duration = Duration::from_millis(20);

/// A file system in a file.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    /// Where it is mounted.
    pub mount: PathBuf,
    is_mounted: bool,
}

impl Volume {
    /// Makes and mounts one of so many bytes.
    ///
    /// # Errors
    /// What a tool of the system says.
    pub fn make(image: PathBuf, mount: PathBuf, bytes: u64) -> Result<Self> {
        fs::create_dir(&mount)?;
        fs::File::create_new(&image)?.set_len(bytes)?;
        tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let mut volume = Self { image, mount, is_mounted: false };
        volume.mount()?;
        Ok(volume)
    }

    /// Mounts it.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn mount(&mut self) -> Result<()> {
        tool(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts, and waits until the kernel has let go of the file: another mount namespace may hold on to it for a
    /// moment, and then a new mount would be the old one that was shut down.
    ///
    /// # Errors
    /// What `umount` says in the end.
    pub fn unmount(&mut self) -> Result<()> {
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

    /// Checks and mends it, as a machine does that boots after its disk failed.
    ///
    /// # Errors
    /// It cannot be mended.
    pub fn repair(&self) -> Result<()> {
        let output = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().context("e2fsck")?;
        // 1: errors were found and corrected.
        let is_fine = output.status.code().is_some_and(|code| code <= 1);
        ensure!(is_fine, "e2fsck: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// Ends all writing to it at once, its journal not flushed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn cut(&self) -> Result<()> {
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
///
/// # Errors
/// It takes root.
pub fn own_mounts() -> Result<()> {
    // SAFETY: unshare() takes one integer and touches no memory of this process.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a mount namespace of its own");
    }
    tool(Command::new("mount").args(["--make-rprivate", "/"]))
}

/// Runs a tool of the system.
///
/// # Errors
/// It failed; with what it said.
pub fn tool(command: &mut Command) -> Result<()> {
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
