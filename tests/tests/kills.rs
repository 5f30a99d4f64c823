//! `kill -9` in the middle of transfers: of the leader, of followers, of the relay, of all at once. Whatever was
//! acknowledged is there once afterwards.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use raftbank_tests::cluster::{Cluster, PATIENCE, Plan, name};
use raftbank_tests::history;
use raftbank_tests::load::{Load, LoadPlan};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Used unless the environment names another one: `SEED=7 cargo test --test kills`.
const SEED: u64 = 20_240_607;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Leader,
    Follower,
    Relay,
    All,
}

#[tokio::test]
async fn what_was_acknowledged_survives_kills() {
    let seed = std::env::var("SEED").map_or(SEED, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Every kind several times, in an order that the seed chooses: at least 24 kills, more processes.
    let mut victims = [Victim::Leader, Victim::Follower, Victim::Relay, Victim::All].repeat(6);
    victims.shuffle(&mut rng);

    let mut plan = Plan::new(3).unwrap();
    // Most transfers succeed and some are refused: both are outcomes.
    plan.balance = 5_000;
    let mut cluster = Cluster::start(plan).await.unwrap();
    cluster.leader().await.unwrap();
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: 12,
        seed,
        accounts: 4,
        amount_max: 4_000,
        prefix: "kill".to_owned(),
        timeout: Duration::from_secs(3),
        mixed: true,
        reads: 0.3,
        rest: Duration::ZERO,
    });
    let begun = Instant::now();
    let mut processes = 0;
    for (round, &victim) in victims.iter().enumerate() {
        assert!(load.progress(rng.random_range(20..60), PATIENCE).await, "no progress\n{}", cluster.logs());
        let leader = cluster.leader().await.unwrap();
        let follower = (leader + rng.random_range(1..3)) % 3;
        match victim {
            Victim::Leader => cluster.kill_node(leader).unwrap(),
            Victim::Follower => cluster.kill_node(follower).unwrap(),
            Victim::Relay => cluster.kill_relay().unwrap(),
            Victim::All => cluster.kill_all().unwrap(),
        }
        processes += if victim == Victim::All { 4 } else { 1 };
        if matches!(victim, Victim::Leader | Victim::Follower) && rng.random_bool(0.5) {
            let went_on = load.progress(10, PATIENCE).await;
            assert!(went_on, "round {round}: no progress without the {victim:?}\n{}", cluster.logs());
        } else {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..150))).await;
        }
        if matches!(victim, Victim::Relay | Victim::All) {
            cluster.start_relay().await.unwrap();
        }
        for node in 0..3 {
            if cluster.pid(node).is_none() {
                cluster.start_node(node).unwrap();
            }
        }
        assert_eq!(cluster.casualties(), Vec::<String>::new(), "round {round}\n{}", cluster.logs());
    }
    assert!(load.progress(50, PATIENCE).await, "no progress\n{}", cluster.logs());
    let attempts = load.finish().await.unwrap();
    let summary = history::check(&mut cluster, &attempts).await.unwrap();
    println!("{} kills of {processes} processes in {:?}: {summary:?}", victims.len(), begun.elapsed());
    assert!(victims.len() >= 20 && summary.committed > 500 && summary.refused > 0, "too little happened: {summary:?}");

    // The same once more from the disks alone: a clean stop, and every node starts from what it stored.
    for node in 0..3 {
        let status = cluster.stop_node(node).await.unwrap();
        assert_eq!(status.code(), Some(0), "{} after SIGTERM\n{}", name(node), cluster.logs());
    }
    for node in 0..3 {
        cluster.start_node(node).unwrap();
    }
    cluster.leader().await.unwrap();
    history::check(&mut cluster, &attempts).await.unwrap();
}
