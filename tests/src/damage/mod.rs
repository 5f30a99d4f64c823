//! Damaged folders: every damage to a stopped node's files is found and refused with advice, or has no effect, and
//! `--rejoin` brings the node back from its peers.
//!
//! [`templates`] are folders of real nodes; [`kinds`] damages a copy; [`judge`] opens it as the daemon does and compares
//! everything it says, in processes of [`pool`]; [`real`] puts a sample before the programs themselves; [`directed`]
//! alters single rows. [`run`] is all of it.

pub mod directed;
pub mod files;
pub mod judge;
pub mod kinds;
pub mod mark;
pub mod picture;
pub mod pool;
pub mod real;
pub mod run;
pub mod templates;
