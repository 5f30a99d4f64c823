//! How a node stops, and how a leader hands over before it does.

use raftbank_consensus::Input;

use super::*;

/// A bank with accounts, a leader and the two that follow it.
fn three() -> (Bank, usize, [usize; 2]) {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    assert!(is_committed(&bank.outcome(leader, "open", open("alice"))));
    (bank, leader, [(leader + 1) % 3, (leader + 2) % 3])
}

fn stopped(bank: &Bank, id: usize) -> bool {
    match &bank.stops[id] {
        Some((code, reason)) => {
            assert_eq!((*code, reason.as_str()), (0, "stopped as asked"));
            true
        }
        None => false,
    }
}

/// Lets time pass tick by tick until a node has stopped; returns the milliseconds.
fn until_stopped(bank: &mut Bank, id: usize) -> u64 {
    for ms in (0..=2_000).step_by(10) {
        if stopped(bank, id) {
            return ms;
        }
        bank.run_ms(10);
    }
    panic!("it never stopped")
}

fn leads(bank: &Bank) -> Option<usize> {
    (0..bank.nodes.len()).find(|id| {
        bank.stops[*id].is_none() && bank.nodes[*id].role().0 == Role::Leader && bank.nodes[*id].has_leader()
    })
}

#[test]
fn a_leader_that_stops_under_load_loses_nothing_and_is_succeeded_within_a_few_ticks() {
    for members in [3, 5, 7] {
        let mut bank = Bank::new(members);
        let old = bank.leader();
        assert!(is_committed(&bank.outcome(old, "open", open("alice"))));
        let (mut asked, mut number) = (Vec::new(), 0);
        let mut write = |bank: &mut Bank, at: usize| {
            number += 1;
            let token = bank.write(at, &format!("w{number}"), credit("alice", 1));
            asked.push((at, token));
        };
        // A slow disk everywhere, so that there is always a block in flight and more behind it.
        bank.held = vec![Some(Vec::new()); members];
        let sync = |bank: &mut Bank| {
            for id in 0..members {
                for group in bank.held[id].replace(Vec::new()).unwrap_or_default() {
                    bank.event(id, Event::Synced { group });
                }
            }
        };
        let (mut ticks, mut new) = (0, None);
        for round in 0..60 {
            if round == 20 {
                (0..10).for_each(|_| write(&mut bank, old));
                bank.event(old, Event::Shutdown);
            }
            (0..members).filter(|at| round < 20 || *at != old).for_each(|at| write(&mut bank, at));
            sync(&mut bank);
            bank.run_ms(10);
            if round >= 20 && new.is_none() {
                (ticks, new) = (ticks + 1, leads(&bank).filter(|leader| *leader != old));
            }
        }
        assert!(new.is_some() && ticks < 15, "{members} members: an election takes 15 ticks at least, this {ticks}");
        assert!(stopped(&bank, old));
        assert_eq!(bank.successors[old], [NodeId(new.unwrap() as u8)]);
        sync(&mut bank);
        for id in 0..members {
            for group in bank.held[id].take().unwrap_or_default() {
                bank.event(id, Event::Synced { group });
            }
        }
        bank.run_ms(1_000);
        for (at, token) in &asked {
            assert!(is_committed(&bank.replies[*at][token]), "{:?}", bank.replies[*at].get(token));
        }
        let state = bank.nodes[new.unwrap()].state();
        assert_eq!(state.balance(&account("alice")), Some(asked.len() as i128), "each once");
    }
}

#[test]
fn reads_that_wait_at_a_leader_that_stops_are_answered() {
    let (mut bank, leader, followers) = three();
    // Nobody confirms the round: the answers to it are lost.
    followers.iter().for_each(|id| _ = bank.cut.insert((*id, leader)));
    let own = bank.ask(leader, balance("alice"));
    let others = bank.ask(followers[0], balance("alice"));
    bank.event(leader, Event::Shutdown);
    bank.cut.clear();
    until_stopped(&mut bank, leader);
    bank.run_ms(500);
    for (at, token) in [(leader, own), (followers[0], others)] {
        let reply = bank.replies[at].get(&token);
        assert!(matches!(reply, Some(ApiReply::Balance { balance: 0, .. })), "{reply:?}");
    }
}

#[test]
fn an_idle_leader_hands_over_and_an_idle_follower_stops_at_once() {
    let (mut bank, leader, [follower, other]) = three();
    bank.event(follower, Event::Shutdown);
    assert!(stopped(&bank, follower), "nobody waits for it");
    bank.run_ms(100);
    bank.event(leader, Event::Shutdown);
    assert!(!stopped(&bank, leader), "it waits for its successor");
    assert!(until_stopped(&mut bank, leader) <= 50);
    assert_eq!(bank.successors[leader], [NodeId(other as u8)]);
}

#[test]
fn a_follower_that_stops_sees_its_clients_requests_through() {
    let (mut bank, leader, [follower, other]) = three();
    [leader, other].into_iter().for_each(|id| bank.held[id] = Some(Vec::new()));
    let token = bank.write(follower, "x", credit("alice", 5));
    bank.event(follower, Event::Shutdown);
    bank.run_ms(500);
    assert!(!stopped(&bank, follower) && !bank.replies[follower].contains_key(&token));
    let late = bank.write(follower, "y", credit("alice", 5));
    let reply = &bank.replies[follower][&late];
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted, code, .. } if code == "stopping"));
    for id in [leader, other] {
        for group in bank.held[id].take().unwrap() {
            bank.event(id, Event::Synced { group });
        }
    }
    bank.deliver();
    assert!(is_committed(&bank.replies[follower][&token]));
    assert!(until_stopped(&mut bank, follower) <= 10);
    assert_eq!(bank.nodes[leader].state().balance(&account("alice")), Some(5), "the late one was not executed");
}

#[test]
fn what_was_handed_on_is_never_called_not_executed_and_a_stop_takes_two_seconds_at_most() {
    let (mut bank, leader, [follower, other]) = three();
    // The leader takes the request, and nothing is ever durable.
    [leader, other, follower].into_iter().for_each(|id| bank.held[id] = Some(Vec::new()));
    let forwarded = bank.write(follower, "x", credit("alice", 5));
    let own = bank.write(leader, "y", credit("alice", 5));
    let queued = bank.write(leader, "z", credit("alice", 5));
    [leader, follower].into_iter().for_each(|id| bank.event(id, Event::Shutdown));
    bank.run_ms(1_990);
    assert!(!stopped(&bank, leader) && !stopped(&bank, follower));
    bank.run_ms(10);
    assert!(stopped(&bank, leader) && stopped(&bank, follower));
    let kind = |at: usize, token: u64| match &bank.replies[at][&token] {
        ApiReply::Failed { kind, .. } => *kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(follower, forwarded), FailKind::Unknown);
    // The first in the queue of the leader is the block in flight; what waits behind it is in no log.
    assert_eq!(kind(leader, queued), FailKind::NotExecuted);
    assert_eq!(kind(leader, own), FailKind::NotExecuted);
    assert!(bank.written.iter().flatten().flat_map(|block| &block.entries).all(|entry| {
        let id = entry.request.id.as_str();
        id != "y" && id != "z"
    }));
}

#[test]
fn without_a_majority_or_alone_it_stops_at_once() {
    let mut bank = Bank::new(1);
    bank.run_ms(1_000);
    bank.event(0, Event::Shutdown);
    assert!(stopped(&bank, 0));

    let (mut bank, leader, followers) = three();
    for follower in followers {
        bank.event(leader, Event::Link(LinkChange::Down(NodeId(follower as u8))));
    }
    bank.event(leader, Event::Shutdown);
    assert!(stopped(&bank, leader));

    let (mut bank, leader, [follower, _]) = three();
    bank.event(follower, Event::Link(LinkChange::Lost));
    let token = bank.write(follower, "x", credit("alice", 5));
    bank.event(follower, Event::Shutdown);
    assert!(stopped(&bank, follower));
    assert!(matches!(bank.replies[follower][&token], ApiReply::Failed { kind: FailKind::NotExecuted, .. }));
    assert_eq!(leads(&bank), Some(leader));
}

#[test]
fn a_leader_whose_successor_does_not_take_over_leaves_nevertheless() {
    let (mut bank, leader, followers) = three();
    followers.iter().for_each(|id| bank.nodes[*id].inputs.push_back(Input::Eligible(false)));
    bank.run_ms(10);
    bank.event(leader, Event::Shutdown);
    let ms = until_stopped(&mut bank, leader);
    assert!(ms <= 2_000, "{ms}");
    assert_eq!(bank.successors[leader].len(), 2, "both were told");
}

#[test]
fn all_stop_together() {
    let (mut bank, ..) = three();
    (0..3).for_each(|id| bank.event(id, Event::Shutdown));
    (0..3).for_each(|id| assert!(until_stopped(&mut bank, id) <= 2_000));
}

#[test]
fn a_leader_with_a_wrong_clock_hands_over_without_an_election_timeout_and_never_leads_on() {
    let (mut bank, old, [next, other]) = three();
    bank.skew_ms[old] = 60_000;
    let mut ticks = 0;
    while leads(&bank).is_none_or(|leader| leader == old) {
        bank.run_ms(10);
        ticks += 1;
        assert!(ticks < 250);
    }
    // It takes some of the peers' frames to notice; that one of them was told shows that there was no election timeout.
    assert_eq!(bank.successors[old].len(), 1);
    let new = leads(&bank).unwrap();
    assert!(new == next || new == other);

    // Nobody takes over: it steps down, and they elect one later.
    let (mut bank, old, followers) = three();
    bank.skew_ms[old] = 60_000;
    let lost = |bank: &Bank| !bank.successors[old].is_empty();
    while !lost(&bank) {
        bank.run_ms(10);
    }
    followers.iter().for_each(|id| _ = bank.cut.insert((old, *id)));
    bank.run_ms(400);
    assert_ne!(bank.nodes[old].role().0, Role::Leader);
    bank.cut.clear();
    let new = bank.leader();
    assert_ne!(new, old);
    assert!(is_committed(&bank.outcome(old, "x", credit("alice", 1))));
}

#[test]
fn a_message_that_a_node_is_too_old_to_know_is_dropped_with_a_warning() {
    let (mut bank, leader, [follower, _]) = three();
    bank.run_ms(20_000);
    let body = Body::Beacon { height: 0 };
    let cluster = bank.nodes[0].state().cluster_id().0;
    let mut payload = encode(&Envelope { cluster, incarnation: leader as u64 + 100, wall_ms: 0, body });
    payload.truncate(32 + 8 + 8);
    payload.extend(0u32.to_le_bytes()); // consensus
    payload.extend(bank.nodes[0].role().2.to_le_bytes());
    payload.extend(999u32.to_le_bytes()); // of a kind to come
    payload.extend([0; 16]);
    bank.event(follower, Event::Frame { from: NodeId(leader as u8), payload });
    assert!(bank.warnings[follower].iter().any(|text| text.contains("was dropped")), "{:?}", bank.warnings[follower]);
    assert_eq!(bank.leader(), leader);
    assert!(is_committed(&bank.outcome(follower, "x", credit("alice", 1))));
}
