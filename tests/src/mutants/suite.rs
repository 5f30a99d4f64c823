//! The run of all: a control without any bug, then each bug in a process of its own, then the table.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_planted::{Bug, VARIABLE};

use super::{Hunter, Limits, Verdict, table};

/// How long a child may take beyond the limits of its hunters.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bugs, each with the only hunter that looks for it, or with none: then all those of the table do.
    pub hunts: Vec<(Bug, Option<Hunter>)>,
    /// For each hunter of each bug.
    pub limits: Limits,
    /// For each hunter of the control run, which finds nothing and so always takes all of it.
    pub control: Limits,
    /// Children at a time.
    pub jobs: usize,
}

/// Runs the plan with the program `hunter` and prints the table. Returns true if the control was clean and every bug
/// was caught.
///
/// # Errors
/// A child cannot be run.
pub fn run(hunter: &Path, plan: &Plan) -> Result<bool> {
    let control = child(hunter, None, None, plan.control)?;
    match &control.caught {
        Some(wrong) => println!("FAILED: without any bug, {} says: {wrong}", control.by),
        None => println!("control: nothing planted, nothing caught, {:.1} s", control.seconds),
    }
    println!("{:<26} {:<8} {:>7} {:>8}  violation", "bug", "by", "seeds", "seconds");
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        while let Some((bug, by)) = plan.hunts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = child(hunter, Some(*bug), *by, plan.limits)?;
            let mut missed = missed.lock().expect("no thread panics with it");
            let Verdict { caught, by, seeds, seconds } = verdict;
            let text = caught.as_deref().unwrap_or("NOT CAUGHT");
            println!("{:<26} {by:<8} {seeds:>7} {seconds:>8.2}  {}", bug.name(), text);
            if caught.is_none() {
                missed.push(bug.name());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let missed = missed.into_inner().expect("no thread panics with it");
    println!("{} of {} hunts caught their bug", plan.hunts.len() - missed.len(), plan.hunts.len());
    if !missed.is_empty() {
        println!("FAILED: not caught: {}", missed.join(", "));
    }
    Ok(missed.is_empty() && control.caught.is_none())
}

/// One hunt in a process of its own. One that does not end, or ends without a word, has caught nothing.
fn child(hunter: &Path, bug: Option<Bug>, by: Option<Hunter>, limits: Limits) -> Result<Verdict> {
    let mut command = Command::new(hunter);
    command.args(["--seconds", &limits.seconds.to_string(), "--seeds", &limits.seeds.to_string()]);
    let (hunters, name) = match bug {
        Some(bug) => {
            // For the real processes that it starts, too.
            command.args(["--bug", bug.name()]).env(VARIABLE, bug.name());
            (table::hunters(bug).len(), bug.name())
        }
        None => {
            command.env_remove(VARIABLE);
            (Hunter::ALL.len(), "the control")
        }
    };
    command.args(by.iter().flat_map(|by| ["--by", by.name()]));
    let deadline = Duration::from_secs(limits.seconds) * hunters as u32 + GRACE;
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the hunter")?;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() > deadline => break None,
            None => std::thread::sleep(PAUSE),
        }
    };
    let Some(status) = ended else {
        child.kill()?;
        child.wait()?;
        return Ok(Verdict { by: "(hung)".to_owned(), seconds: began.elapsed().as_secs_f64(), ..Verdict::default() });
    };
    let mut said = String::new();
    child.stdout.take().context("its output")?.read_to_string(&mut said)?;
    ensure!(status.success(), "the hunt for {name} ended with {status}");
    let line = said.lines().last().with_context(|| format!("the hunt for {name} said nothing"))?;
    serde_json::from_str(line).with_context(|| format!("the hunt for {name} said {line}"))
}
