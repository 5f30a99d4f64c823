//! What the supervisor is told: ready, one line of status, stopping. Without a supervisor nothing happens.

use std::time::{Duration, Instant};

use raftbank_consensus::{NodeId, Role};
use raftbank_ledger::NodeName;

use crate::runtime::notices::{name, role_name};

/// A node that finds no leader for this long is ready all the same: it runs, and waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// The supervisor's picture of this node.
pub struct Status {
    started: Instant,
    ready: bool,
    stopping: bool,
    shown: Option<(Role, Option<NodeId>, bool)>,
}

impl Status {
    /// Nothing has been told yet.
    pub fn new(started: Instant) -> Self {
        Self { started, ready: false, stopping: false, shown: None }
    }

    /// Tells what has changed about the node's role. Ready is told with the first leader, or after a while without.
    pub fn node(&mut self, role: Role, leader: Option<NodeId>, serving: bool, names: &[NodeName]) {
        if !self.ready && (serving || self.started.elapsed() >= PATIENCE) {
            self.ready = true;
            raftbank_service::notify::ready();
            if !serving {
                tracing::warn!("no leader yet; waiting for one (is the relay up, and a majority of the nodes?)");
            }
        }
        if self.stopping || self.shown == Some((role, leader, serving)) {
            return;
        }
        self.shown = Some((role, leader, serving));
        let line = match leader {
            Some(leader) if serving => format!("{}; the leader is {}", role_name(role), name(names, leader)),
            Some(leader) => format!("{}; {} is about to lead", role_name(role), name(names, leader)),
            None => format!("{}; waiting for a leader", role_name(role)),
        };
        raftbank_service::notify::status(&line);
    }

    /// The relay does not let this node in.
    pub fn refused(&mut self, message: &str) {
        raftbank_service::notify::status(&format!("refused by the relay: {message}"));
    }

    /// The node was asked to stop.
    pub fn stopping(&mut self) {
        if !self.stopping {
            self.stopping = true;
            raftbank_service::notify::stopping();
        }
    }

    /// The process ends, and why.
    pub fn ended(&mut self, reason: &str) {
        self.stopping();
        raftbank_service::notify::status(reason);
    }
}
