//! Three nodes in one thread, on a network that never loses anything and disks that all take the same time: the
//! same run each time. The world's own work is not counted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use raftbank_consensus::{NodeId, Role};
use raftbank_ledger::{Block, Genesis, Header};
use raftbank_store::{Batch, Expected, FORMAT, Meta, Opened, Reader, SledReader, SledStore, Store};
use raftbank_wire::api::{ApiReply, ApiRequest, ManyResult, WriteOutcome};
use raftbankd::driver::{Driver, Load, Ports};
use raftbankd::node::{
    AHEAD_REQUESTS_MIN, Event as NodeEvent, LinkChange, NONCES_INLINE, Node, NodeConfig, Notice, Now,
};

use super::tally::{Meter, Part, Tally};
use crate::consensus_sim::Dice;
use crate::consensus_sim::network::Weather;
use crate::sim::machine::{BIRTH_MS, Charter, TICK_MS, TIMERS};

/// How long a frame travels, in simulated microseconds: always the same, so that nothing overtakes.
const DELAY_US: u64 = 200;
/// How long a sync takes, in simulated microseconds.
const SYNC_US: u64 = 1_000;
/// Most batches that share one sync, as in the daemon.
const GROUPS_PER_SYNC_MAX: usize = 256;
/// Longest wait for anything, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;

/// Something that will happen at a node.
#[derive(Debug)]
enum Event {
    Tick,
    Frame(NodeId, Vec<u8>),
    SyncDone,
    MarkDue,
    Loaded(Load),
}

/// A node's ports: everything is noted. The lists keep their room, so that they are not counted as the node's.
#[derive(Default)]
struct Desk {
    frames: Vec<(NodeId, Vec<u8>)>,
    replies: Vec<ApiReply>,
    batches: Vec<(Option<u64>, Batch)>,
    loads: Vec<Load>,
    wrong: Option<String>,
}

impl Ports for Desk {
    fn send(&mut self, to: NodeId, payload: Vec<u8>) {
        self.frames.push((to, payload));
    }

    fn persist(&mut self, group: Option<u64>, batch: Batch) {
        self.batches.push((group, batch));
    }

    fn load(&mut self, load: Load) -> bool {
        self.loads.push(load);
        true
    }

    fn reply(&mut self, _: u64, reply: ApiReply, _: bool) -> bool {
        self.replies.push(reply);
        true
    }

    fn mine(&mut self, _: u64, _: Header) -> Option<NodeEvent> {
        self.wrong = Some("a nonce was not found at once".to_owned());
        None
    }

    fn cancel_mine(&mut self, _: u64) {}

    fn gather(&mut self, _: u64) {
        unreachable!("nobody is waited for: see `gather_calls_min`");
    }

    fn notice(&mut self, notice: Notice) {
        if let Notice::Warning(text) = notice {
            self.wrong = Some(text);
        }
    }
}

/// One node with its disk.
struct Member {
    id: NodeId,
    node: Node,
    driver: Driver,
    desk: Desk,
    store: SledStore,
    reader: SledReader,
    /// The newest awaited group of the sync that is under way.
    syncing: Option<u64>,
    spent: Tally,
}

/// The three nodes and what is on its way between them.
pub struct World {
    meter: Meter,
    now_us: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    weather: Weather,
    dice: Dice,
    members: Vec<Member>,
    next_token: u64,
    /// Requests that were answered.
    pub answered: usize,
}

impl World {
    /// A bank of new data folders in `dir`, with its leader elected.
    ///
    /// # Errors
    /// Whatever is in the way.
    pub fn new(dir: &Path, genesis: &Genesis, meter: Meter) -> Result<Self> {
        let charter = Charter {
            names: genesis.members.clone(),
            genesis: genesis.block()?,
            batch_requests_max: 8_192,
            nonces_inline: NONCES_INLINE,
            ahead_requests_min: AHEAD_REQUESTS_MIN,
            // The loads say how large a block is.
            gather_calls_min: usize::MAX,
            checkpoint_ms: 100,
        };
        let mut world = Self {
            meter,
            now_us: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            weather: Weather { delay_us: (DELAY_US, DELAY_US), ..Weather::calm() },
            dice: Dice::new(1),
            members: Vec::new(),
            next_token: 1,
            answered: 0,
        };
        for at in 0..charter.names.len() {
            let member = member(dir, &charter, at, world.now())?;
            world.members.push(member);
            world.later(TICK_MS * 1_000, at, Event::Tick);
            world.later(1_000_000, at, Event::MarkDue);
        }
        world.connect()?;
        world.run_until("a leader", |world| world.members.iter().all(|member| member.node.has_leader()))?;
        Ok(world)
    }

    /// Everyone meets everyone.
    fn connect(&mut self) -> Result<()> {
        for at in 0..self.members.len() {
            self.members[at].driver.push(NodeEvent::Link(LinkChange::Connected));
            let others = self.members.iter().map(|member| member.id).filter(|id| usize::from(id.0) != at);
            for other in others.collect::<Vec<_>>() {
                self.members[at].driver.push(NodeEvent::Link(LinkChange::Up(other)));
            }
            self.turn(at)?;
        }
        Ok(())
    }

    /// Which one leads, and its term.
    ///
    /// # Errors
    /// None does.
    pub fn leader(&self) -> Result<(usize, u64)> {
        let leads = |member: &Member| member.node.role().0 == Role::Leader;
        let at = self.members.iter().position(leads).context("no leader")?;
        Ok((at, self.members[at].node.role().2))
    }

    /// What each node has used so far.
    pub fn spent(&self) -> Vec<Tally> {
        self.members.iter().map(|member| member.spent).collect()
    }

    /// Height of the leader's chain.
    ///
    /// # Errors
    /// There is no leader.
    pub fn height(&self) -> Result<u64> {
        Ok(self.members[self.leader()?.0].node.state().tip().height)
    }

    /// Hands all of these to the leader at once.
    ///
    /// # Errors
    /// A node's.
    pub fn ask(&mut self, requests: Vec<ApiRequest>) -> Result<()> {
        let (leader, _) = self.leader()?;
        for request in requests {
            let token = self.next_token;
            self.next_token += 1;
            self.members[leader].driver.push(NodeEvent::Api { token, request });
        }
        self.turn(leader)
    }

    /// Lets time pass until so many requests are answered.
    ///
    /// # Errors
    /// They are not, or something goes wrong meanwhile.
    pub fn until_answered(&mut self, count: usize) -> Result<()> {
        self.run_until("answers", |world| world.answered >= count)
    }

    /// Lets so much time pass.
    ///
    /// # Errors
    /// Something goes wrong meanwhile.
    pub fn rest(&mut self, time_us: u64) -> Result<()> {
        let until = self.now_us + time_us;
        self.run_until("the time", |world| world.now_us >= until)
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = self.now_us + PATIENCE_US;
        while !done(self) {
            let ((at_us, _), (at, event)) = self.queue.pop_first().context("nothing happens any more")?;
            ensure!(at_us <= deadline, "{what} did not come in a simulated minute");
            self.now_us = at_us;
            self.happens(at, event)?;
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let mono_ms = self.now_us / 1_000;
        Now { mono_ms, wall_ms: BIRTH_MS + mono_ms }
    }

    fn later(&mut self, delay_us: u64, at: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_us + delay_us, self.sequence), (at, event));
    }

    fn happens(&mut self, at: usize, event: Event) -> Result<()> {
        match event {
            Event::Tick => {
                self.later(TICK_MS * 1_000, at, Event::Tick);
                self.members[at].driver.tick();
            }
            Event::Frame(from, payload) => self.members[at].driver.push(NodeEvent::Frame { from, payload }),
            Event::SyncDone => {
                self.metered(at, Part::Store, |member| member.store.sync())?;
                if let Some(group) = self.members[at].syncing.take() {
                    self.members[at].driver.synced(group);
                }
            }
            Event::MarkDue => {
                self.later(1_000_000, at, Event::MarkDue);
                return Ok(self.metered(at, Part::Store, |member| member.store.sync_mark())?);
            }
            Event::Loaded(load) => {
                let records =
                    self.metered(at, Part::Store, |member| member.reader.records(load.from, load.bytes_max))?;
                self.members[at].driver.push(NodeEvent::Loaded { peer: load.peer, from: load.from, records });
            }
        }
        self.turn(at)
    }

    /// Counts what this work does for a node.
    fn metered<T>(&mut self, at: usize, part: Part, work: impl FnOnce(&mut Member) -> T) -> T {
        let (meter, member) = (self.meter, &mut self.members[at]);
        let before = meter.now(part);
        let done = work(member);
        let added = meter.now(part) - before;
        member.spent = member.spent + added;
        done
    }

    /// The node does all that it can do now.
    fn turn(&mut self, at: usize) -> Result<()> {
        let now = self.now();
        loop {
            let ended = self.metered(at, Part::Node, |member| {
                member.driver.step(&mut member.node, || now);
                member.driver.perform(&mut member.desk)
            });
            if let Some(ended) = ended {
                bail!("node {at} ended with {}: {}", ended.exit_code, ended.reason);
            }
            self.performed(at)?;
            if self.members[at].driver.is_idle() {
                return self.write(at);
            }
        }
    }

    /// What the node asked for.
    fn performed(&mut self, at: usize) -> Result<()> {
        let mut desk = std::mem::take(&mut self.members[at].desk);
        if let Some(wrong) = desk.wrong.take() {
            bail!("node {at}: {wrong}");
        }
        for (to, payload) in desk.frames.drain(..) {
            self.members[at].spent = self.members[at].spent + Tally::frame(payload.len());
            let from = self.members[at].id;
            // One copy each, as nothing is lost or repeated.
            for delay_us in self.weather.copies(&mut self.dice) {
                self.later(delay_us, usize::from(to.0), Event::Frame(from, payload.clone()));
            }
        }
        for reply in desk.replies.drain(..) {
            match reply {
                ApiReply::Written { outcome: WriteOutcome::Committed, duplicate: false, .. } => self.answered += 1,
                ApiReply::WrittenMany { results } => {
                    let done = |result: &ManyResult| {
                        matches!(result, ManyResult::Written { outcome: WriteOutcome::Committed, duplicate: false, .. })
                    };
                    let other = results.iter().find(|result| !done(result));
                    ensure!(other.is_none(), "an answer: {other:?}");
                    self.answered += results.len();
                }
                other => bail!("an answer: {other:?}"),
            }
        }
        for load in desk.loads.drain(..) {
            self.later(SYNC_US, at, Event::Loaded(load));
        }
        self.members[at].desk = desk;
        Ok(())
    }

    /// The store's thread: takes what waits, and begins one sync for all of it.
    fn write(&mut self, at: usize) -> Result<()> {
        let mut batches = std::mem::take(&mut self.members[at].desk.batches);
        let mut taken = 0;
        while self.members[at].syncing.is_none() && taken < batches.len() {
            let portion = &batches[taken..batches.len().min(taken + GROUPS_PER_SYNC_MAX)];
            for (_, batch) in portion {
                self.metered(at, Part::Store, |member| member.store.write(batch))?;
            }
            taken += portion.len();
            if let Some(newest) = portion.iter().rev().find_map(|(group, _)| *group) {
                self.members[at].syncing = Some(newest);
                self.later(SYNC_US, at, Event::SyncDone);
            }
        }
        batches.drain(..taken);
        self.members[at].desk.batches = batches;
        Ok(())
    }
}

/// A member with a new data folder.
fn member(dir: &Path, charter: &Charter, at: usize, now: Now) -> Result<Member> {
    let id = NodeId(u8::try_from(at)?);
    let (name, genesis): (_, &Block) = (charter.names[at].clone(), &charter.genesis);
    let data = dir.join(name.as_str());
    let meta = Meta {
        format: FORMAT,
        cluster_id: genesis.hash(),
        node: name.clone(),
        incarnation: 100 + at as u64,
        rejoining: false,
    };
    SledStore::create(&data, &meta, genesis)?;
    let expected = Expected { cluster_id: genesis.hash(), node: name };
    let (store, reader, opened) = SledStore::open(&data, &expected)?;
    let config = NodeConfig {
        id,
        names: charter.names.clone(),
        seed: at as u64,
        tick_ms: TICK_MS,
        timers: TIMERS,
        batch_requests_max: charter.batch_requests_max,
        batch_bytes_max: 1 << 20,
        incarnation: opened.meta.incarnation,
        rejoining: false,
        nonces_inline: charter.nonces_inline,
        ahead_requests_min: charter.ahead_requests_min,
        gather_calls_min: charter.gather_calls_min,
        signer: charter.signer(id, 0),
        checkpoint_ms: charter.checkpoint_ms,
        software: "counts".to_owned(),
    };
    let Opened { durable, applied, state, peers, keys, .. } = opened;
    let (node, actions) = Node::open(config, durable, applied, state, &peers, &keys, now);
    let (driver, desk) = (Driver::new(actions), Desk::default());
    Ok(Member { id, node, driver, desk, store, reader, syncing: None, spent: Tally::default() })
}
