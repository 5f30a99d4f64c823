//! Requests and entries in the ledger's canonical bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_ledger::{Entry, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
        assert_eq!(Request::new(request.id.clone(), request.operation.clone()).as_ref(), Ok(&request));
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(entry) = Entry::decode(bytes) {
        assert_eq!(entry.encode(), bytes);
        assert_eq!(Request::decode(&entry.request.encode()).as_ref(), Ok(&entry.request));
    }
});
