//! What a node has to say, as log lines.

use raftbank_consensus::{NodeId, Role};
use raftbank_ledger::NodeName;
use raftbank_service::log::NOTICE;

use crate::node::Notice;

/// Logs one notice. Balances before and after each block go to level debug.
pub fn log(notice: &Notice, names: &[NodeName]) {
    match notice {
        Notice::Role { role, leader, term } => {
            tracing::info!(
                name: NOTICE,
                role = role_name(*role),
                term,
                leader = leader.map_or("none", |leader| name(names, leader)),
                "role changed"
            );
        }
        Notice::HandingOver { to } => tracing::info!(to = name(names, *to), "handing the leadership over"),
        Notice::Committed { height, hash, requests, balances } => {
            tracing::info!(height, %hash, requests, "block committed");
            if tracing::enabled!(tracing::Level::DEBUG) {
                for (account, before, after) in balances {
                    let account = account.as_str();
                    match before {
                        Some(before) => tracing::debug!(height, account, before, after, "balance"),
                        None => tracing::debug!(height, account, after, "balance of a new account"),
                    }
                }
            }
        }
        Notice::Warning(text) => tracing::warn!("{text}"),
        Notice::Info(text) => tracing::info!("{text}"),
    }
}

/// A member's name.
pub fn name(names: &[NodeName], id: NodeId) -> &str {
    names.get(usize::from(id.0)).map_or("?", NodeName::as_str)
}

/// A role as `status` spells it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Candidate => "candidate",
        Role::Follower => "follower",
    }
}
