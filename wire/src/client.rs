//! The typed client of a Unix socket: many calls in flight on one connection, each with a deadline.
//!
//! Every failure says whether the request can have had an effect: [`ClientError::not_sent`] is true only if not one
//! byte of it was, or ever will be, handed to the socket.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftbank_codec::{decode, encode};
use thiserror::Error;
use tokio::io::{AsyncRead, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{ApiReply, ApiRequest, FailKind};
use crate::envelope::{self, CONNECTION_ID, KIND_CANCEL, KIND_REQUEST};
use crate::frame::{Frame, Patience, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Ticket, next_frame};
use crate::hello::{ClientHello, ServerHello, greet_server};
use crate::queue::Queue;
use crate::quiet;

/// Name and version that servers are told.
const SOFTWARE: &str = concat!("raftbank-wire/", env!("CARGO_PKG_VERSION"));
/// Most frames and bytes that wait to be written.
const QUEUE_FRAMES_MAX: usize = 1_024;
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Items of a stream that wait to be taken; then the connection is not read until some are.
const STREAM_ITEMS_MAX: usize = 64;
/// Limit for a frame that has begun to arrive, and for the server to take a byte.
const STALL: Duration = Duration::from_secs(10);
/// Bytes that are read from the socket at a time.
const READ_BYTES: usize = 64 << 10;
/// Pause between attempts while a server has no room for more connections in its backlog.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// No server takes connections at this path.
    #[error("{}: {what}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not, and what to do.
        what: String,
    },
    /// The server does not take this client.
    #[error("refused by the server: {0}")]
    Refused(String),
    /// The request was not sent.
    #[error("the request was not sent: {0}")]
    NotSent(String),
    /// The request was handed to the socket, and no answer came: nobody knows whether it was executed.
    #[error("no answer: {0}")]
    Lost(String),
}

impl ClientError {
    /// The server provably never saw the request.
    pub fn not_sent(&self) -> bool {
        !matches!(self, Self::Lost(_))
    }
}

/// A connection to a Unix socket of a node or of the relay. Clones share it; it is closed with the last of them, and with
/// it end its streams: keep one clone as long as a receiver of [`Client::stream`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// As many calls as the server takes at a time.
    permits: Semaphore,
    server: String,
}

/// What calls and the connection's task share.
#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    next_id: u64,
    answers: HashMap<u64, Waiter>,
    /// Why the connection is over.
    over: Option<String>,
}

#[derive(Debug)]
enum Waiter {
    Call(oneshot::Sender<Result<ApiReply, ClientError>>, Ticket),
    Stream(mpsc::Sender<ApiReply>),
}

impl Client {
    /// Connects, within `limit`.
    ///
    /// # Errors
    /// Nobody listens, the server does not answer in time, or it refuses.
    pub async fn connect(path: impl AsRef<Path>, limit: Duration) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let deadline = Instant::now() + limit;
        let unreachable = |what: String| ClientError::Unreachable { path: path.to_owned(), what };
        let mut stream = open(path, deadline).await.map_err(|error| unreachable(explain(&error)))?;
        let hello = ClientHello { software: SOFTWARE.to_owned() };
        let left = deadline.saturating_duration_since(Instant::now());
        let greeting = timeout_at(deadline, greet_server(&mut stream, &hello, left)).await;
        let (server, in_flight_max) = match greeting {
            Ok(Ok(ServerHello::Welcome { software, in_flight_max })) => (software, in_flight_max),
            Ok(Ok(ServerHello::Refuse { message, .. })) => return Err(ClientError::Refused(message)),
            Ok(Err(error)) => return Err(unreachable(format!("handshake: {error}"))),
            Err(_) => return Err(unreachable(format!("no answer within {limit:?}: is the process stopped?"))),
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(QUEUE_FRAMES_MAX, QUEUE_BYTES_MAX),
            waiting: Mutex::new(Waiting { next_id: CONNECTION_ID + 1, answers: HashMap::new(), over: None }),
        });
        tokio::spawn(converse(stream, Arc::clone(&shared)));
        let permits = Semaphore::new(in_flight_max.clamp(1, 1 << 16) as usize);
        Ok(Self { inner: Arc::new(Inner { shared, permits, server }) })
    }

    /// The server's name and version.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// The connection is over; every further call fails.
    pub fn is_closed(&self) -> bool {
        self.inner.shared.waiting().over.is_some()
    }

    /// Asks, and waits for the one answer for at most `limit`. Giving up earlier (dropping the future) is safe.
    ///
    /// # Errors
    /// The connection is over, or `limit` has passed; see [`ClientError::not_sent`].
    pub async fn call(&self, request: ApiRequest, limit: Duration) -> Result<ApiReply, ClientError> {
        let deadline = Instant::now() + limit;
        let permit = match self.inner.permits.try_acquire() {
            Ok(permit) => Ok(Ok(permit)),
            Err(_) => timeout_at(deadline, self.inner.permits.acquire()).await,
        };
        let Ok(permit) = permit else {
            return Err(ClientError::NotSent(format!("too many requests were in flight for {limit:?}")));
        };
        let (sender, receiver) = oneshot::channel();
        let sent = self.send(&request, deadline, |ticket| Waiter::Call(sender, ticket)).await?;
        let answer = match timeout_at(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ClientError::Lost("the connection's task has ended".to_owned())),
            Err(_) if sent.ticket.withdraw() => {
                Err(ClientError::NotSent(format!("the server took no requests for {limit:?}")))
            }
            Err(_) => Err(ClientError::Lost(format!("nothing came within {limit:?}"))),
        };
        drop((permit, sent));
        answer
    }

    /// Asks for a stream. It ends after its last item; if it cannot be had, or the connection breaks, the last item is
    /// a `Failed` with the code `connection_lost`. While items are not taken, the whole connection waits: a slow taker
    /// has a connection of its own. Dropping the receiver ends the stream.
    pub async fn stream(&self, request: ApiRequest) -> mpsc::Receiver<ApiReply> {
        let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
        let failed = sender.clone();
        match self.send(&request, Instant::now() + STALL, |_| Waiter::Stream(sender)).await {
            Ok(sent) => sent.leave(),
            Err(error) => {
                let _ = failed.try_send(lost(&error.to_string()));
            }
        }
        receiver
    }

    /// Registers a waiter and queues the request.
    async fn send(
        &self,
        request: &ApiRequest,
        deadline: Instant,
        waiter: impl FnOnce(Ticket) -> Waiter,
    ) -> Result<Sent<'_>, ClientError> {
        let shared = &*self.inner.shared;
        let body = encode(request);
        if body.len() + envelope::HEAD_BYTES > REQUEST_BYTES_MAX as usize {
            let what = format!("it has {} bytes, and {REQUEST_BYTES_MAX} is the most", body.len());
            return Err(ClientError::NotSent(what));
        }
        let ticket = Ticket::default();
        let id = shared.register(waiter(ticket.clone())).map_err(ClientError::NotSent)?;
        let sent = Sent { shared, id, ticket, left: false };
        let frame = Frame::numbered(id, KIND_REQUEST, body).with_ticket(sent.ticket.clone());
        let frame = match shared.queue.offer(frame) {
            Ok(()) => return Ok(sent),
            Err(frame) => frame,
        };
        match timeout_at(deadline, shared.queue.push_wait(frame)).await {
            Ok(Ok(())) => Ok(sent),
            Ok(Err(_)) => Err(ClientError::NotSent(shared.over())),
            Err(_) => Err(ClientError::NotSent("the server takes no more requests".to_owned())),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What was queued is still written; then the connection's task ends.
        self.shared.queue.close();
    }
}

/// A request that was queued. When dropped, its answer is no longer wanted, unless it was left to itself.
struct Sent<'a> {
    shared: &'a Shared,
    id: u64,
    ticket: Ticket,
    left: bool,
}

impl Sent<'_> {
    /// The answers are wanted without this guard.
    fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.left {
            self.ticket.withdraw();
            self.shared.waiting().answers.remove(&self.id);
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waiter: Waiter) -> Result<u64, String> {
        let mut waiting = self.waiting();
        if let Some(over) = &waiting.over {
            return Err(over.clone());
        }
        let id = waiting.next_id;
        waiting.next_id += 1;
        waiting.answers.insert(id, waiter);
        Ok(id)
    }

    fn over(&self) -> String {
        self.waiting().over.clone().unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// The connection is over: everyone who waits is told what is known.
    fn end(&self, why: &str) {
        let answers = {
            let mut waiting = self.waiting();
            waiting.over.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut waiting.answers)
        };
        self.queue.discard();
        for waiter in answers.into_values() {
            match waiter {
                Waiter::Call(sender, ticket) => {
                    let error = if ticket.withdraw() { ClientError::NotSent } else { ClientError::Lost };
                    let _ = sender.send(Err(error(why.to_owned())));
                }
                Waiter::Stream(sender) => {
                    // A taker that is behind sees the stream end without its last item.
                    let _ = sender.try_send(lost(why));
                }
            }
        }
    }
}

fn lost(why: &str) -> ApiReply {
    ApiReply::Failed { kind: FailKind::NotExecuted, code: "connection_lost".to_owned(), message: why.to_owned() }
}

/// Connects; waits while the server's backlog is full.
async fn open(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                sleep(BACKLOG_PAUSE).await;
            }
            result => return result,
        }
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no socket here: is the daemon running, and is this its path?".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens at this socket: is the daemon running?".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied: are you in the socket's group?".to_owned(),
        io::ErrorKind::WouldBlock => "too many connections wait for this socket".to_owned(),
        _ => error.to_string(),
    }
}

/// The connection's task.
async fn converse(stream: UnixStream, shared: Arc<Shared>) {
    let (reader, mut writer) = match quiet::split(stream) {
        Ok(halves) => halves,
        Err(error) => return shared.end(&error.to_string()),
    };
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let why = tokio::select! {
        why = read(&mut reader, &shared) => why,
        written = shared.queue.write_to(&mut writer, STALL) => match written {
            Ok(()) => "the connection was closed".to_owned(),
            // The server may have said why before it closed the connection.
            Err(error) => match tokio::time::timeout(Duration::from_millis(100), read(&mut reader, &shared)).await {
                Ok(why) => why,
                Err(_) => error.to_string(),
            },
        },
    };
    shared.end(&why);
}

/// Reads answers until the connection ends, and tells why it did.
async fn read<R: AsyncRead + Unpin>(reader: &mut BufReader<R>, shared: &Shared) -> String {
    loop {
        let bytes = match next_frame(reader, REPLY_BYTES_MAX, Patience { idle: None, frame: STALL }).await {
            Ok(bytes) => bytes,
            Err(error) => return error.to_string(),
        };
        let Some((id, last, body)) = envelope::parse_reply(&bytes) else {
            return "the server sent a frame that is no answer".to_owned();
        };
        let reply: ApiReply = match decode(body, u64::from(REPLY_BYTES_MAX)) {
            Ok(reply) => reply,
            Err(error) => return format!("the server's answer: {error}"),
        };
        if id == CONNECTION_ID {
            return match reply {
                ApiReply::Failed { message, .. } => message,
                _ => "the server sent an answer to nothing".to_owned(),
            };
        }
        deliver(shared, id, last, reply).await;
    }
}

async fn deliver(shared: &Shared, id: u64, last: bool, reply: ApiReply) {
    let stream = {
        let mut waiting = shared.waiting();
        if last {
            match waiting.answers.remove(&id) {
                Some(Waiter::Call(sender, _)) => {
                    // Whoever asked may have given up.
                    let _ = sender.send(Ok(reply));
                    return;
                }
                Some(Waiter::Stream(sender)) => sender,
                None => return,
            }
        } else {
            match waiting.answers.get(&id) {
                Some(Waiter::Stream(sender)) => sender.clone(),
                Some(Waiter::Call(..)) | None => return,
            }
        }
    };
    if stream.send(reply).await.is_err() && !last {
        shared.waiting().answers.remove(&id);
        let _ = shared.queue.push_over(Frame::numbered(id, KIND_CANCEL, Vec::new()));
    }
}
