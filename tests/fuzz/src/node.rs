//! One node of a bank of three, driven by bytes: clients, ticks and syncs as a correct driver gives them, power cuts,
//! and peers that say anything at all.
//!
//! The members trust each other: Raft does not withstand a leader that contradicts itself, and a node that notices one
//! ends its process. `RAFTBANK_FUZZ_TRACE=1` prints each event and what came of it. So panics of [`DISTRUST`] are accepted, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use raftbank_codec::{decode, encode};
use raftbank_consensus::{NodeId, Record, Role, Timers};
use raftbank_ledger::{Block, Genesis, NodeName, Request};
use raftbank_proofs::{KeyKind, SignerKey, node_key_name};
use raftbank_store::{Expected, FORMAT, MemoryDisk, MemoryReader, MemoryStore, Meta, Reader, Store};
use raftbank_wire::api::ApiRequest;
use raftbankd::node::message::{Body, Envelope, FRAME_BYTES_MAX};
use raftbankd::node::{Action, Event, LinkChange, Node, NodeConfig, Now};

use crate::canonical;
use crate::script::Script;

/// What the engine says of a leader that cannot be one, see `docs/consensus.md`.
const DISTRUST: [&str; 4] =
    ["two leaders in term", "contradicts committed record", "contradicts its own log", "was to be cut"];

const TICK_MS: u64 = 10;

/// Lets the panics of [`DISTRUST`] pass; all others end the process, as libFuzzer wants it.
pub fn tolerate_distrust() {
    let strict = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if !DISTRUST.iter().any(|accepted| text.contains(accepted)) {
            strict(info);
        }
    }));
}

/// Plays a whole script. Returns the role at its end, the last applied record and the height; `None`: the node noticed
/// a leader that cannot be one.
pub fn play(bytes: &[u8]) -> Option<(Role, u64, u64)> {
    let mut script = Script(bytes);
    // An unwinding panic is one that the hook accepts.
    catch_unwind(AssertUnwindSafe(|| {
        let mut machine = Machine::new(script.u8());
        while !script.0.is_empty() && machine.running {
            machine.act(&mut script);
        }
        (machine.node.role().0, machine.node.applied(), machine.node.state().tip().height)
    }))
    .ok()
}

struct Machine {
    node: Node,
    disk: MemoryDisk,
    store: MemoryStore,
    reader: MemoryReader,
    nonces_inline: u64,
    now: Now,
    /// Handed out and not yet durable, in order.
    unsynced: Vec<u64>,
    last_group: u64,
    loads: Vec<(NodeId, u64)>,
    jobs: BTreeMap<u64, raftbank_ledger::Header>,
    gather: Option<u64>,
    next_token: u64,
    /// Tokens that wait for their last answer.
    waiting: BTreeSet<u64>,
    watching: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    running: bool,
    trace: bool,
}

fn names() -> Vec<NodeName> {
    ["n1", "n2", "n3"].iter().map(|name| NodeName::parse(name).expect("a name")).collect()
}

/// Block 0 of the bank that is played with.
pub fn genesis() -> &'static Block {
    static GENESIS: OnceLock<Block> = OnceLock::new();
    GENESIS.get_or_init(|| {
        let (name, salt) = ("fuzz/0.2.0".to_owned(), "salt".to_owned());
        Genesis { name, salt, members: names(), difficulty: 1, time_ms: 1_000, accounts: vec![], transfers: vec![] }
            .block()
            .expect("a fine genesis")
    })
}

fn incarnation(member: u8) -> u64 {
    100 + u64::from(member)
}

impl Machine {
    fn new(options: u8) -> Self {
        let genesis = genesis();
        let meta = Meta {
            format: FORMAT,
            cluster_id: genesis.hash(),
            node: names()[0].clone(),
            incarnation: incarnation(0),
            rejoining: options & 1 == 1,
        };
        let disk = MemoryDisk::create(&meta, genesis).expect("a new disk");
        let nonces_inline = if options & 2 == 2 { 0 } else { 1 << 20 };
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let (node, store, reader, actions) = open(&disk, nonces_inline, now);
        let mut machine = Self {
            node,
            disk,
            store,
            reader,
            nonces_inline,
            now,
            unsynced: Vec::new(),
            last_group: 0,
            loads: Vec::new(),
            jobs: BTreeMap::new(),
            gather: None,
            next_token: 1,
            waiting: BTreeSet::new(),
            watching: BTreeSet::new(),
            gone: BTreeSet::new(),
            running: true,
            trace: std::env::var_os("RAFTBANK_FUZZ_TRACE").is_some(),
        };
        machine.perform(actions);
        machine.event(Event::Link(LinkChange::Connected));
        machine
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.u8() % 16 {
            0 => self.ticks(1),
            1 => self.ticks(u64::from(script.u8())),
            2 => {
                let (from, payload) = (NodeId(script.u8() % 4), script.bytes().to_vec());
                self.event(Event::Frame { from, payload });
            }
            3 => {
                let from = 1 + script.u8() % 2;
                if let Ok(body) = decode::<Body>(script.bytes(), FRAME_BYTES_MAX) {
                    self.frame(from, script, body);
                }
            }
            4..=7 => {
                let from = 1 + script.u8() % 2;
                let message = script.message(self.node.role().2, self.node.applied(), self.node.state());
                // Every spelling of the script is a message.
                let body = decode(&message, FRAME_BYTES_MAX).expect("a message");
                self.frame(from, script, body);
            }
            8 => {
                if let Ok(request) = decode::<ApiRequest>(script.bytes(), 1 << 20) {
                    self.ask(request);
                }
            }
            9 => {
                let request = Request::encode(&script.request());
                self.ask(ApiRequest::Write { request, timeout_ms: u32::from(script.u8()) * 16 });
            }
            10 => {
                let groups = usize::from(script.u8()).min(self.unsynced.len());
                self.synced(groups);
            }
            11 => {
                let peer = NodeId(script.u8() % 4);
                let change = [LinkChange::Connected, LinkChange::Lost, LinkChange::Up(peer), LinkChange::Down(peer)];
                self.event(Event::Link(change[usize::from(script.u8() % 4)]));
            }
            12 => self.loaded(script.u8()),
            13 => {
                if let Some(turn) = self.gather.take() {
                    self.event(Event::Gathered { turn });
                }
                let right = script.u8() % 4 != 0;
                if let Some((job, header)) = self.jobs.pop_first() {
                    let nonce = raftbank_ledger::pow::mine(&header, header.nonce, 1 << 20).filter(|_| right);
                    self.event(Event::Mined { job, nonce });
                }
            }
            14 => {
                let token = u64::from(script.u8());
                // A write goes on without its client, and may be answered still.
                if self.waiting.remove(&token) {
                    self.gone.insert(token);
                }
                self.watching.remove(&token);
                self.event(Event::ApiGone { token });
            }
            _ => match script.u8() {
                0 => self.event(Event::Shutdown),
                keep => self.power_cut(usize::from(keep) - 1),
            },
        }
    }

    fn ticks(&mut self, count: u64) {
        for _ in 0..count {
            self.now.mono_ms += TICK_MS;
            self.now.wall_ms += TICK_MS;
            self.event(Event::Tick);
        }
    }

    /// A frame that passes all checks of the envelope, now and then but for its incarnation.
    fn frame(&mut self, from: u8, script: &mut Script<'_>, body: Body) {
        let other = u64::from(script.u8() == 255);
        let envelope = Envelope {
            cluster: self.node.state().cluster_id().0,
            incarnation: incarnation(from) + other,
            wall_ms: self.now.wall_ms,
            body,
        };
        self.event(Event::Frame { from: NodeId(from), payload: encode(&envelope) });
    }

    fn ask(&mut self, request: ApiRequest) {
        let token = self.next_token;
        self.next_token += 1;
        // A stream ends with its client.
        let whose = if request == ApiRequest::Watch { &mut self.watching } else { &mut self.waiting };
        whose.insert(token);
        self.event(Event::Api { token, request });
    }

    fn synced(&mut self, groups: usize) {
        self.store.sync().expect("memory syncs");
        for group in self.unsynced.drain(..groups).collect::<Vec<_>>() {
            self.event(Event::Synced { group });
        }
    }

    fn loaded(&mut self, how: u8) {
        let Some((peer, from)) = self.loads.pop() else { return };
        let mut records = self.reader.records(from, 1 << 16).unwrap_or_default();
        records.truncate(usize::from(how));
        self.event(Event::Loaded { peer, from, records });
    }

    fn event(&mut self, event: Event) {
        if self.running {
            let before = self.node.applied();
            let told = self.trace.then(|| format!("{event:?}"));
            let actions = self.node.step(self.now, event);
            if let Some(told) = told {
                eprintln!("{} {told}\n    {actions:?}\n    {:?}", self.now.mono_ms, self.node.role());
            }
            assert!(self.node.applied() >= before, "applied records stay applied");
            self.perform(actions);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(self.running, "nothing follows a stop");
            match action {
                Action::Send { to, payload } => {
                    assert!([1, 2].contains(&to.0));
                    assert!(canonical::<Envelope>(&payload, FRAME_BYTES_MAX).is_some(), "every peer can read it");
                }
                Action::Persist { group, batch } => {
                    if let Some(group) = group {
                        self.last_group += 1;
                        assert_eq!(group, self.last_group);
                        self.unsynced.push(group);
                    }
                    self.store.write(&batch).expect("the store contradicts no node");
                }
                Action::Load { peer, from, .. } => self.loads.push((peer, from)),
                Action::Reply { token, last, .. } => {
                    let waits = match last {
                        true => [&mut self.waiting, &mut self.watching, &mut self.gone]
                            .into_iter()
                            .any(|whose| whose.remove(&token)),
                        false => self.watching.contains(&token),
                    };
                    assert!(waits, "an answer to nobody: token {token}");
                }
                Action::Mine { job, header } => drop(self.jobs.insert(job, header)),
                Action::CancelMine { job } => drop(self.jobs.remove(&job)),
                Action::Gather { turn } => self.gather = Some(turn),
                Action::Notice(_) => {}
                Action::Stop { exit_code, .. } => {
                    assert!([0, 1, 6].contains(&exit_code));
                    assert!(self.waiting.is_empty(), "who waits is told before a stop");
                    self.running = false;
                }
            }
        }
    }

    /// Everything that the node promised is on the disk, and some of the rest; then it starts again.
    fn power_cut(&mut self, keep: usize) {
        self.disk.crash(|steps| steps.min(keep));
        let (node, store, reader, actions) = open(&self.disk, self.nonces_inline, self.now);
        (self.node, self.store, self.reader) = (node, store, reader);
        self.unsynced.clear();
        self.loads.clear();
        self.jobs.clear();
        self.gather = None;
        self.waiting.clear();
        self.watching.clear();
        self.gone.clear();
        self.last_group = 0;
        self.perform(actions);
        self.event(Event::Link(LinkChange::Connected));
    }
}

/// A member's key.
pub fn signer(id: u8) -> SignerKey {
    let name = node_key_name(&genesis().hash(), &names()[usize::from(id)]);
    SignerKey::new(&name, KeyKind::Node, &[id + 1; 32]).expect("a name")
}

fn open(disk: &MemoryDisk, nonces_inline: u64, now: Now) -> (Node, MemoryStore, MemoryReader, Vec<Action>) {
    let expected = Expected { cluster_id: genesis().hash(), node: names()[0].clone() };
    let (store, reader, opened) = disk.open(&expected).expect("what the node wrote can be read");
    let config = NodeConfig {
        id: NodeId(0),
        names: names(),
        seed: 7,
        tick_ms: TICK_MS,
        timers: Timers { heartbeat_ticks: 2, election_ticks_min: 5, election_ticks_max: 10 },
        batch_requests_max: 4,
        batch_bytes_max: 1 << 20,
        incarnation: opened.meta.incarnation,
        rejoining: opened.meta.rejoining,
        nonces_inline,
        ahead_requests_min: 2,
        gather_calls_min: 2,
        signer: signer(0),
        checkpoint_ms: 50,
        software: "fuzz".to_owned(),
    };
    // All peers are known: their frames count from the start.
    let known = BTreeMap::from([(NodeId(1), incarnation(1)), (NodeId(2), incarnation(2))]);
    let keys: BTreeMap<NodeId, [u8; 32]> = (1..3).map(|id| (NodeId(id), signer(id).verifier().public())).collect();
    let (node, actions) = Node::open(config, opened.durable, opened.applied, opened.state, &known, &keys, now);
    (node, store, reader, actions)
}

/// Records as a message carries them.
pub(crate) fn records(script: &mut Script<'_>, first: u64, term: u64, state: &raftbank_ledger::State) -> Vec<Record> {
    let count = u64::from(script.u8() % 4);
    (0..count)
        .map(|place| {
            let back = u64::from(script.u8() % 4 == 3);
            let entry = match script.u8() % 4 {
                0 => None,
                1 => Some(script.bytes().into()),
                _ => Some(block(script, state, term).into()),
            };
            Record { index: first.wrapping_add(place), term: term.saturating_sub(back), entry }
        })
        .collect()
}

/// A block that fits behind the applied state.
fn block(script: &mut Script<'_>, state: &raftbank_ledger::State, term: u64) -> Vec<u8> {
    let executed = state.execute(vec![script.request()], 1_700_000_000_000);
    let header = executed.seal(state, term, names()[1].clone());
    let nonce = raftbank_ledger::pow::mine(&header, 0, 1 << 20).unwrap_or(0);
    Block { header: raftbank_ledger::Header { nonce, ..header }, entries: executed.entries() }.encode()
}
