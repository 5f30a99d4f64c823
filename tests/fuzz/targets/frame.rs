//! Frames and handshakes, as they arrive on a socket: what is accepted is spelled as the writer spells it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::{LIMIT, block_on};
use raftbank_wire::frame::{Frame, FrameError, HANDSHAKE_BYTES_MAX, Patience, read_frame, read_tagged};
use raftbank_wire::hello::{Hello, greet, read_hello, write_answer};

const MAX: u32 = 1 << 16;
const PATIENCE: Patience = Patience { idle: Some(LIMIT), frame: LIMIT };

fuzz_target!(|input: &[u8]| block_on(async {
    let Some((kind, bytes)) = input.split_first() else { return };
    let tagged = kind % 2 == 1;
    let mut rest = bytes;
    loop {
        let before = rest;
        let read = if tagged {
            read_tagged(&mut rest, MAX, PATIENCE).await.map(|(tag, body)| Frame::tagged(tag, body))
        } else {
            read_frame(&mut rest, MAX, PATIENCE).await.map(Frame::plain)
        };
        match read {
            Ok(frame) => assert_eq!(frame.into_bytes(), before[..before.len() - rest.len()]),
            Err(FrameError::Closed) => break assert!(before.is_empty()),
            Err(FrameError::TooLong { bytes, max }) => break assert!(bytes > MAX && max == MAX),
            Err(FrameError::TooShort { bytes, .. }) => break assert!(tagged && bytes == 0),
            Err(FrameError::Truncated) => break assert!(before.len() < 4 + MAX as usize && rest.is_empty()),
            Err(error) => panic!("a slice in memory is neither slow nor broken: {error}"),
        }
    }
    // A node's hello, read by the relay; what is read is said again in the same bytes.
    let mut rest = bytes;
    if let Ok(hello) = read_hello(&mut rest, LIMIT).await {
        let mut said = Vec::new();
        let _ = greet(&mut tokio::io::join(&[][..], &mut said), &hello, LIMIT).await;
        assert_eq!(said, bytes[..bytes.len() - rest.len()]);
        assert!(said.len() <= 4 + HANDSHAKE_BYTES_MAX as usize);
    }
    // The relay's answer, read by a node.
    let none =
        Hello { cluster_id: [0; 32], node: String::new(), members: vec![], incarnation: 0, software: String::new() };
    let mut rest = bytes;
    if let Ok(answer) = greet(&mut tokio::io::join(&mut rest, tokio::io::sink()), &none, LIMIT).await {
        let mut said = Vec::new();
        write_answer(&mut said, &answer, LIMIT).await.expect("memory takes everything");
        assert_eq!(said, bytes[..bytes.len() - rest.len()]);
    }
}));
