//! What a node's diagnosis shows of its peers: versions, clocks, and why one is not heard.

use raftbank_codec::{decode, encode};
use raftbank_consensus::NodeId;
use raftbank_wire::api::{ApiReply, ApiRequest, Diagnosis, SOFTWARE_BYTES_MAX};

use super::super::message::{Body, Envelope, FRAME_BYTES_MAX};
use super::super::{Event, LinkChange};
use super::bank::Bank;

fn diagnosis(bank: &mut Bank, at: usize) -> Diagnosis {
    let token = bank.ask(at, ApiRequest::Diagnose);
    match bank.replies[at].remove(&token) {
        Some(ApiReply::Diagnosis(diagnosis)) => *diagnosis,
        other => panic!("{other:?}"),
    }
}

/// Hands node 0 a frame as if node 1 had sent it.
fn forge(bank: &mut Bank, cluster: [u8; 32], incarnation: u64, body: Body) {
    let envelope = Envelope { cluster, incarnation, wall_ms: bank.now(1).wall_ms, body };
    bank.event(0, Event::Frame { from: NodeId(1), payload: encode(&envelope) });
}

#[test]
fn members_know_each_others_versions_and_clocks() {
    let mut bank = Bank::new(3);
    bank.skew_ms[2] = 700;
    bank.leader();
    bank.run_ms(1_000);
    let found = diagnosis(&mut bank, 0);
    assert!(found.members[0].own && found.members.iter().all(|member| member.reachable), "{found:?}");
    assert!(found.members.iter().all(|member| member.software.as_deref() == Some("test/0.2.0")), "{found:?}");
    assert_eq!(found.members[2].clock_offset_ms, Some(700));
    assert_eq!(found.members[1].incarnation, Some(101));
    bank.isolate(2);
    bank.run_ms(5_000);
    let found = diagnosis(&mut bank, 0);
    assert!(!found.members[2].reachable && found.members[2].heard_ms > Some(4_000), "{found:?}");
}

#[test]
fn why_a_peer_is_not_accepted_is_seen_until_it_is() {
    let mut bank = Bank::new(3);
    bank.leader();
    let cluster = bank.nodes[0].state().cluster_id().0;
    let refused = |bank: &mut Bank| diagnosis(bank, 0).members[1].refused.clone().map(|refused| refused.code);
    assert_eq!(refused(&mut bank), None);
    forge(&mut bank, [9; 32], 101, Body::Beacon { height: 0 });
    assert_eq!(refused(&mut bank).as_deref(), Some("other_cluster"));
    forge(&mut bank, cluster, 999, Body::Beacon { height: 0 });
    assert_eq!(refused(&mut bank).as_deref(), Some("other_incarnation"));
    bank.event(0, Event::Frame { from: NodeId(1), payload: b"?".to_vec() });
    assert_eq!(refused(&mut bank).as_deref(), Some("unreadable"));
    forge(&mut bank, cluster, 101, Body::Beacon { height: 0 });
    assert_eq!(refused(&mut bank), None);
}

#[test]
fn a_version_is_bounded_and_plain() {
    let mut bank = Bank::new(3);
    bank.leader();
    let cluster = bank.nodes[0].state().cluster_id().0;
    forge(&mut bank, cluster, 101, Body::Version { software: "\x1b]0;é".repeat(100_000), asks: false });
    let software = diagnosis(&mut bank, 0).members[1].software.clone().unwrap();
    assert!(software.len() <= SOFTWARE_BYTES_MAX && software.starts_with("?]0;?"), "{software}");
}

#[test]
fn versions_are_told_when_nodes_meet_and_then_rarely() {
    let mut bank = Bank::new(3);
    bank.leader();
    let told = |bank: &mut Bank, ms: u64| {
        let mut count = 0;
        for _ in 0..ms / 10 {
            bank.mono_ms += 10;
            (0..3).for_each(|id| bank.event(id, Event::Tick));
            count +=
                bank.wire.iter().filter(|(from, to, payload)| (*from, *to) == (0, 1) && is_version(payload)).count();
            bank.deliver();
        }
        count
    };
    let first = told(&mut bank, 600_000);
    assert!((1..=10).contains(&first), "{first} in ten minutes");
    bank.event(0, Event::Link(LinkChange::Up(NodeId(1))));
    assert!(bank.wire.iter().any(|(_, to, payload)| *to == 1 && is_version(payload)));
}

fn is_version(payload: &[u8]) -> bool {
    matches!(decode::<Envelope>(payload, FRAME_BYTES_MAX).unwrap().body, Body::Version { .. })
}

#[test]
fn who_knows_a_peer_late_still_learns_its_version_at_once() {
    let mut bank = Bank::new(3);
    // Its disk is slow: what the others say at first is dropped, for they are not known durably yet.
    bank.held[1] = Some(Vec::new());
    bank.run_ms(500);
    for group in bank.held[1].take().unwrap_or_default() {
        bank.event(1, Event::Synced { group });
    }
    bank.run_ms(500);
    for at in 0..3 {
        let found = diagnosis(&mut bank, at);
        assert!(found.members.iter().all(|member| member.software.is_some()), "{found:?}");
    }
}
