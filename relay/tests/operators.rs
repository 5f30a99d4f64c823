//! The operators' socket under fire: whoever breaks the rules there is told and closed; nodes and other operators go on.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{LONG, Relay, exchange};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A client's handshake, byte by byte: length, magic, version 1, and its name "s".
const HELLO: &[u8] = b"\0\0\0\x13rbnk-api\0\x01\x01\0\0\0\0\0\0\0s";

/// Everything the relay says until it closes the connection.
async fn closed(stream: &mut UnixStream) -> String {
    let mut heard = Vec::new();
    // A reset is a close, too.
    let _ = timeout(LONG, stream.read_to_end(&mut heard)).await.expect("the relay closes it");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn broken_operators_harm_nobody() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    let mut noise = vec![0; 50_000];
    ChaCha8Rng::seed_from_u64(3).fill_bytes(&mut noise);
    noise[0] = 0x90;
    let cases: [(&[u8], &str); 4] = [
        (&noise, "at most"),
        (&[0xff; 4], "4294967295"),
        (b"\0\0\0\x0a\0\0\0\0\0\0\0\x01\0\x63", "not well-formed"),
        (&[0, 0, 0, 99, 1], "not completed"), // half a frame
    ];
    for handshake in [&[][..], HELLO] {
        for (bytes, word) in cases {
            let mut stream = UnixStream::connect(&relay.socket).await.unwrap();
            // It may be closed before all is written.
            let _ = stream.write_all(&[handshake, bytes].concat()).await;
            exchange(&mut nodes, "meanwhile").await;
            let said = closed(&mut stream).await;
            // Without a handshake these bytes are a malformed one, in other words.
            assert!(said.contains(word) || (handshake.is_empty() && said.contains("does not speak")), "{said:?}");
            operator.status().await;
        }
    }
}

#[tokio::test]
async fn a_slow_operator_is_closed() {
    let relay = Relay::start();
    let operator = relay.operator().await;
    let mut nodes = relay.three().await;
    let mut stream = UnixStream::connect(&relay.socket).await.unwrap();
    // A request of 99 bytes begins.
    stream.write_all(&[HELLO, &[0, 0, 0, 99]].concat()).await.unwrap();
    // Each byte comes soon enough, the frame does not.
    let slow = async {
        for _ in 0..90 {
            if stream.write_all(&[0]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        closed(&mut stream).await
    };
    tokio::pin!(slow);
    let said = loop {
        if let Ok(said) = timeout(Duration::from_millis(20), &mut slow).await {
            break said;
        }
        exchange(&mut nodes, "meanwhile").await;
        operator.status().await;
    };
    assert!(said.contains("too_slow") && said.contains("not completed"), "{said:?}");
}
