//! The programs under test: found beside the test's own executable, and built first if they are missing or older than
//! the sources.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

/// Folders whose files the programs are made of.
const SOURCES: [&str; 10] =
    ["codec", "consensus", "ctl", "daemon", "ledger", "proofs", "relay", "service", "store", "wire"];

/// The programs that a cluster is made of.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// One node.
    pub node: PathBuf,
    /// The relay.
    pub relay: PathBuf,
}

impl Binaries {
    /// The programs of this build's profile.
    ///
    /// # Errors
    /// They cannot be built.
    pub fn get() -> Result<Self> {
        Ok(Self { node: program("raftbankd")?, relay: program("raftbank-relayd")? })
    }

    /// Nodes whose sync can be switched off, built into a folder of their own so that nothing else ever runs them.
    ///
    /// # Errors
    /// They cannot be built.
    pub fn without_guard() -> Result<Self> {
        let dir = folder()?;
        let (target, profile) = (dir.with_file_name("fault-injection"), profile_of(&dir));
        build(&target, profile, "raftbankd", &["--features", "raftbankd/fault-injection"])?;
        Ok(Self { node: target.join(profile).join("raftbankd"), relay: program("raftbank-relayd")? })
    }
}

/// `hunt` with all planted bugs compiled in, built into a folder of its own so that nothing else ever runs it; and nodes
/// beside it, if it will need some.
///
/// # Errors
/// It cannot be built.
pub fn hunter(with_nodes: bool) -> Result<PathBuf> {
    let dir = folder()?;
    let (target, profile) = (dir.with_file_name("planted-bugs"), profile_of(&dir));
    cargo_build(&target, profile, &["-p", "raftbank-tests", "--features", "planted-bugs", "--bin", "hunt"])?;
    if with_nodes {
        build(&target, profile, "raftbankd", &["--features", "planted-bugs"])?;
        build(&target, profile, "raftbank-relayd", &["--features", "planted-bugs"])?;
    }
    Ok(target.join(profile).join("hunt"))
}

/// A program of this build's profile (`raftbankd`, `raftbank-relayd` or `bankctl`), built first if need be: by one
/// process at a time, and looked at once per process.
///
/// # Errors
/// It cannot be built.
pub fn program(name: &'static str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(name) {
        return Ok(path.clone());
    }
    let path = find(name)?;
    found.insert(name, path.clone());
    Ok(path)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `target/PROFILE` of the running test.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the test's own path")?;
    let dir = own.parent().context("the test's folder")?;
    // Tests lie in `deps`, programs beside it.
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_owned())
}

fn profile_of(dir: &Path) -> &'static str {
    if dir.ends_with("release") { "release" } else { "debug" }
}

fn find(program: &str) -> Result<PathBuf> {
    let dir = folder()?;
    let target = dir.parent().context("the target folder")?;
    let lock = fs::File::create(target.join("raftbank-tests.lock")).context("the build's lock file")?;
    lock.lock().context("waiting for another test that builds")?;
    let path = dir.join(program);
    if !is_fresh(&path) {
        build(target, profile_of(&dir), program, &[])?;
    }
    ensure!(path.is_file(), "there is no {}", path.display());
    Ok(path)
}

/// The program is younger than all sources.
fn is_fresh(program: &Path) -> bool {
    let Some(built) = changed(program) else { return false };
    SOURCES.iter().all(|folder| newest(&workspace().join(folder)).is_ok_and(|newest| newest <= Some(built)))
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn newest(dir: &Path) -> io::Result<Option<SystemTime>> {
    let mut latest = None;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_source = path.extension().is_some_and(|kind| kind == "rs" || kind == "toml");
        if entry.file_type()?.is_dir() && entry.file_name() != "tests" {
            latest = latest.max(newest(&path)?);
        } else if is_source {
            latest = latest.max(changed(&path));
        }
    }
    Ok(latest)
}

fn build(target: &Path, profile: &str, program: &str, more: &[&str]) -> Result<()> {
    cargo_build(target, profile, &[&["-p", program, "--bins"], more].concat())?;
    // Cargo leaves a program that needs no change as old as it was.
    fs::File::open(target.join(profile).join(program))
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("{program} after its build"))
}

fn cargo_build(target: &Path, profile: &str, what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).args(["build", "--quiet", "--target-dir"]).arg(target).args(what);
    if profile == "release" {
        command.arg("--release");
    }
    let status = command.status().context("cargo build")?;
    ensure!(status.success(), "`cargo build {}` failed", what.join(" "));
    Ok(())
}
