//! Frames, handshakes and typed clients on Unix and TCP sockets.
//!
//! Shapes, not meaning: what a message says is the business of those who exchange it.
#![forbid(unsafe_code)]

pub mod api;
