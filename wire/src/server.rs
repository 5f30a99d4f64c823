//! The server of a Unix socket, for nodes and the relay alike.
//!
//! Each connection is a task with bounds of its own: on the time for its handshake and for each frame, on the length of
//! frames, on the requests in flight and on the replies that it has not read. Whoever breaks one is told so, if
//! possible, and closed; others are not concerned.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftbank_codec::{decode, encode};
use thiserror::Error;
use tokio::io::{AsyncRead, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::api::{ApiReply, ApiRequest, FailKind};
use crate::envelope::{self, CONNECTION_ID, KIND_CANCEL, LAST, MORE};
use crate::frame::{Frame, FrameError, Patience, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, next_frame};
use crate::hello::{ServerHello, read_client_hello, write_server_hello};
use crate::queue::{Queue, Rejected};
use crate::quiet;

/// Longest path of a Unix socket, in bytes (`sockaddr_un` less its final zero).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Replies of a connection that wait to be read: beyond it streams wait (or lag), and beyond
/// [`UNREAD_BYTES_MAX`] the connection is closed.
const QUEUE_FRAMES_MAX: usize = 4_096;
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// A client that leaves so many bytes of answers unread is closed.
const UNREAD_BYTES_MAX: usize = 64 << 20;
/// Connections beyond the limit that are told so at a time; any more are closed without a word.
const REFUSALS_MAX: usize = 8;
/// Pause after an `accept` that failed (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for a last word to a connection that is closed for cause.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Bytes that are read from a socket at a time.
const READ_BYTES: usize = 64 << 10;

/// Bounds of a server. [`ServerConfig::new`] gives sensible ones.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name and version that clients are told.
    pub software: String,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most requests in flight of one connection; then it is not read until one is answered.
    pub in_flight_max: usize,
    /// Limit for the handshake.
    pub handshake: Duration,
    /// Limit for a frame that has begun to arrive.
    pub frame: Duration,
    /// Limit for a client to take a byte.
    pub stall: Duration,
}

impl ServerConfig {
    /// The default bounds.
    pub fn new(software: impl Into<String>) -> Self {
        Self {
            software: software.into(),
            connections_max: 512,
            in_flight_max: 1_024,
            handshake: Duration::from_secs(2),
            frame: Duration::from_secs(5),
            stall: Duration::from_secs(10),
        }
    }
}

/// Why a socket cannot be served.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("the socket {} is served by another process: stop that one, or choose another path", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else than a socket is in the way; it is left alone.
    #[error("{} exists and is not a socket: choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path does not fit into a socket's address.
    #[error("the socket path {} is {bytes} bytes long: at most {SOCKET_PATH_BYTES_MAX} fit", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The operating system's word.
    #[error("the socket {} cannot be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

/// A request and the way back to whoever asked.
#[derive(Debug)]
pub struct Incoming {
    /// What is asked.
    pub request: ApiRequest,
    /// Where the answer goes.
    pub responder: Responder,
}

/// The way back to a client, for one request. Dropped without a last reply, it says so to the client.
#[derive(Debug)]
pub struct Responder {
    id: u64,
    connection: Arc<Connection>,
    /// Of a stream: the client does not want more.
    cancelled: Option<Arc<AtomicBool>>,
    /// What a client is told if no answer is ever given.
    dropped: FailKind,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    path: PathBuf,
}

/// Binds the socket with mode 0660. A socket that nobody serves any more is replaced.
///
/// # Errors
/// Somebody serves it, something else is in the way, or the operating system refuses.
pub async fn bind(path: &Path) -> Result<Bound, BindError> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(BindError::TooLong { path: path.to_owned(), bytes });
    }
    let error = |source| BindError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(error(cause)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path).await {
            // Nobody listens: a process that was killed left it.
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(error)?;
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => return Err(error(cause)),
            // Accepted, or the backlog is full: somebody listens.
            Ok(_) | Err(_) => return Err(BindError::InUse { path: path.to_owned() }),
        },
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
    Ok(Bound { listener, path: path.to_owned() })
}

/// Serves the socket: every request of every client goes to `requests`.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(bound: Bound, config: ServerConfig, requests: mpsc::Sender<Incoming>) -> Server {
    let (stop, stopped) = watch::channel(false);
    let path = bound.path;
    let task = tokio::spawn(accept(bound.listener, config, requests, stopped));
    Server { stop, task, path }
}

impl Server {
    /// Takes no more connections and requests, waits at most `grace` for the answers in flight, and removes the socket.
    pub async fn shutdown(mut self, grace: Duration) {
        let _ = self.stop.send(true);
        if timeout(grace, &mut self.task).await.is_err() {
            // Dropping the task's set aborts its connections.
            self.task.abort();
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Responder {
    /// Sends one of several replies, if the client keeps up. False: it does not, or it is gone, or does not want more.
    pub fn send(&self, reply: &ApiReply) -> bool {
        !self.is_closed() && self.frame(reply, MORE).is_some_and(|frame| self.connection.queue.push(frame).is_ok())
    }

    /// As [`Responder::send`], but waits until the client has room.
    pub async fn send_wait(&self, reply: &ApiReply) -> bool {
        match self.frame(reply, MORE) {
            Some(frame) if !self.is_closed() => self.connection.queue.push_wait(frame).await.is_ok(),
            _ => false,
        }
    }

    /// As [`Responder::send_wait`], for a thread outside the runtime.
    pub fn send_blocking(&self, reply: &ApiReply) -> bool {
        match self.frame(reply, MORE) {
            Some(frame) if !self.is_closed() => {
                self.connection.queue.push_blocking(frame, self.connection.stall).is_ok()
            }
            _ => false,
        }
    }

    /// Sends the only or last reply. False: the client is gone.
    pub fn finish(mut self, reply: &ApiReply) -> bool {
        self.done = true;
        self.last(reply)
    }

    /// The client is gone, or does not want more.
    pub fn is_closed(&self) -> bool {
        let is_cancelled = self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed));
        is_cancelled || self.connection.queue.is_closed()
    }

    fn last(&self, reply: &ApiReply) -> bool {
        let frame = self.frame(reply, LAST).or_else(|| {
            let message = format!("the answer has more than {REPLY_BYTES_MAX} bytes");
            self.frame(&failed(FailKind::Internal, "reply_too_long", message), LAST)
        });
        let Some(frame) = frame else { return false };
        let queue = &self.connection.queue;
        // Requests in flight are bounded, so the number of answers is; large ones that nobody reads end it.
        if queue.bytes() > UNREAD_BYTES_MAX {
            queue.discard();
            return false;
        }
        queue.push_over(frame) != Err(Rejected::Closed)
    }

    fn frame(&self, reply: &ApiReply, more: u8) -> Option<Frame> {
        let body = encode(reply);
        (body.len() + envelope::HEAD_BYTES <= REPLY_BYTES_MAX as usize).then(|| Frame::numbered(self.id, more, body))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.done {
            let message = "the server ended before it answered".to_owned();
            self.last(&failed(self.dropped, "no_answer", message));
        }
        if self.cancelled.is_some() {
            self.connection.streams().remove(&self.id);
        }
    }
}

/// What a connection's task shares with its responders.
#[derive(Debug)]
struct Connection {
    queue: Arc<Queue>,
    stall: Duration,
    /// Streams, which alone can be cancelled.
    streams: Mutex<HashMap<u64, Arc<AtomicBool>>>,
}

impl Connection {
    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Arc<AtomicBool>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(kind: FailKind, code: &str, message: String) -> ApiReply {
    ApiReply::Failed { kind, code: code.to_owned(), message }
}

/// The accepting task; owns all connections.
async fn accept(
    listener: UnixListener,
    config: ServerConfig,
    requests: mpsc::Sender<Incoming>,
    mut stopped: watch::Receiver<bool>,
) {
    let config = Arc::new(config);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("a client's connection could not be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let open = connections.len();
        if open < config.connections_max {
            connections.spawn(serve(stream, Arc::clone(&config), requests.clone(), stopped.clone()));
        } else if open < config.connections_max + REFUSALS_MAX {
            connections.spawn(refuse(stream, Arc::clone(&config)));
        }
    }
    drop(listener);
    drop(requests);
    while connections.join_next().await.is_some() {}
}

/// Tells a connection beyond the limit that it is one.
async fn refuse(mut stream: UnixStream, config: Arc<ServerConfig>) {
    let max = config.connections_max;
    let hello = ServerHello::Refuse {
        code: "too_many_connections".to_owned(),
        message: format!("{max} connections are open, and no more are taken: close some, or ask again later"),
    };
    if read_client_hello(&mut stream, config.handshake).await.is_ok() {
        let _ = write_server_hello(&mut stream, &hello, config.handshake).await;
    }
}

/// A connection, from its handshake to its end.
async fn serve(
    mut stream: UnixStream,
    config: Arc<ServerConfig>,
    requests: mpsc::Sender<Incoming>,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = shake_hands(&mut stream, &config).await {
        tracing::debug!("a client was closed: {error}");
        return;
    }
    let connection = Arc::new(Connection {
        queue: Queue::new(QUEUE_FRAMES_MAX, QUEUE_BYTES_MAX),
        stall: config.stall,
        streams: Mutex::default(),
    });
    let queue = Arc::clone(&connection.queue);
    let permits = Arc::new(Semaphore::new(config.in_flight_max));
    let (reader, mut writer) = match quiet::split(stream) {
        Ok(halves) => halves,
        Err(error) => return tracing::warn!("a client was closed: {error}"),
    };
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let writing = queue.write_to(&mut writer, config.stall);
    tokio::pin!(writing);
    let end = tokio::select! {
        biased;
        _ = stopped.changed() => None,
        end = read(&mut reader, &config, &connection, &permits, &requests) => Some(end),
        _ = &mut writing => Some(None),
    };
    drop(requests);
    match end {
        // Stopping: what is in flight is answered first; the server's grace limits that.
        None => {
            let all = u32::try_from(config.in_flight_max).unwrap_or(u32::MAX);
            let answered = async {
                let _ = permits.acquire_many(all).await;
                queue.close();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = answered => {}
                _ = &mut writing => {}
            }
        }
        // The client broke a rule: a last word.
        Some(Some((code, message))) => {
            tracing::debug!("a client was closed: {message}");
            let reply = encode(&failed(FailKind::Usage, code, message));
            let _ = queue.push_over(Frame::numbered(CONNECTION_ID, LAST, reply));
            queue.close();
            let _ = timeout(LAST_WORD, &mut writing).await;
        }
        Some(None) => {}
    }
    queue.discard();
}

async fn shake_hands(stream: &mut UnixStream, config: &ServerConfig) -> Result<(), crate::hello::HelloError> {
    match read_client_hello(stream, config.handshake).await {
        Ok(_) => {
            let in_flight_max = u32::try_from(config.in_flight_max).unwrap_or(u32::MAX);
            let hello = ServerHello::Welcome { software: config.software.clone(), in_flight_max };
            write_server_hello(stream, &hello, config.handshake).await
        }
        Err(error) => {
            let hello = ServerHello::Refuse { code: error.code().to_owned(), message: error.to_string() };
            let _ = write_server_hello(stream, &hello, LAST_WORD).await;
            Err(error)
        }
    }
}

/// Reads requests until the connection ends. `Some`: code and sentence of the rule that the client broke.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    config: &ServerConfig,
    connection: &Arc<Connection>,
    permits: &Arc<Semaphore>,
    requests: &mpsc::Sender<Incoming>,
) -> Option<(&'static str, String)> {
    let patience = Patience { idle: None, frame: config.frame };
    loop {
        let bytes = match next_frame(reader, REQUEST_BYTES_MAX, patience).await {
            Ok(bytes) => bytes,
            Err(FrameError::Closed | FrameError::Truncated | FrameError::Io(_)) => return None,
            Err(error @ FrameError::Slow(_)) => return Some(("too_slow", error.to_string())),
            Err(error) => return Some(("frame_too_long", error.to_string())),
        };
        let Some((id, kind, body)) = envelope::parse_request(&bytes) else {
            return Some(("bad_frame", "the frame is no request".to_owned()));
        };
        if kind == KIND_CANCEL {
            if let Some(cancelled) = connection.streams().get(&id) {
                cancelled.store(true, Ordering::Relaxed);
            }
            continue;
        }
        let request: ApiRequest = match decode(body, u64::from(REQUEST_BYTES_MAX)) {
            Ok(request) => request,
            Err(error) => return Some(("bad_request", error.to_string())),
        };
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let cancelled = is_stream(&request).then(Arc::<AtomicBool>::default);
        if let Some(cancelled) = &cancelled {
            connection.streams().insert(id, Arc::clone(cancelled));
        }
        let dropped =
            if matches!(request, ApiRequest::Write { .. }) { FailKind::Unknown } else { FailKind::NotExecuted };
        let connection = Arc::clone(connection);
        let responder = Responder { id, connection, cancelled, dropped, done: false, _permit: permit };
        requests.send(Incoming { request, responder }).await.ok()?;
    }
}

/// True for what is answered by several replies.
fn is_stream(request: &ApiRequest) -> bool {
    matches!(
        request,
        ApiRequest::Watch
            | ApiRequest::Blocks { .. }
            | ApiRequest::Verify
            | ApiRequest::VerifyAgainst { .. }
            | ApiRequest::BalanceAt { .. }
            | ApiRequest::Rows
    )
}

#[cfg(test)]
mod tests;
