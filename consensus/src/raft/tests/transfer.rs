//! Leadership transfer: who takes over, when, and what a word that comes late can do.

use super::*;
use crate::message::{Body, LogEnd};

/// Three nodes and more, the first leads, and one entry is committed everywhere.
fn led(members: usize) -> Net {
    let mut net = Net::new(members);
    net.elect(0);
    net.propose(0);
    net.deliver();
    assert_eq!(net.committed(members - 1), 2);
    net
}

fn leader(net: &Net) -> Option<usize> {
    (0..net.nodes.len()).find(|node| net.role(*node) == Role::Leader)
}

fn told(net: &Net) -> Vec<NodeId> {
    let told = |event: &Event| if let Event::HandingOver(to) = event { Some(*to) } else { None };
    net.said[0].iter().filter_map(told).collect()
}

fn failed(net: &Net) -> bool {
    net.said[0].contains(&Event::TransferFailed)
}

fn refusals(net: &Net, node: usize) -> usize {
    net.said[node].iter().filter(|event| matches!(event, Event::Refused(_))).count()
}

#[test]
fn the_next_leader_takes_over_without_a_tick() {
    for members in 2..=7 {
        let mut net = led(members);
        net.step(0, Input::TransferLeadership);
        net.deliver();
        assert_eq!(leader(&net), Some(1), "{members} members");
        assert_eq!((net.term(1), told(&net)), (2, vec![id(1)]));
        assert!(net.nodes[1].status().can_propose && !failed(&net));
        assert!((0..members).all(|node| net.nodes[node].status().leader == Some(id(1))));
    }
}

#[test]
fn nothing_is_appended_while_it_lasts_and_nobody_is_told_before_everything_is_durable_there() {
    let mut net = led(3);
    [1, 2].into_iter().for_each(|node| net.hang_disk(node));
    net.propose(0);
    net.deliver();
    net.step(0, Input::TransferLeadership);
    net.propose(0);
    net.deliver();
    assert_eq!((net.last(0), refusals(&net, 0), told(&net)), (3, 1, vec![]));
    assert!(!net.nodes[0].status().can_propose);
    net.free_disk(2);
    net.deliver();
    assert_eq!((leader(&net), told(&net)), (Some(2), vec![id(2)]));
    net.free_disk(1);
    net.deliver();
    assert_eq!(net.committed(0), 4, "the record that was under way, and the no-op");
}

#[test]
fn with_nobody_to_take_over_the_leader_leads_on() {
    for members in [1, 3] {
        let mut net = led(members);
        (1..members).for_each(|node| net.isolate(node));
        net.tick(0, TIMERS.election_ticks_max - 1); // almost deposed
        let lonely = members == 1;
        net.step(0, Input::TransferLeadership);
        net.tick(0, 1);
        assert_eq!((failed(&net), net.role(0) == Role::Leader), (lonely, lonely), "{members} members");
    }
}

#[test]
fn it_is_given_up_after_an_election_timeout_and_the_leader_leads_on() {
    let mut net = led(3);
    net.step(0, Input::TransferLeadership);
    for _ in 0..TIMERS.election_ticks_max {
        assert!(!failed(&net) && !net.nodes[0].status().can_propose);
        (0..3).for_each(|node| net.step(node, Input::Tick));
        net.deliver_if(|_, _, message| message.kind() != "timeout-now");
    }
    assert!(failed(&net));
    assert_eq!(told(&net), [id(1), id(2)], "the first did not take over, and so the second was told");
    net.propose(0);
    net.deliver();
    assert_eq!((leader(&net), net.term(0), net.committed(2)), (Some(0), 1, 3));
    net.step(0, Input::TransferLeadership);
    net.deliver();
    assert_eq!(leader(&net), Some(1), "and it can be tried again");
}

#[test]
fn one_that_is_told_not_to_lead_does_not_take_over_and_the_next_one_does() {
    let mut net = led(3);
    net.step(1, Input::Eligible(false));
    net.step(0, Input::TransferLeadership);
    net.deliver();
    assert_eq!(leader(&net), Some(0));
    net.tick_all(TIMERS.election_ticks_max / 2);
    assert_eq!((leader(&net), net.term(2)), (Some(2), 2));
}

#[test]
fn a_word_that_is_lost_is_said_again() {
    let mut net = led(3);
    net.step(0, Input::TransferLeadership);
    net.mail.clear();
    net.tick_all(TIMERS.heartbeat_ticks);
    assert_eq!((leader(&net), told(&net)), (Some(1), vec![id(1)]));
}

#[test]
fn a_silent_voter_and_one_that_rejoins_are_not_chosen() {
    let mut net = led(3);
    net.isolate(1);
    net.tick_all(TIMERS.election_ticks_max);
    net.step(0, Input::TransferLeadership);
    net.deliver();
    assert_eq!(told(&net), [id(2)]);

    let mut net = Net::on(vec![Durable::default(); 3], |config| config.rejoining = config.id == id(1));
    net.elect(0);
    net.tick_all(5);
    assert_eq!(net.last(1), 1, "it holds everything, and promises nothing");
    net.step(0, Input::TransferLeadership);
    net.deliver();
    assert_eq!((told(&net), leader(&net)), (vec![id(2)], Some(2)));
}

#[test]
fn one_that_rejoins_does_not_campaign_when_told() {
    let mut net = Net::on(vec![Durable::default(); 3], |config| config.rejoining = config.id == id(1));
    net.elect(0);
    net.tick_all(5);
    let end = net.nodes[1].log.end();
    net.step(1, Input::Receive { from: id(0), message: Message { term: 1, body: Body::TimeoutNow(end) } });
    net.deliver();
    assert_eq!((leader(&net), net.term(0)), (Some(0), 1));
}

#[test]
fn a_word_that_is_late_false_or_repeated_deposes_nobody() {
    let word = |term, end| Message { term, body: Body::TimeoutNow(end) };
    let mut net = led(3);
    let end = net.nodes[1].log.end();
    let longer = LogEnd { last_index: 9, ..end };
    // Not of the leader, of another term, about another log.
    for (from, message) in [(2, word(1, end)), (0, word(0, end)), (0, word(2, end)), (0, word(1, longer))] {
        net.step(1, Input::Receive { from: id(from), message });
        net.deliver();
        assert_eq!((leader(&net), net.term(1)), (Some(0), 1));
    }
    // It was delayed: the leader has given up and gone on.
    net.propose(0);
    net.deliver();
    net.step(1, Input::Receive { from: id(0), message: word(1, end) });
    net.deliver();
    assert_eq!((leader(&net), net.term(1)), (Some(0), 1));
    // It is repeated when it has done its work, to the node that leads now and to one that follows it.
    let end = net.nodes[1].log.end();
    net.step(0, Input::TransferLeadership);
    net.deliver();
    for node in [1, 2] {
        net.step(node, Input::Receive { from: id(0), message: word(1, end) });
        net.deliver();
        assert_eq!((leader(&net), net.term(0)), (Some(1), 2));
    }
    // The same word in the very term and with the very log that it is about is an ordinary transfer.
    let end = net.nodes[2].log.end();
    net.step(2, Input::Receive { from: id(1), message: word(2, end) });
    net.deliver();
    assert_eq!((leader(&net), net.term(0)), (Some(2), 3));
}

#[test]
fn a_named_candidate_gets_no_second_vote_and_none_for_a_log_that_lacks_something() {
    let ask = |term, end| Message { term, body: Body::TransferVote(end) };
    let mut net = led(5);
    net.mail.clear();
    let end = net.nodes[1].log.end();
    let behind = LogEnd { last_index: end.last_index - 1, ..end };
    let votes = |net: &mut Net, from: usize, message: Message| {
        net.step(4, Input::Receive { from: id(from), message });
        let granted = net.mail.iter().any(|(_, to, message)| *to == id(from) && message.kind() == "vote-granted");
        net.mail.clear();
        granted
    };
    assert!(!votes(&mut net, 1, ask(7, behind)));
    assert!(votes(&mut net, 2, ask(7, end)));
    assert!(!votes(&mut net, 3, ask(7, end)), "one vote in a term");
    assert!(votes(&mut net, 2, ask(7, end)), "the same one again");
    assert!(!votes(&mut net, 3, ask(6, end)), "an older term");
}

#[test]
fn a_named_candidate_that_does_not_win_goes_on_as_any_other() {
    let mut net = led(3);
    net.step(0, Input::TransferLeadership);
    net.deliver_if(|_, _, message| message.kind() != "transfer-vote"); // as if nobody knew what that is
    assert_eq!((net.role(1), net.term(1)), (Role::Candidate, 2));
    for _ in 0..3 * TIMERS.election_ticks_max {
        (0..3).for_each(|node| net.step(node, Input::Tick));
        net.deliver_if(|_, _, message| message.kind() != "transfer-vote");
    }
    let leader = leader(&net).expect("an ordinary election");
    assert!(net.term(leader) >= 2);
    net.propose(leader);
    net.deliver();
    assert!((0..3).all(|node| net.committed(node) == net.last(leader)));
}

#[test]
fn reads_that_wait_are_refused_when_the_leader_is_relieved() {
    let mut net = led(3);
    net.step(0, Input::ReadBarrier(5));
    net.step(0, Input::TransferLeadership);
    net.deliver_if(|_, to, message| to != id(0) || message.kind() != "append-reply");
    assert_eq!(leader(&net), Some(1));
    assert!(net.said[0].contains(&Event::ReadRefused(5)));
}

#[test]
fn who_does_not_lead_hands_nothing_over() {
    let mut net = led(3);
    net.step(1, Input::TransferLeadership);
    net.deliver();
    assert_eq!((leader(&net), net.term(1)), (Some(0), 1));
    assert!(!net.said[1].contains(&Event::TransferFailed));
}
