//! When a node may sleep through ticks.

use super::bank::TICK_MS;
use super::*;

fn quiet(bank: &Bank) -> Vec<u32> {
    bank.nodes.iter().map(Node::quiet_ticks).collect()
}

#[test]
fn a_node_at_rest_sleeps_and_one_at_work_does_not() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    // Until the last height has been told.
    bank.run_ms(1_000);
    let timers = config(0, 3, 0, false).timers;
    let most = 2 * timers.heartbeat_ticks;
    let mut slept = [0; 3];
    for _ in 0..100 {
        for (id, quiet) in quiet(&bank).into_iter().enumerate() {
            assert!(quiet <= most && (id != leader || quiet < timers.heartbeat_ticks), "{id} would sleep {quiet}");
            slept[id] += u32::from(quiet > 0);
        }
        bank.run_ms(TICK_MS);
    }
    assert!(slept.iter().all(|slept| *slept >= 70), "{slept:?} of 100");

    // A write that nobody answers: its client's deadline passes at the very tick.
    let follower = (leader + 1) % 3;
    bank.isolate(leader);
    bank.write(follower, "b", credit("alice", 1));
    assert_eq!(bank.nodes[follower].quiet_ticks(), 0);
    // A disk that has not answered.
    bank.held[leader] = Some(Vec::new());
    bank.write(leader, "c", credit("alice", 1));
    assert_eq!(bank.nodes[leader].quiet_ticks(), 0);
}

#[test]
fn a_height_that_was_not_told_keeps_a_node_awake() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.run_ms(1_000);
    bank.outcome(leader, "a", open("alice"));
    let told = (0..40).position(|_| {
        let quiet = quiet(&bank);
        bank.run_ms(TICK_MS);
        quiet.iter().all(|quiet| *quiet > 0)
    });
    assert!(told.is_some_and(|ticks| ticks > 0), "{told:?}");
}
