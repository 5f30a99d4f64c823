//! What travels between a node and the relay after the handshake: tagged frames, some of them the relay's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::{LIMIT, block_on};
use raftbank_wire::control::{Control, TAG};
use raftbank_wire::frame::{Frame, PEER_BYTES_MAX, Patience, read_tagged};

fuzz_target!(|bytes: &[u8]| block_on(async {
    let mut rest = bytes;
    let patience = Patience { idle: Some(LIMIT), frame: LIMIT };
    loop {
        let before = rest;
        let Ok((tag, payload)) = read_tagged(&mut rest, PEER_BYTES_MAX, patience).await else { break };
        let read = &before[..before.len() - rest.len()];
        if tag == TAG
            && let Some(control) = Control::parse(&payload)
        {
            assert_eq!(control.frame().into_bytes(), read);
        }
        let frame = Frame::tagged(tag, payload);
        assert_eq!((frame.tag(), frame.wire_bytes()), (tag, read.len()));
        assert_eq!(frame.into_bytes(), read);
    }
}));
