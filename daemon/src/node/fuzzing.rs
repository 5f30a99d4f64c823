//! For tests and fuzz targets only: bytes as a program of what happens to three nodes, and what must be true of them
//! after each step.
//!
//! What happens: time, clients, slow disks, restarts, frames that are lost, late, repeated or bent, and frames that a
//! hostile member has made up: well-formed, of the right cluster and incarnation, and lies. Whatever it is, no node
//! panics, writes what its store must refuse, sends what it could not read itself, or gives an answer that does not
//! belong to the question. As long as nothing was bent or made up, none stops on its own either, and all agree on the
//! chain.

mod forge;
mod machine;
mod rules;

use std::collections::BTreeMap;

use raftbank_consensus::NodeId;
use raftbank_ledger::{Block, Genesis, Hash, NodeName};
use raftbank_proofs::Head;
use raftbank_wire::api::ApiRequest;

use self::machine::Machine;
use super::{Event, LinkChange, Now};

/// Most steps of one program.
const STEPS_MAX: usize = 300;
/// Most frames under way; the oldest are lost.
const WIRE_MAX: usize = 600;
/// Most frames that one step delivers.
const DELIVER_MAX: usize = 300;
const TICK_MS: u64 = 10;
const MEMBERS: u8 = 3;
/// Wall time at the beginning.
const BIRTH_MS: u64 = 1_000_000;

/// What is left of a program; its end reads as zeros.
#[derive(Debug)]
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn chunk(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk
    }

    /// A number around `base` most of the time, and at the ends of what there is otherwise.
    fn near(&mut self, base: u64) -> u64 {
        match self.byte() {
            distance @ 0..16 => base.saturating_add(distance.into()),
            distance @ 16..32 => base.saturating_sub(u64::from(distance) - 15),
            small @ 32..48 => u64::from(small) - 32,
            250 => (1 << 62) - 1,
            251 => 1 << 62,
            252 => (1 << 62) + 1,
            253 => u64::MAX - 1,
            254 => u64::MAX,
            255 => i64::MAX as u64,
            _ => base,
        }
    }
}

struct World {
    genesis: Block,
    machines: Vec<Machine>,
    /// Sender, receiver, payload.
    wire: Vec<(u8, u8, Vec<u8>)>,
    mono_ms: u64,
    next_token: u64,
    next_incarnation: u64,
    /// The chain as the first node that committed each block had it.
    chain: BTreeMap<u64, Hash>,
    /// The root of each signed head.
    heads: BTreeMap<u64, Hash>,
    /// Something was bent or made up, so that no two nodes need to agree any more.
    lied: bool,
    /// Nothing of the kind is allowed.
    honest: bool,
}

/// Runs a program.
///
/// # Panics
/// If a node breaks a rule.
pub fn run(program: &[u8]) {
    run_with(program, false);
}

/// Runs a program without its lies, so that all rules hold to the end.
///
/// # Panics
/// If a node breaks a rule.
pub fn run_honest(program: &[u8]) {
    run_with(program, true);
}

fn run_with(program: &[u8], honest: bool) {
    let mut program = Program(program);
    let mut world = World::new(&mut program);
    world.honest = honest;
    for _ in 0..STEPS_MAX {
        if program.0.is_empty() {
            break;
        }
        world.step(&mut program);
    }
    world.end();
}

impl World {
    fn new(program: &mut Program<'_>) -> Self {
        let setup = program.byte();
        let genesis = Genesis {
            name: "test".into(),
            salt: "salt".into(),
            members: (1..=MEMBERS).map(|n| NodeName::parse(&format!("n{n}")).expect("a name")).collect(),
            difficulty: setup & 1,
            time_ms: 1_000,
            accounts: Vec::new(),
            transfers: Vec::new(),
        };
        let genesis = genesis.block().expect("a genesis");
        let mut world = Self {
            machines: Vec::new(),
            wire: Vec::new(),
            mono_ms: 0,
            next_token: 1,
            next_incarnation: 100,
            chain: BTreeMap::new(),
            heads: BTreeMap::new(),
            lied: false,
            honest: false,
            genesis,
        };
        for id in 0..MEMBERS {
            let rejoining = id == 2 && setup & 2 != 0;
            let incarnation = world.incarnation();
            let machine = Machine::new(id, incarnation, rejoining, &world.genesis, setup & 4 != 0);
            world.machines.push(machine);
        }
        for id in 0..MEMBERS {
            world.start(id);
        }
        world
    }

    fn incarnation(&mut self) -> u64 {
        self.next_incarnation += 1;
        self.next_incarnation
    }

    fn now(&self, id: u8) -> Now {
        let skew_ms = self.machines[usize::from(id)].skew_ms;
        Now { mono_ms: self.mono_ms, wall_ms: (BIRTH_MS + self.mono_ms).saturating_add_signed(skew_ms) }
    }

    fn start(&mut self, id: u8) {
        let now = self.now(id);
        self.machines[usize::from(id)].start(now);
        self.event(id, Event::Link(LinkChange::Connected));
        for other in (0..MEMBERS).filter(|other| *other != id) {
            self.event(id, Event::Link(LinkChange::Up(NodeId(other))));
            self.event(other, Event::Link(LinkChange::Up(NodeId(id))));
        }
    }

    /// Steps a node, and does all that follows but for delivering frames.
    fn event(&mut self, id: u8, event: Event) {
        let now = self.now(id);
        let sent = self.machines[usize::from(id)].event(now, event);
        self.wire.extend(sent.frames.into_iter().map(|(to, payload)| (id, to, payload)));
        let over = self.wire.len().saturating_sub(WIRE_MAX);
        self.wire.drain(..over);
        for (height, hash) in sent.committed {
            let known = *self.chain.entry(height).or_insert(hash);
            assert!(self.lied || known == hash, "n{} has another block {height}", id + 1);
        }
        let process = self.machines[usize::from(id)].process();
        if let Some(Head { size, root, .. }) = process.and_then(|process| process.node.head()).map(|head| &head.head) {
            let known = *self.heads.entry(*size).or_insert(*root);
            assert!(self.lied || known == *root, "n{} has another head of {size} blocks", id + 1);
        }
        assert!(self.lied || sent.impossible.is_none(), "n{}: {:?}", id + 1, sent.impossible);
        if let Some((exit_code, reason)) = sent.stopped {
            assert!(matches!(exit_code, 0 | 1 | 6), "exit code {exit_code}");
            assert!(self.lied || exit_code == 0, "n{} stopped: {reason}", id + 1);
            assert!(!reason.is_empty() && !reason.chars().any(char::is_control), "{reason:?}");
        }
    }

    fn deliver(&mut self, position: usize, keep: bool) {
        if position >= self.wire.len() {
            return;
        }
        let (from, to, payload) = if keep { self.wire[position].clone() } else { self.wire.remove(position) };
        self.event(to, Event::Frame { from: NodeId(from), payload });
    }

    /// So many ticks of all nodes; with `carry`, frames arrive at once.
    fn pass(&mut self, ticks: u8, carry: bool) {
        for _ in 0..ticks {
            self.mono_ms += TICK_MS;
            for id in 0..MEMBERS {
                self.event(id, Event::Tick);
            }
            for _ in 0..if carry { DELIVER_MAX } else { 0 } {
                if self.wire.is_empty() {
                    break;
                }
                self.deliver(0, false);
            }
        }
    }

    fn step(&mut self, program: &mut Program<'_>) {
        let id = program.byte() % MEMBERS;
        let at = usize::from(id);
        let pick =
            |program: &mut Program<'_>, wire: &[_]| usize::from(program.byte()).min(wire.len().saturating_sub(1));
        match program.byte() % 24 {
            0 => self.pass(program.byte() % 64, true),
            1 => self.pass(program.byte() % 64, false),
            2 => {
                for _ in 0..program.byte() % 16 {
                    self.event(id, Event::Tick);
                }
            }
            3 => self.deliver(pick(program, &self.wire), program.byte() & 1 == 0),
            4 if !self.wire.is_empty() => drop(self.wire.remove(pick(program, &self.wire))),
            5..=11 if self.honest => self.pass(1, true),
            5 => self.bend(program),
            6..=10 => self.forge(id, program),
            11 => {
                self.lied = true;
                let (from, payload) = (program.byte(), program.chunk().to_vec());
                self.event(id, Event::Frame { from: NodeId(from), payload });
            }
            12..=14 => {
                let request = rules::request(program);
                self.ask(id, request);
            }
            15 => {
                if let Ok(request) = raftbank_codec::decode::<ApiRequest>(program.chunk(), 1 << 20) {
                    self.ask(id, request);
                }
            }
            16 => {
                let token = program.byte().into();
                self.machines[at].asked.remove(&token);
                self.event(id, Event::ApiGone { token });
            }
            17 => {
                self.machines[at].slow_disk ^= true;
                if !self.machines[at].slow_disk {
                    self.sync(id, usize::MAX);
                }
            }
            18 => self.sync(id, 1 + usize::from(program.byte() % 4)),
            19 => {
                let peer = NodeId(program.byte() % (MEMBERS + 1));
                let change = match program.byte() % 4 {
                    0 => LinkChange::Connected,
                    1 => LinkChange::Lost,
                    2 => LinkChange::Up(peer),
                    _ => LinkChange::Down(peer),
                };
                self.event(id, Event::Link(change));
            }
            20 => {
                let byte = program.byte();
                if byte < 128 {
                    self.mono_ms += u64::from(byte) * 100;
                } else {
                    self.machines[at].skew_ms = (i64::from(byte) - 192) * 1_000;
                }
            }
            21 => self.restart(id, program),
            22 if program.byte() == 7 => self.event(id, Event::Shutdown),
            _ => self.event(id, Event::Mined { job: program.byte().into(), nonce: None }),
        }
    }

    fn ask(&mut self, id: u8, request: ApiRequest) {
        let token = self.next_token;
        self.next_token += 1;
        let machine = &mut self.machines[usize::from(id)];
        if machine.is_up() {
            machine.asked.insert(token, request.clone());
            self.event(id, Event::Api { token, request });
        }
    }

    fn sync(&mut self, id: u8, most: usize) {
        for _ in 0..most {
            let Some(group) = self.machines[usize::from(id)].sync() else { return };
            self.event(id, Event::Synced { group });
        }
    }

    /// Changes a byte of a frame that is under way.
    fn bend(&mut self, program: &mut Program<'_>) {
        let (position, at, value) = (program.byte(), program.byte(), program.byte());
        let Some((_, _, payload)) = self.wire.get_mut(usize::from(position)) else { return };
        // Not the cluster's id: a frame of another cluster is dropped unread.
        let body = payload.len().saturating_sub(32).max(1);
        if let Some(byte) = payload.get_mut(32 + usize::from(at) % body) {
            *byte ^= value;
            self.lied |= value != 0;
        }
    }

    /// A frame that a hostile member made up for this node.
    fn forge(&mut self, id: u8, program: &mut Program<'_>) {
        let from = program.byte() % MEMBERS;
        let sender = &self.machines[usize::from(from)];
        let (wall_ms, incarnation) = (program.near(self.now(from).wall_ms), sender.incarnation);
        let Some(body) = self.machines[usize::from(id)].forge(from, self.mono_ms + BIRTH_MS, program) else { return };
        let payload = forge::envelope(self.genesis.hash(), incarnation, wall_ms, &body);
        self.lied = true;
        self.event(id, Event::Frame { from: NodeId(from), payload });
    }

    /// Kills the process or cuts its power, and starts it again; or gives it an empty disk, and lets it rejoin.
    fn restart(&mut self, id: u8, program: &mut Program<'_>) {
        let at = usize::from(id);
        match program.byte() % 8 {
            0 if !self.honest => {
                // One lost disk at a time is survived; who else has lost his is not looked at here.
                self.lied = true;
                let incarnation = self.incarnation();
                let inline = self.machines[at].nonces_inline > 0;
                self.machines[at] = Machine::new(id, incarnation, true, &self.genesis, inline);
            }
            kept @ 1..5 => self.machines[at].crash(usize::from(kept) - 1),
            _ => self.machines[at].crash(usize::MAX),
        }
        self.start(id);
    }

    /// Nobody waits for ever: all clients hear something by their deadline.
    fn end(&mut self) {
        for id in 0..MEMBERS {
            self.machines[usize::from(id)].slow_disk = false;
            self.sync(id, usize::MAX);
        }
        self.mono_ms += 3_600_001;
        for id in 0..MEMBERS {
            self.event(id, Event::Tick);
            self.machines[usize::from(id)].assert_nobody_waits();
        }
    }
}
