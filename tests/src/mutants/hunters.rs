//! The hunters: what each of them does with one seed. Everything that the suite needs of a simulator stands here.

use anyhow::{Context, Result, ensure};
use raftbank_consensus::NodeId;

use super::checks::{self, Check};
use super::{Hunter, Limits};
use crate::consensus_sim as core;
use crate::powercut;
use crate::sim as bank;

const SECOND_US: u64 = 1_000_000;
/// Power cuts with one seed.
const CUTS: u32 = 10;

/// Lets one hunter look. Returns how many seeds or scenes it needed or had, and what it found.
pub fn look(hunter: Hunter, limits: Limits) -> (u64, Option<String>) {
    match hunter {
        Hunter::Scenes => checks::among(CORE_SCENES, limits),
        Hunter::Bank => limits.each(|seed| bank::run_seed(seed, false).err().map(|failure| failure.to_string())),
        Hunter::Core => limits.each(|seed| core::run_seed(seed, false).err().map(|failure| failure.to_string())),
        Hunter::PowerCut => limits.each(power_cuts),
        Hunter::Ledger | Hunter::Node | Hunter::Relay | Hunter::Store => checks::look(hunter, limits),
    }
}

/// Real nodes, which take the bug from the environment.
fn power_cuts(seed: u64) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    match runtime.block_on(powercut::run(powercut::Options { cuts: CUTS, seed, without_sync: false })) {
        Ok(report) => report.lost,
        // Anything else is no finding: a disk that cannot be mounted, a program that cannot be built.
        Err(error) => Some(format!("{error:#}")).filter(|text| text.starts_with("no service after cut")),
    }
}

/// Scenes with a known outcome: what only shows when nothing else goes wrong.
const CORE_SCENES: &[Check] = &[
    ("a leader that hears nobody makes way", a_leader_that_hears_nobody_makes_way),
    ("a node behind a one-way cut deposes nobody", a_node_behind_a_one_way_cut_deposes_nobody),
    ("followers hear of a commit within a tick", followers_hear_of_a_commit_within_a_tick),
];

/// A calm cluster that has a leader, and nothing else yet.
fn calm(seed: u64, members: usize) -> Result<(core::World, NodeId)> {
    let mut world = core::World::new(seed, members, false)?;
    world.run_for(2 * SECOND_US)?;
    let leader = world.serving().with_context(|| format!("seed {seed}: a calm cluster has no leader after 2 s"))?;
    Ok((world, leader))
}

fn a_leader_that_hears_nobody_makes_way() -> Result<()> {
    for seed in 0..3 {
        let (mut world, leader) = calm(seed, 3)?;
        for node in world.ids() {
            world.set_link(node, leader, node == leader);
        }
        world.run_for(3 * SECOND_US)?;
        let now = world.serving();
        ensure!(now.is_some_and(|now| now != leader), "seed {seed}: {leader:?} hears nobody, and {now:?} serves");
    }
    Ok(())
}

fn a_node_behind_a_one_way_cut_deposes_nobody() -> Result<()> {
    for seed in 0..3 {
        let (mut world, leader) = calm(seed, 3)?;
        let before = (Some(leader), world.term());
        let deaf = world.ids().into_iter().find(|node| *node != leader).context("one node")?;
        for node in world.ids() {
            world.set_link(node, deaf, node == deaf); // it can send, and hears nobody
        }
        world.run_for(5 * SECOND_US)?;
        world.connect_only(|_, _| true);
        world.run_for(3 * SECOND_US)?;
        let after = (world.serving(), world.term());
        ensure!(after == before, "seed {seed}: leader and term were {before:?}, and are {after:?}");
    }
    Ok(())
}

fn followers_hear_of_a_commit_within_a_tick() -> Result<()> {
    let (mut world, _) = calm(1, 3)?;
    world.add_clients(1, 300_000);
    let mut behind_ms = 0;
    for _ in 0..5_000 {
        world.run_for(1_000)?;
        let slowest = world.ids().into_iter().map(|node| world.applied(node)).min();
        behind_ms = if slowest == Some(world.committed()) { 0 } else { behind_ms + 1 };
        // The leader says it with its next tick of 10 ms, and a message takes 2 ms at most; the next write comes much later.
        ensure!(behind_ms <= 15, "a follower does not know of record {} after {behind_ms} ms", world.committed());
    }
    Ok(())
}
