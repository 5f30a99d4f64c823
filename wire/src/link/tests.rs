#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::frame::read_tagged;
use crate::hello::{read_hello, write_answer};

const LIMIT: Duration = Duration::from_secs(20);
const PATIENT: Patience = Patience { idle: Some(LIMIT), frame: LIMIT };

fn config(address: &str) -> LinkConfig {
    let hello = Hello {
        cluster_id: [1; 32],
        node: "n1".into(),
        members: vec!["n1".into(), "n2".into()],
        incarnation: 5,
        software: "test".into(),
    };
    let quick = (Duration::from_millis(1), Duration::from_millis(5));
    LinkConfig { backoff: quick, refused_backoff: quick, ..LinkConfig::new(address, hello) }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn accept(listener: &TcpListener, answer: Answer) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(read_hello(&mut stream, LIMIT).await.unwrap().node, "n1");
    write_answer(&mut stream, &answer, LIMIT).await.unwrap();
    stream
}

fn welcome(connected: &[u8]) -> Answer {
    Answer::Welcome { connected: connected.to_vec() }
}

async fn next(events: &mut Receiver<LinkEvent>) -> LinkEvent {
    timeout(LIMIT, events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn frames_go_both_ways_and_peers_come_and_go() {
    let (listener, address) = listen().await;
    let (sender, mut events) = spawn_link(config(&address));
    assert!(!sender.send(1, b"early".to_vec()), "not connected: provably not sent");
    let mut relay = accept(&listener, welcome(&[1])).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    assert_eq!(next(&mut events).await, LinkEvent::PeerUp(1));
    assert!(sender.send(1, b"hello".to_vec()));
    assert_eq!(read_tagged(&mut relay, 100, PATIENT).await.unwrap(), (1, b"hello".to_vec()));
    for frame in [Frame::tagged(1, b"back".to_vec()), Control::LinkDown(1).frame(), Control::LinkUp(1).frame()] {
        relay.write_all(&frame.into_bytes()).await.unwrap();
    }
    assert_eq!(next(&mut events).await, LinkEvent::Frame { from: 1, payload: b"back".to_vec() });
    assert_eq!(next(&mut events).await, LinkEvent::PeerDown(1));
    assert_eq!(next(&mut events).await, LinkEvent::PeerUp(1));
    relay.write_all(&Control::Ping.frame().into_bytes()).await.unwrap();
    let (tag, payload) = read_tagged(&mut relay, 100, PATIENT).await.unwrap();
    assert_eq!((tag, Control::parse(&payload)), (control::TAG, Some(Control::Pong)));
    let LinkCounters { taken, dropped, received, connections } = sender.counters();
    assert_eq!((taken, dropped, received, connections), (1, 1, 1, 1));
}

#[tokio::test]
async fn a_lost_relay_is_found_again() {
    let (listener, address) = listen().await;
    let (sender, mut events) = spawn_link(config(&address));
    for _ in 0..3 {
        let relay = accept(&listener, welcome(&[])).await;
        assert_eq!(next(&mut events).await, LinkEvent::Connected);
        assert!(sender.is_connected());
        drop(relay);
        assert_eq!(next(&mut events).await, LinkEvent::Disconnected);
        assert!(!sender.send(1, b"lost".to_vec()));
    }
    drop(listener); // nobody listens for a while
    sleep(Duration::from_millis(20)).await;
    let listener = TcpListener::bind(&address).await.unwrap();
    let _relay = accept(&listener, welcome(&[])).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
}

#[tokio::test]
async fn a_refusal_is_told_and_asked_again() {
    let (listener, address) = listen().await;
    let (_sender, mut events) = spawn_link(config(&address));
    let refuse = Answer::Refuse { code: "other_cluster".into(), message: "compare genesis.toml".into() };
    accept(&listener, refuse).await;
    assert_eq!(next(&mut events).await, LinkEvent::Refused("compare genesis.toml".into()));
    let _relay = accept(&listener, welcome(&[])).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
}

#[tokio::test]
async fn a_relay_that_falls_silent_or_talks_nonsense_is_left() {
    let (listener, address) = listen().await;
    let mut config = config(&address);
    config.idle = Duration::from_millis(20);
    config.frame = Duration::from_millis(20);
    config.handshake = Duration::from_millis(200);
    let (_sender, mut events) = spawn_link(config);
    // Silent; 4 GiB; a half frame; an empty one.
    for bytes in [&[][..], &[0xff; 64], &[0, 0, 1, 0, 7, 7], &[0; 4]] {
        let mut relay = accept(&listener, welcome(&[])).await;
        assert_eq!(next(&mut events).await, LinkEvent::Connected);
        relay.write_all(bytes).await.unwrap();
        assert_eq!(next(&mut events).await, LinkEvent::Disconnected, "{bytes:?}");
    }
    // Random bytes and silence instead of a handshake.
    let (mut noise, _) = listener.accept().await.unwrap();
    noise.write_all(&[0xa5; 300]).await.unwrap();
    let (_silence, _) = listener.accept().await.unwrap();
    let _relay = accept(&listener, welcome(&[])).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
}

#[tokio::test]
async fn what_waits_is_bounded_and_a_relay_that_does_not_read_is_left() {
    let (listener, address) = listen().await;
    let mut config = config(&address);
    config.queue_bytes_max = 1 << 20;
    config.stall = Duration::from_millis(50);
    let (sender, mut events) = spawn_link(config);
    let _relay = accept(&listener, welcome(&[])).await;
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    let mut taken = 0;
    while sender.send(1, vec![0; 64 << 10]) {
        taken += 1;
        assert!(taken <= 17, "1 MiB is the bound");
    }
    assert!(!sender.send(1, vec![0; PEER_BYTES_MAX as usize]), "too long for a frame");
    assert!(!sender.send(control::TAG, vec![0]), "not a member");
    assert_eq!(sender.counters().dropped, 3);
    // The rest of what a socket takes is taken, then the relay is given up.
    while sender.is_connected() {
        sender.send(1, vec![0; 64 << 10]);
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(next(&mut events).await, LinkEvent::Disconnected);
}

#[tokio::test]
async fn a_link_nobody_listens_to_ends() {
    let (listener, address) = listen().await;
    let (sender, events) = spawn_link(config(&address));
    let mut relay = accept(&listener, welcome(&[])).await;
    drop(events);
    // Closed, or reset if the answer to the handshake was still unread.
    let error = read_tagged(&mut relay, 100, PATIENT).await.unwrap_err();
    assert!(matches!(error, FrameError::Closed | FrameError::Io(_)), "{error}");
    while sender.is_connected() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn pauses_grow_only_after_the_quick_tries() {
    let (min, max) = (Duration::from_millis(50), Duration::from_millis(300));
    let mut pause = Pause::new((min, max), 3);
    let within =
        |drawn: Duration, whole: Duration| assert!(drawn >= whole / 2 && drawn <= whole, "{drawn:?} of {whole:?}");
    for whole in [50, 50, 50, 50, 100, 200, 300, 300] {
        within(pause.next(), Duration::from_millis(whole));
    }
}
