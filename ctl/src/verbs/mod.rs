//! One function for each verb.

pub mod admin;
pub mod balance_at;
pub mod blocks;
pub mod checkpoint;
pub mod consistency;
pub mod diff;
pub mod history;
pub mod import;
pub mod keys;
pub mod pending;
pub mod postings;
pub mod reads;
pub mod receipt;
pub mod show;
pub mod statement;
pub mod verify;
pub mod verify_consistency;
pub mod verify_export;
pub mod verify_receipt;
pub mod witness;
pub mod writes;

use std::time::Duration;

use crate::args::Args;
use crate::output::Out;
use crate::session::{Daemon, Session};

/// What every verb needs.
#[derive(Debug)]
pub struct Context {
    /// The way to the node.
    pub node: Session,
    /// The way to the relay.
    pub relay: Session,
    /// Where results go.
    pub out: Out,
    /// How long a command waits.
    pub timeout: Duration,
}

impl Context {
    /// From the command line.
    pub fn new(args: &Args) -> Self {
        Self {
            node: Session::new(args.socket(), Daemon::Node, args.timeout),
            relay: Session::new(&args.relay_socket, Daemon::Relay, args.timeout),
            out: Out::new(args.output),
            timeout: args.timeout,
        }
    }
}
