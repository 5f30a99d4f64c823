//! The TCP connections of nodes: accepting, the handshake, reading, writing, and noticing when one has died.
//!
//! A connection costs its own task and bounded memory. Whatever a stranger or a broken node sends ends that connection
//! and touches no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raftbank_wire::control::{self, Control};
use raftbank_wire::frame::{FrameError, PEER_BYTES_MAX, Patience, next_tagged};
use raftbank_wire::hello::{Answer, Hello, HelloError, read_hello, write_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::admission::Refusal;
use crate::hub::{Hub, Session, already_connected};

/// Most connections at a time, those in a handshake included.
const CONNECTIONS_MAX: usize = 64;
/// For a handshake, from each side.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How often a node is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A node that says nothing for so long, though it is asked, is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// For a frame that has begun to end.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// A node that takes not one byte for so long is gone.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// The present connection of a member has so long to answer before another one may replace it.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How long, and for how many bytes, a refused peer is listened to so that it can read why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 1 << 20;
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Accepts nodes, for ever.
pub async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("{peer} is turned away: {CONNECTIONS_MAX} connections are open");
            continue;
        };
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{peer}: {error}");
            }
            serve(&hub, stream, peer).await;
            drop(place);
        });
    }
}

/// One connection from its handshake to its end.
async fn serve(hub: &Hub, mut stream: TcpStream, peer: SocketAddr) {
    let hello = match read_hello(&mut stream, HANDSHAKE_LIMIT).await {
        Ok(hello) => hello,
        Err(HelloError::Frame(FrameError::Closed)) => return tracing::debug!("{peer} connected and left"),
        Err(error) => {
            tracing::warn!("{peer} is refused: {error}");
            let refusal = Refusal { code: error.code(), message: error.to_string() };
            return refuse(stream, refusal).await;
        }
    };
    let session = match admit(hub, &hello).await {
        Ok(session) => session,
        Err(refusal) => {
            tracing::warn!("{peer}, node {:?}, is refused: {}", hello.node, refusal.message);
            hub.refused(&hello.node, &refusal);
            return refuse(stream, refusal).await;
        }
    };
    let Hello { node, software, incarnation, .. } = &hello;
    tracing::info!(?software, incarnation = format_args!("{incarnation:016x}"), "{node} has connected from {peer}");
    let reason = carry(hub, &session, stream).await;
    hub.disconnect(&session);
    tracing::info!("{node} has gone: {reason}");
}

/// Lets a node in. One that is connected already is asked for a sign of life first, and replaced if it gives none.
async fn admit(hub: &Hub, hello: &Hello) -> Result<Session, Refusal> {
    let (member, present) = hub.check(hello)?;
    if present.is_none() {
        return hub.connect(hello, None);
    }
    if timeout(PROBE_LIMIT, hub.probe(member)).await.is_err() {
        tracing::warn!("{} gives no sign of life and is replaced by its new connection", hello.node);
        return hub.connect(hello, present);
    }
    // It answered, or its end was noticed meanwhile, as after a kill and a quick restart.
    let (_, present) = hub.check(hello)?;
    if present.is_some() { Err(already_connected(&hello.node)) } else { hub.connect(hello, None) }
}

async fn refuse(mut stream: TcpStream, refusal: Refusal) {
    let answer = Answer::Refuse { code: refusal.code.to_owned(), message: refusal.message };
    // The other side may be gone, or no node at all: then nobody misses the answer.
    if write_answer(&mut stream, &answer, HANDSHAKE_LIMIT).await.is_ok() && stream.shutdown().await.is_ok() {
        // Closing with unread bytes would reset the connection, and the answer could be lost with it.
        let mut rest = stream.take(LINGER_BYTES_MAX);
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// Carries messages both ways until the connection ends. Says why it did.
async fn carry(hub: &Hub, session: &Session, mut stream: TcpStream) -> String {
    let answer = Answer::Welcome { connected: session.connected.clone() };
    if let Err(error) = write_answer(&mut stream, &answer, HANDSHAKE_LIMIT).await {
        return error.to_string();
    }
    let (reader, mut writer) = stream.into_split();
    tokio::select! {
        reason = read(hub, session, reader) => reason,
        result = session.queue.write_to(&mut writer, STALL_LIMIT) => match result {
            Ok(()) => "it was replaced, or did not read what was sent".to_owned(),
            Err(error) if is_gone(&error) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        },
        () = ping(session) => "its queue was closed".to_owned(),
    }
}

async fn read(hub: &Hub, session: &Session, reader: OwnedReadHalf) -> String {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let patience = Patience { idle: Some(IDLE_LIMIT), frame: FRAME_LIMIT };
    loop {
        let (tag, payload) = match next_tagged(&mut reader, PEER_BYTES_MAX, patience).await {
            Ok(frame) => frame,
            Err(FrameError::Io(error)) if is_gone(&error) => return "the connection was closed".to_owned(),
            Err(error) => return error.to_string(),
        };
        hub.heard(session);
        if tag == control::TAG {
            match Control::parse(&payload) {
                // Only as often as it is heard, and never beyond the bound: a full queue is sign of life enough.
                Some(Control::Ping) => drop(session.queue.push(Control::Pong.frame())),
                Some(Control::Pong) => {}
                Some(Control::LinkUp(_) | Control::LinkDown(_)) | None => {
                    return "it sent a control frame that no node sends".to_owned();
                }
            }
        } else if !hub.route(session, tag, payload) {
            return "it was replaced".to_owned();
        }
    }
}

/// Asks for a sign of life at intervals.
async fn ping(session: &Session) {
    let mut ticks = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !session.queue.is_closed() {
        ticks.tick().await;
        // A full queue: the node hears enough.
        let _ = session.queue.push(Control::Ping.frame());
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
