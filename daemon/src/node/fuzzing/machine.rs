//! One node with its disk, and everything that is checked of what it does.

use std::collections::{BTreeMap, VecDeque};

use raftbank_consensus::{NodeId, Timers};
use raftbank_ledger::{Balance, Block, Hash, NodeName, pow};
use raftbank_proofs::{KeyKind, SignerKey, node_key_name};
use raftbank_store::{Batch, Expected, FORMAT, MemoryDisk, MemoryReader, MemoryStore, Meta, Opened, Reader, Store};
use raftbank_wire::api::ApiRequest;

use super::super::message::{Body, Envelope, FRAME_BYTES_MAX};
use super::super::{Action, Event, Node, NodeConfig, Notice, Now};
use super::{MEMBERS, TICK_MS, rules};

/// What a node did that others notice.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub frames: Vec<(u8, Vec<u8>)>,
    pub committed: Vec<(u64, Hash)>,
    pub stopped: Option<(u8, String)>,
    /// What a peer claimed that cannot be.
    pub impossible: Option<String>,
}

pub(super) struct Machine {
    pub id: u8,
    pub incarnation: u64,
    pub skew_ms: i64,
    /// Syncs wait until they are asked for.
    pub slow_disk: bool,
    pub nonces_inline: u64,
    /// Who waits for what.
    pub asked: BTreeMap<u64, ApiRequest>,
    /// The last challenge that this node has sent to each member.
    pub challenges: BTreeMap<u8, u64>,
    cluster: Hash,
    disk: MemoryDisk,
    starts: u64,
    process: Option<Process>,
}

pub(super) struct Process {
    pub node: Node,
    pub reader: MemoryReader,
    store: MemoryStore,
    unsynced: VecDeque<u64>,
    groups: u64,
    height: u64,
}

fn name(id: u8) -> NodeName {
    NodeName::parse(&format!("n{}", id + 1)).expect("a name")
}

/// A member's key.
pub(super) fn signer(id: u8, cluster: &Hash) -> SignerKey {
    SignerKey::new(&node_key_name(cluster, &name(id)), KeyKind::Node, &[id + 1; 32]).expect("a name")
}

impl Machine {
    pub fn new(id: u8, incarnation: u64, rejoining: bool, genesis: &Block, inline: bool) -> Self {
        let meta = Meta { format: FORMAT, cluster_id: genesis.hash(), node: name(id), incarnation, rejoining };
        Self {
            id,
            incarnation,
            skew_ms: 0,
            slow_disk: false,
            nonces_inline: if inline { 4_096 } else { 0 },
            asked: BTreeMap::new(),
            challenges: BTreeMap::new(),
            cluster: genesis.hash(),
            disk: MemoryDisk::create(&meta, genesis).expect("a new disk"),
            starts: 0,
            process: None,
        }
    }

    /// The number that this process' calls bear.
    pub fn seed(&self) -> u64 {
        u64::from(self.id) * 100 + self.starts
    }

    pub fn start(&mut self, now: Now) {
        self.starts += 1;
        let expected = Expected { cluster_id: self.cluster, node: name(self.id) };
        let (store, reader, opened) = self.disk.open(&expected).expect("what was written can be opened");
        let config = NodeConfig {
            id: NodeId(self.id),
            names: (0..MEMBERS).map(name).collect(),
            seed: self.seed(),
            tick_ms: TICK_MS,
            timers: Timers { heartbeat_ticks: 5, election_ticks_min: 15, election_ticks_max: 30 },
            batch_requests_max: 5,
            batch_bytes_max: 70_000,
            incarnation: self.incarnation,
            rejoining: opened.meta.rejoining,
            nonces_inline: self.nonces_inline,
            ahead_requests_min: 2,
            gather_calls_min: 2,
            signer: signer(self.id, &self.cluster),
            checkpoint_ms: 50,
            software: "test/0.2.0".into(),
        };
        let height = opened.state.tip().height;
        let Opened { durable, applied, state, peers, keys, .. } = opened;
        let (node, actions) = Node::open(config, durable, applied, state, &peers, &keys, now);
        self.process = Some(Process { node, reader, store, unsynced: VecDeque::new(), groups: 0, height });
        // What a node does at its start is written; who it greets hears it again with the first tick.
        let mut events = VecDeque::new();
        let mut sent = Sent::default();
        self.perform(actions, &mut events, &mut sent);
        assert!(sent.stopped.is_none(), "{:?}", sent.stopped);
        while let Some(event) = events.pop_front() {
            self.event(now, event);
        }
    }

    /// Ends the process; so many writes that were not synced are kept.
    pub fn crash(&mut self, kept: usize) {
        self.process = None;
        self.asked.clear();
        self.disk.crash(|_| kept);
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Syncs the oldest group that waits.
    pub fn sync(&mut self) -> Option<u64> {
        let process = self.process.as_mut()?;
        let group = process.unsynced.pop_front()?;
        process.store.sync().expect("a sync");
        Some(group)
    }

    pub fn event(&mut self, now: Now, event: Event) -> Sent {
        let mut sent = Sent::default();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(process) = self.process.as_mut() else { break };
            let actions = process.node.step(now, event);
            self.perform(actions, &mut events, &mut sent);
        }
        if let Some(process) = &self.process {
            let sum: Balance = process.node.state().accounts().map(|(_, balance)| balance).sum();
            assert_eq!(sum, 0, "money was made or lost");
        }
        sent
    }

    fn perform(&mut self, actions: Vec<Action>, events: &mut VecDeque<Event>, sent: &mut Sent) {
        for action in actions {
            let Some(process) = self.process.as_mut() else { return };
            match action {
                Action::Send { to, payload } => {
                    self.check_frame(to, &payload);
                    sent.frames.push((to.0, payload));
                }
                Action::Persist { group, batch } => {
                    write(process, group, &batch);
                    if let Some(group) = group {
                        process.unsynced.push_back(group);
                        if !self.slow_disk {
                            events.extend(self.sync().map(|group| Event::Synced { group }));
                        }
                    }
                }
                Action::Load { peer, from, bytes_max } => {
                    let records = process.reader.records(from, bytes_max).expect("what was written can be read");
                    events.push_back(Event::Loaded { peer, from, records });
                }
                Action::Reply { token, reply, last } => {
                    let request = self.asked.get(&token);
                    // Who has gone may still be answered.
                    if let Some(request) = request {
                        rules::check_reply(request, &reply, last);
                    }
                    if last {
                        self.asked.remove(&token);
                    }
                }
                Action::Mine { job, header } => {
                    let nonce = pow::mine(&header, header.nonce, 1 << 20);
                    events.push_back(Event::Mined { job, nonce });
                }
                Action::Notice(Notice::Warning(text) | Notice::Info(text)) => {
                    assert!(!text.chars().any(char::is_control), "into the log: {text:?}");
                    if text.starts_with("impossible: ") {
                        sent.impossible = Some(text);
                    }
                }
                Action::Notice(Notice::Committed { height, hash, .. }) => {
                    process.height += 1;
                    assert_eq!(height, process.height, "blocks are committed one after the other");
                    sent.committed.push((height, hash));
                }
                Action::Notice(Notice::Role { .. } | Notice::HandingOver { .. }) | Action::CancelMine { .. } => {}
                Action::Gather { turn } => events.push_back(Event::Gathered { turn }),
                Action::Stop { exit_code, reason } => {
                    sent.stopped = Some((exit_code, reason));
                    self.process = None;
                    self.disk.kill();
                    self.assert_nobody_waits();
                }
            }
        }
    }

    /// What is sent can be read by whom it is for, and names its sender.
    fn check_frame(&mut self, to: NodeId, payload: &[u8]) {
        assert!(to.0 < MEMBERS && to.0 != self.id, "a frame from {} to {}", self.id, to.0);
        let envelope: Envelope = raftbank_codec::decode(payload, FRAME_BYTES_MAX).expect("what is sent can be read");
        assert_eq!(envelope.incarnation, self.incarnation);
        if let Body::RejoinChallenge { challenge, .. } = envelope.body {
            assert_ne!(challenge, 0);
            self.challenges.insert(to.0, challenge);
        }
    }

    /// Everybody who asked was answered, but for watchers.
    pub fn assert_nobody_waits(&self) {
        let waiting = self.asked.values().find(|request| !matches!(request, ApiRequest::Watch));
        assert!(waiting.is_none(), "n{} never answered {waiting:?}", self.id + 1);
    }
}

fn write(process: &mut Process, group: Option<u64>, batch: &Batch) {
    if let Some(group) = group {
        process.groups += 1;
        assert_eq!(group, process.groups, "groups are numbered without gaps");
    }
    process.store.write(batch).expect("a node writes nothing that its store refuses");
}
