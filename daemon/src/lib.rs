//! One node of a raftbank.
//!
//! [`node`] is what a node does, as a state machine without I/O; [`driver`] orders its events and actions; [`runtime`] is the shell of sockets, disk and clocks
//! around it; [`server`] is the program.

#[macro_use]
mod planted;

pub mod args;
pub mod check;
pub mod config;
pub mod driver;
pub mod dump;
pub mod error;
pub mod folder;
pub mod genesis;
pub mod import;
pub mod loading;
pub mod marker;
pub mod node;
pub mod pace;
pub mod runtime;
pub mod server;
pub mod signer;
pub mod status;
pub mod verify;
