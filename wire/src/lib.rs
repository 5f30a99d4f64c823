//! Frames, handshakes and typed clients on Unix and TCP sockets. Knows the shapes of messages, not their meaning.
#![forbid(unsafe_code)]

pub mod api;
