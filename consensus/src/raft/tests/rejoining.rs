//! A node that lost its disk promises nothing until it is safe.

use super::*;

/// Three nodes with a leader and two records; then node 2 comes back with nothing.
fn after_a_lost_disk() -> Net {
    let mut net = Net::new(3);
    net.elect(0);
    net.propose(0);
    net.deliver();
    let config = Config { rejoining: true, seed: 99, ..config(2, 3) };
    let (raft, output) = Raft::open(config, Durable::default());
    net.nodes[2] = raft;
    net.said[2].clear();
    net.absorb(2, output);
    net
}

#[test]
fn it_catches_up_and_is_promoted() {
    let mut net = after_a_lost_disk();
    net.tick_all(10);
    assert_eq!((net.last(2), net.committed(2)), (2, 2), "it takes records from the start");
    assert!(!net.said[2].contains(&Event::RejoinComplete), "but knows nothing of the others' terms");
    net.step(2, Input::RejoinTerms(1));
    assert_eq!(net.nodes[2].hard, HardState { term: 1, vote: Some(id(2)) });
    net.tick_all(10);
    assert_eq!(net.said[2].iter().filter(|event| **event == Event::RejoinComplete).count(), 1);
    net.step(2, Input::Promote);
    net.isolate(1);
    net.propose(0);
    net.tick_all(5);
    assert_eq!(net.committed(0), 3, "its acknowledgement counts again");
}

#[test]
fn it_counts_for_nothing() {
    let mut net = after_a_lost_disk();
    net.tick_all(5);
    net.isolate(1);
    net.propose(0);
    net.step(0, Input::ReadBarrier(1));
    net.tick_all(5);
    assert_eq!((net.last(2), net.committed(0)), (3, 2), "it holds the record, but does not make a majority");
    assert!(!net.said[0].iter().any(|event| matches!(event, Event::ReadReady { .. })));
    net.tick_all(TIMERS.election_ticks_max);
    assert_ne!(net.role(0), Role::Leader, "nor for check-quorum");
    net.tick_all(200);
    assert_eq!(net.term(0), 1, "it grants neither a pre-vote nor a vote");
    assert_eq!((net.role(2), net.term(2)), (Role::Follower, 1));
}

#[test]
fn it_answers_no_pre_vote_and_no_vote() {
    use crate::message::{Body, LogEnd};
    let mut net = after_a_lost_disk();
    let end = LogEnd { last_term: 9, last_index: 9 };
    for body in [Body::PreVote(end), Body::Vote(end)] {
        net.step(2, Input::Receive { from: id(1), message: Message { term: 9, body } });
    }
    assert!(net.mail.is_empty());
    assert_eq!(net.term(2), 0);
}

#[test]
fn what_a_leader_said_before_does_not_complete_it() {
    let mut net = after_a_lost_disk();
    // A heartbeat of the time before the terms were told is still under way.
    net.tick_all(10);
    net.step(0, Input::Tick);
    net.step(0, Input::Tick);
    let delayed: Vec<_> = net.mail.drain(..).filter(|(_, to, _)| *to == id(2)).collect();
    assert!(!delayed.is_empty());
    net.step(2, Input::RejoinTerms(1));
    net.mail.extend(delayed);
    net.deliver_if(|from, to, _| from == id(0) && to == id(2));
    assert!(!net.said[2].contains(&Event::RejoinComplete));
    net.step(2, Input::Promote);
    assert!(net.nodes[2].rejoin.is_some(), "and the driver cannot promote it");
    net.tick_all(10);
    assert!(net.said[2].contains(&Event::RejoinComplete));
}
