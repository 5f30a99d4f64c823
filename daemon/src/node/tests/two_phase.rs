//! Linked and pending transfers at nodes: what is held is told, and nothing of it before every member can read it.

use raftbank_codec::encode;
use raftbank_ledger::{Amount, Leg, Operation, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, Many, WriteOutcome};

use super::super::Event;
use super::super::message::{Body, Envelope};
use super::bank::{Bank, account, credit, is_committed, open, signer};
use super::*;

fn amount(value: u64) -> Amount {
    Amount::new(value).unwrap()
}

fn linked() -> Operation {
    let leg = |from, to| Leg { from: account(from), to: account(to), amount: amount(5), memo: String::new() };
    Operation::Linked { legs: vec![leg("alice", "bob"), leg("bob", "alice")] }
}

fn pending(value: u64, timeout_ms: u64) -> Operation {
    let (from, to) = (account("alice"), account("bob"));
    Operation::Pending { from, to, amount: amount(value), timeout_ms, memo: String::new() }
}

fn post(id: &str) -> Operation {
    Operation::Post { pending: RequestId::parse(id).unwrap(), amount: None }
}

/// A bank of three whose `alice` has 100.
fn bank() -> (Bank, usize) {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    for (id, operation) in [("a", open("alice")), ("b", open("bob")), ("c", credit("alice", 100))] {
        assert!(is_committed(&bank.outcome(leader, id, operation)));
    }
    (bank, leader)
}

/// Every other member says that this one runs that software.
pub(super) fn says(bank: &mut Bank, who: usize, software: &str) {
    let cluster = bank.nodes[who].state().cluster_id().0;
    let body = || Body::Version { software: software.to_owned(), asks: false };
    for to in (0..3).filter(|to| *to != who) {
        let envelope =
            Envelope { cluster, incarnation: who as u64 + 100, wall_ms: bank.now(who).wall_ms, body: body() };
        bank.event(to, Event::Frame { from: NodeId(who as u8), payload: encode(&envelope) });
    }
}

fn code(reply: &ApiReply) -> &str {
    match reply {
        ApiReply::Failed { code, .. } => code,
        ApiReply::Written { outcome: WriteOutcome::Refused { code, .. }, .. } => code,
        ApiReply::Written { .. } => "committed",
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_verbs_wait_until_every_member_is_known_to_read_them() {
    for at_leader in [true, false] {
        let (mut bank, leader) = bank();
        let at = if at_leader { leader } else { (leader + 1) % 3 };
        let old = (leader + 2) % 3;
        says(&mut bank, old, "raftbankd/0.1.7");
        let height = bank.nodes[leader].state().tip().height;
        let name = format!("n{} runs raftbankd/0.1.7", old + 1);
        for (id, operation) in [("1", linked()), ("2", pending(5, 1_000)), ("3", post("2"))] {
            match bank.outcome(at, id, operation) {
                ApiReply::Failed { kind: FailKind::NotExecuted, code, message } => {
                    assert!(code == "not_supported_yet" && message.contains(&name), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
        let mut many = Many::default();
        assert!(many.push(&Request { id: RequestId::parse("4").unwrap(), operation: linked() }.encode()));
        let token = bank.ask(at, ApiRequest::WriteMany { requests: many.into_bytes(), timeout_ms: 3_000 });
        assert_eq!(code(&bank.replies[at][&token]), "not_supported_yet");
        assert_eq!(bank.nodes[leader].state().tip().height, height, "nothing of it is in any log");
        // What every version knows goes on.
        assert!(is_committed(&bank.outcome(at, "5", credit("alice", 1))));
        says(&mut bank, old, "raftbankd/0.2.1");
        assert!(is_committed(&bank.outcome(at, "6", linked())));
    }
}

#[test]
fn a_member_that_is_down_since_this_node_began_is_waited_for_unless_the_chain_has_proof() {
    for proof in [false, true] {
        let (mut bank, leader) = bank();
        let (down, again) = ((leader + 1) % 3, (leader + 2) % 3);
        if proof {
            assert!(is_committed(&bank.outcome(leader, "p", pending(5, 60_000))));
        }
        bank.isolate(down);
        bank.run_ms(1_000);
        // The other one begins anew and never hears of the member that is down; a client asks it.
        let block = genesis(3, 1);
        bank.restart_with_key(again, signer(again, &block));
        bank.run_ms(1_000);
        let told = bank.outcome(again, "1", linked());
        if proof {
            assert!(is_committed(&told), "{told:?}");
        } else {
            assert_eq!(code(&told), "not_supported_yet");
            // Who heard of it before still knows.
            assert!(is_committed(&bank.outcome(leader, "2", linked())));
            // And that block is a proof for all.
            assert!(is_committed(&bank.outcome(again, "3", linked())));
        }
    }
}

#[test]
fn what_an_account_holds_is_told_with_its_balance() {
    let (mut bank, leader) = bank();
    let follower = (leader + 1) % 3;
    assert!(is_committed(&bank.outcome(follower, "p", pending(40, 3_600_000))));
    assert!(is_committed(&bank.outcome(follower, "q", pending(30, 60_000))));
    assert_eq!(code(&bank.outcome(follower, "r", pending(31, 60_000))), "insufficient_funds");
    bank.run_ms(500);
    for at in [leader, follower] {
        let token = bank.ask(at, ApiRequest::Funds { account: "alice".into(), local: false, timeout_ms: 1_000 });
        bank.run_ms(500);
        match bank.replies[at].get(&token) {
            Some(ApiReply::Funds { balance: 100, held: 70, pending: 0, local: false, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let ask = |bank: &mut Bank, request| {
        let token = bank.ask(follower, request);
        match bank.replies[follower].remove(&token) {
            Some(ApiReply::Held { rows, next: None, .. }) => rows.into_iter().map(|row| (row.id, row.status)).collect(),
            other => panic!("{other:?}"),
        }
    };
    let row = |id: &str, status: &str| (id.to_owned(), status.to_owned());
    let open: Vec<_> = ask(&mut bank, ApiRequest::Held { account: Some("bob".into()), after: None });
    assert_eq!(open, [row("q", "pending"), row("p", "pending")], "the first to expire comes first");
    assert!(is_committed(&bank.outcome(follower, "s", post("p"))));
    // Time passes, and a block tells it.
    bank.run_ms(60_000);
    assert_eq!(code(&bank.outcome(follower, "t", post("q"))), "pending_expired");
    bank.run_ms(500);
    let none: Vec<(String, String)> = ask(&mut bank, ApiRequest::Held { account: None, after: None });
    assert_eq!(none, []);
    let ids = ["p", "nothing", "q"].map(str::to_owned).to_vec();
    let ended: Vec<_> = ask(&mut bank, ApiRequest::HeldById { ids });
    assert_eq!(ended, [row("p", "posted"), row("q", "expired")]);
    bank.same_heads();
}

#[test]
fn a_long_list_comes_in_parts() {
    let (mut bank, leader) = bank();
    let count = 1_001;
    for number in 0..count {
        let operation = Operation::Pending {
            from: account("world"),
            to: account("bob"),
            amount: amount(1),
            timeout_ms: 10_000_000 + number % 7,
            memo: String::new(),
        };
        bank.write(leader, &format!("p{number}"), operation);
    }
    bank.run_ms(2_000);
    let (mut after, mut sizes, mut ids) = (None, Vec::new(), std::collections::BTreeSet::new());
    loop {
        let token = bank.ask(leader, ApiRequest::Held { account: None, after });
        let Some(ApiReply::Held { rows, next, .. }) = bank.replies[leader].remove(&token) else { panic!("no list") };
        sizes.push(rows.len());
        ids.extend(rows.into_iter().map(|row| row.id));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((sizes, ids.len() as u64), (vec![1_000, 1], count));
}
