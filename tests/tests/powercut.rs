//! Power cuts under load lose nothing that was acknowledged; nodes that do not sync lose something.
#![allow(clippy::unwrap_used)]

use raftbank_tests::powercut::{Options, obstacle, run};

#[tokio::test]
async fn nothing_acknowledged_is_lost_in_twenty_power_cuts() {
    if let Some(obstacle) = obstacle() {
        println!("SKIPPED: power cannot be cut here: {obstacle}");
        return;
    }
    let seed = std::env::var("SEED").map_or(20, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let report = run(Options { cuts: 20, seed, without_sync: false }).await.unwrap();
    println!("{report:?}");
    assert_eq!(report.lost, None);
    assert!(report.acknowledged >= 1_000 && report.total >= 10 && report.single >= 10, "{report:?}");
}

#[tokio::test]
async fn without_the_sync_something_is_lost() {
    if let Some(obstacle) = obstacle() {
        println!("SKIPPED: power cannot be cut here: {obstacle}");
        return;
    }
    let report = run(Options { cuts: 20, seed: 1, without_sync: true }).await.unwrap();
    println!("{report:?}");
    assert!(report.lost.is_some(), "nodes that do not sync lost nothing: the power cuts prove nothing");
}
