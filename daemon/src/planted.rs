//! Switches of planted bugs. What ships has none: there `planted!` is the constant `false`.

/// True while that bug, or one of those, is planted.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($($bug:ident)|+) => {
        $(raftbank_planted::is(raftbank_planted::Bug::$bug))||+
    };
}

/// Nothing is planted in what ships.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($($bug:ident)|+) => {
        false
    };
}
