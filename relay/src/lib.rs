//! The relay all nodes of a raftbank talk through, with faults on request.
//!
//! - [`args`], [`config`]: the command line and the configuration.
//! - [`faults`], [`router`], [`admission`]: what becomes of a message and who may connect, without I/O.
//! - [`hub`], [`conn`], [`admin`]: the nodes' TCP connections and the operator's Unix socket.
//! - [`server`]: the program's life from start to end.
//!
//! The relay sees bytes: what nodes say to each other is none of its business.
#![forbid(unsafe_code)]

#[macro_use]
mod planted;

pub mod admin;
pub mod admission;
pub mod args;
pub mod config;
pub mod conn;
pub mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
#[cfg(test)]
mod properties;
pub mod refusals;
pub mod router;
pub mod server;
