//! One simulated machine: a disk, a process that may run on it, and its clocks.

use std::collections::{BTreeMap, VecDeque};

use raftbank_consensus::{NodeId, Timers};
use raftbank_ledger::{Block, Hash, Header, NodeName};
use raftbank_proofs::{Checkpoint, KeyKind, SignerKey, node_key_name};
use raftbank_store::{
    Batch, Expected, FORMAT, MemoryDisk, MemoryImage, MemoryReader, MemoryStore, Meta, Opened, StoreError,
};
use raftbank_wire::api::ApiReply;
use raftbankd::driver::{Driver, Load, Ports};
use raftbankd::node::{Event, Node, NodeConfig, Notice, Now};

/// Milliseconds of a tick on an exact clock.
pub const TICK_MS: u64 = 10;
/// The default timers of the daemon, in such ticks: heartbeat 50 ms, elections after 150 to 300 ms.
pub const TIMERS: Timers = Timers { heartbeat_ticks: 5, election_ticks_min: 15, election_ticks_max: 30 };
/// Wall time at the beginning of a run, in Unix milliseconds.
pub const BIRTH_MS: u64 = 1_700_000_000_000;

/// What all machines of a bank have in common.
#[derive(Debug)]
pub struct Charter {
    /// All members.
    pub names: Vec<NodeName>,
    /// Block 0.
    pub genesis: Block,
    /// Most requests in one block.
    pub batch_requests_max: usize,
    /// Nonces tried without the miner.
    pub nonces_inline: u64,
    /// Requests that must wait for a block to be executed ahead.
    pub ahead_requests_min: usize,
    /// Answered clients that are waited for.
    pub gather_calls_min: usize,
    /// How often new heads are signed.
    pub checkpoint_ms: u64,
}

impl Charter {
    /// A new disk for a member.
    pub fn disk(&self, id: NodeId, incarnation: u64, rejoining: bool) -> Result<MemoryDisk, StoreError> {
        let node = self.names[usize::from(id.0)].clone();
        let meta = Meta { format: FORMAT, cluster_id: self.genesis.hash(), node, incarnation, rejoining };
        MemoryDisk::create(&meta, &self.genesis)
    }

    /// A member's key, another one in each life of its key file.
    pub fn signer(&self, id: NodeId, life: u64) -> SignerKey {
        let name = node_key_name(&self.genesis.hash(), &self.names[usize::from(id.0)]);
        let Hash(seed) = Hash::of(&[&self.genesis.hash().0, &[id.0], &life.to_be_bytes()]);
        SignerKey::new(&name, KeyKind::Node, &seed).expect("a member's name")
    }
}

/// What a node has asked the world for, in order.
#[derive(Debug)]
pub enum Asked {
    /// Send a frame.
    Send(NodeId, Vec<u8>),
    /// Read old records.
    Load(Load),
    /// Answer a client.
    Reply { token: u64, reply: ApiReply, last: bool },
    /// Search a nonce.
    Mine(u64, Header),
    /// Stop searching.
    CancelMine(u64),
    /// Wait a moment.
    Gather(u64),
    /// Log.
    Notice(Notice),
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct Queued {
    /// Awaited under this number.
    pub group: Option<u64>,
    /// What is to be written.
    pub batch: Batch,
}

/// The ports of a node: everything is noted, the world performs it.
#[derive(Debug, Default)]
pub struct Desk {
    /// What was asked, but for writes.
    pub asked: Vec<Asked>,
    /// Writes that the store has not taken yet.
    pub queue: VecDeque<Queued>,
    /// How many of `queue` the observer has seen.
    pub seen: usize,
    /// Loads that wait; more are refused, as by the loader's queue.
    pub loads: usize,
}

impl Ports for Desk {
    fn send(&mut self, to: NodeId, payload: Vec<u8>) {
        self.asked.push(Asked::Send(to, payload));
    }

    fn persist(&mut self, group: Option<u64>, batch: Batch) {
        self.queue.push_back(Queued { group, batch });
    }

    fn load(&mut self, load: Load) -> bool {
        let room = self.loads < 4;
        if room {
            self.loads += 1;
            self.asked.push(Asked::Load(load));
        }
        room
    }

    fn reply(&mut self, token: u64, reply: ApiReply, last: bool) -> bool {
        self.asked.push(Asked::Reply { token, reply, last });
        true
    }

    fn mine(&mut self, job: u64, header: Header) -> Option<Event> {
        self.asked.push(Asked::Mine(job, header));
        None
    }

    fn cancel_mine(&mut self, job: u64) {
        self.asked.push(Asked::CancelMine(job));
    }

    fn gather(&mut self, turn: u64) {
        self.asked.push(Asked::Gather(turn));
    }

    fn notice(&mut self, notice: Notice) {
        self.asked.push(Asked::Notice(notice));
    }
}

/// A running process.
pub struct Process {
    /// The shipping node.
    pub node: Node,
    /// The shipping driver.
    pub driver: Driver,
    /// What it asked for.
    pub desk: Desk,
    /// The writing side of its disk.
    pub store: MemoryStore,
    /// The reading side.
    pub reader: MemoryReader,
    /// The newest awaited group of the sync that is under way.
    pub syncing: Option<Option<u64>>,
    /// What waits while the process is stopped.
    pub paused: Option<Vec<super::event::Event>>,
    /// Ticks that are held back while the node is at rest.
    pub held_ticks: u32,
    /// Connected to the relay.
    pub linked: bool,
    /// Clients that wait for an answer: token to client.
    pub tokens: BTreeMap<u64, usize>,
    /// The token of a watcher, if there is one.
    pub watcher: Option<u64>,
    /// A balance in its memory was flipped.
    pub flipped: bool,
    /// The newest signed head that it was seen to have.
    pub head: Option<Checkpoint>,
    /// SIGTERM was sent.
    pub stopping: bool,
    /// The job that the miner works on.
    pub mining: Option<u64>,
}

/// A machine.
pub struct Machine {
    /// Its member.
    pub id: NodeId,
    /// Survives the process.
    pub disk: MemoryDisk,
    /// Of the disk.
    pub incarnation: u64,
    /// Counts the keys that it had.
    pub key_life: u64,
    /// An older image of the disk, if a backup was made.
    pub backup: Option<MemoryImage>,
    /// Runs if the process runs.
    pub process: Option<Process>,
    /// Counts the processes.
    pub epoch: u64,
    /// Length of a tick by this machine's clock.
    pub tick_us: u64,
    /// Its wall clock minus true time.
    pub clock_ms: i64,
    /// How long a sync takes.
    pub sync_us: (u64, u64),
    /// The same, if nothing is wrong.
    pub healthy_sync_us: (u64, u64),
    /// It ended with 6 and waits for its operator.
    pub refused: bool,
    /// It ran with a flipped balance: its log may hold a block that nobody else will take.
    pub tainted: bool,
    /// Its disk holds less than it promised.
    pub rolled_back: bool,
}

impl Machine {
    /// The process runs and is not stopped.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.paused.is_none())
    }

    /// What its clocks say.
    pub fn now(&self, now_us: u64) -> Now {
        let mono_ms = now_us / 1_000;
        Now { mono_ms, wall_ms: (BIRTH_MS + mono_ms).saturating_add_signed(self.clock_ms) }
    }

    /// Opens the disk and makes a process.
    ///
    /// # Errors
    /// The disk is damaged.
    pub fn start(&mut self, charter: &Charter, seed: u64, now_us: u64) -> Result<(), StoreError> {
        let expected =
            Expected { cluster_id: charter.genesis.hash(), node: charter.names[usize::from(self.id.0)].clone() };
        let (store, reader, opened) = self.disk.open(&expected)?;
        let config = NodeConfig {
            id: self.id,
            names: charter.names.clone(),
            seed,
            tick_ms: TICK_MS,
            timers: TIMERS,
            batch_requests_max: charter.batch_requests_max,
            batch_bytes_max: 1 << 20,
            incarnation: opened.meta.incarnation,
            rejoining: opened.meta.rejoining,
            nonces_inline: charter.nonces_inline,
            ahead_requests_min: charter.ahead_requests_min,
            gather_calls_min: charter.gather_calls_min,
            signer: charter.signer(self.id, self.key_life),
            checkpoint_ms: charter.checkpoint_ms,
            software: "sim/0.2.0".to_owned(),
        };
        let Opened { durable, applied, state, peers, keys, .. } = opened;
        let (node, actions) = Node::open(config, durable, applied, state, &peers, &keys, self.now(now_us));
        self.epoch += 1;
        self.process = Some(Process {
            node,
            driver: Driver::new(actions),
            desk: Desk::default(),
            store,
            reader,
            syncing: None,
            paused: None,
            held_ticks: 0,
            linked: false,
            tokens: BTreeMap::new(),
            watcher: None,
            flipped: false,
            head: None,
            stopping: false,
            mining: None,
        });
        Ok(())
    }
}
