//! The bank under test: nodes, a wire, disks and clocks that a test controls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raftbank_consensus::{Durable, HardState, NodeId, Role, TermRun, Timers, Write};
use raftbank_ledger::{Account, Amount, Block, Genesis, NodeName, Operation, Request, RequestId, State, pow};
use raftbank_proofs::{KeyKind, SignerKey, node_key_name};
use raftbank_wire::api::{ApiReply, ApiRequest, WriteOutcome};

use crate::node::{
    AHEAD_REQUESTS_MIN, Action, Event, GATHER_CALLS_MIN, LinkChange, NONCES_INLINE, Node, NodeConfig, Notice, Now,
};

pub const TICK_MS: u64 = 10;

pub struct Bank {
    pub nodes: Vec<Node>,
    pub wire: VecDeque<(usize, usize, Vec<u8>)>,
    pub cut: BTreeSet<(usize, usize)>,
    /// Groups whose sync is held back, per node; `None`: syncs are instant.
    pub held: Vec<Option<Vec<u64>>>,
    pub skew_ms: Vec<i64>,
    pub replies: Vec<BTreeMap<u64, ApiReply>>,
    pub stops: Vec<Option<(u8, String)>>,
    pub warnings: Vec<Vec<String>>,
    /// Who was told to take over the leadership.
    pub successors: Vec<Vec<NodeId>>,
    /// Every block that a node wanted written.
    pub written: Vec<Vec<Block>>,
    /// Short waits that are not over; `None`: they are over at once.
    pub gathers: Option<Vec<(usize, u64)>>,
    pub mono_ms: u64,
    pub next_token: u64,
}

pub fn genesis(members: usize, difficulty: u8) -> Block {
    let genesis = Genesis {
        name: "test".into(),
        salt: "salt".into(),
        members: (1..=members).map(|n| NodeName::parse(&format!("n{n}")).unwrap()).collect(),
        difficulty,
        time_ms: 1_000,
        accounts: Vec::new(),
        transfers: Vec::new(),
    };
    genesis.block().unwrap()
}

pub fn config(id: usize, members: usize, incarnation: u64, rejoining: bool) -> NodeConfig {
    NodeConfig {
        id: NodeId(id as u8),
        names: (1..=members).map(|n| NodeName::parse(&format!("n{n}")).unwrap()).collect(),
        seed: id as u64 + 7,
        tick_ms: TICK_MS,
        timers: Timers { heartbeat_ticks: 5, election_ticks_min: 15, election_ticks_max: 30 },
        batch_requests_max: 100,
        batch_bytes_max: 1 << 20,
        incarnation,
        rejoining,
        nonces_inline: NONCES_INLINE,
        ahead_requests_min: AHEAD_REQUESTS_MIN,
        gather_calls_min: GATHER_CALLS_MIN,
        signer: signer(id, &genesis(members, 1)),
        checkpoint_ms: 100,
        software: "test/0.2.0".into(),
    }
}

/// A member's key; the same each time.
pub fn signer(id: usize, genesis: &Block) -> SignerKey {
    let name = node_key_name(&genesis.hash(), &NodeName::parse(&format!("n{}", id + 1)).unwrap());
    SignerKey::new(&name, KeyKind::Node, &[id as u8 + 1; 32]).unwrap()
}

pub fn fresh() -> Durable {
    Durable {
        hard: HardState { term: 0, vote: None },
        terms: Vec::new(),
        last_index: 0,
        committed: 0,
        tail: Vec::new(),
    }
}

impl Bank {
    pub fn new(members: usize) -> Self {
        Self::with_difficulty(members, 1)
    }

    pub fn with_difficulty(members: usize, difficulty: u8) -> Self {
        Self::with(members, difficulty, 100)
    }

    pub fn with_checkpoints(members: usize, checkpoint_ms: u64) -> Self {
        Self::with(members, 1, checkpoint_ms)
    }

    fn with(members: usize, difficulty: u8, checkpoint_ms: u64) -> Self {
        let block = genesis(members, difficulty);
        let mut bank = Self {
            nodes: Vec::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            held: vec![None; members],
            skew_ms: vec![0; members],
            replies: vec![BTreeMap::new(); members],
            stops: vec![None; members],
            warnings: vec![Vec::new(); members],
            successors: vec![Vec::new(); members],
            written: vec![Vec::new(); members],
            gathers: None,
            mono_ms: 0,
            next_token: 0,
        };
        for id in 0..members {
            let (state, _) = State::new(&block).unwrap();
            let config =
                NodeConfig { signer: signer(id, &block), checkpoint_ms, ..config(id, members, id as u64 + 100, false) };
            let (node, actions) =
                Node::open(config, fresh(), 0, state, &BTreeMap::new(), &BTreeMap::new(), bank.now(id));
            bank.nodes.push(node);
            bank.perform(id, actions);
        }
        for id in 0..members {
            bank.event(id, Event::Link(LinkChange::Connected));
        }
        bank
    }

    pub fn now(&self, id: usize) -> Now {
        Now { mono_ms: self.mono_ms, wall_ms: (1_000_000 + self.mono_ms).saturating_add_signed(self.skew_ms[id]) }
    }

    pub fn event(&mut self, id: usize, event: Event) {
        if self.stops[id].is_none() {
            let now = self.now(id);
            let actions = self.nodes[id].step(now, event);
            self.perform(id, actions);
        }
    }

    pub fn perform(&mut self, id: usize, actions: Vec<Action>) {
        for action in actions {
            if let Action::Persist { batch, .. } = &action {
                let splices = batch.writes.iter().filter_map(|write| match write {
                    Write::Splice { records, .. } => Some(records),
                    Write::Hard(_) => None,
                });
                let entries = splices.flatten().filter_map(|record| record.entry.as_ref());
                self.written[id].extend(entries.map(|entry| Block::decode(entry).unwrap()));
            }
            match action {
                Action::Send { to, payload } => self.wire.push_back((id, to.0.into(), payload)),
                Action::Persist { group: Some(group), .. } => match &mut self.held[id] {
                    Some(held) => held.push(group),
                    None => self.event(id, Event::Synced { group }),
                },
                Action::Persist { group: None, .. } | Action::CancelMine { .. } => {}
                Action::Gather { turn } => match &mut self.gathers {
                    Some(gathers) => gathers.push((id, turn)),
                    None => self.event(id, Event::Gathered { turn }),
                },
                Action::Load { peer, from, .. } => self.event(id, Event::Loaded { peer, from, records: Vec::new() }),
                Action::Reply { token, reply, .. } => {
                    assert!(self.replies[id].insert(token, reply).is_none(), "one answer for each token");
                }
                Action::Mine { job, header } => {
                    let nonce = pow::mine(&header, header.nonce, 1 << 24);
                    self.event(id, Event::Mined { job, nonce });
                }
                Action::Notice(Notice::Warning(text)) => self.warnings[id].push(text),
                Action::Notice(Notice::HandingOver { to }) => self.successors[id].push(to),
                Action::Notice(_) => {}
                Action::Stop { exit_code, reason } => self.stops[id] = Some((exit_code, reason)),
            }
        }
    }

    pub fn deliver(&mut self) {
        while let Some((from, to, payload)) = self.wire.pop_front() {
            if !self.cut.contains(&(from, to)) {
                self.event(to, Event::Frame { from: NodeId(from as u8), payload });
            }
        }
    }

    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.mono_ms += TICK_MS;
            for id in 0..self.nodes.len() {
                self.event(id, Event::Tick);
            }
            self.deliver();
        }
    }

    pub fn leader(&mut self) -> usize {
        for _ in 0..200 {
            self.run_ms(100);
            let leader = (0..self.nodes.len()).find(|id| {
                self.stops[*id].is_none()
                    && self.nodes[*id].role().0 == Role::Leader
                    && self.nodes[*id].has_leader()
                    && (0..self.nodes.len()).any(|other| self.nodes[other].role().1 == Some(NodeId(*id as u8)))
            });
            if let Some(leader) = leader {
                return leader;
            }
        }
        panic!("no leader");
    }

    pub fn ask(&mut self, id: usize, request: ApiRequest) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        self.event(id, Event::Api { token, request });
        self.deliver();
        token
    }

    pub fn write(&mut self, at: usize, id: &str, operation: Operation) -> u64 {
        let request = Request { id: RequestId::parse(id).unwrap(), operation };
        self.ask(at, ApiRequest::Write { request: request.encode(), timeout_ms: 3_000 })
    }

    /// Asks, lets time pass, and returns the answer.
    pub fn outcome(&mut self, at: usize, id: &str, operation: Operation) -> ApiReply {
        let token = self.write(at, id, operation);
        self.run_ms(4_000);
        self.replies[at].get(&token).cloned().expect("every call is answered by its deadline")
    }

    pub fn isolate(&mut self, id: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    /// A node's process ends, and it begins anew with another key. Its disk is not simulated: it keeps what it had.
    pub fn restart_with_key(&mut self, id: usize, signer: SignerKey) {
        let members = self.nodes.len();
        let known = (0..members).filter(|other| *other != id).map(|other| (NodeId(other as u8), other as u64 + 100));
        let old = &self.nodes[id];
        let (_, _, term) = old.role();
        assert_eq!(old.state().tip().term, term, "one leader so far");
        let durable = Durable {
            hard: HardState { term, vote: None },
            terms: vec![TermRun { first: 1, term }],
            last_index: old.applied(),
            committed: old.applied(),
            ..fresh()
        };
        let config = NodeConfig { signer, ..config(id, members, id as u64 + 100, false) };
        let (state, applied, now) = (old.state().clone(), old.applied(), self.now(id));
        let (node, actions) = Node::open(config, durable, applied, state, &known.collect(), &BTreeMap::new(), now);
        self.nodes[id] = node;
        self.perform(id, actions);
        self.event(id, Event::Link(LinkChange::Connected));
        for other in (0..members).filter(|other| *other != id) {
            self.event(id, Event::Link(LinkChange::Up(NodeId(other as u8))));
            self.event(other, Event::Link(LinkChange::Up(NodeId(id as u8))));
        }
    }

    pub fn same_heads(&self) {
        let tips: BTreeSet<_> = self.nodes.iter().map(|node| node.state().tip().hash).collect();
        assert_eq!(tips.len(), 1, "all nodes have the same head");
    }
}

pub fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

pub fn open(name: &str) -> Operation {
    Operation::Open { account: account(name) }
}

pub fn credit(name: &str, amount: u64) -> Operation {
    Operation::Credit { account: account(name), amount: Amount::new(amount).unwrap() }
}

pub fn transfer(from: &str, to: &str, amount: u64) -> Operation {
    Operation::Transfer {
        from: account(from),
        to: account(to),
        amount: Amount::new(amount).unwrap(),
        memo: String::new(),
    }
}

pub fn is_committed(reply: &ApiReply) -> bool {
    matches!(reply, ApiReply::Written { outcome: WriteOutcome::Committed, .. })
}

pub fn balance(name: &str) -> ApiRequest {
    ApiRequest::Balance { account: name.into(), local: false, timeout_ms: 2_000 }
}
