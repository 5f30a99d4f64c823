//! Walks a few nodes by hand through the corner cases of Raft. Each file in `tests/scripts/` is one walk: commands, and
//! below `---` what the nodes then said, wrote and decided. That text is the assertion, so it is read before it is kept:
//!
//!     UPDATE_GOLDENFILES=1 cargo test -p raftbank-consensus --test scripts
//!
//! The commands are listed in `script_runner/mod.rs`.
#![allow(clippy::unwrap_used)]

mod script_runner;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

#[test]
fn every_script_reads_as_before() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut failed = Vec::new();
    for script in &scripts {
        let name = script.file_name().unwrap().to_string_lossy().into_owned();
        println!("script {name}");
        match catch_unwind(AssertUnwindSafe(|| goldenscript::run(&mut script_runner::World::default(), script))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name}: {error}")),
            Err(_) => failed.push(format!("{name}: it panicked, or reads differently (see above)")),
        }
    }
    assert!(failed.is_empty(), "{} of {} scripts:\n{}", failed.len(), scripts.len(), failed.join("\n"));
}
