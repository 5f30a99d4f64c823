//! Which answers vouch for a read.

use super::*;

fn ready(net: &Net, node: usize) -> Vec<(u64, Index)> {
    let ready = net.said[node].iter().filter_map(|event| match event {
        Event::ReadReady { id, index } => Some((*id, *index)),
        _ => None,
    });
    ready.collect()
}

#[test]
fn a_read_waits_for_a_majority_that_answers_after_it() {
    let mut net = Net::new(3);
    net.elect(0);
    net.step(0, Input::ReadBarrier(1));
    assert!(ready(&net, 0).is_empty());
    net.deliver();
    assert_eq!(ready(&net, 0), [(1, 1)]);
    net.isolate(1);
    net.isolate(2);
    net.step(0, Input::ReadBarrier(2));
    net.deliver();
    assert_eq!(ready(&net, 0).len(), 1);
}

#[test]
fn a_single_node_answers_at_once_and_a_follower_never() {
    let mut net = Net::new(1);
    net.tick(0, 2);
    net.step(0, Input::ReadBarrier(5));
    assert_eq!(ready(&net, 0), [(5, 1)]);
    let mut net = Net::new(2);
    net.elect(0);
    net.step(1, Input::ReadBarrier(6));
    assert!(net.said[1].contains(&Event::ReadRefused(6)));
}

#[test]
fn a_deposed_leader_does_not_answer() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(0);
    net.step(0, Input::ReadBarrier(1));
    net.elect_next(1);
    net.propose(1);
    net.deliver();
    assert_eq!((net.role(0), net.committed(1)), (Role::Leader, 3));
    // Its heartbeats reach the others again; they refuse them.
    net.cut.clear();
    net.step(0, Input::Tick);
    net.step(0, Input::Tick);
    net.deliver();
    assert!(ready(&net, 0).is_empty());
    assert!(net.said[0].contains(&Event::ReadRefused(1)));
}

#[test]
fn an_answer_of_an_older_term_or_round_vouches_for_nothing() {
    let mut net = Net::new(3);
    net.elect(0);
    // Answers of term 1, kept back.
    net.tick_all(20);
    net.step(0, Input::ReadBarrier(1));
    net.deliver_if(|_, to, _| to != id(0));
    let mut kept = Vec::new();
    net.step(0, Input::ReadBarrier(2));
    while let Some((from, to, message)) = net.mail.pop_front() {
        if to == id(0) {
            kept.push((from, message));
        } else {
            net.step(usize::from(to.0), Input::Receive { from, message });
        }
    }
    assert!(kept.len() >= 2);
    // Node 0 loses its leadership and wins it again in term 2.
    net.step(0, Input::Eligible(false));
    net.step(0, Input::Eligible(true));
    net.elect_next(0);
    assert_eq!((net.role(0), net.term(0)), (Role::Leader, 2));
    net.isolate(1);
    net.isolate(2);
    net.step(0, Input::ReadBarrier(3));
    for (from, message) in kept {
        net.step(0, Input::Receive { from, message });
    }
    assert!(ready(&net, 0).is_empty());
}

#[test]
fn the_refusal_of_a_stale_append_says_nothing_but_its_term() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(0);
    net.elect_next(1);
    net.mail.clear();
    net.step(0, Input::ReadBarrier(1));
    let (_, _, append) = net.mail.iter().find(|(_, to, _)| *to == id(2)).unwrap().clone();
    net.mail.clear();
    net.step(2, Input::Receive { from: id(0), message: append });
    let answers: Vec<_> = net.mail.iter().map(|(_, to, answer)| (*to, answer.kind(), answer.term())).collect();
    assert_eq!(answers, [(id(0), "stale", 2)]);
}

#[test]
fn reads_in_flight_are_bounded() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(0);
    for id in 0..2_000 {
        net.step(0, Input::ReadBarrier(id));
    }
    let refused = net.said[0].iter().filter(|event| matches!(event, Event::ReadRefused(_))).count();
    assert_eq!(refused, 2_000 - 1_024);
}
