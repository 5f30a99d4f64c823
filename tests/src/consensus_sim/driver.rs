//! What a node's driver does beside its engine: syncs, reads of old records, and the questions of a node that lost its
//! disk.

use raftbank_consensus::{HardState, Index, Input, NodeId, Term, Write};

use super::check::Violation;
use super::world::{Event, World};

impl World {
    pub(super) fn sync(&mut self, node: NodeId) {
        let server = self.server_mut(node);
        let (epoch, (min, max)) = (server.epoch, server.sync_us);
        if server.disk.begin_sync() {
            let delay_us = self.dice.range(min, max);
            self.later(delay_us, Event::SyncDone { node, epoch });
        }
    }

    pub(super) fn sync_done(&mut self, node: NodeId) -> Result<(), Violation> {
        let items = self.server_mut(node).disk.end_sync();
        for item in &items {
            for write in &item.writes {
                if let Write::Splice { records, .. } = write {
                    for record in records {
                        self.checker.durable(node, record.index, record.term);
                    }
                }
            }
        }
        for item in items {
            for (to, message) in item.gated {
                self.send(node, to, message)?;
            }
            if let Some(group) = item.group {
                self.step(node, Input::Synced(group))?;
            }
            if item.promoted {
                self.counts.rejoined += 1;
                self.step(node, Input::Promote)?;
            }
        }
        self.sync(node);
        Ok(())
    }

    pub(super) fn load(&mut self, node: NodeId, peer: NodeId, from: Index, bytes_max: usize) -> Result<(), Violation> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if !self.dice.chance(if self.faults.is_some() { 100 } else { 0 }) {
            let server = self.server(node);
            for record in server.disk.visible.records.iter().skip(from as usize - 1) {
                bytes += record.entry.as_ref().map_or(0, |entry| entry.len());
                if bytes > bytes_max && !records.is_empty() {
                    break;
                }
                records.push(record.clone());
            }
            self.counts.chunks_loaded += u64::from(!records.is_empty());
        }
        self.step(node, Input::Loaded { peer, from, records })
    }

    /// A node that lost its disk asks every other member for its durable term.
    pub(super) fn rejoin_ask(&mut self, node: NodeId, epoch: u64) {
        let (incarnation, Some(told)) = (self.server(node).incarnation, self.server(node).collecting.clone()) else {
            return;
        };
        for peer in self.ids() {
            let there = self.links.open(node, peer) && self.links.open(peer, node) && self.server(peer).runs();
            if peer == node || told.contains_key(&peer) || !there {
                continue;
            }
            let server = self.server_mut(peer);
            // From now on it takes nothing from the former disk; and it tells a term only if that is durable.
            server.known[usize::from(node.0)] = incarnation;
            let HardState { term, .. } = server.disk.durable.hard;
            if server.term == term {
                let delay_us = self.dice.range(200, 100_000);
                self.later(delay_us, Event::RejoinTold { node, epoch, peer, term });
            }
        }
        self.later(100_000, Event::RejoinAsk { node, epoch });
    }

    pub(super) fn rejoin_told(&mut self, node: NodeId, peer: NodeId, term: Term) -> Result<(), Violation> {
        let others = self.servers.len() - 1;
        let server = self.server_mut(node);
        let Some(told) = &mut server.collecting else { return Ok(()) };
        told.insert(peer, term);
        if told.len() < others {
            return Ok(());
        }
        let highest = told.values().copied().max().unwrap_or(0);
        server.collecting = None;
        self.step(node, Input::RejoinTerms(highest))
    }
}
