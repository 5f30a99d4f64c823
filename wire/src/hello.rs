//! The handshakes: of a node with the relay, and of a client with a Unix socket.
//!
//! Both sides begin with a frame of an 8-byte magic, the protocol's version (`u16`, big-endian) and a body. Magic and
//! version are read before the body, so that programs of different versions refuse each other in words.

use std::io;
use std::time::Duration;

use raftbank_codec::{decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::frame::{Frame, FrameError, HANDSHAKE_BYTES_MAX, Patience, read_frame};

/// Version of the protocol between a node and the relay.
pub const LINK_PROTOCOL: u16 = 1;
/// Version of the protocol on Unix sockets.
pub const API_PROTOCOL: u16 = 1;

pub(crate) const LINK_MAGIC: [u8; 8] = *b"rbnklink";
pub(crate) const API_MAGIC: [u8; 8] = *b"rbnk-api";
const PREFIX_BYTES: usize = 10;

/// Who a node is. The first frame of a node to the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Hash of block 0.
    pub cluster_id: [u8; 32],
    /// The node's id.
    pub node: String,
    /// All members in the order of the genesis file; frames name them by position.
    pub members: Vec<String>,
    /// The random number that the node's data folder was born with.
    pub incarnation: u64,
    /// Name and version, such as `raftbankd/0.1.0`.
    pub software: String,
}

/// The relay's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Come in.
    Welcome {
        /// Positions of the members that are connected, the new one not included.
        connected: Vec<u8>,
    },
    /// Stay out.
    Refuse {
        /// For programs: `other_cluster`, `other_members`, `not_a_member`, `already_connected`, `protocol`, …
        code: String,
        /// For people.
        message: String,
    },
}

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientHello {
    /// Name and version.
    pub software: String,
}

/// The answer to [`ClientHello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServerHello {
    /// Come in.
    Welcome { software: String, in_flight_max: u32 },
    /// Stay out.
    Refuse { code: String, message: String },
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HelloError {
    /// No whole frame arrived.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side speaks something else.
    #[error("the other side does not speak raftbank's protocol here")]
    Foreign,
    /// The other side speaks another version.
    #[error("the other side speaks version {theirs} of the protocol and this one version {ours}: use the same release")]
    Version {
        /// The other side's.
        theirs: u16,
        /// This side's.
        ours: u16,
    },
    /// The body is malformed.
    #[error("the handshake is malformed: {0}")]
    Malformed(#[from] raftbank_codec::CodecError),
    /// The answer could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HelloError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Frame(FrameError::Slow(_) | FrameError::Idle(_)) => "handshake_timeout",
            Self::Frame(FrameError::TooLong { .. }) => "frame_too_long",
            Self::Version { .. } => "protocol",
            _ => "bad_handshake",
        }
    }
}

/// The relay's side: reads a node's [`Hello`] within `limit`.
///
/// # Errors
/// See [`HelloError`].
pub async fn read_hello<R: AsyncRead + Unpin>(reader: &mut R, limit: Duration) -> Result<Hello, HelloError> {
    read(reader, LINK_MAGIC, LINK_PROTOCOL, limit).await
}

/// The relay's side: writes its answer within `limit`.
///
/// # Errors
/// The socket's.
pub async fn write_answer<W>(writer: &mut W, answer: &Answer, limit: Duration) -> Result<(), HelloError>
where
    W: AsyncWrite + Unpin,
{
    write(writer, LINK_MAGIC, LINK_PROTOCOL, answer, limit).await
}

/// The node's side: says hello and reads the answer, within `limit`.
///
/// # Errors
/// See [`HelloError`].
pub async fn greet<S>(stream: &mut S, hello: &Hello, limit: Duration) -> Result<Answer, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write(stream, LINK_MAGIC, LINK_PROTOCOL, hello, limit).await?;
    read(stream, LINK_MAGIC, LINK_PROTOCOL, limit).await
}

pub(crate) async fn read_client_hello<R>(reader: &mut R, limit: Duration) -> Result<ClientHello, HelloError>
where
    R: AsyncRead + Unpin,
{
    read(reader, API_MAGIC, API_PROTOCOL, limit).await
}

pub(crate) async fn write_server_hello<W>(
    writer: &mut W,
    hello: &ServerHello,
    limit: Duration,
) -> Result<(), HelloError>
where
    W: AsyncWrite + Unpin,
{
    write(writer, API_MAGIC, API_PROTOCOL, hello, limit).await
}

pub(crate) async fn greet_server<S>(
    stream: &mut S,
    hello: &ClientHello,
    limit: Duration,
) -> Result<ServerHello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    write(stream, API_MAGIC, API_PROTOCOL, hello, limit).await?;
    read(stream, API_MAGIC, API_PROTOCOL, limit).await
}

async fn read<R, T>(reader: &mut R, magic: [u8; 8], ours: u16, limit: Duration) -> Result<T, HelloError>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let patience = Patience { idle: Some(limit), frame: limit };
    parse(&read_frame(reader, HANDSHAKE_BYTES_MAX, patience).await?, magic, ours)
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], magic: [u8; 8], ours: u16) -> Result<T, HelloError> {
    let Some((prefix, body)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Err(HelloError::Foreign) };
    if prefix[..8] != magic {
        return Err(HelloError::Foreign);
    }
    let theirs = u16::from_be_bytes([prefix[8], prefix[9]]);
    if theirs != ours {
        return Err(HelloError::Version { theirs, ours });
    }
    Ok(decode(body, u64::from(HANDSHAKE_BYTES_MAX))?)
}

async fn write<W, T>(writer: &mut W, magic: [u8; 8], version: u16, body: &T, limit: Duration) -> Result<(), HelloError>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    let frame = Frame::plain(spell(magic, version, body)).into_bytes();
    let write = async {
        writer.write_all(&frame).await?;
        writer.flush().await
    };
    timeout(limit, write).await.map_err(|_| FrameError::Slow(limit))??;
    Ok(())
}

pub(crate) fn spell<T: Serialize>(magic: [u8; 8], version: u16, body: &T) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend(encode(body));
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn hello() -> Hello {
        Hello {
            cluster_id: [0xc1; 32],
            node: "n2".into(),
            members: vec!["n1".into(), "n2".into()],
            incarnation: 0x0102_0304_0506_0708,
            software: "raftbankd/9".into(),
        }
    }

    #[test]
    fn golden_bytes() {
        let mut golden = b"rbnklink\x00\x01".to_vec();
        golden.extend([0xc1; 32]);
        golden.extend(b"\x02\0\0\0\0\0\0\0n2");
        golden.extend(b"\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0n1\x02\0\0\0\0\0\0\0n2");
        golden.extend([8, 7, 6, 5, 4, 3, 2, 1]);
        golden.extend(b"\x0b\0\0\0\0\0\0\0raftbankd/9");
        assert_eq!(spell(LINK_MAGIC, LINK_PROTOCOL, &hello()), golden);

        let welcome = Answer::Welcome { connected: vec![0, 2] };
        assert_eq!(spell(LINK_MAGIC, LINK_PROTOCOL, &welcome), b"rbnklink\x00\x01\0\0\0\0\x02\0\0\0\0\0\0\0\x00\x02");
        let refuse = Answer::Refuse { code: "c".into(), message: "m".into() };
        assert_eq!(
            spell(LINK_MAGIC, LINK_PROTOCOL, &refuse),
            b"rbnklink\x00\x01\x01\0\0\0\x01\0\0\0\0\0\0\0c\x01\0\0\0\0\0\0\0m"
        );
        assert_eq!(
            spell(API_MAGIC, API_PROTOCOL, &ClientHello { software: "s".into() }),
            b"rbnk-api\x00\x01\x01\0\0\0\0\0\0\0s"
        );
        assert_eq!(
            spell(API_MAGIC, API_PROTOCOL, &ServerHello::Welcome { software: "s".into(), in_flight_max: 5 }),
            b"rbnk-api\x00\x01\0\0\0\0\x01\0\0\0\0\0\0\0s\x05\0\0\0"
        );
        assert_eq!(
            spell(API_MAGIC, API_PROTOCOL, &ServerHello::Refuse { code: "c".into(), message: "m".into() }),
            b"rbnk-api\x00\x01\x01\0\0\0\x01\0\0\0\0\0\0\0c\x01\0\0\0\0\0\0\0m"
        );
    }

    #[tokio::test]
    async fn both_sides_understand_each_other() {
        let (mut node, mut relay) = tokio::io::duplex(64);
        let answer = Answer::Welcome { connected: vec![0] };
        let sent = answer.clone();
        let task = tokio::spawn(async move {
            let hello = read_hello(&mut relay, LIMIT).await.unwrap();
            write_answer(&mut relay, &sent, LIMIT).await.unwrap();
            hello
        });
        assert_eq!(greet(&mut node, &hello(), LIMIT).await.unwrap(), answer);
        assert_eq!(task.await.unwrap(), hello());
    }

    #[tokio::test]
    async fn others_are_told_apart() {
        let attempt = async |bytes: Vec<u8>| {
            let (mut node, mut relay) = tokio::io::duplex(8_192);
            node.write_all(&bytes).await.unwrap();
            read_hello(&mut relay, LIMIT).await.unwrap_err()
        };
        let framed = |bytes: Vec<u8>| Frame::plain(bytes).into_bytes();
        let error = attempt(framed(spell(LINK_MAGIC, 7, &hello()))).await;
        assert!(matches!(error, HelloError::Version { theirs: 7, ours: LINK_PROTOCOL }), "{error}");
        let error = attempt(framed(spell(API_MAGIC, API_PROTOCOL, &hello()))).await;
        assert!(matches!(error, HelloError::Foreign), "{error}");
        let error = attempt(framed(b"short".to_vec())).await;
        assert!(matches!(error, HelloError::Foreign), "{error}");
        let mut cut = spell(LINK_MAGIC, LINK_PROTOCOL, &hello());
        cut.pop();
        assert!(matches!(attempt(framed(cut)).await, HelloError::Malformed(_)));
        let error = attempt(b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;
        assert!(matches!(error, HelloError::Frame(FrameError::TooLong { .. })), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_handshake() {
        let (_node, mut relay) = tokio::io::duplex(64);
        assert_eq!(read_hello(&mut relay, LIMIT).await.unwrap_err().code(), "handshake_timeout");
        // The other side neither reads nor answers.
        let (mut node, _relay) = tokio::io::duplex(16);
        assert_eq!(greet(&mut node, &hello(), LIMIT).await.unwrap_err().code(), "handshake_timeout");
    }
}
