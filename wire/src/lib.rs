//! Frames, handshakes and typed clients on Unix and TCP sockets.
//!
//! Shapes, not meaning: what a message says is the business of those who exchange it.
//!
//! - [`frame`] and [`queue`]: bounded frames, and bounded queues of them in front of a socket.
//! - [`api`], [`client`], [`server`]: what clients ask on Unix sockets, and both ends of that.
//! - [`hello`], [`control`], [`link`]: the TCP connection of a node to the relay.
//! - [`groups`]: how a partition is spelled.
#![forbid(unsafe_code)]

pub mod api;
#[doc(hidden)]
pub mod bytes;
pub mod client;
pub mod control;
mod envelope;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod groups;
pub mod hello;
pub mod link;
#[cfg(test)]
mod properties;
pub mod queue;
mod quiet;
pub mod retry;
pub mod server;
