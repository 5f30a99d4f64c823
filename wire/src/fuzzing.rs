//! A way in for the fuzz targets: reads frames of clients and servers and spells them again. Not for programs.

use std::time::Duration;

use crate::envelope::{LAST, MORE, parse_reply, parse_request};
use crate::frame::Frame;
use crate::hello::{ClientHello, greet_server, read_client_hello, write_server_hello};

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
