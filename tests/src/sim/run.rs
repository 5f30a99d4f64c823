//! One seed, from the first fault to agreement and judgement; and many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raftbank_store::Reader;
use raftbankd::verify;

use super::Violation;
use super::counts::Counts;
use super::observe::violated;
use super::world::World;
use crate::consensus_sim::Dice;
use crate::history::judge;

/// After everything has healed, a bank serves everyone and agrees within this time. Elections take 0.3 s at most each,
/// clients wait up to 3 s for an answer that was lost; what is left covers elections that collide, machines that rejoin,
/// and delayed messages from the worse time.
const RECOVERY_US_MAX: u64 = 20_000_000;

/// A run in which every rule held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of every event: equal for equal runs.
    pub trace_hash: u64,
    /// What happened how often.
    pub counts: Counts,
}

/// A run in which one did not.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}: {violation}")]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// The end of the story, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed; `readable` keeps the trace, for a failure or for comparing runs.
///
/// # Errors
/// The first rule that was broken, a failed assertion of the shipping code among them.
pub fn run_seed(seed: u64, readable: bool) -> Result<Summary, Failure> {
    run_traced(seed, readable).map(|(summary, _)| summary)
}

/// Like [`run_seed`]; returns the trace of a run that held, too.
///
/// # Errors
/// As [`run_seed`].
pub fn run_traced(seed: u64, readable: bool) -> Result<(Summary, Vec<String>), Failure> {
    let mut setup = Dice::new(seed ^ 0x6261_6e6b_0000_0000);
    let members = setup.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5]);
    let fail = |violation: Violation, world: Option<&World>| Failure {
        seed,
        violation,
        trace: world.map(|world| world.trace().lines().to_vec()).unwrap_or_default(),
    };
    let mut world = World::new(seed, members, readable).map_err(|violation| fail(violation, None))?;
    let result = catch_unwind(AssertUnwindSafe(|| story(&mut world, &mut setup)));
    let violation = match result {
        Ok(Ok(())) => {
            let summary = Summary { trace_hash: world.trace().hash(), counts: world.counts() };
            return Ok((summary, world.trace().lines().to_vec()));
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Violation(format!("panicked: {text}"))
        }
    };
    Err(fail(violation, Some(&world)))
}

/// Runs seeds `first` to `first + count - 1` and adds up what happened.
///
/// # Errors
/// The first seed that fails.
pub fn run_seeds(first: u64, count: u64) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for seed in first..first + count {
        counts += run_seed(seed, false)?.counts;
    }
    Ok(counts)
}

fn story(world: &mut World, setup: &mut Dice) -> Result<(), Violation> {
    world.add_clients(setup.range(1, 5) as usize, setup.pick(&[5_000, 20_000, 60_000]));
    if setup.chance(500) {
        world.run_for(600_000)?; // some banks are up and well before the first fault
    }
    world.begin_faults();
    world.run_for(setup.range(500_000, 4_000_000))?;
    world.heal_all();
    recover(world)?;
    // What is under way ends, and everything reaches the disks.
    world.resting = true;
    world.run_for(4_000_000)?;
    judged(world)
}

/// Everything works: the bank must serve every client again, resolve what was unknown, and all machines must catch up.
fn recover(world: &mut World) -> Result<(), Violation> {
    let began = world.now_us;
    let before: Vec<(u64, u64)> = world.clients.iter().map(|client| client.served).collect();
    let mut target = None;
    loop {
        world.run_for(20_000)?;
        let mut clients = world.clients.iter().zip(&before);
        let served = clients.all(|(client, before)| client.served.0 > before.0 && client.served.1 > before.1);
        if target.is_none() && served {
            target = Some((world.observer.last_applied(), world.observer.blocks() + 1));
        }
        let applied = world.machines.iter().map(|machine| machine.process.as_ref().map_or(0, |p| p.node.applied()));
        let slowest = applied.min().unwrap_or(0);
        let voters = world.machines.iter().all(|machine| machine.process.is_some() && !machine.disk.is_rejoining());
        let signed = target.is_some_and(|(_, size)| world.all_have_head(size));
        if target.is_some_and(|(target, _)| slowest >= target) && voters && signed {
            world.counts.recovery_ms_max = (world.now_us - began) / 1_000;
            return Ok(());
        }
        if world.now_us - began > RECOVERY_US_MAX {
            violated!(
                "no recovery: leader {:?}, all clients served: {served}, {} of them with an open request, all are \
                 voters: {voters}, all have a new head: {signed}, the slowest machine applied {slowest} of {}",
                world.leader(),
                world.clients.iter().filter(|client| !client.is_settled()).count(),
                world.observer.last_applied()
            );
        }
    }
}

/// The chains of all machines, their books, and all that clients were told.
fn judged(world: &mut World) -> Result<(), Violation> {
    world.close_open();
    let mut longest: Vec<Vec<u8>> = Vec::new();
    let last_applied = world.observer.last_applied();
    for machine in &world.machines {
        let Some(process) = machine.process.as_ref() else { violated!("{:?} is down in the end", machine.id) };
        let (node, top) = (machine.id, process.node.state().tip().height);
        if process.node.applied() != last_applied {
            violated!(
                "{node:?} applied {} of {last_applied} records, and nothing is under way",
                process.node.applied()
            );
        }
        if !world.all_have_head(top + 1) {
            violated!("the newest head of {node:?} is {:?}, of a chain of {} blocks", process.head, top + 1);
        }
        let mut chain = Vec::new();
        for height in 0..=top {
            match process.reader.block(height) {
                Ok(Some(block)) => chain.push(block.to_vec()),
                Ok(None) => violated!("{node:?} has no block {height}"),
                Err(error) => violated!("{node:?} cannot read block {height}: {error}"),
            }
        }
        let common = chain.len().min(longest.len());
        if chain[..common] != longest[..common] {
            violated!("{node:?} has another chain");
        }
        if chain.len() > longest.len() {
            longest = chain;
        }
        match verify::books(&process.reader, None, &mut |_, _| true) {
            Ok(Some(report)) => {
                if let Some(problem) = report.problem {
                    violated!("the books of {node:?} are wrong: {problem}");
                }
            }
            other => violated!("{node:?} cannot be verified: {other:?}"),
        }
    }
    let (summary, _) = judge(&longest, &world.history)?;
    world.trace.mix(&[summary.blocks, summary.requests, summary.committed, summary.unknown_found]);
    Ok(())
}
