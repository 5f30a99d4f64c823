//! Several nodes on a network and disks that are instant unless a test says otherwise.
#![allow(clippy::unwrap_used)]

mod bank;
mod diagnosis;
mod heads;
mod hostile;
mod leaving;
mod lives;
mod many;
mod reads;
mod resting;
mod two_phase;

use std::collections::BTreeMap;

use raftbank_codec::{decode, encode};
use raftbank_consensus::{NodeId, Role};
use raftbank_ledger::{Operation, Request, RequestId, State};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, WriteOutcome};

use self::bank::{Bank, account, balance, config, credit, fresh, genesis, is_committed, open, transfer};
use super::message::{Body, Envelope, FRAME_BYTES_MAX};
use super::{Event, LinkChange, Node, NodeConfig};

#[test]
fn writes_and_reads_at_any_node() {
    for members in 1..=5 {
        let mut bank = Bank::new(members);
        if members > 1 {
            bank.leader();
        } else {
            bank.run_ms(1_000);
        }
        for at in 0..members {
            let name = format!("a{at}");
            assert!(is_committed(&bank.outcome(at, &format!("open-{at}"), open(&name))), "{members} members");
            assert!(is_committed(&bank.outcome(at, &format!("credit-{at}"), credit(&name, 5))));
            let token = bank.ask(at, balance(&name));
            bank.run_ms(100);
            assert!(
                matches!(&bank.replies[at][&token], ApiReply::Balance { balance: 5, pending: 0, .. }),
                "{:?}",
                bank.replies[at][&token]
            );
        }
        bank.run_ms(500);
        bank.same_heads();
        assert_eq!(bank.nodes[0].state().tip().height, 2 * members as u64);
    }
}

#[test]
fn a_repeated_id_gets_the_first_outcome_at_every_node_without_a_block() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let first = bank.outcome(leader, "x", open("alice"));
    let ApiReply::Written { height, index, duplicate: false, .. } = first else { panic!("{first:?}") };
    for at in 0..3 {
        let again = bank.outcome(at, "x", open("alice"));
        let ApiReply::Written { height: h, index: i, duplicate: true, .. } = again else { panic!("{again:?}") };
        assert_eq!((h, i), (height, index));
        let other = bank.outcome(at, "x", open("bob"));
        assert!(matches!(&other, ApiReply::Failed { kind: FailKind::Refused, code, .. } if code == "id_reused"));
    }
    assert_eq!(bank.nodes[leader].state().tip().height, height, "no block was spent on repeats");
}

#[test]
fn what_waits_goes_into_one_block_and_repeats_in_it_are_duplicates() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    bank.outcome(leader, "b", credit("alice", 100));
    let before = bank.nodes[leader].state().tip().height;
    for node in 0..3 {
        bank.held[node] = Some(Vec::new());
    }
    // The first is proposed alone; the others wait for it and are decided together.
    let tokens: Vec<u64> =
        ["w0", "w1", "w2", "w1"].iter().map(|id| bank.write(leader, id, credit("alice", 1))).collect();
    for _ in 0..10 {
        for node in 0..3 {
            for group in bank.held[node].replace(Vec::new()).unwrap() {
                bank.event(node, Event::Synced { group });
            }
        }
        bank.deliver();
    }
    let replies: Vec<(u64, bool)> = tokens
        .iter()
        .map(|token| match &bank.replies[leader][token] {
            ApiReply::Written { height, duplicate, .. } => (*height, *duplicate),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(replies, [(before + 1, false), (before + 2, false), (before + 2, false), (before + 2, true)]);
    assert_eq!(bank.nodes[leader].state().balance(&account("alice")), Some(103));
}

#[test]
fn nothing_is_answered_before_a_majority_has_synced_it() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    for node in 0..3 {
        bank.held[node] = Some(Vec::new());
    }
    let token = bank.write(leader, "x", open("alice"));
    bank.run_ms(100);
    assert!(!bank.replies[leader].contains_key(&token));
    // The leader's own disk alone is no majority.
    for group in bank.held[leader].take().unwrap() {
        bank.event(leader, Event::Synced { group });
    }
    bank.deliver();
    bank.run_ms(50);
    assert!(!bank.replies[leader].contains_key(&token));
    let other = (leader + 1) % 3;
    for group in bank.held[other].take().unwrap() {
        bank.event(other, Event::Synced { group });
    }
    bank.deliver();
    assert!(is_committed(&bank.replies[leader][&token]));
}

#[test]
fn a_leader_cut_off_refuses_and_the_majority_goes_on() {
    let mut bank = Bank::new(3);
    let old = bank.leader();
    bank.outcome(old, "a", open("alice"));
    bank.isolate(old);
    // Entered the old leader's log: nobody can say.
    let undecided = bank.outcome(old, "lost", credit("alice", 7));
    assert!(matches!(undecided, ApiReply::Failed { kind: FailKind::Unknown, .. }), "{undecided:?}");
    // By now it has stepped down: never entered a log.
    let refused = bank.outcome(old, "late", credit("alice", 9));
    assert!(matches!(refused, ApiReply::Failed { kind: FailKind::NotExecuted, .. }), "{refused:?}");
    let token = bank.ask(old, balance("alice"));
    bank.run_ms(2_500);
    assert!(matches!(bank.replies[old][&token], ApiReply::Failed { kind: FailKind::NotExecuted, .. }));

    let new =
        (0..3).find(|id| *id != old && bank.nodes[*id].role().0 == Role::Leader).expect("the majority has a leader");
    assert!(is_committed(&bank.outcome(new, "b", credit("alice", 1))));
    bank.cut.clear();
    bank.run_ms(2_000);
    bank.same_heads();
    assert_eq!(bank.nodes[old].state().balance(&account("alice")), Some(1));
    // The lost one is in no chain: its id is free and executes once.
    assert!(is_committed(&bank.outcome(old, "lost", credit("alice", 7))));
    assert_eq!(bank.nodes[new].state().balance(&account("alice")), Some(8));
}

#[test]
fn a_deposed_leaders_waiting_client_is_served_by_the_next_leader() {
    let mut bank = Bank::new(3);
    let old = bank.leader();
    bank.outcome(old, "a", open("alice"));
    bank.isolate(old);
    let request = Request { id: RequestId::parse("x").unwrap(), operation: credit("alice", 7) };
    let token = bank.ask(old, ApiRequest::Write { request: request.encode(), timeout_ms: 60_000 });
    bank.run_ms(3_000);
    assert!(!bank.replies[old].contains_key(&token), "undecided while its record is neither committed nor replaced");
    bank.cut.clear();
    bank.run_ms(3_000);
    assert!(is_committed(&bank.replies[old][&token]), "{:?}", bank.replies[old].get(&token));
    for node in &bank.nodes {
        assert_eq!(node.state().balance(&account("alice")), Some(7), "once");
    }
}

#[test]
fn an_overdraft_is_refused_by_one_unit_with_many_in_flight() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    bank.outcome(leader, "b", open("bob"));
    bank.outcome(leader, "c", credit("alice", 10));
    let at = (leader + 1) % 3;
    let tokens: Vec<u64> = (0..11).map(|n| bank.write(at, &format!("t{n}"), transfer("alice", "bob", 1))).collect();
    bank.run_ms(1_000);
    let committed = tokens.iter().filter(|token| is_committed(&bank.replies[at][token])).count();
    assert_eq!(committed, 10);
    let refused = tokens.iter().any(|token| {
        matches!(&bank.replies[at][token], ApiReply::Written { outcome: WriteOutcome::Refused { code, .. }, .. } if code == "insufficient_funds")
    });
    assert!(refused);
}

#[test]
fn a_frame_of_another_cluster_or_incarnation_is_refused() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.run_ms(20_000);
    let follower = (leader + 1) % 3;
    for (cluster, incarnation) in
        [([9; 32], leader as u64 + 100), (bank.nodes[0].state().cluster_id().0, leader as u64 + 999)]
    {
        let envelope = Envelope { cluster, incarnation, wall_ms: 0, body: Body::Beacon { height: 77 } };
        bank.event(follower, Event::Frame { from: NodeId(leader as u8), payload: encode(&envelope) });
        assert_ne!(bank.nodes[follower].peers[&NodeId(leader as u8)].height, 77);
    }
    assert_eq!(bank.warnings[follower].len(), 1, "repeated warnings about one peer are held back");
    bank.event(follower, Event::Frame { from: NodeId(leader as u8), payload: vec![1, 2, 3] });
    bank.event(follower, Event::Frame { from: NodeId(200), payload: vec![1, 2, 3] });
    assert!(is_committed(&bank.outcome(follower, "x", open("alice"))));
}

#[test]
fn status_shows_who_is_reachable_and_how_far_each_is() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let members = |bank: &mut Bank, at: usize| {
        let token = bank.ask(at, ApiRequest::Status);
        let ApiReply::Status(status) = &bank.replies[at][&token] else { panic!() };
        status.members.iter().map(|member| (member.reachable, member.height)).collect::<Vec<_>>()
    };
    for at in 0..3 {
        assert_eq!(members(&mut bank, at), [(true, 1); 3], "seen from {at}");
    }
    let cut = (leader + 1) % 3;
    bank.isolate(cut);
    bank.run_ms(3_000);
    for at in 0..3 {
        let reachable: Vec<bool> = members(&mut bank, at).into_iter().map(|(reachable, _)| reachable).collect();
        let wanted: Vec<bool> = (0..3).map(|other| other == at || (other != cut && at != cut)).collect();
        assert_eq!(reachable, wanted, "seen from {at}");
    }
}

#[test]
fn a_leader_with_a_wrong_clock_hands_over() {
    let mut bank = Bank::new(3);
    let old = bank.leader();
    bank.skew_ms[old] = 60_000;
    bank.run_ms(5_000);
    let new = bank.leader();
    assert_ne!(new, old);
    let token = bank.ask(old, ApiRequest::Status);
    let ApiReply::Status(status) = &bank.replies[old][&token] else { panic!() };
    assert_eq!(status.condition.as_deref(), Some("clock_skew"));
    assert!(is_committed(&bank.outcome(old, "x", open("alice"))));
    bank.skew_ms[old] = 0;
    bank.run_ms(3_000);
    let token = bank.ask(old, ApiRequest::Status);
    let ApiReply::Status(status) = &bank.replies[old][&token] else { panic!() };
    assert_eq!(status.condition, None);
}

#[test]
fn a_leader_with_a_wrong_state_cannot_commit_and_stops() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    bank.outcome(leader, "b", open("bob"));
    bank.outcome(leader, "c", credit("alice", 10));
    let height = bank.nodes[leader].state().tip().height;
    bank.nodes[leader].state.corrupt_balance_for_tests(&account("alice"), 1_000);
    let token = bank.write(leader, "steal", transfer("alice", "bob", 500));
    bank.run_ms(3_000);
    assert_eq!(bank.stops[leader].as_ref().map(|stop| stop.0), Some(6), "{:?}", bank.warnings);
    assert!(!bank.replies[leader].get(&token).is_some_and(is_committed));
    let new = bank.leader();
    assert_ne!(new, leader);
    for node in (0..3).filter(|node| *node != leader) {
        assert_eq!(bank.nodes[node].state().balance(&account("alice")), Some(10));
        assert!(bank.nodes[node].state().tip().height >= height);
        // A power cut must not find the wrong block on a healthy node's disk.
        let mut ids = bank.written[node].iter().flat_map(|block| &block.entries).map(|entry| entry.request.id.as_str());
        assert!(ids.all(|id| id != "steal"));
    }
    assert!(is_committed(&bank.outcome(new, "d", transfer("alice", "bob", 10))));
}

#[test]
fn a_follower_with_a_wrong_state_stops_before_it_answers_from_it() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let wrong = (leader + 1) % 3;
    bank.nodes[wrong].state.corrupt_balance_for_tests(&account("alice"), 1_000);
    assert!(is_committed(&bank.outcome(leader, "b", credit("alice", 10))));
    assert_eq!(bank.stops[wrong].as_ref().map(|stop| stop.0), Some(6), "{:?}", bank.warnings[wrong]);
    assert!(is_committed(&bank.outcome(leader, "c", credit("alice", 10))), "the healthy nodes go on");
}

#[test]
fn a_node_that_lost_its_disk_rejoins() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let lost = (leader + 1) % 3;
    let (state, _) = State::new(&genesis(3, 1)).unwrap();

    // Back with an empty folder and no announcement: it is refused and changes nothing.
    let (node, actions) = Node::open(
        config(lost, 3, 555, false),
        fresh(),
        0,
        state.clone(),
        &BTreeMap::new(),
        &BTreeMap::new(),
        bank.now(lost),
    );
    bank.nodes[lost] = node;
    bank.perform(lost, actions);
    bank.event(lost, Event::Link(LinkChange::Connected));
    bank.run_ms(3_000);
    assert_eq!(bank.nodes[lost].state().tip().height, 0);
    assert!(bank.warnings[leader].iter().any(|text| text.contains("--rejoin")));

    let (node, actions) =
        Node::open(config(lost, 3, 556, true), fresh(), 0, state, &BTreeMap::new(), &BTreeMap::new(), bank.now(lost));
    bank.nodes[lost] = node;
    bank.perform(lost, actions);
    bank.event(lost, Event::Link(LinkChange::Connected));
    bank.run_ms(5_000);
    assert!(!bank.nodes[lost].is_rejoining());
    bank.same_heads();
    // It counts again: with the third node gone, it makes the majority.
    let other = 3 - leader - lost;
    bank.isolate(other);
    let at = bank.leader();
    assert!(is_committed(&bank.outcome(at, "b", credit("alice", 1))));
}

#[test]
fn a_clean_stop_finishes_the_block_in_flight() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let token = bank.write(leader, "x", open("alice"));
    bank.event(leader, Event::Shutdown);
    bank.run_ms(200);
    assert!(is_committed(&bank.replies[leader][&token]));
    assert_eq!(bank.stops[leader].as_ref().map(|stop| stop.0), Some(0));
}

#[test]
fn hard_proof_of_work_is_mined_by_the_runtime() {
    let mut bank = Bank::with_difficulty(3, 16);
    let leader = bank.leader();
    assert!(is_committed(&bank.outcome(leader, "x", open("alice"))));
    bank.same_heads();
}

#[test]
fn malformed_requests_reach_no_block() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let token = bank.ask(leader, ApiRequest::Write { request: vec![0xff; 40], timeout_ms: 1_000 });
    assert!(matches!(bank.replies[leader][&token], ApiReply::Failed { kind: FailKind::Usage, .. }));
    let token = bank.ask(leader, balance("no such name"));
    assert!(matches!(bank.replies[leader][&token], ApiReply::Failed { kind: FailKind::Usage, .. }));
    let token = bank.ask(leader, balance("nobody"));
    bank.run_ms(100);
    assert!(
        matches!(&bank.replies[leader][&token], ApiReply::Failed { kind: FailKind::Refused, code, .. } if code == "unknown_account")
    );
    assert_eq!(bank.nodes[leader].state().tip().height, 0);
}

#[test]
fn envelopes_survive_the_codec() {
    let envelope = Envelope { cluster: [7; 32], incarnation: 1, wall_ms: 2, body: Body::Beacon { height: 3 } };
    let bytes = encode(&envelope);
    assert_eq!(bytes.len(), 32 + 8 + 8 + 4 + 8);
    let back: Envelope = decode(&bytes, FRAME_BYTES_MAX).unwrap();
    assert!(matches!(back.body, Body::Beacon { height: 3 }));
    for cut in 0..bytes.len() {
        assert!(decode::<Envelope>(&bytes[..cut], FRAME_BYTES_MAX).is_err());
    }
}

/// From now on syncs end when they are released.
fn hold(bank: &mut Bank) {
    bank.held.iter_mut().for_each(|held| *held = Some(Vec::new()));
}

fn release(bank: &mut Bank) {
    for _ in 0..4 {
        for node in 0..bank.nodes.len() {
            for group in bank.held[node].replace(Vec::new()).unwrap() {
                bank.event(node, Event::Synced { group });
            }
        }
        bank.deliver();
    }
}

#[test]
fn clients_that_were_answered_together_are_waited_for_and_not_for_ever() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let height = |bank: &Bank| bank.nodes[leader].state().tip().height;
    hold(&mut bank);
    bank.gathers = Some(Vec::new());
    // Ten clients, one of whom comes first. Once it is answered, the others wait for it.
    for number in 0..10 {
        bank.write(leader, &format!("first-{number}"), credit("alice", 1));
    }
    release(&mut bank);
    assert_eq!(height(&bank), 2, "a block of one");
    bank.write(leader, "second-0", credit("alice", 1));
    release(&mut bank);
    assert_eq!(height(&bank), 3, "a block of ten, though no time is over");
    // Nine of them ask again: the next block waits for the tenth, until nobody has come between two looks.
    for number in 0..9 {
        bank.write(leader, &format!("third-{number}"), credit("alice", 1));
    }
    release(&mut bank);
    assert_eq!(height(&bank), 3);
    let (node, turn) = bank.gathers.as_mut().unwrap().pop().unwrap();
    bank.event(node, Event::Gathered { turn: turn - 1 });
    release(&mut bank);
    assert_eq!((height(&bank), bank.gathers.as_ref().unwrap().len()), (3, 1), "that turn was over before");
    bank.event(node, Event::Gathered { turn });
    assert_eq!(bank.gathers.as_mut().unwrap().pop(), Some((node, turn)), "nine have come: another look");
    release(&mut bank);
    assert_eq!(height(&bank), 3);
    bank.event(node, Event::Gathered { turn });
    release(&mut bank);
    assert_eq!(height(&bank), 4);
    // Two of them come back: now no more than nine are waited for, and then, as nobody else comes, none.
    bank.write(leader, "fourth-0", credit("alice", 1));
    bank.write(leader, "fourth-1", credit("alice", 1));
    let turn = bank.nodes[leader].gathering().unwrap();
    bank.event(leader, Event::Gathered { turn });
    bank.event(leader, Event::Gathered { turn });
    release(&mut bank);
    assert_eq!((height(&bank), bank.nodes[leader].gathering()), (5, Some(turn + 1)), "two of nine are a share");
    bank.event(leader, Event::Gathered { turn: turn + 1 });
    let token = bank.write(leader, "fifth", credit("alice", 1));
    release(&mut bank);
    assert!(is_committed(&bank.replies[leader][&token]));
    assert_eq!(height(&bank), 6);
}

#[test]
fn what_fills_a_block_is_not_held_up() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    hold(&mut bank);
    bank.gathers = Some(Vec::new());
    // Forty clients, the first of whom comes back: then all forty are waited for.
    for number in 0..40 {
        bank.write(leader, &format!("first-{number}"), credit("alice", 1));
    }
    release(&mut bank);
    bank.write(leader, "second-0", credit("alice", 1));
    release(&mut bank);
    assert!(bank.nodes[leader].gathering().is_some());
    // Twenty come, with more than a block of bytes: it is made, and whoever found room in it is answered.
    let tokens: Vec<u64> = (0..20)
        .map(|number| {
            let put = Operation::Put { key: vec![number], value: vec![7; 60_000] };
            bank.write(leader, &format!("put-{number}"), put)
        })
        .collect();
    release(&mut bank);
    let answered = tokens.iter().filter(|token| bank.replies[leader].contains_key(token)).count();
    assert!(answered >= 15, "{answered} of 20");
}

/// A client that has its answer may ask the same node for what it wrote.
#[test]
fn a_follower_that_passes_on_an_answer_has_the_block() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    bank.outcome(leader, "a", open("alice"));
    for number in 0..5 {
        let token = bank.write(follower, &format!("b{number}"), credit("alice", 1));
        bank.deliver();
        assert!(is_committed(&bank.replies[follower][&token]));
        let heights = [leader, follower, other].map(|node| bank.nodes[node].state().tip().height);
        assert_eq!(heights, [number + 2, number + 2, number + 1], "the third hears of it later");
    }
}
