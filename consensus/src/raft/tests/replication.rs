//! Logs that differ, messages that are lost, and what may be called committed.

use super::*;

#[test]
fn an_older_term_is_not_committed_by_counting() {
    // Figure 3.7 of the thesis, and figure 8 of the paper: record 2 of term 2 reaches a majority in term 4, and could
    // still be replaced by node 4's record of term 3.
    let logs = vec![durable(&[1, 2], 3), durable(&[1, 2], 2), durable(&[1], 2), durable(&[1], 2), durable(&[1, 3], 3)];
    let mut net = Net::on(logs, |config| config.chunk_bytes_max = 1);
    net.isolate(4);
    net.hang_disk(0); // its own no-op does not count either
    let no_op = |message: &Message| message.records().iter().any(|record| record.term == 4);
    for _ in 0..2 * TIMERS.election_ticks_max {
        net.step(0, Input::Tick);
        net.deliver();
        if net.role(0) == Role::Candidate && net.term(0) == 4 {
            break;
        }
    }
    let vote = net.hung[0].take().unwrap();
    vote.into_iter().for_each(|output| net.durable(0, output));
    net.deliver_if(|_, _, message| !no_op(message));
    assert_eq!((net.role(0), net.term(0)), (Role::Leader, 4));
    for _ in 0..5 {
        net.step(0, Input::Tick);
        net.deliver_if(|_, _, message| !no_op(message));
    }
    let copies = (0..5).filter(|node| net.nodes[*node].log.term_at(2) == Some(2)).count();
    assert!(copies >= 3, "record 2 is on {copies} nodes");
    assert_eq!(net.committed(0), 0);
    net.tick(0, 10); // now the no-op passes, and takes all before it along
    assert_eq!(net.committed(0), 3);
}

#[test]
fn a_conflict_over_several_terms_is_backed_up_term_by_term() {
    let leader = durable(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6], 8);
    let follower = durable(&[1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3], 7);
    let mut net = Net::on(vec![leader, follower, durable(&[], 0)], |_| {});
    net.isolate(2);
    net.nodes[1].hard.term = 7;
    let conflicts = std::cell::Cell::new(0);
    for _ in 0..2 * TIMERS.election_ticks_max {
        net.step(0, Input::Tick);
        net.deliver_if(|_, _, message| {
            conflicts.set(conflicts.get() + usize::from(message.kind() == "append-conflict"));
            true
        });
    }
    assert_eq!(net.role(0), Role::Leader);
    assert!(conflicts.get() <= 2, "{} conflicts for terms 2 and 3", conflicts.get());
    assert_eq!((net.last(1), net.committed(1)), (11, 11));
    assert_eq!(net.nodes[1].log.term_at(4), Some(4));
}

#[test]
fn only_verified_records_are_acknowledged() {
    // Node 1 holds relics of term 2 beyond what the leader of term 3 has sent it.
    let logs = vec![durable(&[1], 2), durable(&[1, 2, 2, 2], 2), durable(&[1], 2)];
    let mut net = Net::on(logs, |_| {});
    net.isolate(1);
    net.elect(0);
    assert_eq!(net.committed(0), 2);
    let heartbeat = crate::message::Append {
        prev_index: 1,
        prev_term: 1,
        commit: 2,
        round: 1,
        last_index: 2,
        rejoin_nonce: 0,
        records: Vec::new(),
    };
    let message = Message { term: 3, body: crate::message::Body::Append(heartbeat) };
    net.step(1, Input::Receive { from: id(0), message });
    let (_, _, reply) = net.mail.pop_back().unwrap();
    assert_eq!(reply.acknowledged(), Some(1));
    assert_eq!(net.committed(1), 1, "nor is a relic committed");
}

#[test]
fn records_are_acknowledged_only_when_durable() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(2);
    net.hang_disk(1);
    net.propose(0);
    net.deliver();
    net.tick_all(5); // heartbeats are answered at once, but acknowledge nothing new
    assert_eq!((net.role(0), net.committed(0), net.last(1)), (Role::Leader, 1, 2));
    net.free_disk(1);
    net.deliver();
    assert_eq!((net.committed(0), net.committed(1)), (2, 2));
}

#[test]
fn a_leader_does_not_count_its_own_record_before_it_is_durable() {
    let mut net = Net::new(3);
    net.elect(0);
    net.isolate(2);
    net.hang_disk(0);
    net.propose(0);
    net.deliver();
    assert_eq!((net.last(1), net.committed(0)), (2, 1));
    net.free_disk(0);
    assert_eq!(net.committed(0), 2);
}

#[test]
fn lost_appends_are_sent_again_without_a_link_reset() {
    let mut net = Net::new(3);
    net.elect(0);
    net.propose(0);
    net.mail.clear();
    net.tick_all(6 * TIMERS.heartbeat_ticks);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [2, 2, 2]);
    net.propose(0);
    net.mail.clear();
    net.step(0, Input::LinkReset(id(1))); // and at once with one
    net.deliver();
    assert_eq!(net.committed(0), 3);
}

#[test]
fn what_a_follower_held_in_memory_only_is_sent_again_after_its_crash() {
    let mut net = Net::on(vec![durable(&[1, 1], 1), durable(&[1], 1)], |_| {});
    net.hang_disk(1);
    for _ in 0..TIMERS.election_ticks_max {
        net.tick(0, 1); // asks for the vote, which has to be durable
    }
    net.free_disk(1);
    net.hang_disk(1);
    net.deliver();
    net.tick(0, 3); // everything is verified, nothing is durable
    assert_eq!((net.role(0), net.last(1), net.committed(0)), (Role::Leader, 3, 0));
    net.hung[1] = None;
    let hard = net.nodes[1].hard;
    (net.nodes[1], _) = Raft::open(config(1, 2), Durable { hard, ..durable(&[1], 1) });
    for _ in 0..10 {
        net.tick(0, 1);
    }
    assert_eq!((net.last(1), net.committed(0)), (3, 3));
}

#[test]
fn a_delayed_append_cuts_nothing_off() {
    let mut net = Net::new(2);
    net.elect(0);
    net.propose(0);
    let old: Vec<_> = net.mail.iter().cloned().collect();
    net.deliver();
    net.propose(0);
    net.deliver();
    net.mail.extend(old);
    net.deliver();
    assert_eq!((net.last(1), net.committed(1)), (3, 3));
}

#[test]
fn old_records_are_loaded_in_chunks() {
    let mut ahead = durable(&[1; 20], 1);
    (ahead.committed, ahead.tail) = (20, Vec::new());
    let logs = vec![ahead.clone(), ahead, Durable::default()];
    let mut net = Net::on(logs, |config| (config.cache_bytes_max, config.chunk_bytes_max) = (0, 100));
    net.isolate(2);
    net.elect(0);
    net.cut.clear();
    let mut stored: Vec<Record> = durable(&[1; 20], 1).tail;
    stored.push(Record { index: 21, term: 2, entry: None });
    let mut loads = 0;
    for _ in 0..100 {
        net.tick(0, 1);
        for (node, load) in std::mem::take(&mut net.wanted) {
            let from = load.from as usize - 1;
            // The first reading fails; it is asked for again.
            let records = if loads == 0 { Vec::new() } else { stored[from..(from + 3).min(21)].to_vec() };
            loads += 1;
            net.step(node, Input::Loaded { peer: load.peer, from: load.from, records });
        }
    }
    assert!(loads >= 7, "{loads} loads");
    assert_eq!((net.last(2), net.committed(2)), (21, 21));
}

#[test]
fn what_is_in_flight_is_bounded() {
    let mut net = Net::on(vec![Durable::default(), Durable::default()], |config| config.chunk_bytes_max = 1_000);
    net.elect(0);
    net.hang_disk(1); // nothing is acknowledged any more
    let mut sent = 0;
    for _ in 0..100 {
        let Raft { hard, .. } = &net.nodes[0];
        let term = hard.term;
        let last_index = net.last(0);
        let entry = Entry::from(vec![0; 500]);
        let output = net.nodes[0].step(Input::Propose { term, last_index, entry });
        sent += output.eager.iter().filter(|(_, message)| !message.records().is_empty()).count();
        net.absorb(0, output);
        net.deliver();
    }
    assert!((4..=9).contains(&sent), "{sent} records of 500 bytes in a window of about 4000");
    net.free_disk(1);
    net.deliver();
    assert_eq!(net.committed(1), 101);
}

#[test]
fn a_proposal_must_extend_the_log_of_a_serving_leader() {
    let mut net = Net::new(3);
    let entry = Entry::from(vec![1]);
    let refused = |net: &mut Net, node: usize, term, last_index| {
        net.said[node].clear();
        net.step(node, Input::Propose { term, last_index, entry: Entry::from(vec![1]) });
        net.said[node].contains(&Event::Refused(entry.clone()))
    };
    assert!(refused(&mut net, 0, 0, 0), "no leader");
    net.elect(0);
    assert!(refused(&mut net, 1, 1, 1), "a follower");
    assert!(refused(&mut net, 0, 2, 1), "another term");
    assert!(refused(&mut net, 0, 1, 0), "not the last index");
    assert!(!refused(&mut net, 0, 1, 1));
    let mut silent = Net::new(3);
    for _ in 0..2 * TIMERS.election_ticks_max {
        silent.step(0, Input::Tick);
        silent.deliver_if(|_, _, message| !message.kind().starts_with("append"));
    }
    assert!(refused(&mut silent, 0, 1, 1), "its no-op is not committed");
}

#[test]
fn malformed_messages_change_nothing() {
    use crate::message::{Append, AppendReply, Body};
    let mut net = Net::new(3);
    net.elect(0);
    let good =
        Append { prev_index: 1, prev_term: 1, commit: 1, round: 1, last_index: 1, rejoin_nonce: 0, records: vec![] };
    let record = |index, term| Record { index, term, entry: None };
    let appends = [
        Append { records: vec![record(3, 1)], ..good.clone() },
        Append { records: vec![record(2, 0)], ..good.clone() },
        Append { records: vec![record(2, 2)], ..good.clone() },
        Append { records: vec![record(2, 1), record(2, 1)], ..good.clone() },
        Append { prev_index: u64::MAX, ..good.clone() },
        Append { prev_index: 0, prev_term: 1, ..good.clone() },
        Append { commit: u64::MAX, ..good },
    ];
    for append in appends {
        net.step(1, Input::Receive { from: id(0), message: Message { term: 1, body: Body::Append(append) } });
    }
    let reply = AppendReply { verified: 9, acknowledged: 9, round: 1, conflict: None, disputed: None, rejoining: None };
    for reply in [reply.clone(), AppendReply { verified: 1, ..reply.clone() }, AppendReply { round: 99, ..reply }] {
        net.step(0, Input::Receive { from: id(1), message: Message { term: 1, body: Body::AppendReply(reply) } });
    }
    net.step(0, Input::Receive { from: id(1), message: Message { term: u64::MAX, body: Body::Stale } });
    net.step(0, Input::Receive { from: NodeId(99), message: Message { term: 9, body: Body::Stale } });
    assert!(net.mail.is_empty());
    assert_eq!((net.last(1), net.committed(0), net.role(0), net.term(0)), (1, 1, Role::Leader, 1));
}

#[test]
fn the_last_term_is_nobodys_to_campaign_in() {
    use super::super::NUMBER_MAX;
    use crate::message::Body;
    let mut net = Net::new(3);
    net.step(0, Input::Receive { from: id(1), message: Message { term: NUMBER_MAX, body: Body::Stale } });
    assert_eq!(net.term(0), NUMBER_MAX);
    net.tick(0, 2 * TIMERS.election_ticks_max);
    let body = Body::PreVoteReply { asked: NUMBER_MAX + 1, granted: true };
    net.step(0, Input::Receive { from: id(1), message: Message { term: NUMBER_MAX, body } });
    assert_eq!((net.term(0), net.role(0)), (NUMBER_MAX, Role::Candidate));
}

#[test]
fn a_conflict_that_cannot_be_changes_nothing() {
    use crate::message::{AppendReply, Body, Conflict};
    let mut net = Net::on(vec![durable(&[1, 1], 1); 3], |_| {});
    // Nobody has answered the leader yet: it looks for where the logs agree.
    while net.role(0) != Role::Leader {
        net.step(0, Input::Tick);
        net.deliver_if(|_, _, message| !message.kind().starts_with("append"));
    }
    assert_eq!((net.role(0), net.term(0), net.last(0)), (Role::Leader, 2, 3));
    net.mail.clear();
    for (refused, index) in [(u64::MAX, 1), (4, 1), (2, u64::MAX), (2, 3)] {
        let conflict = Some(Conflict { refused, index, term: 2 });
        let reply = AppendReply { verified: 0, acknowledged: 0, round: 1, conflict, disputed: None, rejoining: None };
        net.step(0, Input::Receive { from: id(1), message: Message { term: 2, body: Body::AppendReply(reply) } });
        assert!(net.mail.is_empty(), "refused {refused}, index {index}");
    }
}

#[test]
fn the_news_of_a_commit_is_answered_only_if_there_is_something_new_to_say() {
    let mut net = Net::new(3);
    net.elect(0);
    let answers = std::cell::Cell::new(0);
    let count = |_, _, message: &Message| {
        answers.set(answers.get() + u32::from(message.kind().starts_with("append-reply")));
        true
    };
    net.propose(0);
    net.deliver_if(count);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [2, 2, 2]);
    assert_eq!(answers.take(), 2, "each answers the record, and not that it is committed");
    // A heartbeat is answered though nothing is new, and a probe at once, not with the next heartbeat.
    (0..TIMERS.heartbeat_ticks).for_each(|_| net.step(0, Input::Tick));
    net.deliver_if(count);
    assert_eq!(answers.take(), 2);
    net.step(0, Input::LinkReset(id(1)));
    net.deliver_if(count);
    assert_eq!(answers.take(), 1);
    // An answer that was lost is made good by the next heartbeat.
    net.propose(0);
    net.deliver_if(|from, _, message| from != id(1) || !message.kind().starts_with("append-reply"));
    assert_eq!(net.nodes[0].status().peers[0].matched, 2);
    (0..TIMERS.heartbeat_ticks).for_each(|_| net.step(0, Input::Tick));
    net.deliver();
    assert_eq!(net.nodes[0].status().peers[0].matched, 3);
}

#[test]
fn a_probe_after_a_reset_is_answered_though_it_brings_the_news_of_a_commit() {
    let mut net = Net::on(vec![Durable::default(); 3], |config| config.tells_commits_late = true);
    net.elect(0);
    net.tick(0, 1);
    net.propose(0);
    net.deliver();
    assert_eq!([0, 1].map(|node| net.committed(node)), [2, 1]);
    // Both ends are told of the reset. The probe has no records, and what it is answered with was said before.
    net.step(1, Input::LinkReset(id(0)));
    net.step(0, Input::LinkReset(id(1)));
    net.deliver();
    // Without that answer the leader would not send on before its next heartbeat.
    net.propose(0);
    net.deliver();
    assert_eq!(net.nodes[0].status().peers[0].matched, 3);
}

#[test]
fn a_commit_that_is_told_late_is_told_with_the_next_records_or_the_next_tick() {
    let mut net = Net::on(vec![Durable::default(); 3], |config| config.tells_commits_late = true);
    net.elect(0);
    net.tick(0, 1);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [1, 1, 1]);
    let appends = std::cell::Cell::new(0);
    let count = |_, _, message: &Message| {
        appends.set(appends.get() + u32::from(message.kind() == "append"));
        true
    };
    for written in 2..10 {
        net.propose(0);
        net.deliver_if(count);
        assert_eq!([0, 1, 2].map(|node| net.committed(node)), [written, written - 1, written - 1]);
    }
    assert_eq!(appends.take(), 16, "one for each record and follower");
    // One of them is told at once, and not twice; it does not answer.
    let messages = std::cell::Cell::new(0);
    for _ in 0..2 {
        net.step(0, Input::TellCommits(id(2)));
        net.step(0, Input::TellCommits(id(0)));
        net.step(1, Input::TellCommits(id(2)));
        net.deliver_if(|_, _, _| {
            messages.set(messages.get() + 1);
            true
        });
    }
    assert_eq!((messages.take(), [0, 1, 2].map(|node| net.committed(node))), (1, [9, 8, 9]));
    // The leader does not sleep over it.
    assert_eq!(net.nodes[0].quiet_ticks(), 0);
    net.step(0, Input::Tick);
    net.deliver_if(count);
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [9, 9, 9]);
    // Lost: the heartbeat tells it again.
    net.propose(0);
    net.deliver();
    net.step(0, Input::Tick);
    net.mail.clear();
    (0..TIMERS.heartbeat_ticks).for_each(|_| net.step(0, Input::Tick));
    net.deliver();
    assert_eq!([0, 1, 2].map(|node| net.committed(node)), [10, 10, 10]);
}
