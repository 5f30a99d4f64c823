//! Batches: one frame, one answer, an outcome for each request.

use raftbank_consensus::Role;
use raftbank_ledger::{Amount, Operation, Request, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, Many, ManyResult, WriteOutcome};

use super::super::AHEAD_REQUESTS_MIN;
use super::bank::{Bank, account, balance, credit, open, transfer};
use super::two_phase::says;

fn pack(requests: &[(&str, Operation)]) -> ApiRequest {
    let mut many = Many::default();
    for (id, operation) in requests {
        let request = Request { id: RequestId::parse(id).unwrap(), operation: operation.clone() };
        assert!(many.push(&request.encode()));
    }
    ApiRequest::WriteMany { requests: many.into_bytes(), timeout_ms: 3_000 }
}

fn results(bank: &mut Bank, at: usize, requests: &[(&str, Operation)]) -> Vec<ManyResult> {
    let token = bank.ask(at, pack(requests));
    bank.run_ms(4_000);
    match bank.replies[at].remove(&token) {
        Some(ApiReply::WrittenMany { results }) => results,
        other => panic!("{other:?}"),
    }
}

fn at(outcome: WriteOutcome, height: u64, index: u32, duplicate: bool) -> ManyResult {
    ManyResult::Written { outcome, height, index, duplicate }
}

fn code(result: &ManyResult) -> &str {
    match result {
        ManyResult::Written { outcome: WriteOutcome::Committed, .. } => "committed",
        ManyResult::Written { outcome: WriteOutcome::Refused { code, .. }, .. } | ManyResult::Failed { code, .. } => {
            code
        }
    }
}

#[test]
fn each_request_has_an_outcome_of_its_own_and_all_are_in_one_block_at_every_node() {
    for at_leader in [true, false] {
        let mut bank = Bank::new(3);
        let leader = bank.leader();
        let node = if at_leader { leader } else { (leader + 1) % 3 };
        let requests = [
            ("a", open("alice")),
            ("b", open("bob")),
            ("c", credit("alice", 10)),
            ("d", transfer("alice", "bob", 11)),
            ("c", credit("alice", 10)),
            ("c", credit("alice", 11)),
            ("e", transfer("alice", "bob", 4)),
        ];
        let found = results(&mut bank, node, &requests);
        let committed = |index| at(WriteOutcome::Committed, 1, index, false);
        assert_eq!(found[..3], [committed(0), committed(1), committed(2)]);
        assert_eq!(
            found.iter().map(code).collect::<Vec<_>>()[3..],
            ["insufficient_funds", "committed", "id_reused", "committed"]
        );
        assert_eq!(found[4], at(WriteOutcome::Committed, 1, 2, true));
        assert_eq!(found[6], at(WriteOutcome::Committed, 1, 4, false));
        bank.run_ms(500);
        bank.same_heads();
        assert_eq!(bank.nodes[node].state().balance(&account("alice")), Some(6));

        // Sent again, it costs no block and changes nothing.
        let again = results(&mut bank, node, &requests[..3]);
        assert_eq!(again, [0, 1, 2].map(|index| at(WriteOutcome::Committed, 1, index, true)));
        assert_eq!(bank.nodes[node].state().tip().height, 1);
    }
}

#[test]
fn a_batch_is_never_divided_and_may_be_larger_than_what_a_node_gathers() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    for node in 0..3 {
        bank.held[node] = Some(Vec::new());
    }
    // The test's nodes gather 100 requests. The first block is in flight while the others arrive.
    let ids: Vec<String> = (0..250).map(|number| format!("r{number}")).collect();
    let put = |id: &String| Operation::Put { key: id.clone().into_bytes(), value: Vec::new() };
    let all: Vec<(&str, Operation)> = ids.iter().map(|id| (id.as_str(), put(id))).collect();
    let first = bank.write(leader, "first", open("first"));
    let tokens = [&all[..60], &all[60..100], &all[100..101], &all[101..]].map(|part| bank.ask(leader, pack(part)));
    for _ in 0..20 {
        for node in 0..3 {
            for group in bank.held[node].replace(Vec::new()).unwrap() {
                bank.event(node, super::Event::Synced { group });
            }
        }
        bank.deliver();
    }
    assert!(bank.replies[leader].contains_key(&first));
    let heights = tokens.map(|token| match &bank.replies[leader][&token] {
        ApiReply::WrittenMany { results } => match results[..] {
            [ManyResult::Written { height, .. }, .., ManyResult::Written { height: last, .. }] => (height, last),
            [ManyResult::Written { height, .. }] => (height, height),
            _ => panic!("{results:?}"),
        },
        other => panic!("{other:?}"),
    });
    assert_eq!(heights, [(2, 2), (2, 2), (3, 3), (4, 4)]);
}

#[test]
fn of_a_batch_with_a_malformed_request_nothing_is_executed() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    for node in [leader, (leader + 1) % 3] {
        let mut many = Many::default();
        let good = Request { id: RequestId::parse("good").unwrap(), operation: open("alice") };
        assert!(many.push(&good.encode()) && many.push(b"nonsense"));
        let packed = many.into_bytes();
        for (requests, wanted) in
            [(packed.clone(), "bad_request"), (packed[..9].to_vec(), "bad_batch"), (Vec::new(), "bad_batch")]
        {
            let token = bank.ask(node, ApiRequest::WriteMany { requests, timeout_ms: 3_000 });
            bank.run_ms(100);
            let reply = bank.replies[node].remove(&token);
            let Some(ApiReply::Failed { kind: FailKind::Usage, code, message }) = reply else { panic!("{reply:?}") };
            assert_eq!(code, wanted, "{message}");
        }
    }
    assert_eq!(bank.nodes[leader].state().tip().height, 0);
}

#[test]
fn what_a_batch_would_move_is_pending_until_it_is_answered() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    for node in 0..3 {
        bank.held[node] = Some(Vec::new());
    }
    let token = bank.ask(leader, pack(&[("b", credit("alice", 5)), ("c", credit("alice", 6))]));
    let local = |bank: &mut Bank| {
        let ask = ApiRequest::Balance { account: "alice".into(), local: true, timeout_ms: 1 };
        let token = bank.ask(leader, ask);
        match bank.replies[leader].remove(&token) {
            Some(ApiReply::Balance { balance, pending, .. }) => (balance, pending),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(local(&mut bank), (0, 11));
    for node in 0..3 {
        for group in bank.held[node].take().unwrap() {
            bank.event(node, super::Event::Synced { group });
        }
    }
    bank.deliver();
    assert!(bank.replies[leader].contains_key(&token));
    assert_eq!(local(&mut bank), (11, 0));
}

#[test]
fn one_that_was_handed_to_a_peer_ends_as_unknown_and_one_that_was_not_as_not_executed() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let follower = (leader + 1) % 3;
    bank.outcome(leader, "a", open("alice"));
    // The follower still knows the leader, and its frame is lost.
    bank.isolate(follower);
    let lost = bank.ask(follower, pack(&[("b", credit("alice", 5))]));
    bank.run_ms(4_000);
    let kept = bank.ask(follower, pack(&[("c", credit("alice", 5))]));
    bank.run_ms(4_000);
    let kind = |reply: &ApiReply| match reply {
        ApiReply::Failed { kind, .. } => *kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(&bank.replies[follower][&lost]), FailKind::Unknown);
    assert_eq!(kind(&bank.replies[follower][&kept]), FailKind::NotExecuted);
    bank.cut.clear();
    bank.leader();
    let token = bank.ask(follower, pack(&[("b", credit("alice", 5)), ("c", credit("alice", 5))]));
    let read = bank.ask(follower, balance("alice"));
    bank.run_ms(2_000);
    assert!(matches!(&bank.replies[follower][&token], ApiReply::WrittenMany { results } if results.len() == 2));
    assert!(matches!(&bank.replies[follower][&read], ApiReply::Balance { .. }));
    assert_eq!(bank.nodes[follower].state().balance(&account("alice")), Some(10));
}

#[test]
fn a_deposed_leader_sends_its_batches_on() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    bank.isolate(leader);
    let ask = |id, timeout_ms| match pack(&[(id, credit("alice", 5)), ("x", credit("alice", 1))]) {
        ApiRequest::WriteMany { requests, .. } => ApiRequest::WriteMany { requests, timeout_ms },
        other => other,
    };
    let token = bank.ask(leader, ask("b", 30_000));
    bank.run_ms(3_000);
    bank.cut.clear();
    bank.run_ms(6_000);
    let reply = &bank.replies[leader][&token];
    assert!(
        matches!(reply, ApiReply::WrittenMany { results } if results.iter().all(|result| code(result) == "committed")),
        "{reply:?}"
    );
    bank.same_heads();
    assert_eq!(bank.nodes[leader].state().balance(&account("alice")), Some(6));
}

#[test]
fn much_that_waits_is_executed_while_the_block_before_is_on_its_way() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    for node in 0..3 {
        bank.held[node] = Some(Vec::new());
    }
    let first = bank.write(leader, "first", credit("alice", 7));
    let ids: Vec<String> = (0..AHEAD_REQUESTS_MIN).map(|number| format!("r{number}")).collect();
    let mut requests: Vec<(&str, Operation)> = ids.iter().map(|id| (id.as_str(), credit("alice", 1))).collect();
    // A repeat of what is on its way, and what can only be paid once that is there.
    requests.push(("first", credit("alice", 7)));
    requests.push(("spend", Operation::Debit { account: account("alice"), amount: Amount::new(1_031).unwrap() }));
    let second = bank.ask(leader, pack(&requests));
    assert!(bank.nodes[leader].ahead.is_some(), "executed while the first one is on its way");
    let third = bank.write(leader, "third", credit("alice", 1));
    for _ in 0..20 {
        for node in 0..3 {
            for group in bank.held[node].replace(Vec::new()).unwrap() {
                bank.event(node, super::Event::Synced { group });
            }
        }
        bank.deliver();
    }
    assert!(matches!(&bank.replies[leader][&first], ApiReply::Written { height: 2, .. }));
    let Some(ApiReply::WrittenMany { results }) = bank.replies[leader].get(&second) else { panic!() };
    let [.., repeat, spend] = &results[..] else { panic!("{results:?}") };
    assert_eq!(repeat, &at(WriteOutcome::Committed, 2, 0, true));
    assert_eq!(spend, &at(WriteOutcome::Committed, 3, AHEAD_REQUESTS_MIN as u32, false));
    assert!(matches!(&bank.replies[leader][&third], ApiReply::Written { height: 4, .. }));
    // The followers hear of the last commit with the next tick.
    bank.held = vec![None; 3];
    bank.run_ms(200);
    bank.same_heads();
    assert_eq!(bank.nodes[leader].state().balance(&account("alice")), Some(1));
}

#[test]
fn what_was_executed_ahead_of_a_block_that_came_to_nothing_waits_for_the_next_leader() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    bank.outcome(leader, "a", open("alice"));
    bank.isolate(leader);
    let first = bank.ask(
        leader,
        ApiRequest::WriteMany {
            requests: match pack(&[("first", credit("alice", 7))]) {
                ApiRequest::WriteMany { requests, .. } => requests,
                _ => unreachable!(),
            },
            timeout_ms: 30_000,
        },
    );
    let ids: Vec<String> = (0..AHEAD_REQUESTS_MIN).map(|number| format!("r{number}")).collect();
    let requests: Vec<(&str, Operation)> = ids.iter().map(|id| (id.as_str(), credit("alice", 1))).collect();
    let ApiRequest::WriteMany { requests, .. } = pack(&requests) else { unreachable!() };
    let second = bank.ask(leader, ApiRequest::WriteMany { requests, timeout_ms: 30_000 });
    assert!(bank.nodes[leader].ahead.is_some(), "executed behind a block that will come to nothing");
    bank.run_ms(3_000);
    // The others have a leader of their own by now, and a block in the place of this node's.
    let others = (0..3).find(|node| *node != leader && bank.nodes[*node].role().0 == Role::Leader).unwrap();
    bank.outcome(others, "other", credit("alice", 100));
    bank.cut.clear();
    bank.run_ms(6_000);
    for token in [first, second] {
        let reply = &bank.replies[leader][&token];
        let ApiReply::WrittenMany { results } = reply else { panic!("{reply:?}") };
        assert!(results.iter().all(|result| code(result) == "committed"));
    }
    bank.same_heads();
    let sum = 107 + AHEAD_REQUESTS_MIN as i128;
    assert_eq!(bank.nodes[leader].state().balance(&account("alice")), Some(sum));
}

#[test]
fn a_leader_that_could_not_read_a_batch_is_not_sent_one() {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    let follower = (leader + 1) % 3;
    bank.outcome(leader, "a", open("alice"));
    says(&mut bank, leader, "raftbankd/0.1.9");
    let token = bank.ask(follower, pack(&[("b", credit("alice", 5))]));
    bank.run_ms(4_000);
    let reply = &bank.replies[follower][&token];
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted, .. }), "{reply:?}");
    // It is upgraded: what waits goes there.
    let token = bank.ask(follower, pack(&[("b", credit("alice", 5))]));
    says(&mut bank, leader, "raftbankd/0.2.0");
    bank.run_ms(1_000);
    assert!(matches!(&bank.replies[follower][&token], ApiReply::WrittenMany { results } if results.len() == 1));
}
