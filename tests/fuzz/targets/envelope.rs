//! What nodes say to each other, and the records in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_consensus::Message;
use raftbank_fuzz::canonical;
use raftbankd::node::message::{Body, Envelope, FRAME_BYTES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let Some(envelope) = canonical::<Envelope>(bytes, FRAME_BYTES_MAX) else { return };
    if let Body::Raft(message) = &envelope.body {
        let again = canonical::<Message>(&raftbank_codec::encode(message), FRAME_BYTES_MAX);
        assert_eq!(again.as_ref(), Some(message));
        assert!(!message.kind().is_empty());
        // Nothing is allocated on the word of a length.
        let entries: usize = message.records().iter().filter_map(|record| record.entry.as_ref()).map(|e| e.len()).sum();
        assert!(entries + 17 * message.records().len() <= bytes.len());
    }
});
