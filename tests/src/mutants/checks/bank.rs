//! A bank of whole nodes on a wire, disks and clocks that a scene controls: everything is instant unless it says
//! otherwise, and nothing is left to chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, bail};
use raftbank_consensus::{NodeId, Role, Timers};
use raftbank_ledger::{Account, Balance, Block, NodeName, Operation, State, pow};
use raftbank_proofs::{KeyKind, SignerKey, node_key_name};
use raftbank_store::{Expected, FORMAT, MemoryDisk, MemoryReader, MemoryStore, Meta, Opened, Reader, Store};
use raftbank_wire::api::{ApiReply, ApiRequest, WriteOutcome};
use raftbankd::node::{Action, Event, LinkChange, NONCES_INLINE, Node, NodeConfig, Now};

use super::chain::{account, genesis, request};

const TICK_MS: u64 = 10;

/// A node that runs, with its store.
struct Running {
    node: Node,
    store: MemoryStore,
    reader: MemoryReader,
}

/// Everything that a node has sent, with the receivers.
pub(super) struct Recording {
    node: usize,
    frames: Vec<(usize, Vec<u8>)>,
}

/// The bank.
pub(super) struct Bank {
    /// What nodes run from their next start on; for those that are not named, the newest.
    pub software: BTreeMap<usize, &'static str>,
    genesis: Block,
    running: Vec<Option<Running>>,
    disks: Vec<MemoryDisk>,
    incarnations: Vec<u64>,
    wire: VecDeque<(usize, usize, Vec<u8>)>,
    /// Copies of frames that arrive late.
    pub recorded: Option<Recording>,
    /// Directions that carry nothing.
    pub cut: BTreeSet<(usize, usize)>,
    /// Nodes whose clock stands.
    pub stopped_clocks: BTreeSet<usize>,
    /// Nodes whose syncs do not end, with the groups that wait.
    held: BTreeMap<usize, Vec<u64>>,
    /// Answers by node and token.
    pub replies: BTreeMap<(usize, u64), ApiReply>,
    /// Nodes that ended by themselves, with their exit code.
    pub stops: BTreeMap<usize, u8>,
    mono_ms: u64,
    next_token: u64,
    starts: u64,
}

impl Bank {
    /// Nodes that have just started. `alice` has 10, `bob` nothing.
    pub fn new(members: usize) -> Result<Self> {
        let mut bank = Self {
            genesis: genesis(members, 0)?,
            running: Vec::new(),
            disks: Vec::new(),
            incarnations: Vec::new(),
            wire: VecDeque::new(),
            recorded: None,
            cut: BTreeSet::new(),
            stopped_clocks: BTreeSet::new(),
            held: BTreeMap::new(),
            replies: BTreeMap::new(),
            stops: BTreeMap::new(),
            mono_ms: 0,
            software: BTreeMap::new(),
            next_token: 0,
            starts: 0,
        };
        for id in 0..members {
            let incarnation = 100 + id as u64;
            bank.running.push(None);
            bank.incarnations.push(incarnation);
            bank.disks.push(bank.fresh_disk(id, incarnation, false)?);
        }
        for id in 0..members {
            bank.start(id, None)?;
        }
        Ok(bank)
    }

    fn fresh_disk(&self, id: usize, incarnation: u64, rejoining: bool) -> Result<MemoryDisk> {
        let (cluster_id, node) = (self.genesis.hash(), name(id)?);
        let meta = Meta { format: FORMAT, cluster_id, node, incarnation, rejoining };
        Ok(MemoryDisk::create(&meta, &self.genesis)?)
    }

    /// The disk is replaced by an empty one, as `--rejoin` does, or without a word to anyone.
    pub fn lose_disk(&mut self, id: usize, rejoining: bool) -> Result<()> {
        self.kill(id);
        self.incarnations[id] += 1_000;
        self.disks[id] = self.fresh_disk(id, self.incarnations[id], rejoining)?;
        self.start(id, None)
    }

    /// Ends the process; its disk keeps everything.
    pub fn kill(&mut self, id: usize) {
        self.running[id] = None;
        self.disks[id].kill();
        self.held.remove(&id);
    }

    /// SIGTERM.
    pub fn terminate(&mut self, id: usize) -> Result<()> {
        self.event(id, Event::Shutdown)?;
        self.deliver()
    }

    /// Starts a node on its disk, with one balance in its memory altered if so wished.
    pub fn start(&mut self, id: usize, damage: Option<(Account, Balance)>) -> Result<()> {
        let expected = Expected { cluster_id: self.genesis.hash(), node: name(id)? };
        let (store, reader, mut opened) = self.disks[id].open(&expected)?;
        if let Some((account, balance)) = damage {
            opened.state.corrupt_balance_for_tests(&account, balance);
        }
        self.starts += 1;
        let key = node_key_name(&self.genesis.hash(), &name(id)?);
        let config = NodeConfig {
            id: member(id),
            names: (0..self.running.len()).map(name).collect::<Result<_>>()?,
            seed: self.starts,
            tick_ms: TICK_MS,
            timers: Timers { heartbeat_ticks: 5, election_ticks_min: 15, election_ticks_max: 30 },
            batch_requests_max: 100,
            batch_bytes_max: 1 << 20,
            incarnation: self.incarnations[id],
            rejoining: opened.meta.rejoining,
            nonces_inline: NONCES_INLINE,
            ahead_requests_min: 1,
            gather_calls_min: 1,
            signer: SignerKey::new(&key, KeyKind::Node, &[id as u8 + 1; 32])?,
            checkpoint_ms: 100,
            software: self.software.get(&id).copied().unwrap_or("test/0.2.0").into(),
        };
        let now = self.now();
        let Opened { durable, applied, state, peers, keys, .. } = opened;
        let (node, actions) = Node::open(config, durable, applied, state, &peers, &keys, now);
        self.running[id] = Some(Running { node, store, reader });
        self.perform(id, actions)?;
        self.event(id, Event::Link(LinkChange::Connected))
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms, wall_ms: 1_000_000 + self.mono_ms }
    }

    fn event(&mut self, id: usize, event: Event) -> Result<()> {
        let now = self.now();
        let Some(running) = &mut self.running[id] else { return Ok(()) };
        let actions = running.node.step(now, event);
        self.perform(id, actions)
    }

    fn perform(&mut self, id: usize, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            let Some(running) = &mut self.running[id] else { return Ok(()) };
            match action {
                Action::Send { to, payload } => {
                    if let Some(recording) = self.recorded.as_mut().filter(|recording| recording.node == id) {
                        recording.frames.push((to.0.into(), payload.clone()));
                    }
                    self.wire.push_back((id, to.0.into(), payload));
                }
                Action::Persist { group, batch } => {
                    running.store.write(&batch)?;
                    match (group, self.held.get_mut(&id)) {
                        (None, _) => {}
                        (Some(group), Some(held)) => held.push(group),
                        (Some(group), None) => {
                            running.store.sync()?;
                            self.event(id, Event::Synced { group })?;
                        }
                    }
                }
                Action::Load { peer, from, bytes_max } => {
                    let records = running.reader.records(from, bytes_max)?;
                    self.event(id, Event::Loaded { peer, from, records })?;
                }
                Action::Reply { token, reply, .. } => {
                    if self.replies.insert((id, token), reply).is_some() {
                        bail!("node {id} answers one request twice");
                    }
                }
                Action::Mine { job, header } => {
                    let nonce = pow::mine(&header, header.nonce, 1 << 24);
                    self.event(id, Event::Mined { job, nonce })?;
                }
                Action::Stop { exit_code, .. } => {
                    self.stops.insert(id, exit_code);
                    self.kill(id);
                }
                Action::Gather { turn } => self.event(id, Event::Gathered { turn })?,
                Action::CancelMine { .. } | Action::Notice(_) => {}
            }
        }
        Ok(())
    }

    /// Syncs of this node do not end.
    pub fn hold(&mut self, id: usize) {
        self.held.entry(id).or_default();
    }

    /// They end, and so do those to come.
    pub fn release(&mut self, id: usize) -> Result<()> {
        for group in self.held.remove(&id).unwrap_or_default() {
            if let Some(running) = &mut self.running[id] {
                running.store.sync()?;
            }
            self.event(id, Event::Synced { group })?;
        }
        self.deliver()
    }

    /// Copies of what this node sends from now on are kept.
    pub fn record(&mut self, node: usize) {
        self.recorded = Some(Recording { node, frames: Vec::new() });
    }

    /// They arrive, late.
    pub fn replay(&mut self, Recording { node, frames }: Recording) -> Result<()> {
        self.wire.extend(frames.into_iter().map(|(to, payload)| (node, to, payload)));
        self.deliver()
    }

    fn deliver(&mut self) -> Result<()> {
        while let Some((from, to, payload)) = self.wire.pop_front() {
            if !self.cut.contains(&(from, to)) {
                self.event(to, Event::Frame { from: member(from), payload })?;
            }
        }
        Ok(())
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: u64) -> Result<()> {
        for _ in 0..ms / TICK_MS {
            self.mono_ms += TICK_MS;
            for id in 0..self.running.len() {
                if !self.stopped_clocks.contains(&id) {
                    self.event(id, Event::Tick)?;
                }
            }
            self.deliver()?;
        }
        Ok(())
    }

    /// A node that serves as leader, as others see it, too. Waits for one.
    pub fn leader(&mut self) -> Result<usize> {
        for _ in 0..100 {
            self.run_ms(100)?;
            let leads = |id: &usize| {
                let others = (0..self.running.len()).filter(|other| other != id);
                self.node(*id).is_some_and(|node| node.role().0 == Role::Leader && node.has_leader())
                    && others.filter_map(|id| self.node(id)).any(|node| node.role().1 == Some(member(*id)))
            };
            if let Some(leader) = (0..self.running.len()).find(leads) {
                return Ok(leader);
            }
        }
        bail!("no leader after 10 s")
    }

    fn node(&self, id: usize) -> Option<&Node> {
        self.running[id].as_ref().map(|running| &running.node)
    }

    /// The term of a node that runs.
    pub fn term(&self, id: usize) -> Result<u64> {
        Ok(self.node(id).context("it does not run")?.role().2)
    }

    /// The applied state of a node that runs.
    pub fn state(&self, id: usize) -> Result<&State> {
        Ok(self.node(id).with_context(|| format!("node {id} does not run; stopped: {:?}", self.stops))?.state())
    }

    /// The nodes that run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.running.len()).filter(|id| self.running[*id].is_some()).collect()
    }

    /// Asks, and does not wait.
    pub fn ask(&mut self, at: usize, request: ApiRequest) -> Result<u64> {
        self.next_token += 1;
        let token = self.next_token;
        self.event(at, Event::Api { token, request })?;
        self.deliver()?;
        Ok(token)
    }

    /// Asks for a write, and does not wait.
    pub fn write(&mut self, at: usize, id: &str, operation: Operation, timeout_ms: u32) -> Result<u64> {
        self.ask(at, ApiRequest::Write { request: request(id, operation)?.encode(), timeout_ms })
    }

    /// Asks, lets time pass, and returns the answer.
    pub fn answer(&mut self, at: usize, request: ApiRequest) -> Result<ApiReply> {
        let token = self.ask(at, request)?;
        self.run_ms(4_000)?;
        self.replies.get(&(at, token)).cloned().context("no answer by the deadline")
    }

    /// Writes, lets time pass, and expects success.
    pub fn must_write(&mut self, at: usize, id: &str, operation: Operation) -> Result<()> {
        let write = ApiRequest::Write { request: request(id, operation)?.encode(), timeout_ms: 3_000 };
        match self.answer(at, write)? {
            ApiReply::Written { outcome: WriteOutcome::Committed, .. } => Ok(()),
            other => bail!("{id} was answered with {other:?}"),
        }
    }

    /// Nothing goes to or from this node.
    pub fn isolate(&mut self, id: usize) {
        for other in (0..self.running.len()).filter(|other| *other != id) {
            self.cut.extend([(id, other), (other, id)]);
        }
    }

    /// The same balance at all nodes that run, and there must be one.
    pub fn balance(&self, name: &str) -> Result<Balance> {
        let account = account(name)?;
        let mut all = BTreeSet::new();
        for id in self.up() {
            all.extend(self.state(id)?.balance(&account));
        }
        match all.into_iter().collect::<Vec<_>>()[..] {
            [balance] => Ok(balance),
            ref other => bail!("the balances of {name} are {other:?}; stopped: {:?}", self.stops),
        }
    }
}

fn member(id: usize) -> NodeId {
    NodeId(u8::try_from(id).expect("a few nodes"))
}

fn name(id: usize) -> Result<NodeName> {
    Ok(NodeName::parse(&format!("n{}", id + 1))?)
}

/// The answer says that it was done.
pub(super) fn is_committed(reply: Option<&ApiReply>) -> bool {
    matches!(reply, Some(ApiReply::Written { outcome: WriteOutcome::Committed, .. }))
}

/// A linearizable read of a balance.
pub(super) fn read(name: &str) -> ApiRequest {
    ApiRequest::Balance { account: name.into(), local: false, timeout_ms: 2_000 }
}
