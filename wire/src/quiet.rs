//! A Unix socket in two halves, which waits for room to write only when there is none.
//!
//! The kernel tells whoever listens for room on a Unix socket each time the other side has read something. Tokio's own
//! stream always listens: each answer that is read wakes the server, and each request that is read wakes the client.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as Socket;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// The half that reads.
#[derive(Debug)]
pub struct Reader {
    socket: AsyncFd<Arc<Socket>>,
}

/// The half that writes.
#[derive(Debug)]
pub struct Writer {
    socket: Arc<Socket>,
    /// While there is no room: a second descriptor, for epoll knows each of them once.
    full: Option<AsyncFd<Socket>>,
}

/// Takes a stream apart.
///
/// # Errors
/// The operating system's.
///
/// # Panics
/// Outside a tokio runtime.
pub fn split(stream: UnixStream) -> io::Result<(Reader, Writer)> {
    let socket = Arc::new(stream.into_std()?);
    let reader = Reader { socket: listen(Arc::clone(&socket), Interest::READABLE)? };
    Ok((reader, Writer { socket, full: None }))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that name a descriptor without owning it; these own it"
)]
fn listen<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let wanted = room.len();
            match guard.get_inner().as_ref().read(room) {
                Ok(bytes) => {
                    // Less than there was room for: all is read, and what comes after it is told.
                    if 0 < bytes && bytes < wanted {
                        guard.clear_ready();
                    }
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Writer {
    fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        put: impl Fn(&mut &Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match put(&mut &*self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => {
                    self.full = None;
                    return Poll::Ready(result);
                }
            }
            let full = match self.full.take() {
                Some(full) => full,
                // Tells at once if there is room by now.
                None => listen(self.socket.try_clone()?, Interest::WRITABLE)?,
            };
            // Cleared before the next try: room that comes after that try is told.
            ready!(self.full.insert(full).poll_write_ready(cx))?.clear_ready();
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_put(cx, |socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_put(cx, |socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::{sleep, timeout};

    use super::split;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_does_not_fit_waits_for_room_and_arrives_whole() {
        let (near, far) = UnixStream::pair().unwrap();
        let ((mut reader, _far_writer), (_near_reader, mut writer)) = (split(far).unwrap(), split(near).unwrap());
        let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let whole = sent.clone();
        let writing = tokio::spawn(async move {
            for part in whole.chunks(1_000_000) {
                writer.write_all(part).await.unwrap();
            }
            let waited = writer.full.is_some();
            writer.shutdown().await.unwrap();
            assert!(!waited, "what is written is not waited for");
        });
        // The writer finds no room first.
        sleep(Duration::from_millis(20)).await;
        let mut received = Vec::new();
        timeout(LIMIT, reader.read_to_end(&mut received)).await.expect("no wake-up is lost").unwrap();
        writing.await.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_question_and_an_answer_a_thousand_times() {
        let (near, far) = UnixStream::pair().unwrap();
        let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = (split(near).unwrap(), split(far).unwrap());
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 100];
            loop {
                let count = far_reader.read(&mut bytes).await.unwrap();
                if count == 0 {
                    return;
                }
                far_writer.write_all(&bytes[..count]).await.unwrap();
            }
        });
        for number in 0..1_000_u32 {
            writer.write_all(&number.to_be_bytes()).await.unwrap();
            let mut answer = [0; 4];
            timeout(LIMIT, reader.read_exact(&mut answer)).await.expect("no wake-up is lost").unwrap();
            assert_eq!(u32::from_be_bytes(answer), number);
        }
        assert!(writer.full.is_none(), "there was always room");
        drop((reader, writer));
        timeout(LIMIT, echo).await.expect("the end is noticed").unwrap();
    }

    #[tokio::test]
    async fn a_writer_without_room_notices_that_the_other_side_is_gone() {
        let (near, far) = UnixStream::pair().unwrap();
        let (_reader, mut writer) = split(near).unwrap();
        let writing = tokio::spawn(async move { writer.write_all(&vec![7; 8 << 20]).await });
        sleep(Duration::from_millis(20)).await;
        assert!(!writing.is_finished());
        drop(far);
        assert!(timeout(LIMIT, writing).await.expect("it is told").unwrap().is_err());
    }
}
