//! One seed, from the first fault to agreement; and many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raftbank_consensus::Index;

use super::check::{Violation, violated};
use super::counts::Counts;
use super::dice::Dice;
use super::world::World;

/// After everything has healed, a cluster serves and agrees within this time. Elections take 0.3 s at most each; what
/// is left covers elections that collide, and delayed messages from the worse time.
const RECOVERY_US_MAX: u64 = 10_000_000;

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

/// Runs one seed; `readable` keeps the trace for a failure.
///
/// # Errors
/// The first rule that was broken, a failed assertion of the engine among them.
pub fn run_seed(seed: u64, readable: bool) -> Result<Summary, Failure> {
    let mut setup = Dice::new(seed ^ 0x7365_7475_7000_0000);
    let members = setup.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
    let fail = |violation: Violation, world: Option<&World>| Failure {
        seed,
        violation,
        trace: world.map(|world| world.trace().lines().to_vec()).unwrap_or_default(),
    };
    let mut world = World::new(seed, members, readable).map_err(|violation| fail(violation, None))?;
    let result = catch_unwind(AssertUnwindSafe(|| story(&mut world, &mut setup)));
    let violation = match result {
        Ok(Ok(())) => return Ok(Summary { trace_hash: world.trace().hash(), counts: world.counts() }),
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
    world.add_clients(setup.range(1, 4) as usize, setup.pick(&[5_000, 20_000, 60_000]));
    if setup.chance(500) {
        world.run_for(600_000)?; // some clusters are up and well before the first fault
    }
    world.begin_faults();
    world.run_for(setup.range(1_000_000, 8_000_000))?;
    world.heal_all()?;
    recover(world)
}

/// Everything works: the cluster must serve again, every node must catch up, and all must agree.
fn recover(world: &mut World) -> Result<(), Violation> {
    let began = world.now_us;
    let (writes, reads) = (world.counts().writes, world.counts().reads);
    // Served to clients since the healing, and everyone has what was committed when that was seen.
    let mut target: Option<Index> = None;
    loop {
        world.run_for(20_000)?;
        let counts = world.counts();
        if target.is_none() && counts.writes > writes && counts.reads > reads {
            target = Some(world.committed());
        }
        let applied = world.ids().into_iter().map(|node| world.applied(node)).min().unwrap_or(0);
        let voters = world.servers.iter().all(|server| server.up() && !server.disk.durable.rejoining);
        if target.is_some_and(|target| applied >= target) && voters {
            world.counts.recovery_ms_max = (world.now_us - began) / 1_000;
            return Ok(());
        }
        if world.now_us - began > RECOVERY_US_MAX {
            violated!(
                "no recovery: leader {:?}, {} writes and {} reads since all faults ended, the slowest node applied \
                 {applied} of {}",
                world.leader(),
                counts.writes - writes,
                counts.reads - reads,
                world.committed()
            );
        }
    }
}
