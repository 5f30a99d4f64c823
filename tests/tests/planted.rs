//! Planted bugs stay out of what ships.
#![allow(clippy::unwrap_used)]

use raftbank_planted::{Bug, VARIABLE};
use raftbank_tests::binaries::program;
use raftbank_tests::mutants::table;

#[test]
fn shipped_programs_have_no_trace_of_them() {
    for name in ["raftbankd", "raftbank-relayd"] {
        let bytes = std::fs::read(program(name).unwrap()).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds(name), "the program's own name is in it");
        assert!(!holds(VARIABLE) && !holds("raftbank_planted"), "{name} was built with planted bugs");
    }
}

#[test]
fn somebody_hunts_each_of_them() {
    for bug in Bug::ALL {
        assert!(!table::hunters(bug).is_empty(), "{}", bug.name());
    }
}
