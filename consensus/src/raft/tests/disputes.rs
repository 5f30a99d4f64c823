//! A follower whose result differs from its leader's.

use super::*;

/// A leader that proposes record 2; these followers compute another result than it did.
fn disputed_by(followers: &[usize]) -> Net {
    let mut net = Net::new(3);
    net.elect(0);
    followers.iter().for_each(|node| net.hang_disk(*node));
    net.propose(0);
    net.deliver_if(|_, to, _| to == id(0) || followers.contains(&usize::from(to.0)));
    for node in followers {
        // The driver's part: what was to be acknowledged with that write is not sent.
        net.hung[*node].as_mut().unwrap().iter_mut().for_each(|output| output.gated.clear());
        net.step(*node, Input::Dispute(2));
        net.free_disk(*node);
    }
    net.deliver();
    net
}

#[test]
fn a_disputed_record_is_cut_off_and_not_acknowledged() {
    let mut net = disputed_by(&[1]);
    net.isolate(2);
    for _ in 0..30 {
        net.tick(0, 1);
        net.tick(1, 1);
    }
    assert_eq!((net.role(0), net.committed(0)), (Role::Leader, 1), "heartbeats are still answered");
    assert_eq!(net.last(1), 1);
    assert!(!net.said[0].contains(&Event::Contradicted(2)), "one of three is no majority");
}

#[test]
fn a_disputed_record_that_the_others_commit_is_taken_after_all() {
    let mut net = disputed_by(&[1]);
    net.tick_all(30);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [2, 2, 2]);
    assert_eq!((net.role(0), net.term(0)), (Role::Leader, 1));
}

#[test]
fn a_majority_contradicts_the_leader_and_can_elect_another_one() {
    let mut net = disputed_by(&[1, 2]);
    net.tick_all(10);
    assert_eq!(net.said[0].iter().filter(|event| **event == Event::Contradicted(2)).count(), 1);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [1, 1, 1]);
    net.isolate(0); // it stops: its state is damaged
    net.elect_next(1);
    net.propose(1);
    net.deliver();
    assert_eq!((net.committed(1), net.committed(2)), (3, 3));
    net.cut.clear();
    net.tick_all(10);
    assert_eq!(net.committed(0), 3, "the contradicted record is replaced");
}

#[test]
fn what_is_durable_may_be_acknowledged_and_is_never_cut_by_a_dispute() {
    let mut net = Net::new(3);
    net.elect(0);
    net.cut = vec![(id(1), id(0)), (id(2), id(0))]; // acknowledgements are under way
    net.propose(0);
    net.deliver();
    assert_eq!((net.last(1), net.committed(1)), (2, 1));
    net.step(1, Input::Dispute(2));
    assert_eq!(net.last(1), 2);
}
