//! The world of one run: its clock, its queue of events, and how a server's output becomes events.

use std::collections::{BTreeMap, BTreeSet};

use raftbank_consensus::{
    Config, Engine, Entry, Event as Said, Index, Input, Message, NodeId, Output, Role, Term, Timers, Write,
};

use super::check::{Checker, Violation, violated};
use super::client::Client;
use super::counts::Counts;
use super::dice::Dice;
use super::disk::Item;
use super::faults::Faults;
use super::network::{Links, Weather};
use super::server::Server;
use super::trace::Trace;

/// Microseconds of a tick on an exact clock.
pub const TICK_US: u64 = 10_000;
/// The default timers of the daemon, in such ticks: heartbeat 50 ms, elections after 150 to 300 ms.
pub const TIMERS: Timers = Timers { heartbeat_ticks: 5, election_ticks_min: 15, election_ticks_max: 30 };

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    Tick { node: NodeId, epoch: u64 },
    Deliver { to: NodeId, from: NodeId, incarnation: u64, message: Message },
    SyncDone { node: NodeId, epoch: u64 },
    Load { node: NodeId, epoch: u64, peer: NodeId, from: Index, bytes_max: usize },
    LinkReset { node: NodeId, peer: NodeId },
    Propose { node: NodeId, epoch: u64, term: Term, last_index: Index, entry: Entry },
    Client(usize),
    Read(NodeId),
    Fault,
    Start(NodeId),
    Stop(NodeId),
    Resume { node: NodeId, epoch: u64 },
    Eligible { node: NodeId, epoch: u64 },
    RejoinAsk { node: NodeId, epoch: u64 },
    RejoinTold { node: NodeId, epoch: u64, peer: NodeId, term: Term },
}

/// A cluster and everything around it.
#[derive(Debug)]
pub struct World {
    pub(super) dice: Dice,
    pub(super) now_us: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) servers: Vec<Server>,
    pub(super) links: Links,
    pub(super) weather: Weather,
    pub(super) checker: Checker,
    pub(super) clients: Vec<Client>,
    pub(super) faults: Option<Faults>,
    pub(super) counts: Counts,
    pub(super) trace: Trace,
    /// Candidates that a leader has told to campaign, and the term in which they do.
    named: BTreeSet<(NodeId, Term)>,
    chunk_bytes_max: usize,
    cache_bytes_max: usize,
}

impl World {
    /// A cluster that was just started, on a calm network.
    ///
    /// # Errors
    /// A rule that its first steps break.
    pub fn new(seed: u64, members: usize, readable: bool) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let sync_us = dice.pick(&[(200, 3_000), (200, 3_000), (5_000, 60_000)]);
        let servers = (0..members as u8)
            .map(|id| Server::new(NodeId(id), members, dice.range(TICK_US * 95 / 100, TICK_US * 105 / 100), sync_us))
            .collect();
        let chunk_bytes_max = dice.pick(&[100, 1_000, 1 << 20]);
        let cache_bytes_max = dice.pick(&[0, 300, 3_000, 1 << 20]);
        let mut world = Self {
            now_us: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            servers,
            links: Links::new(members),
            weather: Weather::calm(),
            checker: Checker::new(members),
            clients: Vec::new(),
            faults: None,
            counts: Counts::default(),
            trace: Trace::new(readable),
            named: BTreeSet::new(),
            chunk_bytes_max,
            cache_bytes_max,
            dice,
        };
        for node in world.ids() {
            world.start(node)?;
        }
        Ok(world)
    }

    /// The members.
    pub fn ids(&self) -> Vec<NodeId> {
        self.servers.iter().map(|server| server.id).collect()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The running leader of the highest term, if any.
    pub fn leader(&self) -> Option<NodeId> {
        let leading = self.servers.iter().filter(|server| server.up() && server.role == Role::Leader);
        leading.max_by_key(|server| server.term).map(|server| server.id)
    }

    /// The leader, if it serves.
    pub fn serving(&self) -> Option<NodeId> {
        self.leader().filter(|id| self.server(*id).status().is_some_and(|status| status.can_propose))
    }

    /// The highest term of any running node.
    pub fn term(&self) -> Term {
        self.servers.iter().filter(|server| server.up()).map(|server| server.term).max().unwrap_or(0)
    }

    /// Index of the last record that anyone has seen committed.
    pub fn committed(&self) -> Index {
        self.checker.committed()
    }

    /// How far a node has applied.
    pub fn applied(&self, node: NodeId) -> Index {
        self.server(node).applied
    }

    /// Leaves exactly these links, in both directions.
    pub fn connect_only(&mut self, open: impl Fn(NodeId, NodeId) -> bool) {
        self.links.only(open);
    }

    /// Cuts or mends one direction of a link.
    pub fn set_link(&mut self, from: NodeId, to: NodeId, open: bool) {
        self.links.set(from, to, open);
    }

    /// Lets that much time pass.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn run_for(&mut self, duration_us: u64) -> Result<(), Violation> {
        let end = self.now_us + duration_us;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((now_us, _), event) = entry.remove_entry();
            self.now_us = now_us;
            self.counts.events += 1;
            self.happen(event)?;
        }
        self.now_us = end;
        Ok(())
    }

    pub(super) fn server(&self, node: NodeId) -> &Server {
        &self.servers[usize::from(node.0)]
    }

    pub(super) fn server_mut(&mut self, node: NodeId) -> &mut Server {
        &mut self.servers[usize::from(node.0)]
    }

    pub(super) fn later(&mut self, delay_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_us + delay_us, self.sequence), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        // What is meant for a stopped process waits for it; its clock does not tick meanwhile.
        let (node, epoch) = match &event {
            Event::Tick { node, epoch }
            | Event::SyncDone { node, epoch }
            | Event::Load { node, epoch, .. }
            | Event::Propose { node, epoch, .. }
            | Event::Eligible { node, epoch }
            | Event::RejoinAsk { node, epoch }
            | Event::RejoinTold { node, epoch, .. } => (*node, Some(*epoch)),
            Event::Deliver { to: node, .. } | Event::LinkReset { node, .. } => (*node, None),
            Event::Resume { node, epoch } => {
                if self.server(*node).epoch == *epoch {
                    self.resume(*node);
                }
                return Ok(());
            }
            Event::Start(node) => return self.start(*node),
            Event::Stop(node) => {
                self.crash(*node, 100_000);
                return Ok(());
            }
            Event::Client(client) => return self.client(*client),
            Event::Read(node) => return self.read(*node),
            Event::Fault => return self.fault(),
        };
        let server = self.server_mut(node);
        if !server.up() || epoch.is_some_and(|epoch| epoch != server.epoch) {
            return Ok(());
        }
        if let Some(waiting) = &mut server.paused {
            waiting.push(event);
            return Ok(());
        }
        match event {
            Event::Tick { node, epoch } => {
                let tick_us = server.tick_us;
                self.later(tick_us, Event::Tick { node, epoch });
                self.step(node, Input::Tick)
            }
            Event::Deliver { to, from, incarnation, message } => {
                if incarnation < server.known[usize::from(from.0)] || !self.links.open(from, to) {
                    return Ok(());
                }
                self.trace.line(self.now_us, format_args!("{to:?} <- {from:?} {message:?}"));
                self.step(to, Input::Receive { from, message })
            }
            Event::SyncDone { node, .. } => self.sync_done(node),
            Event::Load { node, peer, from, bytes_max, .. } => self.load(node, peer, from, bytes_max),
            Event::LinkReset { node, peer } => self.step(node, Input::LinkReset(peer)),
            Event::Propose { node, term, last_index, entry, .. } => {
                self.step(node, Input::Propose { term, last_index, entry })
            }
            Event::Eligible { node, .. } => self.step(node, Input::Eligible(true)),
            Event::RejoinAsk { node, epoch } => {
                self.rejoin_ask(node, epoch);
                Ok(())
            }
            Event::RejoinTold { node, peer, term, .. } => self.rejoin_told(node, peer, term),
            Event::Client(_)
            | Event::Read(_)
            | Event::Fault
            | Event::Start(_)
            | Event::Stop(_)
            | Event::Resume { .. } => {
                unreachable!("handled above")
            }
        }
    }

    fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.server(node).up() {
            return Ok(());
        }
        let config = Config {
            id: node,
            members: self.ids(),
            seed: self.dice.any(),
            timers: TIMERS,
            chunk_bytes_max: self.chunk_bytes_max,
            cache_bytes_max: self.cache_bytes_max,
            // Members need not agree on it; those with even numbers save messages.
            tells_commits_late: node.0.is_multiple_of(2),
            rejoining: self.server(node).disk.durable.rejoining,
        };
        let phase = self.dice.below(TICK_US);
        let server = self.server_mut(node);
        let output = server.start(config);
        let (epoch, collecting) = (server.epoch, server.collecting.is_some());
        let hard = self.server(node).disk.durable.hard;
        self.trace.line(self.now_us, format_args!("{node:?} starts on {hard:?}"));
        self.later(phase, Event::Tick { node, epoch });
        if collecting {
            self.later(1_000, Event::RejoinAsk { node, epoch });
        }
        self.absorb(node, output)
    }

    /// A stopped process goes on with what has waited for it; ticks that passed do not come back.
    pub(super) fn resume(&mut self, node: NodeId) {
        let Some(waiting) = self.server_mut(node).paused.take() else { return };
        self.trace.line(self.now_us, format_args!("{node:?} resumes"));
        for (delay_us, event) in waiting.into_iter().enumerate() {
            self.later(delay_us as u64, event);
        }
    }

    pub(super) fn step(&mut self, node: NodeId, input: Input) -> Result<(), Violation> {
        let now_us = self.now_us;
        if !matches!(input, Input::Tick | Input::Receive { .. }) {
            self.trace.line(now_us, format_args!("{node:?} {input:?}"));
        }
        let Some(engine) = self.server_mut(node).engine.as_mut() else { return Ok(()) };
        // Drivers hold quiet ticks back: nothing may be lost by that.
        let quiet = if input == Input::Tick { engine.quiet_ticks() } else { 0 };
        let output = engine.step(input);
        if quiet > 0 && (output != Output::default() || engine.quiet_ticks() != quiet - 1) {
            violated!("node {node:?} said that {quiet} ticks are quiet, and the next one was not: {output:?}");
        }
        let status = engine.status();
        self.trace.mix(&[now_us, u64::from(node.0), status.term, status.last_index, status.committed]);
        self.absorb(node, output)
    }

    fn absorb(&mut self, node: NodeId, output: Output) -> Result<(), Violation> {
        let Output { group, writes, eager, mut gated, loads, events } = output;
        if group.is_some() == (writes.is_empty() && gated.is_empty()) {
            violated!("{node:?} numbers a group that is empty, or does not number one that is not");
        }
        self.trace.mix(&[eager.len() as u64, gated.len() as u64, writes.len() as u64, events.len() as u64]);
        for (to, message) in eager {
            self.send(node, to, message)?;
        }
        for write in &writes {
            self.trace.line(self.now_us, format_args!("{node:?}    writes {write:?}"));
            if let Write::Splice { from, records } = write {
                let server = self.server_mut(node);
                self.counts.conflicts_cut += u64::from(server.follow(write)? > 0);
                let server = &self.servers[usize::from(node.0)];
                for (record, at) in records.iter().zip(*from as usize..) {
                    let (term, chain) = (server.terms[at - 1], server.chain[at - 1]);
                    self.checker.written(node, record, term, chain)?;
                }
            }
        }
        let disputed = self.disputed(node, &writes);
        if disputed.is_some() {
            gated.clear(); // whatever this output promises, it does not promise it
        }
        if group.is_some() {
            self.server_mut(node).disk.write(Item { group, writes, gated, ..Item::default() });
        }
        for event in events {
            self.said(node, event)?;
        }
        for load in loads {
            let epoch = self.server(node).epoch;
            let delay_us = self.dice.range(100, 5_000);
            let (peer, from, bytes_max) = (load.peer, load.from, load.bytes_max);
            self.later(delay_us, Event::Load { node, epoch, peer, from, bytes_max });
        }
        self.sync(node);
        match disputed {
            Some(index) => self.step(node, Input::Dispute(index)),
            None => Ok(()),
        }
    }

    /// A record that this output takes from a leader, and for which this node computes another result.
    fn disputed(&mut self, node: NodeId, writes: &[Write]) -> Option<Index> {
        let from = writes.iter().find_map(|write| match write {
            Write::Splice { from, records } if !records.is_empty() => Some(*from),
            _ => None,
        })?;
        // Only what comes right after the applied state is executed before it is acknowledged.
        let server = self.server(node);
        let checks = server.applied + 1 == from && server.status().is_some_and(|status| status.role == Role::Follower);
        if !checks || !self.disputes() {
            return None;
        }
        self.server_mut(node).disputed = true;
        self.counts.disputes += 1;
        Some(from)
    }

    fn said(&mut self, node: NodeId, event: Said) -> Result<(), Violation> {
        self.trace.line(self.now_us, format_args!("{node:?}    says {event:?}"));
        match event {
            Said::Committed(records) => {
                let by = self.server(node).term;
                let before = self.checker.committed();
                for record in &records {
                    self.checker.commit(node, by, record)?;
                    self.server_mut(node).apply(record)?;
                    if let Some(entry) = &record.entry {
                        self.written(node, entry);
                    }
                }
                if self.checker.committed() > before {
                    self.ask_former_leaders(node);
                }
                Ok(())
            }
            Said::ReadReady { id, index } => match self.server_mut(node).reads.remove(&id) {
                Some(floor) => {
                    self.counts.reads += 1;
                    self.checker.read(node, floor, index)
                }
                None => violated!("{node:?} answers read {id}, which nobody waits for"),
            },
            Said::ReadRefused(id) => {
                self.counts.reads_refused += 1;
                match self.server_mut(node).reads.remove(&id) {
                    Some(_) => Ok(()),
                    None => violated!("{node:?} refuses read {id}, which nobody waits for"),
                }
            }
            Said::Refused(entry) => {
                self.refused(&entry);
                Ok(())
            }
            Said::Role { role, term, .. } => {
                let server = self.server_mut(node);
                let was = (server.role, server.term);
                (server.role, server.term) = (role, term);
                self.counts.step_downs += u64::from(was.0 == Role::Leader && role != Role::Leader);
                if role == Role::Leader && was != (role, term) {
                    self.counts.elections += 1;
                    self.counts.transfers += u64::from(self.named.contains(&(node, term)));
                    let server = &self.servers[usize::from(node.0)];
                    self.checker.elected(node, term, &server.terms, &server.chain)?;
                }
                Ok(())
            }
            Said::Impossible { from, what } => violated!("{from:?} claimed {what}, as {node:?} sees it"),
            Said::Contradicted(_) => {
                // Its state is damaged, as a majority sees it: it stops.
                self.counts.contradicted += 1;
                self.later(0, Event::Stop(node));
                Ok(())
            }
            Said::HandingOver(_) | Said::TransferFailed => Ok(()),
            Said::RejoinComplete => {
                self.server_mut(node).disk.write(Item { promoted: true, ..Item::default() });
                Ok(())
            }
        }
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) -> Result<(), Violation> {
        let server = self.server(from);
        let (hard, last_index) = (server.disk.durable.hard, server.disk.durable.records.len() as Index);
        let incarnation = server.incarnation;
        self.checker.promises.leaves((from, incarnation), to, &message, hard, last_index)?;
        if message.kind() == "transfer-vote" {
            self.named.insert((from, message.term()));
        }
        let copies = if self.links.open(from, to) { self.weather.copies(&mut self.dice) } else { Vec::new() };
        if copies.is_empty() {
            self.counts.messages_lost += 1;
            self.trace.line(self.now_us, format_args!("{from:?}    lost on the way to {to:?}: {message:?}"));
        }
        for delay_us in copies {
            self.later(delay_us, Event::Deliver { to, from, incarnation, message: message.clone() });
        }
        Ok(())
    }
}
