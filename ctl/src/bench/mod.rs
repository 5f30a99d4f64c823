//! `bankctl bench`: how many transfers or reads a second a running bank does, and how long one takes.
//!
//! Accounts of its own are opened and credited; then clients ask for a second that is not counted, and for the time that
//! is. All counted requests begin and end within the time that throughput is computed from.

mod args;
mod batch;
mod choice;
mod crew;
mod link;
mod pace;
mod report;
mod schedule;
mod set_up;
mod source;
mod tally;
mod timer;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raftbank_wire::api::FailKind;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub use args::{BenchArgs, Mode, Skew};

use self::choice::Choice;
use self::crew::{Plan, Signals};
use self::link::Link;
use self::report::{Measured, announcement, progress};
use self::source::Template;
use self::tally::Tally;
use crate::failure::Failure;
use crate::output::note;
use crate::session::{Daemon, Session};
use crate::verbs::Context;

/// Sets up, measures, prints. Returns the exit code: 5 if an outcome is unknown, else 4 if something was not executed,
/// else 3 if something was refused, else 0.
///
/// # Errors
/// No node answers, the accounts cannot be set up, or nobody confirms.
pub async fn run(context: &mut Context, sockets: &[PathBuf], args: &BenchArgs) -> Result<u8, Failure> {
    let run = format!("{:016x}", rand::random::<u64>());
    let plan = Arc::new(Plan {
        mode: args.mode,
        sockets: sockets.to_vec(),
        clients: args.clients,
        batch: args.batch,
        rate: args.rate,
        time: Duration::from_secs(args.seconds.into()),
        timeout: context.timeout,
        choice: Choice::new(args.skew, args.accounts),
        template: Template::new(&run),
    });
    // Nobody there is said before anything is written.
    for socket in sockets {
        Session::new(socket, Daemon::Node, context.timeout).client().await?;
    }
    note(&announcement(args, &plan, &run));
    confirm(args)?;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let link = Arc::new(Link::new(context.node.path()));
    tokio::select! {
        done = set_up::run(&mut context.node, &link, args.accounts) => done?,
        _ = &mut interrupted => {
            let message = "interrupted while the accounts were set up: nothing was measured";
            return Err(Failure::new(FailKind::NotExecuted, "interrupted", message).hint("the next run goes on there"));
        }
    }
    drop(link);
    let measured = measure(&plan, interrupted).await?;
    context.out.result(&measured.json(args, &plan, &run), || measured.text(args, &plan));
    Ok(measured.tally.exit_code())
}

/// On a terminal, asks whether to begin.
fn confirm(args: &BenchArgs) -> Result<(), Failure> {
    if args.yes || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "Begin? [y/N] ").and_then(|()| std::io::stdin().read_line(&mut answer));
    if asked.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(FailKind::NotExecuted, "not_confirmed", "not begun: nothing was written")
        .hint("--yes does not ask"))
}

/// Runs the clients, and collects what they count.
async fn measure(
    plan: &Arc<Plan>,
    mut interrupted: std::pin::Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<Measured, Failure> {
    let threads = plan.threads();
    let (warm_sender, mut warm) = mpsc::channel(threads);
    let (begin_sender, begin) = watch::channel(None);
    let mut crews = JoinSet::new();
    let mut tallies = Vec::new();
    for index in 0..threads {
        let tally = Arc::new(Mutex::new(Tally::default()));
        tallies.push(Arc::clone(&tally));
        let (plan, signals) = (Arc::clone(plan), Signals { warm: warm_sender.clone(), begin: begin.clone() });
        crews.spawn_blocking(move || crew::work(plan, index, tally, signals));
    }
    drop(warm_sender);
    let mut measured =
        Measured { tally: Tally::default(), time: Duration::ZERO, cpu: Duration::ZERO, interrupted: false };
    for _ in 0..threads {
        tokio::select! {
            Some(()) = warm.recv() => {}
            // Before it is warm a thread ends only with a failure.
            Some(ended) = crews.join_next() => failed(ended)?,
            _ = &mut interrupted => {
                measured.interrupted = true;
                return Ok(measured);
            }
        }
    }
    let (begun, cpu) = (Instant::now(), cpu());
    begin_sender.send_replace(Some(begun));
    let mut second = Tally::default();
    let mut spare = Tally::default();
    let mut ticks = tokio::time::interval_at((begun + Duration::from_secs(1)).into(), Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = begun;
    let show = std::io::stderr().is_terminal();
    let mut running = threads;
    while running > 0 {
        let tick = tokio::select! {
            Some(ended) = crews.join_next() => {
                failed(ended)?;
                running -= 1;
                false
            }
            _ = ticks.tick() => true,
            _ = &mut interrupted => {
                measured.interrupted = true;
                running = 0;
                false
            }
        };
        if !tick && running > 0 {
            continue;
        }
        let now = Instant::now();
        measured.time = now - begun;
        measured.cpu = self::cpu().saturating_sub(cpu);
        second.clear();
        for tally in &tallies {
            std::mem::swap(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner), &mut spare);
            second.add(&spare);
            spare.clear();
        }
        measured.tally.add(&second);
        if tick && show {
            note(&progress(now - begun, &second, measured.tally.errors(), now - told));
        }
        told = now;
    }
    if !measured.interrupted {
        // At a slow rate the last answer may come long before the time is over in which nothing else was due.
        measured.time = measured.time.max(plan.time);
    }
    Ok(measured)
}

/// What a thread ended with.
fn failed(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|error| Err(Failure::internal(format!("a thread of clients: {error}"))))
}

/// Processor time of this process so far, in user space and kernel together.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
