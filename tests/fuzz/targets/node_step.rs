//! A whole node: whatever peers and clients say, it neither panics nor contradicts its store, and answers each once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_fuzz::node;

fuzz_target!(init: node::tolerate_distrust(), |bytes: &[u8]| {
    node::play(bytes);
});
