//! The nodes, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;

use raftbank_consensus::{
    Config, Engine, Event, Index, Input, Load, NodeId, Output, Raft, Record, Role, Term, Timers, Write,
};

use super::Name;
use super::disk::{Disk, Image, Unsynced};
use super::mail::Letter;
use super::print::role_text;
use super::wire::{self, Reader};

pub type Done = Result<(), Box<dyn Error>>;

/// One member.
pub struct Node {
    /// None while it is down.
    pub engine: Option<Raft>,
    pub disk: Disk,
    /// `settle` does not sync it.
    pub slow: bool,
    pub config: Config,
    pub loads: VecDeque<Load>,
    /// Last record it has called committed since it started.
    committed: Index,
}

/// A few nodes, their disks and the messages between them.
#[derive(Default)]
pub struct World {
    pub nodes: Vec<Node>,
    pub mail: Vec<Letter>,
    pub held: Vec<Letter>,
    pub cut: BTreeSet<(Name, Name)>,
    pub reader: Reader,
    /// What the command prints.
    pub out: String,
    /// What any node has called committed, from index 1.
    history: Vec<Record>,
    leaders: BTreeMap<Term, Name>,
}

pub fn id(node: Name) -> NodeId {
    NodeId(node.0 as u8)
}

pub fn name(id: NodeId) -> Name {
    Name(usize::from(id.0))
}

impl World {
    pub fn node(&mut self, node: Name) -> Result<&mut Node, Box<dyn Error>> {
        self.nodes.get_mut(node.0).ok_or_else(|| format!("there is no n{}", node.0 + 1).into())
    }

    pub fn engine(&mut self, node: Name) -> Result<&mut Raft, Box<dyn Error>> {
        self.node(node)?.engine.as_mut().ok_or_else(|| format!("n{} is down", node.0 + 1).into())
    }

    pub fn names(&self) -> Vec<Name> {
        (0..self.nodes.len()).map(Name).collect()
    }

    pub fn cluster(&mut self, nodes: usize, timers: Timers, chunk_bytes_max: usize, cache_bytes_max: usize) {
        let members: Vec<NodeId> = (0..nodes).map(|node| id(Name(node))).collect();
        for node in &members {
            let (id, seed, members) = (*node, u64::from(node.0) * 1000, members.clone());
            let (tells_commits_late, rejoining) = (false, false);
            let config =
                Config { id, members, seed, timers, chunk_bytes_max, cache_bytes_max, tells_commits_late, rejoining };
            let (engine, disk, loads) = (None, Disk::default(), VecDeque::new());
            self.nodes.push(Node { engine, disk, slow: false, config, loads, committed: 0 });
            self.open(name(*node));
        }
        self.out.clear();
    }

    pub fn replace_disk(&mut self, node: Name, terms: &[Term], term: Option<Term>, vote: Option<Name>, applied: Index) {
        let record = |(term, index): (&Term, Index)| Record { index, term: *term, entry: None };
        let mut image = Image { records: terms.iter().zip(1..).map(record).collect(), applied, ..Image::default() };
        image.hard.term = term.or(terms.last().copied()).unwrap_or(0);
        image.hard.vote = vote.map(id);
        self.nodes[node.0].disk = Disk { durable: image, ..Disk::default() };
        self.open(node);
        self.out.clear();
        self.print_log(node);
    }

    pub fn open(&mut self, node: Name) {
        let Node { engine, disk, config, loads, committed, .. } = &mut self.nodes[node.0];
        config.seed += 1; // it must differ between starts
        loads.clear();
        *committed = disk.durable.applied;
        let (raft, output) = Raft::open(config.clone(), disk.durable.durable());
        *engine = Some(raft);
        self.line(&format!("n{} starts", node.0 + 1));
        self.absorb(node, output);
    }

    /// One input; prints `what` and what the node makes of it.
    pub fn step(&mut self, node: Name, what: &str, input: Input) -> Done {
        let output = self.engine(node)?.step(input);
        self.line(&format!("n{} {what}", node.0 + 1));
        self.absorb(node, output);
        Ok(())
    }

    pub fn absorb(&mut self, node: Name, output: Output) {
        let Output { group, writes, eager, gated, loads, events } = output;
        for event in events {
            self.event(node, event);
        }
        for write in &writes {
            let group = group.expect("writes belong to a group");
            let text = match write {
                Write::Hard(hard) => {
                    format!("term={} vote={}", hard.term, hard.vote.map_or("none".to_owned(), wire::name))
                }
                Write::Splice { from, records } if records.is_empty() => format!("cuts the log from {from} on"),
                Write::Splice { from, records } => format!("log from {from} on: {}", wire::records(records)),
            };
            self.line(&format!("  writes #{group} {text}"));
        }
        for (to, message) in eager {
            self.send(node, name(to), message);
        }
        for (to, message) in &gated {
            let text = self.reader.message(message);
            self.line(&format!("  after #{} -> {} {text}", group.expect("gated by a group"), wire::name(*to)));
        }
        if let Some(group) = group {
            self.nodes[node.0].disk.queue.push_back(Unsynced { group, writes, gated });
        }
        for load in loads {
            self.line(&format!("  loads from {} on for {}", load.from, wire::name(load.peer)));
            self.nodes[node.0].loads.push_back(load);
        }
    }

    fn event(&mut self, node: Name, event: Event) {
        let text = match event {
            Event::Committed(records) => {
                for record in &records {
                    self.check_committed(node, record);
                }
                format!("commits {}", wire::records(&records))
            }
            Event::ReadReady { id, index } => format!("read {id} may be answered at {index}"),
            Event::ReadRefused(id) => format!("read {id} is refused"),
            Event::Refused(entry) => format!("{} is refused", String::from_utf8_lossy(&entry)),
            Event::Role { role, leader, term } => {
                if role == Role::Leader {
                    let leader = *self.leaders.entry(term).or_insert(node);
                    assert_eq!(leader, node, "two leaders in term {term}");
                }
                role_text(role, leader, term)
            }
            Event::Impossible { from, what } => format!("drops what {} claims: {what}", wire::name(from)),
            Event::Contradicted(index) => format!("is contradicted at {index}"),
            Event::HandingOver(to) => format!("hands over to {}", wire::name(to)),
            Event::TransferFailed => "leads on: nobody took over".to_owned(),
            Event::RejoinComplete => "has caught up".to_owned(),
        };
        self.line(&format!("  {text}"));
    }

    /// All nodes call the same records committed, in order.
    fn check_committed(&mut self, node: Name, record: &Record) {
        let committed = &mut self.nodes[node.0].committed;
        *committed += 1;
        assert_eq!(record.index, *committed, "committed records come in order");
        let at = record.index as usize - 1;
        // A node may have started on a state that covers records which nobody has committed in this script.
        match self.history.get(at) {
            Some(known) => assert_eq!(known, record, "two nodes committed different records"),
            None if at == self.history.len() => self.history.push(record.clone()),
            None => {}
        }
    }
}
