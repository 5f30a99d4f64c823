//! What a client sends on a Unix socket: its hello, and frames with a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::{LIMIT, block_on, canonical};
use raftbank_wire::{api::ApiRequest, frame::REQUEST_BYTES_MAX, fuzzing};

fuzz_target!(|bytes: &[u8]| {
    if let Some((body, frame)) = fuzzing::request(bytes) {
        assert_eq!(frame[4..], *bytes);
        canonical::<ApiRequest>(body, REQUEST_BYTES_MAX.into());
    }
    if let Some(said) = block_on(fuzzing::client_hello(bytes, LIMIT)) {
        assert!(bytes.starts_with(&said), "another spelling of a hello was accepted");
    }
});
