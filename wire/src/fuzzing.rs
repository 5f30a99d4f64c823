//! For tests and fuzz targets only: each decoder of this crate that has no public path, followed by its encoder.
//!
//! `respell_…` decodes bytes and encodes what it got; `None` where the bytes are refused.

use std::time::Duration;

use raftbank_codec::encode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ApiReply, ApiRequest};
use crate::control::Control;
use crate::envelope::{LAST, MORE, parse_reply, parse_request};
use crate::frame::{Frame, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::hello::{API_MAGIC, API_PROTOCOL, Answer, ClientHello, Hello, LINK_MAGIC, LINK_PROTOCOL, ServerHello};
use crate::hello::{greet_server, parse, read_client_hello, spell, write_server_hello};

fn respell<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: u32) -> Option<Vec<u8>> {
    raftbank_codec::decode::<T>(bytes, limit.into()).ok().map(|value| encode(&value))
}

fn respell_handshake<T: Serialize + DeserializeOwned>(bytes: &[u8], magic: [u8; 8], version: u16) -> Option<Vec<u8>> {
    parse::<T>(bytes, magic, version).ok().map(|value| spell(magic, version, &value))
}

/// What a client asks.
pub fn respell_request(bytes: &[u8]) -> Option<Vec<u8>> {
    respell::<ApiRequest>(bytes, REQUEST_BYTES_MAX)
}

/// What is answered.
pub fn respell_reply(bytes: &[u8]) -> Option<Vec<u8>> {
    respell::<ApiReply>(bytes, REPLY_BYTES_MAX)
}

/// The request that these bytes are.
pub fn decode_request(bytes: &[u8]) -> Option<ApiRequest> {
    raftbank_codec::decode(bytes, REQUEST_BYTES_MAX.into()).ok()
}

/// What is around a request in its frame.
pub fn respell_request_head(bytes: &[u8]) -> Option<Vec<u8>> {
    let (id, kind, body) = parse_request(bytes)?;
    Some(Frame::numbered(id, kind, body.to_vec()).into_bytes()[4..].to_vec())
}

/// What is around a reply in its frame.
pub fn respell_reply_head(bytes: &[u8]) -> Option<Vec<u8>> {
    let (id, last, body) = parse_reply(bytes)?;
    Some(Frame::numbered(id, if last { LAST } else { MORE }, body.to_vec()).into_bytes()[4..].to_vec())
}

/// The payload of a control frame.
pub fn respell_control(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Control::parse(bytes)?.frame().into_bytes()[5..].to_vec())
}

/// A node's first frame to the relay.
pub fn respell_hello(bytes: &[u8]) -> Option<Vec<u8>> {
    respell_handshake::<Hello>(bytes, LINK_MAGIC, LINK_PROTOCOL)
}

/// The relay's answer.
pub fn respell_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    respell_handshake::<Answer>(bytes, LINK_MAGIC, LINK_PROTOCOL)
}

/// A client's first frame.
pub fn respell_client_hello(bytes: &[u8]) -> Option<Vec<u8>> {
    respell_handshake::<ClientHello>(bytes, API_MAGIC, API_PROTOCOL)
}

/// The server's answer.
pub fn respell_server_hello(bytes: &[u8]) -> Option<Vec<u8>> {
    respell_handshake::<ServerHello>(bytes, API_MAGIC, API_PROTOCOL)
}

/// A node's first frame to the relay, the relay's two answers, a client's first frame and its two answers.
pub fn handshakes() -> [Vec<u8>; 6] {
    let hello = Hello {
        cluster_id: [0xc1; 32],
        node: "n2".into(),
        members: vec!["n1".into(), "n2".into()],
        incarnation: 7,
        software: "raftbankd/9".into(),
    };
    let (code, message, software) = ("c".to_owned(), "m".to_owned(), "s".to_owned());
    let link = |answer| spell(LINK_MAGIC, LINK_PROTOCOL, &answer);
    let api = |answer| spell(API_MAGIC, API_PROTOCOL, &answer);
    [
        spell(LINK_MAGIC, LINK_PROTOCOL, &hello),
        link(Answer::Welcome { connected: vec![0, 2] }),
        link(Answer::Refuse { code: code.clone(), message: message.clone() }),
        spell(API_MAGIC, API_PROTOCOL, &ClientHello { software: software.clone() }),
        api(ServerHello::Welcome { software, in_flight_max: 5 }),
        api(ServerHello::Refuse { code, message }),
    ]
}

/// A client's frame: the encoded rest, and the whole frame as it is written.
pub fn request(frame: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (id, kind, body) = parse_request(frame)?;
    Some((body, Frame::numbered(id, kind, body.to_vec()).into_bytes()))
}

/// A server's frame: the encoded rest, and the whole frame as it is written.
pub fn reply(frame: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (id, last, body) = parse_reply(frame)?;
    let kind = if last { LAST } else { MORE };
    Some((body, Frame::numbered(id, kind, body.to_vec()).into_bytes()))
}

/// A client's hello at the front of `stream`, said again.
pub async fn client_hello(mut stream: &[u8], limit: Duration) -> Option<Vec<u8>> {
    let hello = read_client_hello(&mut stream, limit).await.ok()?;
    let mut said = Vec::new();
    // Nobody answers.
    let _ = greet_server(&mut tokio::io::join(&[][..], &mut said), &hello, limit).await;
    Some(said)
}

/// A server's hello at the front of `stream`, said again.
pub async fn server_hello(stream: &[u8], limit: Duration) -> Option<Vec<u8>> {
    let nobody = ClientHello { software: String::new() };
    let hello = greet_server(&mut tokio::io::join(stream, tokio::io::sink()), &nobody, limit).await.ok()?;
    let mut said = Vec::new();
    write_server_hello(&mut said, &hello, limit).await.ok()?;
    Some(said)
}
