//! A bounded queue of frames in front of a socket.
//!
//! Bounded by count and by bytes. The writing side takes all that waits and hands it to the socket in one call, so a
//! lone frame leaves at once and a crowd leaves together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::frame::Frame;

/// Most frames handed to the socket in one call (each is up to two slices; Linux takes 1,024).
const BATCH_FRAMES_MAX: usize = 64;
/// Most bytes handed to the socket in one call, unless one frame alone has more.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// So many bytes in all are copied together: cheaper than a slice for each part of each frame.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Why a frame was not taken. Not one byte of it will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The queue is full.
    Full,
    /// The queue is closed.
    Closed,
}

/// The queue; shared by whoever sends and the one task that writes.
#[derive(Debug)]
pub struct Queue {
    frames_max: usize,
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// A frame waits, or the queue was closed.
    ready: Notify,
    /// Frames have left, or the queue was closed.
    room: Notify,
    /// The same for threads. Told only if some wait, for it is a call of the system each time.
    room_for_threads: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    /// Threads in [`Queue::push_blocking`] that wait for room. To wake nobody is a system call as well.
    threads: usize,
}

impl Queue {
    /// A queue of at most so many frames with so many bytes. A single frame above `bytes_max` fits into an empty queue.
    pub fn new(frames_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            frames_max,
            bytes_max,
            inner: Mutex::default(),
            ready: Notify::new(),
            room: Notify::new(),
            room_for_threads: Condvar::new(),
        })
    }

    /// Appends a frame, if there is room.
    ///
    /// # Errors
    /// The queue is full or closed.
    pub fn push(&self, frame: Frame) -> Result<(), Rejected> {
        self.put(frame, false).map_err(|(_, rejected)| rejected)
    }

    /// As [`Queue::push`]; gives the frame back if it is not taken.
    ///
    /// # Errors
    /// The frame: the queue is full or closed.
    pub(crate) fn offer(&self, frame: Frame) -> Result<(), Frame> {
        self.put(frame, false).map_err(|(frame, _)| frame)
    }

    /// Appends a frame even to a full queue; for senders that are bounded in another way.
    ///
    /// # Errors
    /// The queue is closed.
    pub fn push_over(&self, frame: Frame) -> Result<(), Rejected> {
        self.put(frame, true).map_err(|(_, rejected)| rejected)
    }

    /// Appends a frame as soon as there is room.
    ///
    /// # Errors
    /// The queue is closed. Waiting is the caller's to limit; giving up is safe.
    pub async fn push_wait(&self, mut frame: Frame) -> Result<(), Rejected> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that room made between the look and the wait is not missed.
            room.as_mut().enable();
            match self.put(frame, false) {
                Err((back, Rejected::Full)) => frame = back,
                Err((_, Rejected::Closed)) => return Err(Rejected::Closed),
                Ok(()) => return Ok(()),
            }
            room.await;
        }
    }

    /// As [`Queue::push_wait`], for a thread, and for at most `limit`.
    ///
    /// # Errors
    /// The queue is closed, or still full after `limit`.
    pub fn push_blocking(&self, frame: Frame, limit: Duration) -> Result<(), Rejected> {
        let deadline = Instant::now() + limit;
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return Err(Rejected::Closed);
            }
            if self.has_room(&inner, &frame) {
                inner.add(frame);
                drop(inner);
                self.ready.notify_one();
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Rejected::Full);
            }
            inner.threads += 1;
            inner = self.room_for_threads.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.threads -= 1;
        }
    }

    /// Removes the waiting frames that `keep` does not want, and tells how many.
    pub fn retain(&self, mut keep: impl FnMut(&Frame) -> bool) -> usize {
        let mut inner = self.lock();
        let before = inner.frames.len();
        inner.frames.retain(|frame| keep(frame));
        inner.bytes = inner.frames.iter().map(Frame::wire_bytes).sum();
        let removed = before - inner.frames.len();
        if removed > 0 {
            self.made_room(inner);
        }
        removed
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.lock().frames.len()
    }

    /// No frame waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes no more frames; those that wait are still written.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        self.made_room(inner);
        self.ready.notify_one();
    }

    /// Takes no more frames and drops those that wait.
    pub fn discard(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.bytes = 0;
        inner.frames.clear();
        self.made_room(inner);
        self.ready.notify_one();
    }

    /// No more frames are taken.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Writes frames until the queue is closed and empty. One task at a time.
    ///
    /// # Errors
    /// The socket's, or `TimedOut` when the other side takes no byte for `stall`.
    pub async fn write_to<W: AsyncWrite + Unpin>(&self, writer: &mut W, stall: Duration) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            if self.take(&mut batch) {
                return Ok(());
            }
            if batch.is_empty() {
                self.ready.notified().await;
                continue;
            }
            write_batch(writer, &batch, stall).await?;
            batch.clear();
            // A thread that fills the queue as quickly as it is emptied must not keep this one for itself.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Fills `batch` from the front. True: closed and empty.
    fn take(&self, batch: &mut Vec<Frame>) -> bool {
        let mut inner = self.lock();
        let (before, mut bytes) = (inner.frames.len(), 0);
        while let Some(frame) = inner.frames.front() {
            if batch.len() == BATCH_FRAMES_MAX || (bytes > 0 && bytes + frame.wire_bytes() > BATCH_BYTES_MAX) {
                break;
            }
            let Some(frame) = inner.frames.pop_front() else { break };
            inner.bytes -= frame.wire_bytes();
            if frame.depart() {
                bytes += frame.wire_bytes();
                batch.push(frame);
            }
        }
        let over = inner.closed && inner.frames.is_empty() && batch.is_empty();
        if before > inner.frames.len() {
            self.made_room(inner);
        }
        over
    }

    fn put(&self, frame: Frame, over: bool) -> Result<(), (Frame, Rejected)> {
        let mut inner = self.lock();
        if inner.closed {
            return Err((frame, Rejected::Closed));
        }
        if !over && !self.has_room(&inner, &frame) {
            return Err((frame, Rejected::Full));
        }
        inner.add(frame);
        drop(inner);
        self.ready.notify_one();
        Ok(())
    }

    fn has_room(&self, inner: &Inner, frame: &Frame) -> bool {
        inner.frames.is_empty()
            || (inner.frames.len() < self.frames_max && inner.bytes + frame.wire_bytes() <= self.bytes_max)
    }

    /// Wakes whoever waits for room, once the lock is free.
    fn made_room(&self, inner: MutexGuard<'_, Inner>) {
        let threads = inner.threads;
        drop(inner);
        self.room.notify_waiters();
        if threads > 0 {
            self.room_for_threads.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and the queue is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, frame: Frame) {
        self.bytes += frame.wire_bytes();
        self.frames.push_back(frame);
    }
}

/// Writes all frames; `stall` limits the time without progress.
async fn write_batch<W: AsyncWrite + Unpin>(writer: &mut W, batch: &[Frame], stall: Duration) -> io::Result<()> {
    let bytes: usize = batch.iter().map(Frame::wire_bytes).sum();
    if bytes <= COPIED_BYTES_MAX {
        let mut whole = Vec::with_capacity(bytes);
        batch.iter().flat_map(Frame::slices).for_each(|slice| whole.extend_from_slice(&slice));
        let mut left = &whole[..];
        while !left.is_empty() {
            let written = timeout(stall, writer.write(left)).await.map_err(|_| stalled(stall))??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[written..];
        }
        return timeout(stall, writer.flush()).await.map_err(|_| stalled(stall))?;
    }
    let mut slices: Vec<IoSlice<'_>> = batch.iter().flat_map(Frame::slices).collect();
    let mut left = &mut slices[..];
    // Removes empty slices at the front.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = timeout(stall, writer.write_vectored(left)).await.map_err(|_| stalled(stall))??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    timeout(stall, writer.flush()).await.map_err(|_| stalled(stall))?
}

fn stalled(stall: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the other side took nothing for {stall:?}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Queue, Rejected};
    use crate::frame::{Frame, Patience, Ticket, read_frame, read_tagged};

    const PATIENT: Patience = Patience { idle: Some(Duration::from_secs(60)), frame: Duration::from_secs(60) };
    const STALL: Duration = Duration::from_secs(5);

    fn frame(bytes: usize) -> Frame {
        Frame::plain(vec![7; bytes - 4])
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let queue = Queue::new(3, 100);
        for _ in 0..3 {
            queue.push(frame(10)).unwrap();
        }
        assert_eq!(queue.push(frame(10)), Err(Rejected::Full));
        queue.push_over(frame(10)).unwrap();
        assert_eq!((queue.len(), queue.bytes()), (4, 40));

        let queue = Queue::new(100, 100);
        queue.push(frame(60)).unwrap();
        assert_eq!(queue.push(frame(41)), Err(Rejected::Full));
        queue.push(frame(40)).unwrap();

        let queue = Queue::new(100, 100);
        queue.push(frame(1_000)).unwrap(); // alone it may be larger, or it could never be sent
        assert_eq!(queue.push(frame(5)), Err(Rejected::Full));
        queue.close();
        assert_eq!(queue.push(frame(5)), Err(Rejected::Closed));
        assert_eq!(queue.push_over(frame(5)), Err(Rejected::Closed));
        assert_eq!(queue.push_blocking(frame(5), STALL), Err(Rejected::Closed));
    }

    #[test]
    fn frames_can_be_taken_back_while_they_wait() {
        let queue = Queue::new(10, 1_000);
        for tag in [1, 2, 1, 3] {
            queue.push(Frame::tagged(tag, vec![0; 5])).unwrap();
        }
        assert_eq!(queue.retain(|frame| frame.tag() != 1), 2);
        assert_eq!((queue.len(), queue.bytes()), (2, 20));
    }

    #[tokio::test]
    async fn everything_arrives_in_order_and_the_writer_ends() {
        let queue = Queue::new(1_000, 10 << 20);
        let (mut near, mut far) = tokio::io::duplex(300);
        let writer = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.write_to(&mut far, STALL).await })
        };
        let sizes: Vec<usize> = (0..300).map(|n| n * 37 % 2_000).collect();
        for (number, size) in sizes.iter().enumerate() {
            queue.push(Frame::tagged(number as u8, vec![number as u8; *size])).unwrap();
        }
        queue.close();
        for (number, size) in sizes.iter().enumerate() {
            let expected = (number as u8, vec![number as u8; *size]);
            assert_eq!(read_tagged(&mut near, 5_000, PATIENT).await.unwrap(), expected);
        }
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_withdrawn_is_not_written() {
        let queue = Queue::new(10, 1_000);
        let tickets = [Ticket::default(), Ticket::default()];
        for (ticket, text) in tickets.iter().zip([b"one", b"two"]) {
            queue.push(Frame::plain(text.to_vec()).with_ticket(ticket.clone())).unwrap();
        }
        assert!(tickets[0].withdraw());
        queue.close();
        let (mut near, mut far) = tokio::io::duplex(300);
        queue.write_to(&mut far, STALL).await.unwrap();
        assert_eq!(read_frame(&mut near, 100, PATIENT).await.unwrap(), b"two");
        assert!(!tickets[1].withdraw());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_ends_the_writer() {
        let queue = Queue::new(10, 1_000);
        let (_near, mut far) = tokio::io::duplex(10);
        queue.push(frame(100)).unwrap();
        let error = queue.write_to(&mut far, STALL).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn senders_wait_for_room() {
        let queue = Queue::new(2, 1_000);
        let sender = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                for _ in 0..100 {
                    queue.push_wait(frame(10)).await.unwrap();
                }
            })
        };
        let thread = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || (0..100).try_for_each(|_| queue.push_blocking(frame(10), STALL)))
        };
        let (mut near, mut far) = tokio::io::duplex(64);
        let writer = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.write_to(&mut far, STALL).await })
        };
        for _ in 0..200 {
            read_frame(&mut near, 100, PATIENT).await.unwrap();
            assert!(queue.len() <= 2);
        }
        sender.await.unwrap();
        thread.join().unwrap().unwrap();
        queue.close();
        writer.await.unwrap().unwrap();
        assert_eq!(queue.push_wait(frame(10)).await, Err(Rejected::Closed));
    }

    #[test]
    fn a_thread_gives_up_after_its_limit() {
        let queue = Queue::new(1, 1_000);
        queue.push(frame(10)).unwrap();
        assert_eq!(queue.push_blocking(frame(10), Duration::from_millis(1)), Err(Rejected::Full));
    }
}
