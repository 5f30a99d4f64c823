//! Signed heads: who signs what, whose signatures count, and what becomes of lies.

use std::collections::BTreeSet;

use raftbank_codec::{decode, encode};
use raftbank_consensus::NodeId;
use raftbank_ledger::Hash;
use raftbank_proofs::{Checkpoint, Head, KeyKind, Keys, SignerKey};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};

use super::super::message::{Body, Envelope, FRAME_BYTES_MAX};
use super::super::{Event, LinkChange};
use super::bank::{Bank, credit, genesis, is_committed, open, signer};

/// The keys file of an auditor.
fn keys(members: usize) -> Keys {
    let genesis = genesis(members, 1);
    Keys::new((0..members).map(|id| signer(id, &genesis).verifier()).collect()).unwrap()
}

fn size(bank: &Bank, at: usize) -> u64 {
    bank.nodes[at].head().map_or(0, |head| head.head.size)
}

/// Hands a node a frame as if `from` had sent it.
fn forge(bank: &mut Bank, from: usize, to: usize, body: Body) {
    let cluster = bank.nodes[to].state().cluster_id().0;
    let envelope = Envelope { cluster, incarnation: from as u64 + 100, wall_ms: bank.now(from).wall_ms, body };
    bank.event(to, Event::Frame { from: NodeId(from as u8), payload: encode(&envelope) });
}

/// What a node is about to send to a peer, taken off the wire.
fn sent(bank: &mut Bank, from: usize, to: usize) -> Vec<Body> {
    let all = std::mem::take(&mut bank.wire);
    let (mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(f, t, _)| (*f, *t) == (from, to));
    bank.wire = others.into();
    mine.iter().map(|(_, _, payload)| decode::<Envelope>(payload, FRAME_BYTES_MAX).unwrap().body).collect()
}

/// Lets time pass; only what `keep` wants arrives.
fn filtered(bank: &mut Bank, ms: u64, mut keep: impl FnMut(usize, usize, &Body) -> bool) {
    for _ in 0..ms / 10 {
        bank.mono_ms += 10;
        for id in 0..bank.nodes.len() {
            bank.event(id, Event::Tick);
        }
        while let Some((from, to, payload)) = bank.wire.pop_front() {
            let body = decode::<Envelope>(&payload, FRAME_BYTES_MAX).unwrap().body;
            if !bank.cut.contains(&(from, to)) && keep(from, to, &body) {
                bank.event(to, Event::Frame { from: NodeId(from as u8), payload });
            }
        }
    }
}

fn signatures(bodies: &[Body]) -> Vec<u64> {
    let signed = bodies.iter().filter_map(|body| match body {
        Body::HeadSigned { size, .. } => Some(*size),
        _ => None,
    });
    signed.collect()
}

/// A bank whose members know each other's keys, with a block.
fn bank(members: usize) -> (Bank, usize) {
    let mut bank = Bank::new(members);
    let leader = if members > 1 { bank.leader() } else { 0 };
    bank.run_ms(3_000);
    assert!(is_committed(&bank.outcome(leader, "open", open("alice"))));
    bank.run_ms(500);
    (bank, leader)
}

fn checkpoint(size_min: u64, timeout_ms: u32) -> ApiRequest {
    ApiRequest::Checkpoint { size_min, timeout_ms }
}

#[test]
fn a_majority_signs_and_everyone_has_a_checkpoint_that_an_auditor_accepts() {
    for members in 1..=5 {
        let (mut bank, leader) = bank(members);
        for at in 0..members {
            let head = bank.nodes[at].head().expect("a head");
            assert_eq!(head.head.size, 2, "{members} members");
            assert_eq!(head.head.root, bank.nodes[at].state().log().root());
            let signers = head.check(&keys(members)).expect("holds").len();
            assert_eq!(signers, members / 2 + 1, "exactly a majority");
            let token = bank.ask(at, checkpoint(2, 0));
            let ApiReply::Checkpoint { note } = &bank.replies[at][&token] else { panic!("no checkpoint") };
            assert_eq!(*note, bank.nodes[at].head().unwrap().to_string());
        }
        // Nothing new: nobody is asked.
        bank.wire.clear();
        bank.mono_ms += 200;
        bank.event(leader, Event::Tick);
        assert!(!bank.wire.iter().any(|(_, _, payload)| matches!(
            decode::<Envelope>(payload, FRAME_BYTES_MAX).unwrap().body,
            Body::SignHead { .. }
        )));
    }
}

#[test]
fn a_minority_has_no_newer_checkpoint_and_says_so_in_time() {
    let (mut bank, leader) = bank(3);
    let lost = (leader + 1) % 3;
    bank.isolate(lost);
    assert!(is_committed(&bank.outcome(leader, "more", credit("alice", 5))));
    bank.run_ms(500);
    assert_eq!(size(&bank, leader), 3);
    assert_eq!(size(&bank, lost), 2);
    let token = bank.ask(lost, checkpoint(3, 1_000));
    bank.run_ms(900);
    assert!(!bank.replies[lost].contains_key(&token), "it waits");
    bank.run_ms(200);
    let ApiReply::Failed { kind: FailKind::NotExecuted, code, message } = &bank.replies[lost][&token] else {
        panic!("{:?}", bank.replies[lost][&token])
    };
    assert_eq!(code, "no_checkpoint");
    assert!(message.contains("only 2 blocks"), "{message}");
    // The old one is still good.
    let token = bank.ask(lost, checkpoint(0, 0));
    assert!(matches!(bank.replies[lost][&token], ApiReply::Checkpoint { .. }));
    // It waits longer this time, and the others come back.
    let token = bank.ask(lost, checkpoint(3, 60_000));
    bank.cut.clear();
    bank.run_ms(3_000);
    assert!(matches!(bank.replies[lost][&token], ApiReply::Checkpoint { .. }));
    assert_eq!(bank.nodes[lost].head().unwrap().head, bank.nodes[leader].head().unwrap().head);
}

#[test]
fn a_lost_checkpoint_and_lost_signatures_are_repeated() {
    let (mut bank, leader) = bank(3);
    assert!(is_committed(&bank.outcome(leader, "more", credit("alice", 5))));
    bank.run_ms(300);
    // A head is lost on its way to a follower: each message about heads to it is.
    let behind = (leader + 1) % 3;
    let third = (leader + 2) % 3;
    let request = bank.write(leader, "lost", credit("alice", 1));
    filtered(&mut bank, 500, |_, to, body| to != behind || !matches!(body, Body::Head { .. }));
    assert!(is_committed(&bank.replies[leader][&request]));
    let newest = bank.nodes[leader].state().log().size();
    assert_eq!(size(&bank, leader), newest);
    bank.run_ms(2_000);
    assert_eq!(size(&bank, behind), newest, "it was told again");
    // Signatures are lost four times.
    let request = bank.write(leader, "again", credit("alice", 1));
    let (mut asked, mut lost) = (0, 0);
    filtered(&mut bank, 1_000, |_, _, body| {
        asked += u32::from(matches!(body, Body::SignHead { .. }));
        let loses = matches!(body, Body::HeadSigned { .. }) && lost < 4;
        lost += u32::from(loses);
        !loses
    });
    assert!(is_committed(&bank.replies[leader][&request]));
    assert_eq!(lost, 4);
    assert!(asked > 4, "{asked}");
    for at in [leader, behind, third] {
        assert_eq!(size(&bank, at), newest + 1);
    }
}

#[test]
fn nobody_signs_what_is_not_the_root_of_its_own_chain() {
    let (mut bank, leader) = bank(3);
    let (victim, liar) = ((leader + 1) % 3, (leader + 2) % 3);
    bank.wire.clear();
    let root = bank.nodes[victim].state().log().root();
    forge(&mut bank, liar, victim, Body::SignHead { size: 2, root: [7; 32] });
    assert!(signatures(&sent(&mut bank, victim, liar)).is_empty());
    assert!(bank.warnings[victim].iter().any(|text| text.starts_with("impossible: ")), "{:?}", bank.warnings[victim]);
    // Sizes that never were.
    for size in [0, u64::MAX, 1 << 63] {
        forge(&mut bank, liar, victim, Body::SignHead { size, root: root.0 });
        assert!(signatures(&sent(&mut bank, victim, liar)).is_empty());
    }
    forge(&mut bank, liar, victim, Body::SignHead { size: 2, root: root.0 });
    assert_eq!(signatures(&sent(&mut bank, victim, liar)), [2]);
    // One that is not reached yet waits; the latest only.
    forge(&mut bank, liar, victim, Body::SignHead { size: 4, root: root.0 });
    forge(&mut bank, liar, victim, Body::SignHead { size: 3, root: root.0 });
    assert!(signatures(&sent(&mut bank, victim, liar)).is_empty());
    let warned = bank.warnings[victim].len();
    bank.mono_ms += 20_000;
    bank.event(victim, Event::Tick);
    assert!(is_committed(&bank.outcome(leader, "more", credit("alice", 5))));
    assert_eq!(bank.warnings[victim].len(), warned + 1, "the root that was foretold is another one");
}

#[test]
fn a_head_is_signed_when_it_is_reached() {
    let (mut bank, leader) = bank(3);
    let slow = (leader + 1) % 3;
    // This one hears nothing of the next block until later.
    bank.cut.insert((leader, slow));
    let request = bank.write(leader, "more", credit("alice", 5));
    bank.run_ms(100);
    assert!(is_committed(&bank.replies[leader][&request]));
    let root = bank.nodes[leader].state().log().root();
    forge(&mut bank, leader, slow, Body::SignHead { size: 3, root: root.0 });
    assert_eq!(bank.nodes[slow].state().log().size(), 2);
    bank.cut.clear();
    let mut signed = Vec::new();
    filtered(&mut bank, 2_000, |from, to, body| {
        if from == slow {
            signed.extend(signatures(std::slice::from_ref(body)));
        }
        // But for this one question it is never asked.
        to != slow || !matches!(body, Body::SignHead { .. })
    });
    assert_eq!(signed, [3]);
}

#[test]
fn what_no_majority_has_signed_is_not_adopted() {
    let (mut bank, leader) = bank(3);
    let (victim, liar) = ((leader + 1) % 3, (leader + 2) % 3);
    let genesis = genesis(3, 1);
    let tell = |bank: &mut Bank, cluster_id: Hash, size: u64, root: Hash, signers: &[SignerKey]| {
        let mut checkpoint = Checkpoint::new(Head { cluster_id, size, root });
        signers.iter().for_each(|key| checkpoint.sign(key, 0));
        bank.mono_ms += 200; // it listens again to who has lied
        bank.event(victim, Event::Tick);
        forge(bank, liar, victim, Body::Head { note: checkpoint.to_string() });
        bank.nodes[victim].head().unwrap().head.size
    };
    let of = |ids: &[usize]| -> Vec<SignerKey> { ids.iter().map(|id| signer(*id, &genesis)).collect() };
    let (cluster, root) = (genesis.hash(), Hash([9; 32]));
    assert_eq!(tell(&mut bank, cluster, 9, root, &of(&[])), 2);
    assert_eq!(tell(&mut bank, cluster, 9, root, &of(&[0])), 2);
    assert_eq!(tell(&mut bank, cluster, 9, root, &of(&[0, 0])), 2);
    assert_eq!(tell(&mut bank, cluster, 9, root, &of(&[1, 0])), 2, "not in order");
    assert_eq!(tell(&mut bank, cluster, 9, root, &of(&[0, 1, 2])), 2, "more than a majority");
    assert_eq!(tell(&mut bank, Hash([1; 32]), 9, root, &of(&[0, 1])), 2, "another bank");
    let stranger = SignerKey::new(signer(1, &genesis).verifier().name(), KeyKind::Node, &[77; 32]).unwrap();
    assert_eq!(tell(&mut bank, cluster, 9, root, &[signer(0, &genesis), stranger]), 2, "another key");
    // Signed by a majority, of a chain that is not ours: it waits for that size, and is dropped then.
    assert_eq!(tell(&mut bank, cluster, 3, root, &of(&[0, 1])), 2);
    bank.wire.clear();
    bank.warnings[victim].clear();
    assert!(is_committed(&bank.outcome(leader, "more", credit("alice", 5))));
    bank.run_ms(2_000);
    let own = bank.nodes[victim].state().log().root();
    assert_eq!(bank.nodes[victim].head().unwrap().head, Head { cluster_id: cluster, size: 3, root: own });
    assert!(bank.warnings[victim].iter().any(|text| text.starts_with("impossible: a majority")));
    // The same at a size that it has.
    bank.warnings[victim].clear();
    bank.mono_ms += 20_000;
    bank.event(victim, Event::Tick);
    let mut garbage = vec![String::new(), "\n".repeat(9), "raftbank/".to_owned(), "\u{2014} ".repeat(6_000)];
    garbage.push("x".repeat(1 << 20));
    for note in garbage {
        forge(&mut bank, liar, victim, Body::Head { note });
    }
    assert_eq!(size(&bank, victim), 3);
}

#[test]
fn signatures_that_do_not_hold_are_asked_for_again() {
    let (mut bank, leader) = bank(3);
    let (honest, liar) = ((leader + 1) % 3, (leader + 2) % 3);
    bank.isolate(liar);
    assert_eq!(size(&bank, leader), 2);
    let request = bank.write(leader, "more", credit("alice", 5));
    // The honest one's signature is lost, the liar's is made up.
    for round in 0..40 {
        filtered(&mut bank, 10, |_, _, body| !matches!(body, Body::HeadSigned { .. }));
        for signature in [vec![], vec![round; 64], vec![1; 100_000]] {
            forge(&mut bank, liar, leader, Body::HeadSigned { size: 3, signature });
        }
        let signature = signer(honest, &genesis(3, 1)).sign("another text", 0);
        forge(&mut bank, liar, leader, Body::HeadSigned { size: u64::MAX, signature });
    }
    assert!(is_committed(&bank.replies[leader][&request]));
    assert_eq!(size(&bank, leader), 2, "its own signature alone is no majority");
    let token = bank.ask(leader, checkpoint(3, 0));
    let ApiReply::Failed { message, .. } = &bank.replies[leader][&token] else { panic!("it has one") };
    assert!(message.contains(&format!("2 of 3 members must sign, so far signed: n{}", leader + 1)), "{message}");
    bank.run_ms(300);
    assert_eq!(size(&bank, leader), 3);
}

#[test]
fn a_changed_key_is_noticed_and_the_newest_head_is_signed_again() {
    let (mut bank, leader) = bank(3);
    let signed = |bank: &Bank| -> BTreeSet<String> {
        let head = bank.nodes[leader].head().unwrap();
        head.signatures.iter().map(|line| line.name.clone()).collect()
    };
    let genesis = genesis(3, 1);
    // The one whose signature stands in the newest head beside the leader's comes back with another key.
    let changed = (0..3)
        .find(|id| *id != leader && signed(&bank).contains(signer(*id, &genesis).verifier().name()))
        .expect("a majority is two");
    let new = SignerKey::new(signer(changed, &genesis).verifier().name(), KeyKind::Node, &[99; 32]).unwrap();
    // Not one that is good for nothing.
    forge(&mut bank, changed, leader, Body::Key { public: [0; 32] });
    assert!(bank.nodes[leader].head().is_some());
    bank.restart_with_key(changed, new.clone());
    bank.run_ms(5_000);
    for at in (0..3).filter(|at| *at != changed) {
        let heard = bank.warnings[at].iter().filter(|text| text.contains("signs with another key now")).count();
        assert_eq!(heard, 1, "{:?}", bank.warnings[at]);
    }
    let mut verifiers: Vec<_> = (0..3).map(|id| signer(id, &genesis).verifier()).collect();
    verifiers[changed] = new.verifier();
    let keys = Keys::new(verifiers.clone()).unwrap();
    for at in 0..3 {
        let head = bank.nodes[at].head().expect("signed again without a new block");
        assert_eq!(head.head.size, 2);
        head.check(&keys).expect("holds with the new keys");
        let token = bank.ask(at, ApiRequest::Keys);
        let wanted: Vec<_> = verifiers.iter().zip(1..).map(|(key, n)| (format!("n{n}"), Some(key.public()))).collect();
        assert_eq!(bank.replies[at][&token], ApiReply::Keys { members: wanted });
    }
}

#[test]
fn checkpoints_that_are_off_are_not_made_and_clients_are_told_why() {
    let mut bank = Bank::with_checkpoints(3, 0);
    let leader = bank.leader();
    assert!(is_committed(&bank.outcome(leader, "open", open("alice"))));
    bank.run_ms(1_000);
    assert!(bank.nodes.iter().all(|node| node.head().is_none()));
    let token = bank.ask(leader, checkpoint(1, 0));
    let ApiReply::Failed { code, message, .. } = &bank.replies[leader][&token] else { panic!("a checkpoint") };
    assert_eq!(code, "no_checkpoint");
    assert!(message.contains("interval_ms = 0"), "{message}");
}

#[test]
fn clients_that_leave_and_nodes_that_stop_leave_nobody_waiting() {
    let (mut bank, leader) = bank(3);
    let gone = bank.ask(leader, checkpoint(9, 1_000));
    let waits = bank.ask(leader, checkpoint(9, u32::MAX));
    let far = bank.ask(leader, checkpoint(u64::MAX, u32::MAX));
    bank.event(leader, Event::ApiGone { token: gone });
    bank.run_ms(2_000);
    assert!(bank.replies[leader].is_empty() || !bank.replies[leader].contains_key(&gone));
    let many: Vec<u64> = (0..1_100).map(|_| bank.ask(leader, checkpoint(9, u32::MAX))).collect();
    let refused = many.iter().filter(|token| bank.replies[leader].contains_key(token)).count();
    assert_eq!(refused, 1_100 - 1_022);
    bank.event(leader, Event::Shutdown);
    bank.run_ms(100);
    for token in many.into_iter().chain([waits, far]) {
        assert!(matches!(bank.replies[leader][&token], ApiReply::Failed { kind: FailKind::NotExecuted, .. }));
    }
}

#[test]
fn a_peer_that_comes_up_is_told_key_and_head() {
    let (mut bank, leader) = bank(3);
    let peer = (leader + 1) % 3;
    bank.wire.clear();
    bank.event(leader, Event::Link(LinkChange::Up(NodeId(peer as u8))));
    let bodies = sent(&mut bank, leader, peer);
    assert!(bodies.iter().any(|body| matches!(body, Body::Key { .. })));
    assert!(bodies.iter().any(|body| matches!(body, Body::Head { .. })));
}

#[test]
fn requests_are_found_where_they_stand() {
    let (mut bank, leader) = bank(3);
    for at in 0..3 {
        let token = bank.ask(at, ApiRequest::Find { id: "open".into() });
        assert_eq!(bank.replies[at][&token], ApiReply::Found { height: 1, index: 0 });
    }
    let token = bank.ask(leader, ApiRequest::Find { id: "nobody".into() });
    let reply = &bank.replies[leader][&token];
    assert!(
        matches!(reply, ApiReply::Failed { kind: FailKind::Refused, code, .. } if code == "unknown_request"),
        "{reply:?}"
    );
    let token = bank.ask(leader, ApiRequest::Find { id: "no id\n".into() });
    assert!(matches!(&bank.replies[leader][&token], ApiReply::Failed { kind: FailKind::Usage, .. }));
}
