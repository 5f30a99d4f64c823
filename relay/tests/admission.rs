//! Who may connect: the nodes of one bank, each of them once.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLUSTER, LONG, Relay, exchange, hello};
use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbank_wire::hello::{Answer, Hello, greet};
use raftbank_wire::link::LinkEvent;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn refused(relay: &Relay, hello: Hello) -> (String, String) {
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let answer = greet(&mut stream, &hello, LONG).await.unwrap();
    let Answer::Refuse { code, message } = answer else { panic!("{answer:?}") };
    // And nothing more: the connection is closed.
    assert_eq!(timeout(LONG, stream.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    (code, message)
}

#[tokio::test]
async fn strangers_are_told_why_they_stay_out() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    let other_cluster = Hello { cluster_id: [0xd2; 32], ..hello("n1") };
    let (code, message) = refused(&relay, other_cluster).await;
    assert!(code == "other_cluster" && message.contains(&"d2".repeat(32)), "{code}: {message}");

    let mut members = hello("n1").members;
    members.reverse();
    let (code, message) = refused(&relay, Hello { members, ..hello("n1") }).await;
    assert!(code == "other_members" && message.contains("same order"), "{code}: {message}");

    let (code, message) = refused(&relay, hello("n4")).await;
    assert!(code == "not_a_member" && message.contains("n1, n2, n3"), "{code}: {message}");
    relay.line("there is no member").await;
    exchange(&mut nodes, "undisturbed").await;

    // And the operator is told.
    let ApiReply::RelayDiagnosis(found) = relay.operator().await.ask(ApiRequest::Diagnose).await else { panic!() };
    let refused: Vec<_> = found.refused.iter().map(|node| (node.node.as_str(), node.refused.code.as_str())).collect();
    assert_eq!(refused, [("n1", "other_cluster"), ("n1", "other_members"), ("n4", "not_a_member")]);
    assert_eq!(found.status.members.len(), 3);
}

#[tokio::test]
async fn a_link_hears_the_refusal() {
    let relay = Relay::start();
    let _n1 = relay.node("n1").await;
    let mut stranger = relay.attempt(Hello { cluster_id: [0xd2; 32], ..hello("n2") });
    let LinkEvent::Refused(message) = stranger.next().await else { panic!("not refused") };
    assert!(message.contains(&"c1".repeat(32)), "{message}");
    assert!(!stranger.sender.send(0, b"let me in".to_vec()), "what is refused is not sent");
}

#[tokio::test]
async fn the_last_node_takes_the_cluster_with_it() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    assert_eq!(operator.status().await.cluster_id, None);
    let n1 = relay.node("n1").await;
    let n2 = relay.node("n2").await;
    assert_eq!(operator.status().await.cluster_id, Some(CLUSTER));
    let other = Hello { cluster_id: [0xd2; 32], ..hello("n3") };
    drop(n1);
    operator.until(|status| status.members.iter().filter(|member| member.connected).count() == 1).await;
    assert_eq!(refused(&relay, other.clone()).await.0, "other_cluster");
    drop(n2);
    operator.until(|status| status.cluster_id.is_none()).await;
    let mut other = relay.attempt(other);
    assert_eq!(other.next().await, LinkEvent::Connected);
}

#[tokio::test]
async fn a_cluster_of_the_configuration_is_the_only_one() {
    let bound = "d2".repeat(32);
    let relay = Relay::start_with("", &[("RAFTBANK_RELAYD_RELAY__CLUSTER", bound.as_str())]);
    let (code, message) = refused(&relay, hello("n1")).await;
    assert!(code == "other_cluster" && message.contains("configuration"), "{code}: {message}");
    let mut node = relay.attempt(Hello { cluster_id: [0xd2; 32], ..hello("n1") });
    assert_eq!(node.next().await, LinkEvent::Connected);
}

#[tokio::test]
async fn a_node_that_is_alive_is_not_replaced() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    let mut double = relay.attempt(hello("n2"));
    let LinkEvent::Refused(message) = double.next().await else { panic!("not refused") };
    assert!(message.contains("n2 is connected already"), "{message}");
    exchange(&mut nodes, "undisturbed").await;
    // Once the first has gone, the second is let in.
    let [n1, n2, n3] = nodes;
    drop(n2);
    loop {
        match double.next().await {
            LinkEvent::Connected => break,
            LinkEvent::Refused(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let mut nodes = [n1, double, n3];
    exchange(&mut nodes, "the second").await;
}

#[tokio::test]
async fn a_dead_connection_gives_way() {
    let relay = Relay::start();
    // Its process is stopped, its host is gone: the connection is open and nobody answers.
    let mut dead = relay.raw("n2").await;
    let mut alive = relay.attempt(hello("n2"));
    assert_eq!(alive.next().await, LinkEvent::Connected);
    relay.line("gives no sign of life").await;
    let mut rest = Vec::new();
    // The dead one's connection is closed; what it was sent before are the relay's pings.
    let _ = timeout(LONG, dead.read_to_end(&mut rest)).await.unwrap();
    let mut n1 = relay.node("n1").await;
    n1.send(1, "hello");
    alive.hears(0, "hello").await;
    alive.send(0, "here");
    n1.hears(1, "here").await;
}

#[tokio::test]
async fn a_silent_node_is_gone_after_a_while() {
    let relay = Relay::start();
    let mut n1 = relay.node("n1").await;
    let _silent = relay.raw("n3").await;
    assert_eq!(n1.next().await, LinkEvent::PeerUp(2));
    assert_eq!(n1.next().await, LinkEvent::PeerDown(2));
    relay.line("n3 has gone: nothing was heard").await;
}
