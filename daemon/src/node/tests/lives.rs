//! What belongs to an earlier process of a node, or to another question, does not reach who asks now.

use raftbank_consensus::Engine;

use super::*;
use crate::node::message::CallName;

#[test]
fn a_late_answer_to_an_earlier_process_answers_nobody() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let asker = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    // The leader's answer stays on the wire while the asker's process ends.
    bank.run_ms(200);
    bank.next_token += 1;
    let token = bank.next_token;
    let request = Request { id: RequestId::parse("old").unwrap(), operation: open("alice") };
    bank.event(
        asker,
        Event::Api { token, request: ApiRequest::Write { request: request.encode(), timeout_ms: 3_000 } },
    );
    let mut late = Vec::new();
    for _ in 0..20 {
        let wire: Vec<_> = bank.wire.drain(..).collect();
        for (from, to, payload) in wire {
            let envelope: Envelope = decode(&payload, FRAME_BYTES_MAX).unwrap();
            if to == asker && matches!(envelope.body, Body::Answer { .. }) {
                late.push(payload);
            } else {
                bank.event(to, Event::Frame { from: NodeId(from as u8), payload });
            }
        }
    }
    assert_eq!(late.len(), 1);
    assert!(bank.replies[asker].is_empty());

    // The new process begins to number its calls anew.
    let state = bank.nodes[other].state().clone();
    let applied = bank.nodes[other].applied();
    let status = bank.nodes[other].engine.status();
    let durable = raftbank_consensus::Durable {
        hard: raftbank_consensus::HardState { term: status.term, vote: None },
        terms: vec![raftbank_consensus::TermRun { first: 1, term: status.term }],
        last_index: applied,
        committed: applied,
        tail: Vec::new(),
    };
    let config = NodeConfig { seed: 4_711, ..config(asker, 3, asker as u64 + 100, false) };
    let known = (0..3).filter(|id| *id != asker).map(|id| (NodeId(id as u8), id as u64 + 100)).collect();
    let (node, actions) = Node::open(config, durable, applied, state, &known, &BTreeMap::new(), bank.now(asker));
    bank.nodes[asker] = node;
    bank.perform(asker, actions);
    bank.event(asker, Event::Link(LinkChange::Connected));
    while bank.nodes[asker].role().1.is_none() {
        bank.run_ms(10);
    }
    bank.next_token += 1;
    let token = bank.next_token;
    let request = Request { id: RequestId::parse("new").unwrap(), operation: open("bob") };
    bank.event(
        asker,
        Event::Api { token, request: ApiRequest::Write { request: request.encode(), timeout_ms: 3_000 } },
    );
    bank.event(asker, Event::Frame { from: NodeId(leader as u8), payload: late.pop().unwrap() });
    assert!(bank.replies[asker].is_empty(), "{:?}", bank.replies[asker]);
    bank.deliver();
    bank.run_ms(500);
    assert!(
        matches!(&bank.replies[asker][&token], ApiReply::Written { id, .. } if id == "new"),
        "{:?}",
        bank.replies[asker][&token]
    );
}

/// A frame as member `from` would send it under this incarnation.
fn frame(bank: &Bank, from: usize, incarnation: u64, body: Body) -> Event {
    let cluster = bank.nodes[0].state().cluster_id().0;
    let envelope = Envelope { cluster, incarnation, wall_ms: bank.now(from).wall_ms, body };
    Event::Frame { from: NodeId(from as u8), payload: encode(&envelope) }
}

fn incarnation_of(bank: &Bank, at: usize, peer: usize) -> Option<u64> {
    bank.nodes[at].peers.get(&NodeId(peer as u8)).and_then(|peer| peer.incarnation)
}

#[test]
fn a_late_announcement_of_an_incarnation_that_is_gone_replaces_nothing() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let lost = (leader + 1) % 3;
    let (state, _) = State::new(&genesis(3, 1)).unwrap();
    for incarnation in [555, 556] {
        let config = config(lost, 3, incarnation, true);
        let (node, actions) =
            Node::open(config, fresh(), 0, state.clone(), &BTreeMap::new(), &BTreeMap::new(), bank.now(lost));
        bank.nodes[lost] = node;
        bank.perform(lost, actions);
        bank.event(lost, Event::Link(LinkChange::Connected));
        bank.run_ms(3_000);
        assert!(!bank.nodes[lost].is_rejoining());
    }
    // The first of the two lost disks announced itself, too, and its words arrive now; so does a proof of that time.
    let late = frame(&bank, lost, 555, Body::Rejoin { proof: 0 });
    bank.event(leader, late);
    bank.run_ms(500);
    assert_eq!(incarnation_of(&bank, leader, lost), Some(556));
    assert!(is_committed(&bank.outcome(lost, "b", credit("alice", 1))), "it is heard as before");
}

#[test]
fn a_node_on_a_new_disk_does_not_learn_a_late_incarnation() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let (state, _) = State::new(&genesis(3, 1)).unwrap();
    let (node, actions) =
        Node::open(config(lost, 3, 555, true), fresh(), 0, state, &BTreeMap::new(), &BTreeMap::new(), bank.now(lost));
    bank.nodes[lost] = node;
    bank.perform(lost, actions);
    // From the time before the other one lost its disk.
    let late = frame(&bank, other, 4_711, Body::Beacon { height: 1 });
    bank.event(lost, late);
    assert_eq!(incarnation_of(&bank, lost, other), None);
    bank.event(lost, Event::Link(LinkChange::Connected));
    bank.run_ms(3_000);
    assert_eq!(incarnation_of(&bank, lost, other), Some(other as u64 + 100));
    assert!(!bank.nodes[lost].is_rejoining());
    bank.same_heads();
}

#[test]
fn what_was_handed_to_a_peer_is_never_called_not_executed() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let (asker, other) = ((leader + 1) % 3, (leader + 2) % 3);
    bank.run_ms(200);
    // The leader takes the request into its log, and can neither commit it nor answer.
    bank.cut.insert((leader, asker));
    bank.cut.insert((leader, other));
    bank.next_token += 1;
    let token = bank.next_token;
    let request = Request { id: RequestId::parse("x").unwrap(), operation: open("alice") };
    bank.event(
        asker,
        Event::Api { token, request: ApiRequest::Write { request: request.encode(), timeout_ms: 1_000 } },
    );
    let call = bank.wire.iter().find_map(|(_, _, payload)| {
        let envelope: Envelope = decode(payload, FRAME_BYTES_MAX).unwrap();
        if let Body::Forward { call, .. } = envelope.body { Some(call) } else { None }
    });
    bank.deliver();
    assert_eq!(bank.written[leader].len(), 1, "it is in a log");
    // Another copy of the same frame was given back.
    let given_back = Body::Answer { call: call.expect("a follower forwards"), reply: None };
    let late = frame(&bank, leader, leader as u64 + 100, given_back);
    bank.event(asker, late);
    bank.event(asker, Event::Link(LinkChange::Lost));
    bank.isolate(asker);
    bank.run_ms(2_000);
    let reply = &bank.replies[asker][&token];
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::Unknown, .. }), "{reply:?}");
}

/// What a peer says instead of an answer, or as an answer to another question, is not handed to the client.
#[test]
fn an_answer_to_another_question_answers_nobody() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let asker = (leader + 1) % 3;
    bank.run_ms(200);
    bank.isolate(asker);
    let questions = [
        ApiRequest::Write {
            request: Request { id: RequestId::parse("x").unwrap(), operation: open("alice") }.encode(),
            timeout_ms: 60_000,
        },
        ApiRequest::Balance { account: "alice".into(), local: false, timeout_ms: 60_000 },
        ApiRequest::Accounts { local: false, timeout_ms: 60_000 },
        ApiRequest::Get { key: b"k".to_vec(), local: false, timeout_ms: 60_000 },
    ];
    let written = |id: &str| ApiReply::Written {
        id: id.into(),
        outcome: WriteOutcome::Committed,
        height: 1,
        index: 0,
        duplicate: false,
    };
    let balance =
        |account: &str| ApiReply::Balance { account: account.into(), balance: 7, pending: 0, height: 1, local: false };
    let value = |key: &[u8]| ApiReply::Value { key: key.to_vec(), value: Vec::new(), height: 1 };
    // One right answer for each question, and then only wrong ones.
    let answers = [
        written("x"),
        balance("alice"),
        ApiReply::Accounts { height: 1, accounts: Vec::new() },
        value(b"k"),
        written("y"),
        balance("bob"),
        value(b"l"),
        ApiReply::End { count: 1 },
    ];
    for (right, question) in questions.into_iter().enumerate() {
        let token = bank.ask(asker, question);
        let number = bank.nodes[asker].calls_by_token[&token];
        let call = CallName { life: bank.nodes[asker].config.seed, number };
        let say = |bank: &mut Bank, reply: &ApiReply| {
            let envelope = Envelope {
                cluster: bank.nodes[asker].state().cluster_id().0,
                incarnation: leader as u64 + 100,
                wall_ms: 0,
                body: Body::Answer { call, reply: Some(reply.clone()) },
            };
            bank.event(asker, Event::Frame { from: NodeId(leader as u8), payload: encode(&envelope) });
        };
        for (_, wrong) in answers.iter().enumerate().filter(|(number, _)| *number != right) {
            say(&mut bank, wrong);
            assert_eq!(bank.replies[asker].get(&token), None);
        }
        say(&mut bank, &answers[right]);
        assert_eq!(bank.replies[asker].get(&token), Some(&answers[right]));
    }
}
