//! What broken and hostile peers send harms nobody but themselves.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{LONG, Node, Relay, exchange, hello};
use raftbank_wire::frame::{Frame, PEER_BYTES_MAX};
use raftbank_wire::hello::{Answer, Hello, greet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Reads until the relay closes the connection.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A reset is a close, too.
    let _ = timeout(LONG, stream.read_to_end(&mut heard)).await.expect("the relay closes it");
    heard
}

/// Lets n1 and n2 and a third node talk while `attack` runs.
async fn meanwhile<T>(nodes: &mut [Node; 3], attack: impl Future<Output = T>) -> T {
    tokio::pin!(attack);
    for round in 0_u64.. {
        exchange(nodes, &format!("round {round}")).await;
        if let Ok(result) = timeout(Duration::from_millis(5), &mut attack).await {
            exchange(nodes, "afterwards").await;
            return result;
        }
    }
    unreachable!("rounds do not end")
}

#[tokio::test]
async fn strangers_that_speak_nonsense_are_answered_and_closed() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut random = vec![0; 100_000];
    chance.fill_bytes(&mut random);
    // A length that passes, so that the magic is looked at.
    random[..4].copy_from_slice(&[0, 0, 4, 0]);
    let cases: [(&[u8], &str); 4] = [
        (&random, "does not speak"),
        (&[0xff; 64], "4294967295"),
        (b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n", "announced"),
        (&[0, 0, 0, 0], "does not speak"),
    ];
    for (bytes, word) in cases {
        let attack = async {
            let mut stream = TcpStream::connect(relay.address).await.unwrap();
            // It may be closed before all is written.
            let _ = stream.write_all(bytes).await;
            closed(&mut stream).await
        };
        let answer = meanwhile(&mut nodes, attack).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("rbnklink") && text.contains(word), "{text:?}");
    }
}

#[tokio::test]
async fn nodes_that_break_the_protocol_are_closed() {
    let relay = Relay::start();
    let mut chance = ChaCha8Rng::seed_from_u64(2);
    let mut random = vec![0; 10_000];
    chance.fill_bytes(&mut random);
    random[0] = 0x7f;
    let too_long = (PEER_BYTES_MAX + 1).to_be_bytes();
    let cases: [(&[u8], &str); 5] = [
        (&random, "announced"),
        (&u32::MAX.to_be_bytes(), "4294967295"),
        (&too_long, "announced"),
        (&[0, 0, 0, 0], "announced"),
        (&[0, 0, 0, 3, 255, 2, 1], "control frame"),
    ];
    let n1 = relay.node("n1").await;
    let mut n2 = relay.node("n2").await;
    for (bytes, word) in cases {
        let mut stream = relay.raw("n3").await;
        let _ = stream.write_all(bytes).await;
        closed(&mut stream).await;
        let line = relay.line("n3 has gone").await;
        assert!(line.contains(word), "{line}");
        n1.send(1, "undisturbed");
        n2.hears(0, "undisturbed").await;
    }
}

#[tokio::test]
async fn half_frames_and_slow_senders_time_out() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    let whole = Frame::plain(vec![7; 200]).into_bytes();
    let half = async {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        stream.write_all(&whole[..100]).await.unwrap();
        closed(&mut stream).await
    };
    let slow = async {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        for byte in &whole {
            // Each byte comes soon enough, the frame does not.
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        closed(&mut stream).await
    };
    let silent = async {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        closed(&mut stream).await
    };
    let (half, _, _) = meanwhile(&mut nodes, async { tokio::join!(half, slow, silent) }).await;
    assert!(String::from_utf8_lossy(&half).contains("not completed"), "{half:?}");
}

#[tokio::test]
async fn a_node_with_half_a_frame_is_closed() {
    let relay = Relay::start();
    let n1 = relay.node("n1").await;
    let mut n2 = relay.node("n2").await;
    let mut stream = relay.raw("n3").await;
    stream.write_all(&[0, 0, 1, 0, 0, 1, 2, 3]).await.unwrap();
    n1.send(1, "undisturbed");
    n2.hears(0, "undisturbed").await;
    closed(&mut stream).await;
    let line = relay.line("n3 has gone").await;
    assert!(line.contains("not completed"), "{line}");
}

#[tokio::test]
async fn a_node_that_does_not_read_costs_a_bounded_queue() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut n1 = relay.node("n1").await;
    let mut n2 = relay.node("n2").await;
    // It says something now and then, so that it does not count as silent, and never reads.
    let (mut reader, mut writer) = relay.raw("n3").await.into_split();
    let talking = tokio::spawn(async move {
        while writer.write_all(&[0, 0, 0, 2, 255, 1]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    // 4 MiB at a time, until the relay has dropped some: its queue holds 32 MiB, the socket a few more.
    let mut sent = 0;
    while operator.status().await.counters.dropped_overflow == 0 {
        if n1.sender.send(2, vec![0; 4 << 20]) {
            sent += 1;
        }
        n1.send(1, "between");
        n2.hears(0, "between").await;
        assert!(sent < 100, "nothing is dropped");
    }
    let status = operator.status().await;
    assert!(status.members[2].queued <= 8, "{status:?}");
    // The same connection is given up when it takes nothing for long.
    operator.until(|status| !status.members[2].connected).await;
    talking.abort();
    let mut rest = Vec::new();
    let _ = timeout(LONG, reader.read_to_end(&mut rest)).await.unwrap();
    n2.send(0, "still here");
    n1.hears(1, "still here").await;
}

#[tokio::test]
async fn many_connections_do_not_keep_the_members_out() {
    let relay = Relay::start();
    let mut nodes = relay.three().await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(relay.address).await.unwrap());
    }
    exchange(&mut nodes, "undisturbed").await;
    relay.line("is turned away").await;
    drop(strangers);
    // And those who come later are answered again.
    loop {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        let stranger = Hello { cluster_id: [9; 32], ..hello("n1") };
        if let Ok(answer) = greet(&mut stream, &stranger, LONG).await {
            assert!(matches!(answer, Answer::Refuse { .. }));
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
