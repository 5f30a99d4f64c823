//! Who becomes leader, who stays, and who must not.

use super::*;

#[test]
fn three_nodes_elect_one_leader_and_its_no_op_is_committed_everywhere_at_once() {
    let mut net = Net::new(3);
    net.elect(0);
    assert_eq!(net.role(0), Role::Leader);
    assert!(net.nodes[0].status().can_propose);
    // No further tick was needed for the followers to hear of the commit.
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [1, 1, 1]);
    assert!(net.said[1].contains(&Event::Role { role: Role::Follower, leader: Some(id(0)), term: 1 }));
    assert!(net.said[1].contains(&Event::Committed(vec![Record { index: 1, term: 1, entry: None }])));
}

#[test]
fn nodes_at_rest_say_how_long_they_may_sleep_and_wake_in_time() {
    let mut net = Net::new(3);
    net.elect(0);
    net.tick(0, TIMERS.heartbeat_ticks);
    // A leader sleeps until its next heartbeat; followers until they would campaign, which is soonest after the minimum.
    assert_eq!(net.nodes[0].quiet_ticks(), TIMERS.heartbeat_ticks - 1);
    for follower in [1, 2] {
        let quiet = net.nodes[follower].quiet_ticks();
        assert!((TIMERS.election_ticks_min - 1..TIMERS.election_ticks_max).contains(&quiet), "{quiet}");
        for left in (0..quiet).rev() {
            assert_eq!(net.nodes[follower].step(Input::Tick), Output::default());
            assert_eq!(net.nodes[follower].quiet_ticks(), left);
        }
        // Then it asks for pre-votes, and sleeps no more.
        assert_eq!(net.nodes[follower].step(Input::Tick).eager.len(), 2);
        assert_eq!((net.role(follower), net.nodes[follower].quiet_ticks()), (Role::Candidate, 0));
    }
}

#[test]
fn a_leader_that_nobody_answers_wakes_to_step_down() {
    let mut net = Net::new(3);
    net.elect(0);
    (1..3).for_each(|node| net.isolate(node));
    let mut ticks = 0;
    while net.role(0) == Role::Leader {
        // Never asleep at the tick that ends its leadership: that one is not quiet.
        let quiet = net.nodes[0].quiet_ticks();
        assert!(quiet < TIMERS.heartbeat_ticks);
        net.tick(0, quiet);
        assert_eq!(net.role(0), Role::Leader);
        net.tick(0, 1);
        ticks += quiet + 1;
    }
    assert_eq!(ticks, TIMERS.election_ticks_max);
}

#[test]
fn a_single_node_leads_alone_and_its_slow_disk_is_waited_for() {
    let mut net = Net::new(1);
    net.hang_disk(0);
    net.tick(0, 100);
    assert_eq!((net.role(0), net.term(0)), (Role::Candidate, 1));
    net.free_disk(0);
    assert_eq!((net.role(0), net.committed(0)), (Role::Leader, 1));
    net.hang_disk(0);
    net.propose(0);
    assert_eq!(net.committed(0), 1, "its own copy does not count before it is durable");
    net.free_disk(0);
    assert_eq!(net.committed(0), 2);
}

#[test]
fn an_even_cluster_needs_more_than_half() {
    for (members, alive, elected) in
        [(2, 1, false), (2, 2, true), (4, 2, false), (4, 3, true), (6, 3, false), (6, 4, true)]
    {
        let mut net = Net::new(members);
        (alive..members).for_each(|node| net.isolate(node));
        net.elect(0);
        assert_eq!(net.role(0) == Role::Leader, elected, "{alive} of {members}");
    }
}

#[test]
fn votes_and_vote_requests_leave_only_when_durable() {
    let mut net = Net::new(3);
    net.hang_disk(0);
    net.hang_disk(1);
    net.isolate(2);
    net.elect(0);
    assert_eq!(net.term(0), 1, "pre-votes promise nothing and pass");
    net.deliver();
    assert_eq!(net.term(1), 0, "no vote request has left");
    net.free_disk(0);
    net.deliver();
    assert_eq!((net.role(0), net.term(1)), (Role::Candidate, 1));
    net.free_disk(1);
    net.deliver();
    assert_eq!(net.role(0), Role::Leader);
}

#[test]
fn a_log_that_is_behind_gets_no_vote() {
    let mut net = Net::on(vec![durable(&[1, 2], 2), durable(&[1, 1, 1], 2), durable(&[1, 2], 2)], |_| {});
    net.elect(1); // longer, but of an older term (§3.6.1)
    assert_eq!((net.role(1), net.term(1)), (Role::Candidate, 2));
    net.elect(0);
    assert_eq!((net.role(0), net.term(0)), (Role::Leader, 3));
}

#[test]
fn a_node_that_cannot_hear_the_leader_never_deposes_it() {
    let mut net = Net::new(3);
    net.elect(0);
    net.cut = vec![(id(0), id(2)), (id(1), id(2))]; // it can send, but hears nobody
    net.tick_all(500);
    assert_eq!((net.role(0), net.term(0), net.term(2)), (Role::Leader, 1, 1));
    assert_eq!(net.role(2), Role::Candidate);
    net.cut.clear();
    net.tick_all(5);
    assert_eq!((net.role(0), net.term(0), net.role(2)), (Role::Leader, 1, Role::Follower));
}

#[test]
fn a_vote_request_is_ignored_while_a_leader_is_alive() {
    let mut net = Net::new(3);
    net.elect(0);
    let end = crate::message::LogEnd { last_term: 9, last_index: 9 };
    let message = Message { term: 50, body: crate::message::Body::Vote(end) };
    for node in [0, 1] {
        net.step(node, Input::Receive { from: id(2), message: message.clone() });
        assert_eq!(net.term(node), 1, "not even the term is taken");
    }
    net.tick(1, TIMERS.election_ticks_min); // silence
    net.step(1, Input::Receive { from: id(2), message });
    assert_eq!(net.term(1), 50);
}

#[test]
fn a_leader_without_a_majority_steps_down_within_an_election_timeout() {
    for one_way in [false, true] {
        let mut net = Net::new(3);
        net.elect(0);
        net.isolate(0);
        if one_way {
            net.cut.retain(|(_, to)| *to == id(0)); // it sends, and hears nobody
        }
        net.tick(0, TIMERS.election_ticks_max);
        assert_eq!((net.role(0), net.term(0)), (Role::Follower, 1));
        net.tick_all(3 * TIMERS.election_ticks_max);
        assert_eq!(usize::from(net.role(1) == Role::Leader) + usize::from(net.role(2) == Role::Leader), 1);
        net.cut.clear();
        net.tick_all(10);
        assert_eq!(net.nodes[0].status().leader, net.nodes[1].status().leader);
    }
}

#[test]
fn a_deposed_leader_follows_the_newer_term() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(0);
    net.elect_next(1);
    assert_eq!((net.role(0), net.role(1), net.term(1)), (Role::Leader, Role::Leader, 2));
    net.cut.clear();
    net.step(0, Input::Tick);
    net.step(0, Input::Tick); // its heartbeat is refused as stale
    net.deliver();
    assert_eq!((net.role(0), net.term(0)), (Role::Follower, 2));
}

#[test]
fn an_ineligible_node_steps_down_and_stays_away() {
    let mut net = Net::new(3);
    net.elect(0);
    net.step(0, Input::Eligible(false));
    assert_eq!(net.role(0), Role::Follower);
    net.tick_all(10 * TIMERS.election_ticks_max);
    assert_eq!(net.role(0), Role::Follower);
    assert!(net.role(1) == Role::Leader || net.role(2) == Role::Leader);
    let mut alone = Net::new(1);
    alone.step(0, Input::Eligible(false));
    alone.tick(0, 100);
    assert_eq!(alone.role(0), Role::Follower);
    alone.step(0, Input::Eligible(true));
    alone.tick(0, 100);
    assert_eq!(alone.role(0), Role::Leader);
}

#[test]
fn lost_vote_messages_are_repeated() {
    let mut net = Net::new(3);
    for _ in 0..2 * TIMERS.election_ticks_max {
        net.step(0, Input::Tick);
    }
    net.mail.clear();
    net.tick(0, TIMERS.heartbeat_ticks); // asks again before its own timeout
    assert_eq!(net.role(0), Role::Leader);
}
