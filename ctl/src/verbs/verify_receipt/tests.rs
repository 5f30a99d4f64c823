//! No altered bit goes unseen, and none is taken for wrong usage.

use std::path::{Path, PathBuf};

use raftbank_ledger::Entry;
use raftbank_proofs::{Keys, parse_entry};

use super::check;

fn read(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name);
    std::fs::read_to_string(path).expect("a vector")
}

fn keys() -> Keys {
    Keys::parse(&read("keys.txt")).expect("keys")
}

/// The receipt that holds only its request's hash, and the request.
fn long() -> (String, Entry) {
    let request = parse_entry(read("request-long.json").trim_end()).expect("a request");
    let name = format!("receipt-{}.txt", request.request.id);
    (read(&name), request)
}

#[test]
fn every_altered_bit_is_exit_code_6() {
    let (long, request) = long();
    let files = [(long, Some(&request)), (read("checkpoint-9.txt"), None)];
    for (text, request) in files {
        check(Path::new("f"), &text, request, &keys()).expect("proven");
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is not UTF-8 is refused when the file is read.
            let Ok(altered) = String::from_utf8(bytes) else { continue };
            let failure = check(Path::new("f"), &altered, request, &keys()).expect_err("altered");
            assert_eq!(failure.exit_code(), 6, "bit {bit} of {text}: {failure:?}");
        }
    }
}

#[test]
fn a_long_request_has_to_be_given() {
    let (text, request) = long();
    let failure = check(Path::new("f"), &text, None, &keys()).expect_err("without its request");
    assert_eq!((failure.exit_code(), failure.code.as_str()), (2, "request_needed"));
    let proven = check(Path::new("f"), &text, Some(&request), &keys()).expect("proven");
    assert_eq!(proven.fields["request"]["id"], request.request.id.as_str());
    let failure = check(Path::new("f"), &read("receipt-r4.txt"), Some(&request), &keys()).expect_err("another request");
    assert_eq!(failure.exit_code(), 6);
    let failure = check(Path::new("f"), &read("checkpoint-9.txt"), Some(&request), &keys()).expect_err("no receipt");
    assert_eq!(failure.exit_code(), 2);
}
