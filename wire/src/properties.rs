//! What must be true of every frame, handshake, request and reply: no bytes break a decoder, every value survives, and
//! every value has one spelling.
#![allow(clippy::unwrap_used)]

mod api;
mod frames;
mod values;
