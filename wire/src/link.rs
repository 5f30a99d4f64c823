//! A node's one TCP connection: to the relay, which carries frames to the other members.
//!
//! The connection is made anew for ever, with growing pauses. Frames may be lost at any time, in silence: whoever sends
//! repeats what matters. What is known for certain is told apart: [`LinkSender::send`] returns false only if not one
//! byte of the frame was or will be written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::control::{self, Control};
use crate::frame::{Frame, FrameError, PEER_BYTES_MAX, Patience, next_tagged};
use crate::hello::{Answer, Hello, greet};
use crate::queue::Queue;

/// Bytes that are read from the socket at a time.
const READ_BYTES: usize = 64 << 10;
/// A connection that lasted this long was a good one: the next attempt comes soon.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// Tries after a loss before the pauses between them grow.
const QUICK_TRIES: u32 = 20;

/// How a link behaves. [`LinkConfig::new`] gives values for a local network.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// `host:port` of the relay; resolved at each attempt.
    pub address: String,
    /// What the relay is told.
    pub hello: Hello,
    /// Most frames that wait to be written.
    pub queue_frames_max: usize,
    /// Most bytes that wait to be written.
    pub queue_bytes_max: usize,
    /// Most events that wait to be taken; then nothing more is read.
    pub events_max: usize,
    /// Limit for an attempt to connect.
    pub connect: Duration,
    /// Limit for the handshake.
    pub handshake: Duration,
    /// A relay that says nothing for so long is dead; it pings once a second.
    pub idle: Duration,
    /// Limit for a frame that has begun to arrive.
    pub frame: Duration,
    /// Limit for the relay to take a byte.
    pub stall: Duration,
    /// Pause after each of the first failures (a relay that a supervisor starts again is back in a fraction of a second),
    /// and the longest; each is drawn from its upper half.
    pub backoff: (Duration, Duration),
    /// The same after a refusal, growing from the first.
    pub refused_backoff: (Duration, Duration),
}

impl LinkConfig {
    /// The default bounds and deadlines.
    pub fn new(address: impl Into<String>, hello: Hello) -> Self {
        Self {
            address: address.into(),
            hello,
            queue_frames_max: 8_192,
            queue_bytes_max: 32 << 20,
            events_max: 256,
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(3),
            idle: Duration::from_secs(5),
            frame: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            backoff: (Duration::from_millis(50), Duration::from_secs(2)),
            refused_backoff: (Duration::from_millis(500), Duration::from_secs(5)),
        }
    }
}

/// What happens on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The relay let this node in.
    Connected,
    /// The connection is gone; all peers are out of reach.
    Disconnected,
    /// The relay does not let this node in, and why, in a sentence. It is asked again later.
    Refused(String),
    /// The member at this position is connected to the relay.
    PeerUp(u8),
    /// The member at this position has left the relay.
    PeerDown(u8),
    /// A frame from the member at this position.
    Frame {
        /// Its position.
        from: u8,
        /// What it sent.
        payload: Vec<u8>,
    },
}

/// What a link has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames taken to be sent.
    pub taken: u64,
    /// Frames not taken: no connection, or too much waits.
    pub dropped: u64,
    /// Frames received.
    pub received: u64,
    /// Connections made.
    pub connections: u64,
}

/// Sends frames through a link.
#[derive(Clone, Debug)]
pub struct LinkSender {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The queue of the present connection.
    queue: Mutex<Option<Arc<Queue>>>,
    taken: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
    connections: AtomicU64,
}

/// Starts a link; it ends when the receiver is dropped.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn_link(config: LinkConfig) -> (LinkSender, mpsc::Receiver<LinkEvent>) {
    let shared = Arc::new(Shared::default());
    let (events, receiver) = mpsc::channel(config.events_max.max(1));
    tokio::spawn(run(config, Arc::clone(&shared), events));
    (LinkSender { shared }, receiver)
}

impl LinkSender {
    /// Queues a frame for the member at position `to`. False: it was not taken and will never be sent. True: it may
    /// arrive.
    pub fn send(&self, to: u8, payload: Vec<u8>) -> bool {
        let fits = payload.len() < PEER_BYTES_MAX as usize && to != control::TAG;
        let taken =
            fits && self.shared.queue().as_ref().is_some_and(|queue| queue.push(Frame::tagged(to, payload)).is_ok());
        let counter = if taken { &self.shared.taken } else { &self.shared.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// The relay has let this node in and has not gone since.
    pub fn is_connected(&self) -> bool {
        self.shared.queue().is_some()
    }

    /// What the link has done so far.
    pub fn counters(&self) -> LinkCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkCounters {
            taken: read(&self.shared.taken),
            dropped: read(&self.shared.dropped),
            received: read(&self.shared.received),
            connections: read(&self.shared.connections),
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Option<Arc<Queue>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an attempt ended.
enum End {
    /// Nobody wants the events any more.
    Unwanted,
    /// No connection, or not any more.
    Failed(String),
    /// The relay said no.
    Refused(String),
}

async fn run(config: LinkConfig, shared: Arc<Shared>, events: mpsc::Sender<LinkEvent>) {
    let mut pause = Pause::new(config.backoff, QUICK_TRIES);
    let mut refused_pause = Pause::new(config.refused_backoff, 0);
    let mut told = String::new();
    loop {
        let started = Instant::now();
        let end = tokio::select! {
            biased;
            () = events.closed() => End::Unwanted,
            end = attempt(&config, &shared, &events) => end,
        };
        let was_connected = shared.queue().take().inspect(|queue| queue.discard()).is_some();
        if was_connected {
            if started.elapsed() >= GOOD_AFTER {
                pause = Pause::new(config.backoff, QUICK_TRIES);
            }
            refused_pause = Pause::new(config.refused_backoff, 0);
            told.clear();
            if events.send(LinkEvent::Disconnected).await.is_err() {
                return;
            }
        }
        let wait = match end {
            End::Unwanted => return,
            End::Failed(what) => {
                // The same failure is told once, not at every attempt.
                if what == told {
                    tracing::debug!(address = config.address, "the relay: {what}");
                } else {
                    tracing::warn!(address = config.address, "the relay: {what}; trying again");
                    told = what;
                }
                pause.next()
            }
            End::Refused(message) => {
                if events.send(LinkEvent::Refused(message)).await.is_err() {
                    return;
                }
                refused_pause.next()
            }
        };
        tokio::select! {
            () = events.closed() => return,
            () = sleep(wait) => {}
        }
    }
}

/// Growing pauses with jitter.
struct Pause {
    next: Duration,
    max: Duration,
    quick_tries: u32,
}

impl Pause {
    /// The first `quick_tries` pauses do not grow.
    fn new((min, max): (Duration, Duration), quick_tries: u32) -> Self {
        Self { next: min, max, quick_tries }
    }

    /// Between half of the pause and all of it, so that members that lost the relay together do not return together.
    fn next(&mut self) -> Duration {
        let pause = self.next;
        match self.quick_tries.checked_sub(1) {
            Some(left) => self.quick_tries = left,
            None => self.next = (pause * 2).min(self.max),
        }
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// One connection, from its beginning to its end.
async fn attempt(config: &LinkConfig, shared: &Shared, events: &mpsc::Sender<LinkEvent>) -> End {
    let mut stream = match timeout(config.connect, TcpStream::connect(&config.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return End::Failed(format!("cannot be reached: {error}")),
        Err(_) => return End::Failed(format!("cannot be reached within {:?}", config.connect)),
    };
    if let Err(error) = stream.set_nodelay(true) {
        return End::Failed(format!("TCP_NODELAY: {error}"));
    }
    let connected = match greet(&mut stream, &config.hello, config.handshake).await {
        Ok(Answer::Welcome { connected }) => connected,
        Ok(Answer::Refuse { message, .. }) => return End::Refused(message),
        Err(error) => return End::Failed(format!("handshake: {error}")),
    };
    let queue = Queue::new(config.queue_frames_max, config.queue_bytes_max);
    *shared.queue() = Some(Arc::clone(&queue));
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let arrivals = [LinkEvent::Connected].into_iter().chain(connected.into_iter().map(LinkEvent::PeerUp));
    let (reader, mut writer) = stream.split();
    let reading = async {
        for event in arrivals {
            if events.send(event).await.is_err() {
                return End::Unwanted;
            }
        }
        read(&mut BufReader::with_capacity(READ_BYTES, reader), config, shared, &queue, events).await
    };
    tokio::select! {
        end = reading => end,
        written = queue.write_to(&mut writer, config.stall) => match written {
            Ok(()) => End::Failed("the connection was closed".to_owned()),
            Err(error) => End::Failed(error.to_string()),
        },
    }
}

async fn read<R>(
    reader: &mut BufReader<R>,
    config: &LinkConfig,
    shared: &Shared,
    queue: &Queue,
    events: &mpsc::Sender<LinkEvent>,
) -> End
where
    R: tokio::io::AsyncRead + Unpin,
{
    let patience = Patience { idle: Some(config.idle), frame: config.frame };
    loop {
        let (tag, payload) = match next_tagged(reader, PEER_BYTES_MAX, patience).await {
            Ok(frame) => frame,
            Err(error @ FrameError::TooLong { .. }) => return End::Failed(format!("speaks nonsense: {error}")),
            Err(error) => return End::Failed(error.to_string()),
        };
        let event = if tag != control::TAG {
            shared.received.fetch_add(1, Ordering::Relaxed);
            LinkEvent::Frame { from: tag, payload }
        } else {
            match Control::parse(&payload) {
                Some(Control::Ping) => {
                    // One answer per ping: as bounded as the pings are.
                    if queue.push_over(Control::Pong.frame()).is_err() {
                        return End::Failed("the connection was closed".to_owned());
                    }
                    continue;
                }
                Some(Control::LinkUp(member)) => LinkEvent::PeerUp(member),
                Some(Control::LinkDown(member)) => LinkEvent::PeerDown(member),
                Some(Control::Pong) | None => continue,
            }
        };
        if events.send(event).await.is_err() {
            return End::Unwanted;
        }
    }
}

#[cfg(test)]
mod tests;
