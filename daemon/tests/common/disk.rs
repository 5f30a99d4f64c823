//! Disks of a test's own, to be filled, made read-only and broken. They need root.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::{PATIENCE, PAUSE};

/// What a disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In memory; a write to a full one fails at once.
    Tmpfs,
    /// A file system in a file; a full one still has some places for small writes.
    Ext4,
}

/// A small file system, mounted until this is dropped.
pub struct Disk {
    kind: Kind,
    pub mount: PathBuf,
    image: PathBuf,
    bytes: u64,
}

/// Why no disk can be made here, if so.
pub fn obstacle() -> Option<String> {
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout != b"0\n" {
        return Some("only root may mount".to_owned());
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::unmounted(Kind::Ext4, dir.path(), &dir.path().join("m"), 8 << 20);
    disk.and_then(|disk| disk.mount()).err()
}

impl Disk {
    /// Makes and mounts one. `beside` is where its file is.
    pub fn make(kind: Kind, beside: &Path, mount: &Path, bytes: u64) -> Self {
        let disk = Self::unmounted(kind, beside, mount, bytes).expect("a disk");
        disk.mount().expect("mounted");
        disk
    }

    fn unmounted(kind: Kind, beside: &Path, mount: &Path, bytes: u64) -> Result<Self, String> {
        fs::create_dir(mount).map_err(|error| error.to_string())?;
        let image = beside.join("disk.img");
        if kind == Kind::Ext4 {
            File::create_new(&image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        }
        Ok(Self { kind, mount: mount.to_owned(), image, bytes })
    }

    pub fn mount(&self) -> Result<(), String> {
        match self.kind {
            Kind::Tmpfs => {
                let size = format!("size={}", self.bytes);
                run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&self.mount))
            }
            Kind::Ext4 => {
                run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))
            }
        }
    }

    /// Mounts it anew with another option.
    pub fn remount(&self, option: &str) {
        run(Command::new("mount").arg("-o").arg(format!("remount,{option}")).arg(&self.mount)).expect("mounted anew");
    }

    /// Takes it away, mends it, and mounts it again: what a machine does when it boots.
    pub fn repair(&self) {
        self.unmount();
        // 1: errors were found and corrected.
        let output = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().expect("e2fsck runs");
        assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
        self.mount().expect("mounted");
    }

    fn unmount(&self) {
        let started = Instant::now();
        // Until the last process that had it open is gone, and the kernel has let go of the file.
        while let Err(error) = run(Command::new("umount").arg(&self.mount)) {
            assert!(started.elapsed() < PATIENCE, "{error}");
            std::thread::sleep(PAUSE);
        }
        while !Command::new("losetup").arg("-j").arg(&self.image).output().expect("losetup runs").stdout.is_empty() {
            assert!(started.elapsed() < PATIENCE, "the kernel holds on to {}", self.image.display());
            std::thread::sleep(PAUSE);
        }
    }

    /// Writes a file until no more fits, in ever smaller pieces.
    pub fn fill(&self, name: &str) {
        let mut file = File::create(self.mount.join(name)).expect("made");
        for bytes in [1 << 20, 4_096] {
            while file.write_all(&vec![b'x'; bytes]).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    /// Writes a file of so many bytes.
    pub fn ballast(&self, name: &str, bytes: usize) {
        fs::write(self.mount.join(name), vec![b'x'; bytes]).expect("written");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.mount.join(name)).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.mount)) {
            eprintln!("{} may stay mounted: {error}", self.mount.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
