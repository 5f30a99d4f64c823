//! Total order of opaque records: Raft as a state machine without I/O or clock.
//!
//! The driver feeds an [`Engine`] with [`Input`]s (ticks, messages, finished syncs, proposals) and performs the
//! [`Output`] of each: sends messages, writes and syncs records, applies what is committed. The engine itself never
//! waits, never reads a clock and never draws random numbers that its seed does not determine, so a whole cluster can
//! be simulated and replayed from one seed. `docs/consensus.md` describes the protocol and its limits.
#![forbid(unsafe_code)]

#[macro_use]
mod planted;

mod api;
mod entry;
mod log;
mod message;
mod raft;

pub use api::{
    BarrierId, Config, ConfigError, Durable, Engine, Event, Group, HardState, Index, Input, Load, NodeId, Output,
    PeerStatus, Record, Role, Status, Term, TermRun, Timers, Write,
};
pub use entry::Entry;
pub use message::Message;
pub use raft::Raft;
