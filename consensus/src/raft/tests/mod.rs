//! Corner cases by hand: a few nodes, every message in the test's hands.
#![allow(clippy::unwrap_used)]

mod disputes;
mod elections;
mod impossible;
mod reads;
mod rejoining;
mod replication;
mod transfer;

use std::collections::VecDeque;

use super::Raft;
use crate::{
    Config, Durable, Engine, Entry, Event, HardState, Index, Input, Load, Message, NodeId, Output, Record, Role, Term,
    TermRun, Timers,
};

const TIMERS: Timers = Timers { heartbeat_ticks: 2, election_ticks_min: 10, election_ticks_max: 20 };

/// A few nodes and the letters between them.
struct Net {
    nodes: Vec<Raft>,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    /// Everything each node has said.
    said: Vec<Vec<Event>>,
    /// Nodes whose disks hang: their outputs with a group wait here.
    hung: Vec<Option<Vec<Output>>>,
    /// Loads that nobody has answered yet, with who asked.
    wanted: Vec<(usize, Load)>,
    /// One direction of a link each.
    cut: Vec<(NodeId, NodeId)>,
}

fn id(node: usize) -> NodeId {
    NodeId(node as u8)
}

fn config(node: usize, members: usize) -> Config {
    Config {
        id: id(node),
        members: (0..members).map(id).collect(),
        seed: node as u64,
        timers: TIMERS,
        chunk_bytes_max: 1 << 20,
        cache_bytes_max: 1 << 20,
        tells_commits_late: false,
        rejoining: false,
    }
}

/// A log whose records have these terms, nothing applied, and a node that has seen `term`.
fn durable(terms: &[Term], term: Term) -> Durable {
    let mut durable = Durable { hard: HardState { term, vote: None }, ..Durable::default() };
    for (term, index) in terms.iter().zip(1..) {
        if durable.terms.last().is_none_or(|run| run.term != *term) {
            durable.terms.push(TermRun { first: index, term: *term });
        }
        durable.tail.push(Record { index, term: *term, entry: Some(Entry::from(vec![*term as u8])) });
        durable.last_index = index;
    }
    durable
}

impl Net {
    fn new(members: usize) -> Self {
        Self::on((0..members).map(|_| Durable::default()).collect(), |_| {})
    }

    fn on(durable: Vec<Durable>, adjust: impl Fn(&mut Config)) -> Self {
        let members = durable.len();
        let mut net = Self {
            nodes: Vec::new(),
            mail: VecDeque::new(),
            said: vec![Vec::new(); members],
            hung: vec![None; members],
            wanted: Vec::new(),
            cut: Vec::new(),
        };
        for (node, durable) in durable.into_iter().enumerate() {
            let mut config = config(node, members);
            adjust(&mut config);
            let (raft, output) = Raft::open(config, durable);
            net.nodes.push(raft);
            net.absorb(node, output);
        }
        net
    }

    fn step(&mut self, node: usize, input: Input) {
        let output = self.nodes[node].step(input);
        self.absorb(node, output);
    }

    fn absorb(&mut self, node: usize, mut output: Output) {
        self.mail.extend(output.eager.drain(..).map(|(to, message)| (id(node), to, message)));
        self.said[node].append(&mut output.events);
        self.wanted.extend(output.loads.iter().map(|load| (node, *load)));
        if output.group.is_none() {
            return;
        }
        match &mut self.hung[node] {
            Some(waiting) => waiting.push(output),
            None => self.durable(node, output),
        }
    }

    fn durable(&mut self, node: usize, output: Output) {
        self.mail.extend(output.gated.into_iter().map(|(to, message)| (id(node), to, message)));
        self.step(node, Input::Synced(output.group.unwrap()));
    }

    fn hang_disk(&mut self, node: usize) {
        self.hung[node] = Some(Vec::new());
    }

    fn free_disk(&mut self, node: usize) {
        for output in self.hung[node].take().unwrap() {
            self.durable(node, output);
        }
    }

    /// Delivers until nothing is left; letters for which `pass` is false are lost.
    fn deliver_if(&mut self, pass: impl Fn(NodeId, NodeId, &Message) -> bool) {
        for _ in 0..10_000 {
            let Some((from, to, message)) = self.mail.pop_front() else { return };
            if !self.cut.contains(&(from, to)) && pass(from, to, &message) {
                self.step(usize::from(to.0), Input::Receive { from, message });
            }
        }
        panic!("the exchange does not end");
    }

    fn deliver(&mut self) {
        self.deliver_if(|_, _, _| true);
    }

    fn tick(&mut self, node: usize, ticks: u32) {
        for _ in 0..ticks {
            self.step(node, Input::Tick);
            self.deliver();
        }
    }

    fn tick_all(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for node in 0..self.nodes.len() {
                self.step(node, Input::Tick);
            }
            self.deliver();
        }
    }

    /// Lets time pass at one node until it leads, or has had every chance to.
    fn elect(&mut self, node: usize) {
        for _ in 0..2 * TIMERS.election_ticks_max {
            self.step(node, Input::Tick);
            self.deliver();
            if self.nodes[node].status().role == Role::Leader {
                break;
            }
        }
    }

    /// The same after the others have not heard a leader for long enough; none of them campaigns meanwhile.
    fn elect_next(&mut self, node: usize) {
        let others: Vec<usize> =
            (0..self.nodes.len()).filter(|other| *other != node && self.role(*other) != Role::Leader).collect();
        for other in &others {
            self.step(*other, Input::Eligible(false));
            self.tick(*other, TIMERS.election_ticks_min);
        }
        self.elect(node);
        others.into_iter().for_each(|other| self.step(other, Input::Eligible(true)));
    }

    /// No link to or from that node.
    fn isolate(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            self.cut.extend([(id(node), id(other)), (id(other), id(node))]);
        }
    }

    fn propose(&mut self, node: usize) {
        let status = self.nodes[node].status();
        let entry = Entry::from(vec![7]);
        self.step(node, Input::Propose { term: status.term, last_index: status.last_index, entry });
    }

    fn role(&self, node: usize) -> Role {
        self.nodes[node].status().role
    }

    fn term(&self, node: usize) -> Term {
        self.nodes[node].status().term
    }

    fn committed(&self, node: usize) -> Index {
        self.nodes[node].status().committed
    }

    fn last(&self, node: usize) -> Index {
        self.nodes[node].status().last_index
    }
}
