//! The hunters: what each of them does with one seed. Everything that the suite needs of a simulator stands here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raftbank_consensus::NodeId;

use super::{Hunter, Limits};
use crate::sim as core;

const SECOND_US: u64 = 1_000_000;

/// Lets one hunter look. Returns how many seeds or scenes it needed or had, and what it found.
pub fn look(hunter: Hunter, limits: Limits) -> (u64, Option<String>) {
    match hunter {
        Hunter::Scenes => among(&CORE_SCENES, limits),
        Hunter::Core => limits.each(|seed| core::run_seed(seed, false).err().map(|failure| failure.to_string())),
    }
}

/// A check with a name that must return nothing, and must not panic.
pub(super) type Check = (&'static str, fn() -> Result<(), String>);

/// Runs checks in turn until one fails.
pub(super) fn among(checks: &[Check], limits: Limits) -> (u64, Option<String>) {
    let limits = Limits { seeds: checks.len() as u64, ..limits };
    limits.each(|at| {
        let (name, check) = checks[at as usize];
        let wrong = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(result) => result.err()?,
            Err(panic) => format!("panicked: {}", words(panic.as_ref())),
        };
        Some(format!("{name}: {wrong}"))
    })
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}

/// Scenes with a known outcome: what only shows when nothing else goes wrong.
const CORE_SCENES: [Check; 2] = [
    ("a leader that hears nobody makes way", a_leader_that_hears_nobody_makes_way),
    ("a node behind a one-way cut deposes nobody", a_node_behind_a_one_way_cut_deposes_nobody),
];

/// A calm cluster that has a leader, and nothing else yet.
fn calm(seed: u64, members: usize) -> Result<(core::World, NodeId), String> {
    let mut world = core::World::new(seed, members, false).map_err(|violation| violation.to_string())?;
    run(&mut world, 2)?;
    let leader = world.serving().ok_or_else(|| format!("seed {seed}: a calm cluster has no leader after 2 s"))?;
    Ok((world, leader))
}

fn run(world: &mut core::World, seconds: u64) -> Result<(), String> {
    world.run_for(seconds * SECOND_US).map_err(|violation| violation.to_string())
}

fn a_leader_that_hears_nobody_makes_way() -> Result<(), String> {
    for seed in 0..3 {
        let (mut world, leader) = calm(seed, 3)?;
        for node in world.ids() {
            world.set_link(node, leader, node == leader);
        }
        run(&mut world, 3)?;
        if world.serving().is_none_or(|next| next == leader) {
            return Err(format!("seed {seed}: 3 s later {:?} serves", world.serving()));
        }
    }
    Ok(())
}

fn a_node_behind_a_one_way_cut_deposes_nobody() -> Result<(), String> {
    for seed in 0..3 {
        let (mut world, leader) = calm(seed, 3)?;
        let term = world.term();
        let deaf = world.ids().into_iter().find(|node| *node != leader).ok_or("one node")?;
        for node in world.ids() {
            world.set_link(node, deaf, node == deaf); // it can send, and hears nobody
        }
        run(&mut world, 5)?;
        world.connect_only(|_, _| true);
        run(&mut world, 3)?;
        if (world.serving(), world.term()) != (Some(leader), term) {
            let now = (world.serving(), world.term());
            return Err(format!("seed {seed}: {leader:?} led in term {term}, and now it is {now:?}"));
        }
    }
    Ok(())
}
