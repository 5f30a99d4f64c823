//! Proof files, keys and export lines: what is accepted prints as what was read, and checking it never panics.
#![no_main]

use std::fmt::Display;

use libfuzzer_sys::fuzz_target;
use raftbank_proofs::{
    BalanceProof, Checkpoint, ConsistencyProof, Keys, Receipt, SignerKey, VerifierKey, block_json, entry_json,
    parse_block, parse_entry,
};

fn same(text: &str, read: &impl Display) {
    assert_eq!(read.to_string(), text);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 9 {
        0 => {
            let Ok(receipt) = Receipt::parse(text) else { return };
            same(text, &receipt);
            drop(receipt.check(None, None));
        }
        1 => {
            let Ok(proof) = BalanceProof::parse(text) else { return };
            same(text, &proof);
            drop(proof.check(None));
        }
        2 => {
            let Ok(proof) = ConsistencyProof::parse(text) else { return };
            same(text, &proof);
            drop(proof.check(&proof.new.head, None));
        }
        3 => {
            if let Ok(checkpoint) = Checkpoint::parse(text) {
                same(text, &checkpoint);
            }
        }
        4 => {
            let Ok(keys) = Keys::parse(text) else { return };
            assert_eq!(Keys::parse(&keys.to_string()).as_ref(), Ok(&keys));
        }
        5 => {
            if let Ok(key) = VerifierKey::parse(text) {
                same(text, &key);
            }
        }
        6 => {
            if let Ok(key) = SignerKey::parse(text) {
                same(text, &key.secret());
            }
        }
        7 => {
            if let Ok(entry) = parse_entry(text) {
                same(text, &entry_json(&entry));
            }
        }
        _ => {
            if let Ok(block) = parse_block(text) {
                same(text, &block_json(&block));
            }
        }
    }
});
