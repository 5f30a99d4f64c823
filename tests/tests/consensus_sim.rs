//! The simulator of consensus in the normal test run: a few hundred seeds, its own determinism, and scenes with a known outcome.
//! Many more seeds: `cargo run --release -p raftbank-tests --bin sim -- --consensus --seeds 20000`.
#![allow(clippy::unwrap_used)]

use raftbank_consensus::NodeId;
use raftbank_tests::consensus_sim::{Failure, World, run_seed, run_seeds};

const SECOND_US: u64 = 1_000_000;
const SEEDS: u64 = 300;

fn replay(failure: &Failure) -> String {
    format!(
        "{failure}\nreplay: cargo run --release -p raftbank-tests --bin sim -- --consensus --seeds 1 --first {} --trace",
        failure.seed
    )
}

#[test]
fn a_few_hundred_seeds_hold_every_rule_and_see_every_fault() {
    let counts = run_seeds(0, SEEDS).unwrap_or_else(|failure| panic!("{}", replay(&failure)));
    for (name, count) in counts.all() {
        println!("{count:>10} {name}");
    }
    let missing = counts.missing();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 77] {
        let [first, second] = [false, true].map(|readable| run_seed(seed, readable).unwrap());
        assert_eq!(first, second);
    }
    assert_ne!(run_seed(3, false).unwrap().trace_hash, run_seed(4, false).unwrap().trace_hash);
}

/// A calm cluster that has a leader, and nothing else yet.
fn calm(seed: u64, members: usize) -> (World, NodeId) {
    let mut world = World::new(seed, members, false).unwrap();
    world.run_for(2 * SECOND_US).unwrap();
    let leader = world.serving().expect("a calm cluster elects a leader within 2 s");
    assert!(world.ids().into_iter().all(|node| world.applied(node) == world.committed()));
    (world, leader)
}

#[test]
fn five_nodes_that_reach_each_other_only_through_one_still_serve() {
    for seed in 0..20 {
        let (mut world, leader) = calm(seed, 5);
        // The hub is the leader in some seeds, and a follower in most; its log is up to date.
        let hub = NodeId((seed % 5) as u8);
        world.connect_only(|a, b| a == hub || b == hub);
        world.add_clients(2, 20_000);
        world.run_for(5 * SECOND_US).unwrap();
        assert_eq!(world.serving(), Some(hub), "seed {seed}: only the hub reaches a majority");
        let (committed, term) = (world.committed(), world.term());
        world.run_for(5 * SECOND_US).unwrap();
        assert!(world.committed() > committed + 50, "seed {seed}: it serves on");
        assert_eq!((world.term(), world.serving()), (term, Some(hub)), "seed {seed}: and nobody deposes it");
        assert!(hub != leader || term == world.term());
    }
}

#[test]
fn a_hub_that_is_behind_cannot_lead_and_nobody_else_can() {
    // What Raft cannot serve here: the only node that reaches a majority lacks a committed record.
    for seed in 0..20 {
        let (mut world, leader) = calm(seed, 5);
        let hub = NodeId(if leader.0 == 0 { 1 } else { 0 });
        world.connect_only(|a, b| (a == hub) == (b == hub));
        world.add_clients(1, 20_000);
        world.run_for(SECOND_US).unwrap();
        let committed = world.committed();
        assert!(committed > world.applied(hub));
        // The old leader is gone, too: else it could bring the hub up to date before it steps down.
        world.connect_only(|a, b| (a == hub || b == hub) && a != leader && b != leader);
        let term = world.term();
        world.run_for(10 * SECOND_US).unwrap();
        assert_eq!((world.serving(), world.term()), (None, term), "seed {seed}: it waits, and burns no terms");
        world.connect_only(|_, _| true);
        world.run_for(3 * SECOND_US).unwrap();
        assert!(
            world.serving().is_some() && world.committed() > committed + 10,
            "seed {seed}: it recovers when healed"
        );
    }
}

#[test]
fn a_node_behind_a_one_way_cut_neither_stops_the_others_nor_deposes_their_leader() {
    for (seed, members) in [(0, 3), (1, 3), (2, 4), (3, 5), (4, 5), (5, 7)] {
        let (mut world, leader) = calm(seed, members);
        let deaf = world.ids().into_iter().find(|node| *node != leader).unwrap();
        for node in world.ids() {
            world.set_link(node, deaf, node == deaf); // it can send, and hears nobody
        }
        world.add_clients(2, 20_000);
        let (committed, term) = (world.committed(), world.term());
        world.run_for(10 * SECOND_US).unwrap();
        assert_eq!((world.serving(), world.term()), (Some(leader), term), "seed {seed}");
        assert!(world.committed() > committed + 100, "seed {seed}: the others serve");
        world.connect_only(|_, _| true);
        world.run_for(8 * SECOND_US).unwrap(); // some seeds have chunks of 100 bytes and slow disks
        assert_eq!((world.serving(), world.term()), (Some(leader), term), "seed {seed}: nor when it hears again");
        assert!(world.applied(deaf) > committed + 100, "seed {seed}: it has caught up");
    }
}

#[test]
fn a_leader_that_hears_nobody_makes_way() {
    for seed in 0..10 {
        let (mut world, leader) = calm(seed, 3);
        for node in world.ids() {
            world.set_link(node, leader, node == leader);
        }
        world.add_clients(2, 20_000);
        world.run_for(3 * SECOND_US).unwrap();
        let next = world.serving().expect("the others elect a leader");
        assert_ne!(next, leader, "seed {seed}");
        let (committed, term) = (world.committed(), world.term());
        world.run_for(5 * SECOND_US).unwrap();
        assert_eq!((world.serving(), world.term()), (Some(next), term), "seed {seed}");
        assert!(world.committed() > committed + 50, "seed {seed}");
    }
}

#[test]
fn an_isolated_leader_commits_nothing_and_follows_after_healing() {
    for seed in 0..10 {
        let (mut world, leader) = calm(seed, 5);
        world.add_clients(2, 20_000);
        world.run_for(SECOND_US).unwrap();
        world.connect_only(|a, b| (a == leader) == (b == leader));
        world.run_for(3 * SECOND_US).unwrap();
        let applied = world.applied(leader);
        world.run_for(3 * SECOND_US).unwrap();
        assert_eq!(world.applied(leader), applied, "seed {seed}");
        assert!(world.serving().is_some_and(|next| next != leader), "seed {seed}");
        assert!(world.committed() > applied + 50, "seed {seed}: the majority goes on");
        world.connect_only(|_, _| true);
        world.run_for(8 * SECOND_US).unwrap();
        assert!(world.applied(leader) + 5 >= world.committed(), "seed {seed}: it has caught up");
    }
}

#[test]
fn followers_hear_of_a_commit_without_waiting_for_the_next_write() {
    let (mut world, _) = calm(1, 3);
    world.add_clients(1, 300_000);
    let mut behind_us = 0;
    for _ in 0..10_000 {
        world.run_for(1_000).unwrap();
        let slowest = world.ids().into_iter().map(|node| world.applied(node)).min().unwrap();
        behind_us = if slowest == world.committed() { 0 } else { behind_us + 1_000 };
        // The leader says it with its next tick of 10 ms, and a message takes 2 ms at most; a heartbeat would come after up
        // to 50.
        assert!(behind_us <= 15_000, "a follower is behind for {behind_us} µs");
    }
    assert!(world.committed() > 5);
}
