//! What a server sends on a Unix socket: its hello, and frames with a reply.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::{LIMIT, block_on, canonical};
use raftbank_wire::{api::ApiReply, frame::REPLY_BYTES_MAX, fuzzing};

fuzz_target!(|bytes: &[u8]| {
    if let Some((body, frame)) = fuzzing::reply(bytes) {
        assert_eq!(frame[4..], *bytes);
        canonical::<ApiReply>(body, REPLY_BYTES_MAX.into());
    }
    if let Some(said) = block_on(fuzzing::server_hello(bytes, LIMIT)) {
        assert!(bytes.starts_with(&said), "another spelling of a hello was accepted");
    }
});
