//! Which hunters look for which bug, in this order; and which bugs of the lists cannot exist here.

use raftbank_planted::Bug;

use super::Hunter;

/// Who looks for it. Quick and certain ones first.
pub fn hunters(bug: Bug) -> &'static [Hunter] {
    use Hunter::{Core, Scenes};
    match bug {
        Bug::NoCheckQuorum | Bug::NoPreVote => &[Scenes],
        _ => &[Core],
    }
}

/// What was asked for and cannot be planted here, with the reason.
pub const IMPOSSIBLE: [(&str, &str); 0] = [];
