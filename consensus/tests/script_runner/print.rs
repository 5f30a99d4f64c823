//! What is printed.

use raftbank_consensus::{Engine, NodeId, Role, Term};

use super::Name;
use super::wire;
use super::world::World;

impl World {
    pub fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub fn each(&mut self, node: Option<Name>, print: impl Fn(&mut Self, Name)) {
        for node in node.map_or_else(|| self.names(), |node| vec![node]) {
            print(self, node);
        }
    }

    pub fn print_status(&mut self, node: Name) {
        let Some(engine) = &self.nodes[node.0].engine else { return self.line(&format!("n{} down", node.0 + 1)) };
        let status = engine.status();
        let mut text = role_text(status.role, status.leader, status.term);
        text += &format!(" last={} commit={}", status.last_index, status.committed);
        if status.role == Role::Leader {
            text += if status.can_propose { " serves" } else { " does not serve" };
            for peer in &status.peers {
                let silent = if peer.active { "" } else { " (silent)" };
                text += &format!(", {} has {}{silent}", wire::name(peer.id), peer.matched);
            }
        }
        self.line(&format!("n{} {text}", node.0 + 1));
    }

    pub fn print_log(&mut self, node: Name) {
        let disk = &self.nodes[node.0].disk;
        let (durable, visible) = (&disk.durable, disk.visible());
        let same = durable.records.iter().zip(&visible.records).take_while(|(one, other)| one == other).count();
        let vote = durable.hard.vote.map_or("none".to_owned(), wire::name);
        let mut text = format!("n{} term={} vote={vote}", node.0 + 1, durable.hard.term);
        text += &format!(" [{}]", wire::records(&visible.records[..same]));
        if visible.records.len() > same {
            text += &format!(" unsynced [{}]", wire::records(&visible.records[same..]));
        }
        self.line(&text);
    }
}

/// A role in words.
pub fn role_text(role: Role, leader: Option<NodeId>, term: Term) -> String {
    match (role, leader) {
        (Role::Leader, _) => format!("leader t={term}"),
        (Role::Candidate, _) => format!("candidate t={term}"),
        (Role::Follower, Some(leader)) => format!("follower of {} t={term}", wire::name(leader)),
        (Role::Follower, None) => format!("follower t={term}"),
    }
}
