//! Blocks in their canonical bytes, and their hash without decoding them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_ledger::{Block, State, header_hash_of, transaction_root};

fuzz_target!(|bytes: &[u8]| {
    let hash = header_hash_of(bytes);
    let Ok(block) = Block::decode(bytes) else { return };
    assert_eq!(block.encode(), bytes);
    assert_eq!(hash, Ok(block.hash()));
    let _ = transaction_root(&block.entries);
    // A block that may begin a chain begins one with that very hash.
    if let Ok((state, _)) = State::new(&block) {
        assert_eq!(state.cluster_id(), block.hash());
    }
});
