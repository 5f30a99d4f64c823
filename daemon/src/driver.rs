//! Drives a [`Node`]: the order in which events are stepped and actions are performed, without any I/O of its own.
//!
//! The runtime and the simulator drive their nodes with this same code; they differ in their [`Ports`]. All events that
//! are ready are stepped before the actions are performed, so that requests that arrive together travel together and
//! one sync serves all that waits.

use std::collections::VecDeque;

use raftbank_consensus::NodeId;
use raftbank_ledger::Header;
use raftbank_store::Batch;
use raftbank_wire::api::ApiReply;

use crate::node::{Action, Event, Node, Notice, Now};

/// One request to read old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// For whom.
    pub peer: NodeId,
    /// First index.
    pub from: u64,
    /// Stop after this many bytes.
    pub bytes_max: usize,
}

/// How a node's run ended by its own decision.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code that the node chose.
    pub exit_code: u8,
    /// Why.
    pub reason: String,
}

/// The world as a node can act on it. None of these waits.
pub trait Ports {
    /// Sends a frame; it may be lost.
    fn send(&mut self, to: NodeId, payload: Vec<u8>);
    /// Queues a write; [`Driver::synced`] is called with the group's number or a later one once it is durable.
    fn persist(&mut self, group: Option<u64>, batch: Batch);
    /// Queues a read, answered by [`Event::Loaded`]. False: it cannot be queued now.
    fn load(&mut self, load: Load) -> bool;
    /// Answers a client. False: the client is gone.
    fn reply(&mut self, token: u64, reply: ApiReply, last: bool) -> bool;
    /// Searches a nonce: at once (`Some`), or later, answered by [`Event::Mined`].
    fn mine(&mut self, job: u64, header: Header) -> Option<Event>;
    /// The result of this job is no longer wanted.
    fn cancel_mine(&mut self, job: u64);
    /// Answered by [`Event::Gathered`] a moment later, unless the turn has ended by then.
    fn gather(&mut self, turn: u64);
    /// Logs.
    fn notice(&mut self, notice: Notice);
}

/// The working state between a node and its ports.
#[derive(Debug, Default)]
pub struct Driver {
    /// Ready to be stepped.
    events: VecDeque<Event>,
    /// To be stepped at the next tick.
    later: Vec<Event>,
    /// To be performed.
    actions: Vec<Action>,
    /// The last group that the node was told to be durable.
    synced: u64,
}

impl Driver {
    /// `opening` are the actions of [`Node::open`].
    pub fn new(opening: Vec<Action>) -> Self {
        Self { actions: opening, ..Self::default() }
    }

    /// Queues an event.
    pub fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Queues a tick, and what was put off until then.
    pub fn tick(&mut self) {
        self.events.push_back(Event::Tick);
        self.events.extend(self.later.drain(..));
    }

    /// Tells the node that all groups up to this one are durable.
    pub fn synced(&mut self, durable: u64) {
        while self.synced < durable {
            self.synced += 1;
            self.events.push_back(Event::Synced { group: self.synced });
        }
    }

    /// True if there is nothing to step.
    pub fn is_idle(&self) -> bool {
        self.events.is_empty()
    }

    /// So many of the next ticks may be held back until something else happens: see [`Node::quiet_ticks`].
    pub fn quiet_ticks(&self, node: &Node) -> u32 {
        if self.events.is_empty() && self.later.is_empty() && self.actions.is_empty() { node.quiet_ticks() } else { 0 }
    }

    /// Steps all events that are queued; `now` reads the clocks for each.
    pub fn step(&mut self, node: &mut Node, mut now: impl FnMut() -> Now) {
        while let Some(event) = self.events.pop_front() {
            let more = !self.events.is_empty();
            self.actions.extend(node.step_in_turn(now(), event, more));
        }
    }

    /// Performs all actions, in order. `Some`: the node has stopped, and nothing after that is performed.
    pub fn perform(&mut self, ports: &mut impl Ports) -> Option<Ended> {
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Send { to, payload } => ports.send(to, payload),
                Action::Persist { group, batch } => ports.persist(group, batch),
                Action::Load { peer, from, bytes_max } => {
                    if !ports.load(Load { peer, from, bytes_max }) {
                        self.later.push(Event::Loaded { peer, from, records: Vec::new() });
                    }
                }
                Action::Reply { token, reply, last } => {
                    if !ports.reply(token, reply, last) && !last {
                        self.events.push_back(Event::ApiGone { token });
                    }
                }
                Action::Mine { job, header } => self.events.extend(ports.mine(job, header)),
                Action::CancelMine { job } => ports.cancel_mine(job),
                Action::Gather { turn } => ports.gather(turn),
                Action::Notice(notice) => ports.notice(notice),
                Action::Stop { exit_code, reason } => return Some(Ended { exit_code, reason }),
            }
        }
        None
    }
}
