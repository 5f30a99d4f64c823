//! Bugs that can be planted into the bank, one at a time, to see whether its tests catch them. Real replicated systems
//! have shipped each of them, or one much like it.
//!
//! The other crates ask [`is`] only with their feature `planted-bugs`, which no shipped build has.
#![forbid(unsafe_code)]

mod bugs;

use std::sync::atomic::{AtomicU8, Ordering};

pub use bugs::Bug;

/// Names the planted bug of a process that was not told otherwise.
pub const VARIABLE: &str = "RAFTBANK_PLANTED_BUG";

const NONE: u8 = 0;
const UNREAD: u8 = u8::MAX;

static SELECTED: AtomicU8 = AtomicU8::new(UNREAD);

/// Plants this bug in this process, or none.
pub fn select(bug: Option<Bug>) {
    SELECTED.store(bug.map_or(NONE, Bug::number), Ordering::Relaxed);
}

/// Plants the bug that [`VARIABLE`] names; none if it is not set. Done by itself when [`is`] is first asked.
///
/// # Panics
/// If no bug has that name: a suite that plants nothing would prove nothing.
pub fn select_from_env() {
    let named = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    select(named.map(|name| Bug::find(&name).unwrap_or_else(|| panic!("{VARIABLE}={name}: no bug has that name"))));
}

/// True while this bug is planted.
pub fn is(bug: Bug) -> bool {
    let mut selected = SELECTED.load(Ordering::Relaxed);
    if selected == UNREAD {
        select_from_env();
        selected = SELECTED.load(Ordering::Relaxed);
    }
    selected == bug.number()
}

/// True every other time: what a map's order or a thread's pace decides in a real process.
pub fn flip() -> bool {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_bug_is_planted() {
        for bug in Bug::ALL {
            select(Some(bug));
            assert!(Bug::ALL.into_iter().all(|other| is(other) == (other == bug)));
        }
        select(None);
        assert!(!Bug::ALL.into_iter().any(is));
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for bug in Bug::ALL {
            assert_eq!(Bug::find(bug.name()), Some(bug));
            assert!(bug.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", bug.name());
            assert!(bug.describe().len() > 20);
        }
        assert_eq!(Bug::find("no-such-bug"), None);
    }
}
