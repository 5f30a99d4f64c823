//! Clients: each writes one operation after the other, again and again until it sees it committed, and reads between.

use raftbank_consensus::{Entry, Input, NodeId, Role};

use super::check::{ENTRY_BYTES_MIN, Violation};
use super::server::Server;
use super::world::{Event, World};

/// Microseconds until a client gives up on an answer and asks again.
const PATIENCE_US: u64 = 400_000;

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// Its current operation, unique in the run.
    operation: u64,
    /// Where it waits for that operation, since when.
    waits: Option<(NodeId, u64)>,
    pauses_us: u64,
}

impl World {
    /// Adds clients that each do something about every `pauses_us`.
    pub fn add_clients(&mut self, count: usize, pauses_us: u64) {
        for _ in 0..count {
            let at = self.clients.len();
            let operation = (at as u64 + 1) << 32;
            self.clients.push(Client { operation, waits: None, pauses_us });
            self.later(pauses_us, Event::Client(at));
        }
    }

    pub(super) fn client(&mut self, at: usize) -> Result<(), Violation> {
        let Client { operation, waits, pauses_us } = self.clients[at];
        let pause_us = self.dice.range(pauses_us / 2, pauses_us * 2);
        self.later(pause_us, Event::Client(at));
        // Mostly the newest leader, but also whoever thinks to lead, and anyone at all.
        let leading: Vec<NodeId> = self.ids().into_iter().filter(|id| self.server(*id).role == Role::Leader).collect();
        let node = match (self.leader(), self.dice.below(10)) {
            (Some(leader), 0..6) => leader,
            (Some(_), 6..9) => self.dice.pick(&leading),
            _ => {
                let ids = self.ids();
                self.dice.pick(&ids)
            }
        };
        if self.dice.chance(300) {
            return self.read(node);
        }
        match waits {
            Some((_, since)) if self.now_us - since < PATIENCE_US => return Ok(()),
            Some(_) => {
                self.counts.retries += 1;
                self.clients[at].waits = None;
            }
            None => {}
        }
        let server = self.server(node);
        let Some(status) = server.status().filter(|status| status.can_propose && server.runs()) else { return Ok(()) };
        let mut bytes = operation.to_be_bytes().to_vec();
        bytes.extend(server.chain[status.last_index as usize].to_be_bytes());
        let epoch = server.epoch;
        bytes.resize(ENTRY_BYTES_MIN + self.dice.pick(&[0, 0, 10, 100, 700]), 0);
        // The block is built and mined; the leader may be another one by then.
        let delay_us = self.dice.pick(&[0, 100, 2_000, 20_000]);
        let (term, last_index, entry) = (status.term, status.last_index, Entry::from(bytes));
        self.clients[at].waits = Some((node, self.now_us));
        self.later(delay_us, Event::Propose { node, epoch, term, last_index, entry });
        Ok(())
    }

    pub(super) fn read(&mut self, node: NodeId) -> Result<(), Violation> {
        let floor = self.checker.committed();
        let server = self.server_mut(node);
        if !server.runs() {
            return Ok(());
        }
        let id = server.next_read;
        server.next_read += 1;
        server.reads.insert(id, floor);
        self.step(node, Input::ReadBarrier(id))
    }

    /// A leader has just committed something: whoever else still thinks to lead must not answer a read without it.
    pub(super) fn ask_former_leaders(&mut self, newest: NodeId) {
        let former = |server: &&Server| server.id != newest && server.runs() && server.role == Role::Leader;
        let former: Vec<NodeId> = self.servers.iter().filter(former).map(|server| server.id).collect();
        for node in former {
            if self.dice.chance(300) {
                self.later(0, Event::Read(node));
            }
        }
    }

    /// An entry is committed, as a node says.
    pub(super) fn written(&mut self, node: NodeId, entry: &Entry) {
        if let Some(client) = self.waiting_for(entry)
            && client.waits.is_some_and(|(asked, _)| asked == node)
        {
            client.waits = None;
            client.operation += 1;
            self.counts.writes += 1;
        }
    }

    /// An entry was not taken.
    pub(super) fn refused(&mut self, entry: &Entry) {
        if let Some(client) = self.waiting_for(entry) {
            client.waits = None;
            self.counts.retries += 1;
        }
    }

    fn waiting_for(&mut self, entry: &Entry) -> Option<&mut Client> {
        let operation = u64::from_be_bytes(entry.get(..8)?.try_into().ok()?);
        let at = usize::try_from(operation >> 32).ok()?.checked_sub(1)?;
        self.clients.get_mut(at).filter(|client| client.operation == operation)
    }
}
