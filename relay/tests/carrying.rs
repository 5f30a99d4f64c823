//! Messages, and the faults that become of them, through a real relay on real TCP connections.
//!
//! That something does *not* arrive is seen in the relay's counters, never by waiting.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Relay, exchange};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, LinkCommand, PartitionCommand};
use raftbank_wire::link::LinkEvent;

fn delay(min_ms: u32, max_ms: u32) -> LinkCommand {
    LinkCommand::Delay { min_ms, max_ms, for_ms: None }
}

#[tokio::test]
async fn messages_go_where_they_are_sent() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    nodes[0].send(1, "one");
    nodes[2].send(1, "two");
    let mut heard = [nodes[1].message().await, nodes[1].message().await];
    heard.sort();
    assert_eq!(heard, [(0, b"one".to_vec()), (2, b"two".to_vec())]);
    let large = "x".repeat(7 << 20);
    nodes[1].send(0, &large);
    nodes[0].hears(1, &large).await;
    for number in 0..1_000 {
        nodes[0].send(2, &number.to_string());
    }
    for number in 0..1_000 {
        nodes[2].hears(0, &number.to_string()).await;
    }
    let status = relay.operator().await.status().await;
    assert_eq!((status.counters.forwarded, status.faults), (1_003, false));
    assert_eq!(status.cluster_id, Some(common::CLUSTER));
    assert!(status.members.iter().all(|member| member.connected && member.software == "test/1"));
}

#[tokio::test]
async fn peers_hear_who_comes_and_goes() {
    let relay = Relay::start();
    let [mut n1, n2, n3] = relay.three().await;
    drop(n2);
    assert_eq!(n1.next().await, LinkEvent::PeerDown(1));
    drop(n3);
    assert_eq!(n1.next().await, LinkEvent::PeerDown(2));
    let n3 = relay.node("n3").await;
    n3.send(0, "back");
    assert_eq!(n1.next().await, LinkEvent::PeerUp(2));
    n1.hears(2, "back").await;
}

#[tokio::test]
async fn a_partition_carries_within_groups_only() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.partition("n1,n2/n3", None).await;
    nodes[0].send(2, "lost");
    nodes[2].send(1, "lost");
    nodes[0].send(1, "within");
    nodes[1].hears(0, "within").await;
    operator.until(|status| status.counters.dropped_partition == 2 && status.faults).await;
    operator.heal().await;
    exchange(&mut nodes, "healed").await;
    assert!(!operator.status().await.faults);
}

#[tokio::test]
async fn a_partition_heals_by_itself() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    let reply = operator.partition("n1/n2/n3", Some(300)).await;
    assert!(matches!(reply, ApiReply::Partition { heals_in_ms: Some(1..=300), .. }), "{reply:?}");
    operator.until(|status| !status.faults).await;
    relay.line("the partition has ended by itself").await;
    exchange(&mut nodes, "healed").await;
}

#[tokio::test]
async fn a_typo_changes_nothing() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    operator.partition("n1/n2,n3", None).await;
    let before = operator.ask(ApiRequest::Partition(PartitionCommand::Show)).await;
    for (typo, word) in
        [("n1,n2", "n3"), ("n1,n2/n3,n1", "twice"), ("n1/n2/m3", "m3"), ("", "empty"), ("n1,n2,n3/", "empty")]
    {
        let reply = operator.partition(typo, None).await;
        let ApiReply::Failed { kind: FailKind::Usage, code, message } = reply else { panic!("{typo}: {reply:?}") };
        assert!(code == "bad_partition" && message.contains(word), "{code}: {message}");
        assert_eq!(operator.ask(ApiRequest::Partition(PartitionCommand::Show)).await, before);
    }
    let cut = LinkCommand::Cut { a: "n1".into(), b: "n7".into(), one_way: false, for_ms: None };
    let reply = operator.ask(ApiRequest::Link(cut)).await;
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::Usage, ref code, .. } if code == "bad_link"));
    // What only a node knows is asked in vain, in words.
    let reply = operator.ask(ApiRequest::Verify).await;
    assert!(matches!(reply, ApiReply::Failed { ref code, .. } if code == "wrong_socket"));
}

#[tokio::test]
async fn a_cut_can_have_one_direction() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.link(LinkCommand::Cut { a: "n1".into(), b: "n2".into(), one_way: true, for_ms: None }).await;
    nodes[0].send(1, "lost");
    operator.until(|status| status.counters.dropped_cut == 1).await;
    nodes[1].send(0, "the other way");
    nodes[0].hears(1, "the other way").await;
    operator.link(LinkCommand::Restore { a: "n1".into(), b: "n2".into() }).await;
    exchange(&mut nodes, "whole").await;
}

#[tokio::test]
async fn heal_and_clear_leave_each_other_alone() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    operator.partition("n1/n2,n3", None).await;
    operator.link(LinkCommand::Loss { percent: 12.5, for_ms: None }).await;
    operator.heal().await;
    let ApiReply::Link(link) = operator.ask(ApiRequest::Link(LinkCommand::Show)).await else { panic!("no link") };
    assert!((link.loss_percent - 12.5).abs() < f64::EPSILON);
    operator.partition("n1/n2,n3", None).await;
    operator.link(LinkCommand::Clear).await;
    let shown = operator.ask(ApiRequest::Partition(PartitionCommand::Show)).await;
    assert!(matches!(shown, ApiReply::Partition { ref groups, .. } if groups.len() == 2), "{shown:?}");
}

#[tokio::test]
async fn a_full_loss_loses_everything() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.link(LinkCommand::Loss { percent: 100.0, for_ms: None }).await;
    for _ in 0..50 {
        nodes[0].send(1, "lost");
    }
    operator.until(|status| status.counters.dropped_loss == 50).await;
    operator.link(LinkCommand::Clear).await;
    exchange(&mut nodes, "nothing is lost").await;
}

#[tokio::test]
async fn each_message_has_its_own_delay() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.link(delay(50, 400)).await;
    let sent = Instant::now();
    for number in 0..100_u8 {
        assert!(nodes[0].sender.send(1, vec![number]));
    }
    let mut order = Vec::new();
    for _ in 0..100 {
        order.push(nodes[1].message().await.1[0]);
        assert!(sent.elapsed() >= Duration::from_millis(50));
    }
    assert!(!order.is_sorted(), "none has overtaken another: {order:?}");
    order.sort_unstable();
    assert!(order.into_iter().eq(0..100));
    operator.link(delay(0, 0)).await;
    exchange(&mut nodes, "no delay").await;
}

#[tokio::test]
async fn a_partition_takes_what_is_delayed() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.link(delay(600_000, 600_000)).await;
    nodes[0].send(2, "across");
    nodes[0].send(1, "within");
    operator.until(|status| status.counters.delayed_now == 2).await;
    operator.partition("n1,n2/n3", None).await;
    let counters = operator.status().await.counters;
    assert_eq!((counters.delayed_now, counters.dropped_partition), (1, 1));
    operator.heal().await;
    operator.link(LinkCommand::Clear).await;
    exchange(&mut nodes, "after").await;
}

#[tokio::test]
async fn a_restarted_relay_has_no_faults() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    operator.partition("n1/n2/n3", None).await;
    operator.link(LinkCommand::Loss { percent: 100.0, for_ms: None }).await;
    let relay = relay.restart();
    for node in &mut nodes {
        assert_eq!(node.next().await, LinkEvent::Disconnected);
    }
    assert!(!relay.operator().await.status().await.faults);
    let mut nodes = relay.three().await;
    exchange(&mut nodes, "whole").await;
}
