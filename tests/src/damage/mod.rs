//! Damaged folders: every damage to a stopped node's files is found and refused, or has no effect.

pub mod files;
pub mod judge;
pub mod kinds;
pub mod mark;
pub mod picture;
pub mod templates;
