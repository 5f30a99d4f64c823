//! Processes that judge: one damage at a time each, with a deadline, so that an endless start or a crash is a finding.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::judge::{Judged, Verdict, judge};
use super::kinds::damage;
use super::templates::Templates;
use super::{files, real};
use crate::process::{end, told};

/// No damage takes this long, however busy the machine is: what does is an endless start.
const DEADLINE: Duration = Duration::from_secs(90);
/// A process judges so many, and then makes room for a fresh one: a panic inside sled leaves memory and handles behind.
const PER_PROCESS: u32 = 200;

/// What judges, and on what.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The program `damage`.
    pub program: PathBuf,
    /// The undamaged folders.
    pub templates: PathBuf,
    /// Chooses the damages.
    pub seed: u64,
    /// Where folders are damaged.
    pub work: PathBuf,
}

/// The worker's side: reads numbers, judges each damage, and writes a line of JSON for each.
///
/// # Errors
/// The templates or the pipes cannot be read or written.
pub fn serve(dir: &Path, seed: u64, work: &Path) -> Result<()> {
    let templates = Templates::load(dir)?;
    std::fs::create_dir_all(work)?;
    for line in std::io::stdin().lines() {
        let damage = damage(&templates, seed, line?.trim().parse()?);
        let judged = judge(&templates, &damage, work)?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", serde_json::to_string(&judged)?)?;
        out.flush()?;
    }
    Ok(())
}

/// Judges all `numbers`, with as many processes as the machine has cores. Every `real_every`-th is also put before the
/// real programs. `done` is told how many are done.
///
/// # Errors
/// Something other than a damage is in the way.
pub fn judge_all(
    bench: &Bench,
    templates: &Templates,
    numbers: &[u64],
    real_every: u64,
    done: &(dyn Fn(u64) + Sync),
) -> Result<BTreeMap<u64, Judged>> {
    let next = AtomicU64::new(0);
    let judged = Mutex::new(BTreeMap::new());
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| {
                let (next, judged) = (&next, &judged);
                scope.spawn(move || -> Result<()> {
                    let mut seat = Seat { bench, job, worker: None };
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(number) = numbers.get(at as usize) else { return Ok(()) };
                        let mut verdict = seat.judge(*number)?;
                        if at.is_multiple_of(real_every) {
                            let damage = damage(templates, bench.seed, *number);
                            let work = bench.work.join(format!("real-{job}"));
                            if let Some(wrong) = real::start(templates, &damage, &verdict, &work)? {
                                verdict = (Verdict::Failure, format!("the real programs: {wrong}; {}", verdict.1));
                            }
                        }
                        let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
                        judged.insert(*number, verdict);
                        done(judged.len() as u64);
                    }
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a panic of a test")))
    })?;
    Ok(judged.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One of the processes, or the next one.
struct Seat<'a> {
    bench: &'a Bench,
    job: usize,
    worker: Option<Worker>,
}

struct Worker {
    child: Option<Child>,
    numbers: ChildStdin,
    lines: Receiver<String>,
    judged: u32,
}

impl Seat<'_> {
    fn judge(&mut self, number: u64) -> Result<Judged> {
        if self.worker.as_ref().is_none_or(|worker| worker.judged == PER_PROCESS) {
            self.worker = None;
            self.worker = Some(self.spawn()?);
        }
        let worker = self.worker.as_mut().context("a worker")?;
        worker.judged += 1;
        // If it is gone, the missing answer tells so.
        let _ = writeln!(worker.numbers, "{number}");
        let ending = match worker.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                let judged: Judged = serde_json::from_str(&line).context(line)?;
                return Ok(match self.panics()? {
                    Some(panic) => (Verdict::Failure, format!("a panic was printed: {panic}; {}", judged.1)),
                    None => judged,
                });
            }
            Err(RecvTimeoutError::Timeout) => "ENDLESS START".to_owned(),
            Err(RecvTimeoutError::Disconnected) => {
                let status = worker.child.as_mut().context("a child")?.wait()?;
                format!("the process ended with {}", told(status))
            }
        };
        self.worker = None;
        let said = std::fs::read_to_string(self.log()).unwrap_or_default();
        Ok((Verdict::Failure, format!("{ending}: {}", said.trim())))
    }

    /// What the worker printed about panics since it was asked: a node would print the same.
    fn panics(&self) -> Result<Option<String>> {
        let said = std::fs::read_to_string(self.log())?;
        if said.is_empty() {
            return Ok(None);
        }
        File::options().write(true).open(self.log())?.set_len(0)?;
        Ok(Some(said.trim().to_owned()))
    }

    fn log(&self) -> PathBuf {
        self.bench.work.join(format!("worker-{}.log", self.job))
    }

    fn spawn(&self) -> Result<Worker> {
        let work = self.bench.work.join(format!("worker-{}", self.job));
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        std::fs::create_dir_all(&work)?;
        File::create(self.log())?;
        let mut child = Command::new(&self.bench.program)
            .arg("--worker")
            .arg(&work)
            .arg("--templates")
            .arg(&self.bench.templates)
            .args(["--seed", &self.bench.seed.to_string()])
            .env("TMPDIR", &work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).open(self.log())?)
            .spawn()
            .context("a worker")?;
        let numbers = child.stdin.take().context("its input")?;
        let out = child.stdout.take().context("its output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { child: Some(child), numbers, lines, judged: 0 })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may hang for ever: that is one of the findings.
        if let Err(error) = end(&mut self.child) {
            eprintln!("a worker stays: {error:#}");
        }
    }
}

/// Where folders are damaged, and the program that judges.
///
/// # Errors
/// No folder can be made.
pub fn bench(program: &Path, templates: &Path, seed: u64) -> Result<(tempfile::TempDir, Bench)> {
    let work = files::workplace()?;
    let bench =
        Bench { program: program.to_owned(), templates: templates.to_owned(), seed, work: work.path().to_owned() };
    Ok((work, bench))
}
