use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use raftbank_ledger::{Hash, NodeName};

use super::load;

const BANK: Hash = Hash([3; 32]);

fn n1() -> NodeName {
    NodeName::parse("n1").expect("a name")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_key_is_made_once_for_its_owner_only() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    // What an interrupted start has left is replaced.
    fs::write(dir.path().join("key.new"), "half a k").expect("written");
    let first = load(dir.path(), &BANK, &n1()).expect("made");
    assert!(first.made && first.notes.is_empty());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(first.key.verifier().name(), format!("raftbank/{BANK}/n1"));
    let again = load(dir.path(), &BANK, &n1()).expect("read");
    assert!(!again.made && again.notes.is_empty());
    assert_eq!(again.key.verifier(), first.key.verifier());
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "no temporary file is left");
    // Moved away, there is another one.
    fs::rename(&path, dir.path().join("old")).expect("moved");
    let new = load(dir.path(), &BANK, &n1()).expect("made");
    assert!(new.made);
    assert_ne!(new.key.verifier(), first.key.verifier());
}

#[test]
fn what_others_may_do_with_it_is_taken_away() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    let first = load(dir.path(), &BANK, &n1()).expect("made");
    for wide in [0o640, 0o604, 0o777, 0o660] {
        fs::set_permissions(&path, Permissions::from_mode(wide)).expect("widened");
        let again = load(dir.path(), &BANK, &n1()).expect("read");
        assert_eq!(again.notes.len(), 1, "{wide:o}");
        assert!(again.notes[0].contains(&format!("{wide:04o}")), "{:?}", again.notes);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(again.key.verifier(), first.key.verifier());
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).expect("narrowed");
    assert!(load(dir.path(), &BANK, &n1()).expect("read").notes.is_empty());
}

#[test]
fn every_altered_bit_and_every_cut_is_found_and_shows_nothing_of_the_secret() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    load(dir.path(), &BANK, &n1()).expect("made");
    let good = fs::read(&path).expect("read");
    // PRIVATE+KEY+name+hash+base64, and `+` is a letter of base64.
    let secret = String::from_utf8_lossy(&good).trim().splitn(5, '+').last().expect("base64").to_owned();
    assert!(secret.len() > 40, "{}", secret.len());
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let failure = load(dir.path(), &BANK, &n1()).expect_err("damaged");
        assert_eq!(failure.exit_code(), 6);
        let text = failure.to_string();
        assert!(text.contains("move only this file away") && !text.contains(&secret[4..]), "{text}");
    };
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&bytes);
    }
    for length in 0..good.len() {
        refused(&good[..length]);
    }
    refused(&[good.clone(), good.clone()].concat());
    refused(&vec![b'x'; 1 << 20]);
}

#[test]
fn the_key_of_another_node_or_bank_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    load(dir.path(), &BANK, &n1()).expect("made");
    for (bank, node) in [(BANK, "n2"), (Hash([4; 32]), "n1")] {
        let node = NodeName::parse(node).expect("a name");
        let failure = load(dir.path(), &bank, &node).expect_err("another's");
        assert_eq!(failure.exit_code(), 6);
        assert!(failure.to_string().contains("is the private key of"), "{failure}");
    }
}
