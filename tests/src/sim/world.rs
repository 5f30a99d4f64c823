//! The world of one run: true time, the queue of what will happen, and what becomes of what nodes ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use raftbank_consensus::{NodeId, Term};
use raftbank_store::{Reader, Store};
use raftbank_wire::api::ApiRequest;
use raftbankd::node::{self, LinkChange, Notice};

use super::Violation;
use super::client::Client;
use super::counts::Counts;
use super::event::Event;
use super::faults::Faults;
use super::machine::{Asked, Charter, Machine, TICK_MS};
use super::observe::{Observer, violated};
use super::requests::genesis;
use crate::consensus_sim::network::{Links, Weather};
use crate::consensus_sim::{Dice, Trace};
use crate::history::History;

/// A bank and everything around it.
pub struct World {
    pub(super) dice: Dice,
    pub(super) now_us: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) charter: Charter,
    pub(super) machines: Vec<Machine>,
    pub(super) links: Links,
    pub(super) weather: Weather,
    pub(super) relay_up: bool,
    pub(super) faults: Option<Faults>,
    pub(super) clients: Vec<Client>,
    /// Clients give no new commands.
    pub(super) resting: bool,
    pub(super) history: History,
    pub(super) observer: Observer,
    pub(super) counts: Counts,
    pub(super) trace: Trace,
    /// Who was told to take over, and in which term.
    successors: BTreeSet<(NodeId, Term)>,
    /// When a balance was last flipped in a running process.
    pub(super) flipped_us: Option<u64>,
    pub(super) next_incarnation: u64,
    pub(super) next_token: u64,
}

impl World {
    /// A bank that was just started, on a calm network.
    ///
    /// # Errors
    /// A rule that its first steps break.
    pub fn new(seed: u64, members: usize, readable: bool) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let difficulty = dice.pick(&[0, 0, 1, 4]);
        let genesis = genesis(members, difficulty);
        let charter = Charter {
            names: genesis.members.clone(),
            genesis: genesis.block().map_err(|error| Violation(error.to_string()))?,
            batch_requests_max: dice.pick(&[1, 2, 100]),
            nonces_inline: dice.pick(&[0, 1, 4_096, 4_096]),
            ahead_requests_min: dice.pick(&[1, 3, usize::MAX]),
            gather_calls_min: dice.pick(&[1, 2, usize::MAX]),
            checkpoint_ms: dice.pick(&[0, 50, 100, 100, 1_000]),
        };
        let sync_us = dice.pick(&[(200, 3_000), (200, 3_000), (5_000, 60_000)]);
        let mut machines = Vec::new();
        for id in (0..members as u8).map(NodeId) {
            let incarnation = 100 + u64::from(id.0);
            let disk = charter.disk(id, incarnation, false).map_err(|error| Violation(error.to_string()))?;
            machines.push(Machine {
                id,
                disk,
                incarnation,
                key_life: 0,
                backup: None,
                process: None,
                epoch: 0,
                tick_us: dice.range(TICK_MS * 950, TICK_MS * 1_050),
                clock_ms: 0,
                sync_us,
                healthy_sync_us: sync_us,
                refused: false,
                rolled_back: false,
                tainted: false,
            });
        }
        let mut world = Self {
            dice,
            now_us: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            observer: Observer::new(charter.genesis.hash(), members),
            charter,
            machines,
            links: Links::new(members),
            weather: Weather::calm(),
            relay_up: true,
            faults: None,
            clients: Vec::new(),
            resting: false,
            history: History::default(),
            counts: Counts::default(),
            trace: Trace::new(readable),
            successors: BTreeSet::new(),
            flipped_us: None,
            next_incarnation: 1_000,
            next_token: 1,
        };
        for node in world.ids() {
            world.start(node)?;
        }
        Ok(world)
    }

    /// The members.
    pub fn ids(&self) -> Vec<NodeId> {
        self.machines.iter().map(|machine| machine.id).collect()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        Counts { blocks: self.observer.blocks(), ..self.counts }
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The running leader of the highest term, if any.
    pub fn leader(&self) -> Option<NodeId> {
        let leading = self.machines.iter().filter_map(|machine| {
            let (role, _, term) = machine.process.as_ref()?.node.role();
            (role == raftbank_consensus::Role::Leader).then_some((term, machine.id))
        });
        leading.max().map(|(_, id)| id)
    }

    /// Every node has a signed head of at least so many blocks, if heads are signed at all.
    pub fn all_have_head(&self, size: u64) -> bool {
        let has = |machine: &Machine| {
            let head = machine.process.as_ref().and_then(|process| process.node.head());
            head.is_some_and(|head| head.head.size >= size)
        };
        self.charter.checkpoint_ms == 0 || self.machines.iter().all(has)
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

    pub(super) fn machine(&self, node: NodeId) -> &Machine {
        &self.machines[usize::from(node.0)]
    }

    pub(super) fn machine_mut(&mut self, node: NodeId) -> &mut Machine {
        &mut self.machines[usize::from(node.0)]
    }

    pub(super) fn later(&mut self, delay_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_us + delay_us, self.sequence), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let (node, epoch) = match &event {
            Event::Tick { node, epoch }
            | Event::Turn { node, epoch }
            | Event::SyncDone { node, epoch }
            | Event::MarkDue { node, epoch }
            | Event::Loaded { node, epoch, .. }
            | Event::Mined { node, epoch, .. }
            | Event::Gathered { node, epoch, .. }
            | Event::Link { node, epoch, .. }
            | Event::Connect { node, epoch }
            | Event::Api { node, epoch, .. }
            | Event::ApiGone { node, epoch, .. }
            | Event::Terminate { node, epoch } => (*node, Some(*epoch)),
            Event::Frame { to, .. } => (*to, None),
            Event::Resume { node, epoch } => {
                if self.machine(*node).epoch == *epoch {
                    self.resume(*node);
                }
                return Ok(());
            }
            Event::Start(node) => return self.start(*node),
            Event::Operator(node) => {
                if self.machine(*node).refused {
                    self.replace_disk(*node);
                    return self.start(*node);
                }
                return Ok(());
            }
            Event::RelayUp => {
                self.relay_returns();
                return Ok(());
            }
            Event::Client(client) => return self.client_acts(*client),
            Event::Reconnect { client, command } => return self.client_reconnects(*client, *command),
            Event::Answer { .. } => {
                let Event::Answer { client, copy, node, reply } = event else { return Ok(()) };
                return self.client_answered(client, copy, node, reply);
            }
            Event::Broken { client, copy } => return self.client_broken(*client, *copy),
            Event::Deadline { client, command } => return self.client_gives_up(*client, *command),
            Event::Fault => return self.fault(),
        };
        let machine = self.machine_mut(node);
        let current = epoch.is_none_or(|epoch| epoch == machine.epoch);
        let process = machine.process.as_mut().filter(|_| current);
        let Some(process) = process else {
            // What was handed to a process that is gone: its client notices.
            if let Event::Api { client, copy, .. } = event {
                self.later(10, Event::Broken { client, copy });
            }
            return Ok(());
        };
        // What is meant for a stopped process waits for it; its clock does not tick meanwhile.
        if let Some(waiting) = &mut process.paused {
            waiting.push(event);
            return Ok(());
        }
        self.happen_at(node, event)
    }

    fn happen_at(&mut self, node: NodeId, event: Event) -> Result<(), Violation> {
        let now_us = self.now_us;
        let machine = &mut self.machines[usize::from(node.0)];
        let epoch = machine.epoch;
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        // As the daemon does: what wakes a node that is at rest comes after the ticks that it has slept through.
        if !matches!(event, Event::Tick { .. } | Event::MarkDue { .. }) {
            (0..std::mem::take(&mut process.held_ticks)).for_each(|_| process.driver.tick());
        }
        match event {
            Event::Turn { .. } => return self.turn(node),
            Event::Tick { .. } => {
                let (role, _, term) = process.node.role();
                process.held_ticks += 1;
                let sleeps = process.held_ticks <= process.driver.quiet_ticks(&process.node);
                if !sleeps {
                    (0..std::mem::take(&mut process.held_ticks)).for_each(|_| process.driver.tick());
                }
                let tick_us = machine.tick_us;
                self.later(tick_us, Event::Tick { node, epoch });
                self.observer.ticks(node, role, term, now_us)?;
                if sleeps {
                    self.counts.ticks_slept_through += 1;
                    return Ok(());
                }
            }
            Event::Frame { from, payload, .. } => {
                if !process.linked || !self.links.open(from, node) {
                    self.counts.messages_lost += 1;
                    return Ok(());
                }
                self.observer.hears(node, from, now_us);
                process.driver.push(node::Event::Frame { from, payload: (*payload).clone() });
            }
            Event::SyncDone { .. } => return self.sync_done(node),
            Event::MarkDue { .. } => {
                let synced = process.store.sync_mark();
                self.later(1_000_000, Event::MarkDue { node, epoch });
                return synced.or_else(|error| self.disk_failed(node, &error));
            }
            Event::Loaded { load, .. } => {
                process.desk.loads -= 1;
                self.counts.loads += 1;
                let records = match process.reader.records(load.from, load.bytes_max) {
                    Ok(records) => records,
                    Err(error) => violated!("{node:?} cannot read its records: {error}"),
                };
                process.driver.push(node::Event::Loaded { peer: load.peer, from: load.from, records });
            }
            Event::Mined { job, nonce, .. } => {
                self.counts.mined += 1;
                // Found, and perhaps cancelled in the same moment: the node has to cope.
                process.mining = process.mining.filter(|mining| *mining != job);
                process.driver.push(node::Event::Mined { job, nonce });
            }
            Event::Gathered { turn, .. } => process.driver.push(node::Event::Gathered { turn }),
            Event::Link { change, .. } => process.driver.push(node::Event::Link(change)),
            Event::Connect { .. } => {
                if !self.relay_up {
                    self.later(50_000, Event::Connect { node, epoch });
                    return Ok(());
                }
                process.linked = true;
                process.driver.push(node::Event::Link(LinkChange::Connected));
                self.peers_change(node, true);
            }
            Event::Api { client, copy, request, .. } => {
                let token = self.next_token;
                self.next_token += 1;
                if matches!(request, ApiRequest::Watch) {
                    process.watcher = Some(token);
                } else {
                    process.tokens.insert(token, client);
                    self.clients[client].token = Some((copy, node, epoch, token));
                }
                process.driver.push(node::Event::Api { token, request });
            }
            Event::ApiGone { token, .. } => process.driver.push(node::Event::ApiGone { token }),
            Event::Terminate { .. } => {
                process.stopping = true;
                process.driver.push(node::Event::Shutdown);
            }
            _ => return Ok(()),
        }
        self.turn_soon(node);
        Ok(())
    }

    /// Mostly at once; sometimes the process is busy, and more arrives meanwhile.
    pub(super) fn turn_soon(&mut self, node: NodeId) {
        let epoch = self.machine(node).epoch;
        let delay_us = self.dice.pick(&[0, 0, 0, 50, 300, 2_000]);
        self.later(delay_us, Event::Turn { node, epoch });
    }

    pub(super) fn turn(&mut self, node: NodeId) -> Result<(), Violation> {
        loop {
            let now_us = self.now_us;
            let machine = self.machine_mut(node);
            let now = machine.now(now_us);
            let Some(process) = machine.process.as_mut() else { return Ok(()) };
            process.driver.step(&mut process.node, || now);
            let ended = process.driver.perform(&mut process.desk);
            let idle = process.driver.is_idle();
            let (_, _, term) = process.node.role();
            let applied = process.node.applied();
            self.trace.mix(&[now_us, u64::from(node.0), term, applied]);
            self.performed(node)?;
            if let Some(ended) = ended {
                self.trace.line(now_us, format_args!("{node:?} ends with {}: {}", ended.exit_code, ended.reason));
                return self.ended(node, ended.exit_code, &ended.reason);
            }
            if idle {
                break;
            }
        }
        self.write(node)
    }

    /// Does what the node asked for.
    fn performed(&mut self, node: NodeId) -> Result<(), Violation> {
        let at = usize::from(node.0);
        let epoch = self.machines[at].epoch;
        let Some(process) = self.machines[at].process.as_mut() else { return Ok(()) };
        let asked = std::mem::take(&mut process.desk.asked);
        let unseen = process.desk.queue.len() - process.desk.seen;
        process.desk.seen = process.desk.queue.len();
        let fresh: Vec<_> =
            process.desk.queue.iter().rev().take(unseen).rev().flat_map(|q| q.batch.state.clone()).collect();
        for write in &fresh {
            self.trace.mix(&[write.index, write.term]);
            self.observer.applied(node, write, &self.machines)?;
        }
        for asked in asked {
            match asked {
                Asked::Send(to, payload) => self.send(node, to, payload)?,
                Asked::Load(load) => {
                    let delay_us = self.dice.range(100, 5_000);
                    self.later(delay_us, Event::Loaded { node, epoch, load });
                }
                Asked::Reply { token, reply, last } => self.replied(node, token, reply, last)?,
                Asked::Mine(job, header) => {
                    if let Some(process) = self.machines[at].process.as_mut() {
                        process.mining = Some(job);
                    }
                    let nonce = raftbank_ledger::pow::mine(&header, header.nonce, 1 << 20);
                    let delay_us = self.dice.pick(&[10, 500, 5_000, 50_000]);
                    self.later(delay_us, Event::Mined { node, epoch, job, nonce });
                }
                Asked::CancelMine(job) => {
                    if let Some(process) = self.machines[at].process.as_mut() {
                        process.mining = process.mining.filter(|mining| *mining != job);
                    }
                }
                Asked::Gather(turn) => {
                    let delay_us = self.dice.pick(&[100, 700, 5_000]);
                    self.later(delay_us, Event::Gathered { node, epoch, turn });
                }
                Asked::Notice(notice) => self.noticed(node, &notice)?,
            }
        }
        self.head(node)
    }

    /// Looks at the node's newest signed head.
    fn head(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(process) = self.machines[usize::from(node.0)].process.as_mut() else { return Ok(()) };
        let head = process.node.head();
        if head == process.head.as_ref() {
            return Ok(());
        }
        process.head = head.cloned();
        if let Some(head) = head {
            self.trace.mix(&[head.head.size]);
            self.counts.heads += u64::from(self.observer.heads.adopted(node, head)?);
        }
        Ok(())
    }

    fn noticed(&mut self, node: NodeId, notice: &Notice) -> Result<(), Violation> {
        self.trace.line(self.now_us, format_args!("{node:?}    {notice:?}"));
        if let Notice::Role { role, term, .. } = notice {
            let elected = *role == raftbank_consensus::Role::Leader;
            self.counts.elections += u64::from(elected);
            self.counts.transfers += u64::from(elected && self.successors.remove(&(node, *term)));
            self.observer.role(node, *role, *term)?;
        }
        if let Notice::HandingOver { to } = notice
            && let Some(process) = &self.machine(node).process
        {
            let (_, _, term) = process.node.role();
            self.successors.insert((*to, term + 1));
        }
        if let Notice::Warning(text) = notice
            && text.starts_with("impossible: ")
        {
            return Err(Violation(format!("{node:?}: {text}")));
        }
        if let Notice::Info(text) = notice {
            self.counts.rejoined += u64::from(text.starts_with("this node has rejoined"));
        }
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: NodeId, payload: Vec<u8>) -> Result<(), Violation> {
        let machine = &self.machines[usize::from(from.0)];
        self.observer.leaves(machine, to, &payload)?;
        let linked = machine.process.as_ref().is_some_and(|process| process.linked);
        let open = linked && self.relay_up && self.links.open(from, to);
        let copies = if open { self.weather.copies(&mut self.dice) } else { Vec::new() };
        self.counts.messages_lost += u64::from(copies.is_empty());
        self.counts.messages_repeated += u64::from(copies.len() > 1);
        let payload = Rc::new(payload);
        for delay_us in copies {
            self.later(delay_us, Event::Frame { to, from, payload: Rc::clone(&payload) });
        }
        Ok(())
    }

    /// The others learn that a member is there, or not any more.
    pub(super) fn peers_change(&mut self, node: NodeId, up: bool) {
        let others: Vec<(NodeId, u64)> = self
            .machines
            .iter()
            .filter(|other| other.id != node && other.process.as_ref().is_some_and(|process| process.linked))
            .map(|other| (other.id, other.epoch))
            .collect();
        let epoch = self.machine(node).epoch;
        for (other, other_epoch) in others {
            let change = if up { LinkChange::Up(node) } else { LinkChange::Down(node) };
            let delay_us = self.dice.range(50, 2_000);
            self.later(delay_us, Event::Link { node: other, epoch: other_epoch, change });
            if up {
                let change = LinkChange::Up(other);
                self.later(delay_us, Event::Link { node, epoch, change });
            }
        }
    }
}
