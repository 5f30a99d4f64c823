//! The server and the client against each other, and the server against those who break the rules.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::client::{Client, ClientError};
use crate::envelope::parse_reply;
use crate::frame::read_frame;
use crate::hello::{ClientHello, greet_server};

const LIMIT: Duration = Duration::from_secs(20);
const PATIENT: Patience = Patience { idle: Some(LIMIT), frame: LIMIT };

/// Answers `Balance` with the name's length, `Get` never (it keeps the responder), `Blocks` with a stream, `Watch`
/// with events until they are not wanted, `Status` by dropping the responder.
struct Bank {
    _dir: TempDir,
    path: PathBuf,
    server: Server,
    task: JoinHandle<usize>,
}

async fn bank(adjust: impl FnOnce(&mut ServerConfig)) -> Bank {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bank.sock");
    let mut config = ServerConfig::new("bank/1");
    adjust(&mut config);
    let (sender, requests) = mpsc::channel(64);
    let server = spawn(bind(&path).await.unwrap(), config, sender);
    Bank { _dir: dir, path, server, task: tokio::spawn(work(requests)) }
}

async fn work(mut requests: mpsc::Receiver<Incoming>) -> usize {
    let mut kept = Vec::new();
    let mut streams = JoinSet::new();
    while let Some(Incoming { request, responder }) = requests.recv().await {
        match request {
            ApiRequest::Balance { account, local, .. } => {
                responder.finish(&balance(account, local));
            }
            ApiRequest::Get { .. } => kept.push(responder),
            ApiRequest::Status => drop(responder),
            ApiRequest::Blocks { to: Some(to), .. } => {
                streams.spawn(async move {
                    for n in 0..to {
                        if !responder.send_wait(&ApiReply::Block { bytes: vec![n as u8; 100_000] }).await {
                            return;
                        }
                    }
                    responder.finish(&ApiReply::End { count: to });
                });
            }
            ApiRequest::Watch => {
                streams.spawn(async move {
                    while responder.send_wait(&ApiReply::Progress { done: 0, total: 0 }).await {
                        sleep(Duration::from_millis(1)).await;
                    }
                });
            }
            other => panic!("{other:?}"),
        }
    }
    drop(kept);
    streams.len()
}

fn balance(account: String, local: bool) -> ApiReply {
    let balance = account.len() as i128;
    ApiReply::Balance { account, balance, pending: 0, height: 0, local }
}

fn ask(name: &str) -> ApiRequest {
    ApiRequest::Balance { account: name.into(), local: false, timeout_ms: 1 }
}

fn never() -> ApiRequest {
    ApiRequest::Get { key: vec![1], local: false, timeout_ms: 1 }
}

async fn works(client: &Client) {
    assert_eq!(client.call(ask("alice"), LIMIT).await.unwrap(), balance("alice".into(), false));
}

async fn raw(path: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let hello = ClientHello { software: "test".into() };
    let answer = greet_server(&mut stream, &hello, LIMIT).await.unwrap();
    assert!(matches!(answer, ServerHello::Welcome { .. }));
    stream
}

/// Reads what is left until the connection ends.
async fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset after the last word is an end, too.
    let _ = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let bank = bank(|_| {}).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    assert_eq!(client.server(), "bank/1");
    let mut calls = JoinSet::new();
    for n in 0..3_000 {
        let client = client.clone();
        calls.spawn(async move {
            let name = "x".repeat(n % 60);
            let reply = client.call(ask(&name), LIMIT).await.unwrap();
            assert_eq!(reply, balance(name, false));
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn answers_overtake_and_deadlines_end_calls() {
    let bank = bank(|_| {}).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.call(never(), Duration::from_millis(50)).await })
    };
    works(&client).await;
    let error = slow.await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Lost(_)) && !error.not_sent(), "{error:?}");
    works(&client).await;
    // A responder that is dropped says so.
    let reply = client.call(ApiRequest::Status, LIMIT).await.unwrap();
    assert!(matches!(reply, ApiReply::Failed { kind: FailKind::NotExecuted, .. }), "{reply:?}");
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_what_was_never_sent_is_known() {
    let bank = bank(|config| config.in_flight_max = 4).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        let client = client.clone();
        calls.spawn(async move { client.call(never(), Duration::from_millis(50)).await.unwrap_err().not_sent() });
    }
    let mut not_sent = 0;
    while let Some(call) = calls.join_next().await {
        not_sent += usize::from(call.unwrap());
    }
    assert_eq!(not_sent, 2);
    let large = ApiRequest::Write { request: vec![0; 2 << 20], timeout_ms: 1 };
    assert!(client.call(large, LIMIT).await.unwrap_err().not_sent());
}

#[tokio::test]
async fn streams_wait_for_their_taker_and_end() {
    let bank = bank(|_| {}).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let mut blocks = client.stream(ApiRequest::Blocks { from: 0, to: Some(500) }).await;
    for n in 0..500_u64 {
        if n % 100 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(blocks.recv().await.unwrap(), ApiReply::Block { bytes: vec![n as u8; 100_000] });
    }
    assert_eq!(blocks.recv().await.unwrap(), ApiReply::End { count: 500 });
    assert_eq!(blocks.recv().await, None);

    let mut watch = client.stream(ApiRequest::Watch).await;
    assert!(matches!(watch.recv().await.unwrap(), ApiReply::Progress { .. }));
    drop(watch);
    works(&client).await;
    // The stream's task ends because it was cancelled, not because the connection did.
    let Bank { server, task, .. } = bank;
    server.shutdown(LIMIT).await;
    timeout(LIMIT, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight() {
    let bank = bank(|_| {}).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call(never(), LIMIT).await })
    };
    works(&client).await;
    // No more requests come: the bank lets go of what it kept, and each of those is told.
    bank.server.shutdown(LIMIT).await;
    let reply = waiting.await.unwrap().unwrap();
    assert!(matches!(&reply, ApiReply::Failed { code, .. } if code == "no_answer"), "{reply:?}");
    assert!(!bank.path.exists());
    assert!(client.call(ask("alice"), LIMIT).await.unwrap_err().not_sent());
    let error = Client::connect(&bank.path, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("is the daemon running"), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told() {
    let bank = bank(|_| {}).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call(never(), LIMIT).await })
    };
    let mut watch = client.stream(ApiRequest::Watch).await;
    watch.recv().await.unwrap();
    works(&client).await;
    drop(bank.server);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error:?}");
    let mut last = None;
    while let Some(item) = timeout(LIMIT, watch.recv()).await.unwrap() {
        last = Some(item);
    }
    assert!(matches!(last, Some(ApiReply::Failed { code, .. }) if code == "connection_lost"));
    assert!(client.is_closed());
    assert!(client.call(ask("alice"), LIMIT).await.unwrap_err().not_sent());
}

#[tokio::test]
async fn those_who_break_the_rules_are_closed_and_others_unharmed() {
    let bank = bank(|config| {
        config.frame = Duration::from_millis(30);
        config.handshake = Duration::from_millis(30);
    })
    .await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let mut noise = vec![0; 4_096];
    rand::fill(&mut noise[..]);
    noise[0] = 0xff;
    // Before the handshake: random bytes, 4 GiB, half a frame, nothing at all, another protocol.
    for bytes in [&noise[..], &[0xff; 4], &[0, 0, 0, 40, 1], &[], b"\0\0\0\x0cPOST / HTTP/1.1\r\n"] {
        let mut stream = UnixStream::connect(&bank.path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.windows(8).any(|window| window == b"rbnk-api"), "{bytes:?} was told why: {said:?}");
        works(&client).await;
    }
    // After it.
    let garbage = Frame::numbered(1, 0, vec![0xa5; 30]).into_bytes();
    let trailing = Frame::numbered(1, 0, [encode(&ApiRequest::Status), vec![0]].concat()).into_bytes();
    let reserved = Frame::numbered(CONNECTION_ID, 0, encode(&ApiRequest::Status)).into_bytes();
    for (bytes, code) in [
        (&noise[..], "frame_too_long"),
        (&[0xff; 4], "frame_too_long"),
        (&[0, 0x10, 0, 1], "frame_too_long"),
        (&[0, 0, 0, 40, 1], "too_slow"),
        (&[0, 0], "too_slow"),
        (&[0, 0, 0, 2, 1, 1], "bad_frame"),
        (&reserved[..], "bad_frame"),
        (&garbage[..], "bad_request"),
        (&trailing[..], "bad_request"),
    ] {
        let mut stream = raw(&bank.path).await;
        stream.write_all(bytes).await.unwrap();
        let said = rest(&mut stream).await;
        let (id, last, body) = parse_reply(&said[4..]).unwrap();
        let reply: ApiReply = decode(body, 10_000).unwrap();
        assert_eq!((id, last), (CONNECTION_ID, true));
        assert!(matches!(&reply, ApiReply::Failed { code: said, .. } if said == code), "{code}: {reply:?}");
        works(&client).await;
    }
    // A slow sender: each byte is in time, the frame is not.
    let mut stream = raw(&bank.path).await;
    stream.write_all(&[0, 0, 0xff, 0xff]).await.unwrap();
    let started = Instant::now();
    while stream.write_all(&[0]).await.is_ok() && started.elapsed() < LIMIT {
        sleep(Duration::from_millis(5)).await;
    }
    let said = rest(&mut stream).await;
    assert!(said.windows(8).any(|window| window == b"too_slow"), "{said:?}");
    works(&client).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let bank = bank(|config| config.stall = Duration::from_millis(50)).await;
    let client = Client::connect(&bank.path, LIMIT).await.unwrap();
    let mut deaf = raw(&bank.path).await;
    let blocks = encode(&ApiRequest::Blocks { from: 0, to: Some(1_000) });
    deaf.write_all(&Frame::numbered(1, 0, blocks).into_bytes()).await.unwrap();
    let started = Instant::now();
    while deaf.write_all(&Frame::numbered(2, 1, Vec::new()).into_bytes()).await.is_ok() && started.elapsed() < LIMIT {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() < LIMIT);
    works(&client).await;
}

#[tokio::test]
async fn connections_are_bounded_and_told_so() {
    let bank = bank(|config| config.connections_max = 2).await;
    let first = Client::connect(&bank.path, LIMIT).await.unwrap();
    let second = Client::connect(&bank.path, LIMIT).await.unwrap();
    let error = Client::connect(&bank.path, LIMIT).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(message) if message.contains("2 connections")), "{error}");
    works(&first).await;
    drop(second);
    let started = Instant::now();
    while Client::connect(&bank.path, LIMIT).await.is_err() && started.elapsed() < LIMIT {
        sleep(Duration::from_millis(1)).await;
    }
    works(&first).await;
    works(&Client::connect(&bank.path, LIMIT).await.unwrap_or_else(|_| first.clone())).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_survived() {
    let bank = bank(|_| {}).await;
    for _ in 0..20 {
        let mut stream = raw(&bank.path).await;
        for id in 1..20 {
            let frame = Frame::numbered(id, 0, encode(&ask("bob")));
            stream.write_all(&frame.into_bytes()).await.unwrap();
        }
    }
    works(&Client::connect(&bank.path, LIMIT).await.unwrap()).await;
}

#[tokio::test]
async fn a_live_socket_is_refused_and_a_dead_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let bound = bind(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(bind(&path).await, Err(BindError::InUse { .. })));
    drop(bound); // as after a kill: the file stays
    assert!(path.exists());
    bind(&path).await.unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file).await, Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(matches!(bind(&dir.path().join("no/such")).await, Err(BindError::Io { .. })));
    assert!(matches!(bind(&dir.path().join("x".repeat(108))).await, Err(BindError::TooLong { .. })));
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let bound = bind(&path).await.unwrap();
    let error = Client::connect(&path, Duration::from_millis(30)).await.unwrap_err();
    assert!(error.not_sent(), "{error}");
    drop(bound);
    let error = Client::connect(&path, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

#[tokio::test]
async fn reading_a_frame_twice_is_not_needed() {
    // Two requests in one write, and one in two writes.
    let bank = bank(|_| {}).await;
    let mut stream = raw(&bank.path).await;
    let frame = |id| Frame::numbered(id, 0, encode(&ask("bob"))).into_bytes();
    stream.write_all(&[frame(1), frame(2)].concat()).await.unwrap();
    let (head, tail) = (&frame(3)[..5], &frame(3)[5..]);
    stream.write_all(head).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(tail).await.unwrap();
    for expected in 1..=3 {
        let bytes = read_frame(&mut stream, REPLY_BYTES_MAX, PATIENT).await.unwrap();
        assert_eq!(parse_reply(&bytes).unwrap().0, expected);
    }
}
