//! Frames: a length (`u32`, big-endian) and so many bytes.
//!
//! The length is checked before anything is allocated, memory grows only as bytes arrive, and a frame that has begun
//! must end within a deadline: neither a lie about the length nor a slow sender costs more than its connection.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::timeout;

/// Longest request of a client, in bytes after the length.
pub const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Longest reply to a client, in bytes after the length.
pub const REPLY_BYTES_MAX: u32 = 8 << 20;
/// Longest frame between a node and the relay, in bytes after the length.
pub const PEER_BYTES_MAX: u32 = 8 << 20;
/// Longest frame of a handshake, in bytes after the length.
pub const HANDSHAKE_BYTES_MAX: u32 = 4_096;

/// Memory that a frame gets before its bytes have arrived.
const FIRST_BYTES_MAX: usize = 64 << 10;
/// A frame's length.
const LENGTH_BYTES: usize = 4;
/// Length, id and flags: the longest head of a frame.
const HEAD_BYTES_MAX: usize = 13;

/// Why no frame was read. The connection is of no use any more.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The other side closed the connection within a frame.
    #[error("the connection was closed in the middle of a frame")]
    Truncated,
    /// The length is above the limit.
    #[error("a frame of {bytes} bytes was announced: at most {max} are accepted here")]
    TooLong {
        /// As announced.
        bytes: u32,
        /// The limit.
        max: u32,
    },
    /// The frame is too short for what it must hold.
    #[error("a frame of {bytes} bytes was announced: at least {min} are needed here")]
    TooShort {
        /// As announced.
        bytes: u32,
        /// The least.
        min: u32,
    },
    /// The rest of a frame did not arrive in time.
    #[error("a frame was begun and not completed within {0:?}")]
    Slow(Duration),
    /// Nothing arrived in time.
    #[error("nothing was heard for {0:?}")]
    Idle(Duration),
    /// The operating system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How long a reader waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a frame to begin; none: for ever.
    pub idle: Option<Duration>,
    /// For a frame that has begun to end.
    pub frame: Duration,
}

/// Reads a frame of up to `max` bytes.
///
/// Not safe to cancel: a read that was given up leaves the connection within a frame.
///
/// # Errors
/// See [`FrameError`].
pub async fn read_frame<R>(reader: &mut R, max: u32, patience: Patience) -> Result<Vec<u8>, FrameError>
where
    R: AsyncRead + Unpin,
{
    let first = first_byte(reader, patience.idle).await?;
    within(patience.frame, async {
        let bytes = length(reader, first, 0, max).await?;
        body(reader, bytes).await
    })
    .await
}

/// Reads a frame of up to `max` bytes whose first byte is a tag; the tag is returned apart, without moving the rest.
///
/// Not safe to cancel, as [`read_frame`].
///
/// # Errors
/// See [`FrameError`].
pub async fn read_tagged<R>(reader: &mut R, max: u32, patience: Patience) -> Result<(u8, Vec<u8>), FrameError>
where
    R: AsyncRead + Unpin,
{
    let first = first_byte(reader, patience.idle).await?;
    within(patience.frame, async {
        let bytes = length(reader, first, 1, max).await?;
        let mut tag = [0];
        fill(reader, &mut tag).await?;
        Ok((tag[0], body(reader, bytes - 1).await?))
    })
    .await
}

/// As [`read_frame`], and without waiting or setting up a deadline if the whole frame is in the reader's buffer.
///
/// # Errors
/// See [`FrameError`].
pub async fn next_frame<R>(reader: &mut BufReader<R>, max: u32, patience: Patience) -> Result<Vec<u8>, FrameError>
where
    R: AsyncRead + Unpin,
{
    if let Some(frame) = buffered(reader.buffer(), max) {
        let (body, bytes) = (frame.to_vec(), LENGTH_BYTES + frame.len());
        reader.consume(bytes);
        return Ok(body);
    }
    read_frame(reader, max, patience).await
}

/// As [`read_tagged`], and as quick as [`next_frame`].
///
/// # Errors
/// See [`FrameError`].
pub async fn next_tagged<R>(
    reader: &mut BufReader<R>,
    max: u32,
    patience: Patience,
) -> Result<(u8, Vec<u8>), FrameError>
where
    R: AsyncRead + Unpin,
{
    if let Some((tag, body)) = buffered(reader.buffer(), max).and_then(|frame| frame.split_first()) {
        let (tag, body, bytes) = (*tag, body.to_vec(), LENGTH_BYTES + 1 + body.len());
        reader.consume(bytes);
        return Ok((tag, body));
    }
    read_tagged(reader, max, patience).await
}

/// The first frame in these bytes, without its length, if all of it is there and it is not too long.
fn buffered(bytes: &[u8], max: u32) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let length = u32::from_be_bytes(*length);
    if length > max { None } else { rest.get(..length as usize) }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    timeout(limit, work).await.unwrap_or(Err(FrameError::Slow(limit)))
}

async fn first_byte<R: AsyncRead + Unpin>(reader: &mut R, idle: Option<Duration>) -> Result<u8, FrameError> {
    let mut first = [0];
    let read = match idle {
        None => reader.read(&mut first).await,
        Some(limit) => timeout(limit, reader.read(&mut first)).await.map_err(|_| FrameError::Idle(limit))?,
    };
    if read? == 0 { Err(FrameError::Closed) } else { Ok(first[0]) }
}

async fn length<R: AsyncRead + Unpin>(reader: &mut R, first: u8, min: u32, max: u32) -> Result<u32, FrameError> {
    let mut rest = [0; 3];
    fill(reader, &mut rest).await?;
    let bytes = u32::from_be_bytes([first, rest[0], rest[1], rest[2]]);
    if bytes > max {
        return Err(FrameError::TooLong { bytes, max });
    }
    if bytes < min {
        return Err(FrameError::TooShort { bytes, min });
    }
    Ok(bytes)
}

async fn fill<R: AsyncRead + Unpin>(reader: &mut R, bytes: &mut [u8]) -> Result<(), FrameError> {
    match reader.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FrameError::Truncated),
        Err(error) => Err(error.into()),
    }
}

async fn body<R: AsyncRead + Unpin>(reader: &mut R, bytes: u32) -> Result<Vec<u8>, FrameError> {
    let bytes = bytes as usize;
    let mut body = Vec::with_capacity(bytes.min(FIRST_BYTES_MAX));
    while body.len() < bytes {
        let left = bytes - body.len();
        if body.len() == body.capacity() {
            // Doubles: memory stays in proportion to what has arrived.
            body.reserve_exact(left.min(body.len()));
        }
        let room = left.min(body.capacity() - body.len()) as u64;
        if (&mut *reader).take(room).read_buf(&mut body).await? == 0 {
            return Err(FrameError::Truncated);
        }
    }
    Ok(body)
}

/// A frame that is ready to be written: its body is moved here.
#[derive(Debug)]
pub struct Frame {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: u8,
    body: Vec<u8>,
    ticket: Option<Ticket>,
}

impl Frame {
    /// A frame of just these bytes.
    ///
    /// # Panics
    /// If there are 4 GiB or more; callers check their own, much smaller limits.
    pub fn plain(body: Vec<u8>) -> Self {
        Self::with_head(&[], body)
    }

    /// A frame whose first byte is `tag`.
    ///
    /// # Panics
    /// As [`Frame::plain`].
    pub fn tagged(tag: u8, body: Vec<u8>) -> Self {
        Self::with_head(&[tag], body)
    }

    /// A frame of a client or for a client: an id (`u64`, big-endian), a kind, and the rest.
    pub(crate) fn numbered(id: u64, kind: u8, body: Vec<u8>) -> Self {
        let mut head = [0; 9];
        head[..8].copy_from_slice(&id.to_be_bytes());
        head[8] = kind;
        Self::with_head(&head, body)
    }

    /// Lets the frame be withdrawn until it is written.
    pub(crate) fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    fn with_head(extra: &[u8], body: Vec<u8>) -> Self {
        let bytes = u32::try_from(extra.len() + body.len()).expect("a frame is checked against its limit before");
        let mut head = [0; HEAD_BYTES_MAX];
        head[..4].copy_from_slice(&bytes.to_be_bytes());
        head[4..4 + extra.len()].copy_from_slice(extra);
        Self { head, head_bytes: 4 + u8::try_from(extra.len()).unwrap_or(0), body, ticket: None }
    }

    /// The tag of a tagged frame; 0 of a plain one.
    pub fn tag(&self) -> u8 {
        self.head[4]
    }

    /// All bytes on the wire, the length included.
    pub fn wire_bytes(&self) -> usize {
        usize::from(self.head_bytes) + self.body.len()
    }

    /// All bytes on the wire, in one piece.
    pub fn into_bytes(self) -> Vec<u8> {
        [&self.head[..usize::from(self.head_bytes)], &self.body].concat()
    }

    /// The parts to be written one after the other.
    pub(crate) fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.head[..usize::from(self.head_bytes)]), IoSlice::new(&self.body)]
    }

    /// Marks the frame as handed to the socket. False: it was withdrawn and must not be written.
    pub(crate) fn depart(&self) -> bool {
        self.ticket.as_ref().is_none_or(Ticket::depart)
    }
}

/// Tells whether a frame was handed to the socket, and lets it be withdrawn before that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

const WAITING: u8 = 0;
const DEPARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    fn depart(&self) -> bool {
        self.0.compare_exchange(WAITING, DEPARTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// True: not one byte of the frame was written, and none ever will be.
    pub fn withdraw(&self) -> bool {
        self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) != Err(DEPARTED)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

    use super::{FIRST_BYTES_MAX, Frame, FrameError, Patience, Ticket, read_frame, read_tagged};

    const PATIENT: Patience = Patience { idle: Some(Duration::from_secs(60)), frame: Duration::from_secs(60) };

    fn bytes(frame: &Frame) -> Vec<u8> {
        frame.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn one_piece_or_two_are_the_same_bytes() {
        let frame = Frame::tagged(9, b"ab".to_vec());
        assert_eq!(bytes(&frame), frame.into_bytes());
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(bytes(&Frame::plain(b"ab".to_vec())), [0, 0, 0, 2, b'a', b'b']);
        assert_eq!(bytes(&Frame::tagged(9, b"ab".to_vec())), [0, 0, 0, 3, 9, b'a', b'b']);
        assert_eq!(
            bytes(&Frame::numbered(0x0102, 1, b"ab".to_vec())),
            [0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 1, 2, 1, b'a', b'b']
        );
        assert_eq!(Frame::tagged(9, b"ab".to_vec()).wire_bytes(), 7);
        assert_eq!(Frame::tagged(9, Vec::new()).tag(), 9);
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        let large: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let sent = large.clone();
        let writer = tokio::spawn(async move {
            for frame in [Frame::plain(Vec::new()), Frame::tagged(7, sent), Frame::plain(b"end".to_vec())] {
                far.write_all(&bytes(&frame)).await.unwrap();
            }
        });
        assert_eq!(read_frame(&mut near, 100, PATIENT).await.unwrap(), b"");
        assert_eq!(read_tagged(&mut near, 1 << 20, PATIENT).await.unwrap(), (7, large));
        assert_eq!(read_frame(&mut near, 100, PATIENT).await.unwrap(), b"end");
        assert!(matches!(read_frame(&mut near, 100, PATIENT).await, Err(FrameError::Closed)));
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn bad_lengths_are_refused_at_once() {
        for (sent, max) in [(u32::MAX, 8 << 20), (101, 100)] {
            let (mut near, mut far) = tokio::io::duplex(64);
            far.write_all(&sent.to_be_bytes()).await.unwrap();
            let error = read_frame(&mut near, max, PATIENT).await.unwrap_err();
            assert!(matches!(error, FrameError::TooLong { bytes, .. } if bytes == sent), "{error}");
        }
        let (mut near, mut far) = tokio::io::duplex(64);
        far.write_all(&[0; 4]).await.unwrap();
        assert!(matches!(read_tagged(&mut near, 9, PATIENT).await, Err(FrameError::TooShort { .. })));
    }

    #[tokio::test]
    async fn a_frame_cut_anywhere_is_an_error() {
        let whole = bytes(&Frame::tagged(1, b"abc".to_vec()));
        for cut in 1..whole.len() {
            let mut part = &whole[..cut];
            assert!(matches!(read_tagged(&mut part, 100, PATIENT).await, Err(FrameError::Truncated)), "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_slowness_end() {
        let patience = Patience { idle: Some(Duration::from_secs(3)), frame: Duration::from_secs(2) };
        let (mut near, mut far) = tokio::io::duplex(64);
        assert!(matches!(read_frame(&mut near, 100, patience).await, Err(FrameError::Idle(_))));
        // One byte a second: each arrives in time, the frame does not.
        tokio::spawn(async move {
            for byte in [0, 0, 0, 50, 1, 2, 3, 4] {
                far.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert!(matches!(read_frame(&mut near, 100, patience).await, Err(FrameError::Slow(_))));
    }

    /// Gives its bytes, then nothing; remembers the largest buffer that it was offered.
    struct Stingy {
        bytes: Vec<u8>,
        offered_max: usize,
    }

    impl AsyncRead for Stingy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.offered_max = self.offered_max.max(buffer.remaining());
            let count = buffer.remaining().min(self.bytes.len());
            buffer.put_slice(&self.bytes[..count]);
            self.bytes.drain(..count);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn memory_follows_what_has_arrived() {
        for (arrived, memory_max) in [(100, FIRST_BYTES_MAX), (1 << 20, 1 << 20)] {
            let mut bytes = (8_u32 << 20).to_be_bytes().to_vec();
            bytes.resize(4 + arrived, 1);
            let mut reader = Stingy { bytes, offered_max: 0 };
            assert!(matches!(read_frame(&mut reader, 8 << 20, PATIENT).await, Err(FrameError::Truncated)));
            assert!(reader.offered_max <= memory_max, "{} for {arrived}", reader.offered_max);
        }
    }

    #[test]
    fn a_frame_departs_or_is_withdrawn_never_both() {
        let ticket = Ticket::default();
        let frame = Frame::plain(Vec::new()).with_ticket(ticket.clone());
        assert!(frame.depart());
        assert!(!ticket.withdraw());
        let ticket = Ticket::default();
        let frame = Frame::plain(Vec::new()).with_ticket(ticket.clone());
        assert!(ticket.withdraw() && ticket.withdraw());
        assert!(!frame.depart());
    }
}
