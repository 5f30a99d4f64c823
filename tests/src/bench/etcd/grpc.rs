//! gRPC as far as one call at a time needs it: HTTP/2 without a library, one connection, one stream after the other.
//!
//! A real client library would take more processor time, on a machine where etcd has to share it. What is left out:
//! headers that arrive are not decoded, since an answer is either one message or, if the server refuses, none; and the
//! windows of flow control are not counted, for the answers of one run stay far below the window that is opened here,
//! and etcd reads every request of a few bytes before it answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames, RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// Largest frame that may arrive, since no other was asked for.
const FRAME_BYTES_MAX: usize = 16_384;
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What the server may send on the whole connection before it is told more: as much as there is, beyond the first 64 KiB.
const WINDOW: u32 = (1 << 31) - 1 - 65_535;
/// Head of a message: a byte that says whether it is compressed, and its length.
const MESSAGE_HEAD: usize = 5;
/// Deadline of each call.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to one member.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    authority: String,
    /// Odd numbers, each used once.
    next: u32,
    out: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects; the server's settings are taken with the first answer.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(TIMEOUT, TcpStream::connect(address)).await.context("connecting to etcd")??;
        stream.set_nodelay(true)?;
        let mut out = PREFACE.to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        let body = Vec::with_capacity(FRAME_BYTES_MAX);
        Ok(Self { stream: BufReader::new(stream), authority: address.to_string(), next: 1, out, body })
    }

    /// One call, and the one message of its answer.
    ///
    /// # Errors
    /// The connection ends, nothing comes in time, or the server answers without a message, which is a refusal.
    pub(crate) async fn call(&mut self, path: &str, message: &[u8]) -> Result<Vec<u8>> {
        timeout(TIMEOUT, self.exchange(path, message)).await.context("no answer from etcd")?
    }

    async fn exchange(&mut self, path: &str, message: &[u8]) -> Result<Vec<u8>> {
        let id = self.next;
        self.next += 2;
        frame(&mut self.out, HEADERS, END_HEADERS, id, &headers(path, &self.authority));
        let mut data = vec![0];
        data.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        data.extend_from_slice(message);
        ensure!(data.len() <= FRAME_BYTES_MAX, "a request of {} bytes", data.len());
        frame(&mut self.out, DATA, END_STREAM, id, &data);
        self.flush().await?;
        let mut answer = Vec::new();
        loop {
            let (kind, flags, stream) = self.read_frame().await?;
            match kind {
                DATA if stream == id => {
                    ensure!(flags & PADDED == 0, "padding is not understood here");
                    answer.extend_from_slice(&self.body);
                    ensure!(answer.len() <= ANSWER_BYTES_MAX, "an answer of more than {ANSWER_BYTES_MAX} bytes");
                }
                SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, &self.body),
                RST_STREAM if stream == id => bail!("etcd gave the call up: {:?}", self.body),
                GOAWAY => bail!("etcd closes the connection: {}", String::from_utf8_lossy(&self.body)),
                _ => {}
            }
            let ends = matches!(kind, DATA | HEADERS) && stream == id && flags & END_STREAM != 0;
            if ends {
                break;
            }
            self.flush().await?;
        }
        let length = answer.get(1..MESSAGE_HEAD).context("etcd refuses the call; its log may say why")?;
        let length = u32::from_be_bytes(length.try_into()?) as usize;
        ensure!(answer[0] == 0 && answer.len() == MESSAGE_HEAD + length, "an answer that is not one plain message");
        Ok(answer.split_off(MESSAGE_HEAD))
    }

    /// Writes what waits. Answers to settings and pings that came with the last frame wait for the next call.
    async fn flush(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.stream.get_mut().write_all(&self.out).await.context("writing to etcd")?;
            self.out.clear();
        }
        Ok(())
    }

    async fn read_frame(&mut self) -> Result<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.context("reading from etcd")?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await.context("reading from etcd")?;
        Ok((head[3], head[4], u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]])))
    }
}

/// Length, kind, flags, stream, content: RFC 9113 section 4.1.
fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    // Lengths are far below 2^24: see the callers.
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
}

/// A header block, RFC 7541: names out of the static table where it has them, nothing remembered, nothing compressed.
fn headers(path: &str, authority: &str) -> Vec<u8> {
    // :method POST, :scheme http
    let mut out = vec![0x83, 0x86];
    let text = |out: &mut Vec<u8>, text: &str| {
        // All are shorter than 127 bytes.
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    };
    out.push(0x04);
    text(&mut out, path);
    out.push(0x01);
    text(&mut out, authority);
    // content-type is number 31: 15 and 16 more.
    out.extend_from_slice(&[0x0f, 0x10]);
    text(&mut out, "application/grpc");
    out.push(0x00);
    text(&mut out, "te");
    text(&mut out, "trailers");
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        frame(&mut out, PING, ACK, 0, &[1; 8]);
        assert_eq!(out, [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    /// A server that greets, then answers with these frames, whatever it is asked.
    async fn answered_by(frames: Vec<u8>) -> Result<Vec<u8>> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serve = async {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(&frames).await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            Ok::<_, anyhow::Error>(rest)
        };
        let ask = async { Connection::open(address).await?.call("/a/b", b"m").await };
        let (served, answer) = tokio::join!(serve, ask);
        if let Ok(rest) = &served {
            assert!(rest.starts_with(PREFACE));
        }
        answer
    }

    #[tokio::test]
    async fn an_answer_in_two_frames_is_one_message() {
        let mut frames = Vec::new();
        frame(&mut frames, SETTINGS, 0, 0, &[]);
        frame(&mut frames, HEADERS, END_HEADERS, 1, &[0x88]);
        frame(&mut frames, DATA, 0, 1, &[0, 0, 0, 0, 3, b'x']);
        frame(&mut frames, PING, 0, 0, &[1; 8]);
        frame(&mut frames, DATA, 0, 1, b"yz");
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, 1, &[]);
        assert_eq!(answered_by(frames).await.unwrap(), b"xyz");
    }

    #[tokio::test]
    async fn no_message_is_a_refusal() {
        let mut frames = Vec::new();
        frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]);
        assert!(answered_by(frames).await.unwrap_err().to_string().contains("refuses"));
        let mut frames = Vec::new();
        frame(&mut frames, GOAWAY, 0, 0, b"00000000why");
        assert!(answered_by(frames).await.unwrap_err().to_string().contains("why"));
        assert!(answered_by(vec![0xff; 9]).await.unwrap_err().to_string().contains("bytes"));
    }
}
