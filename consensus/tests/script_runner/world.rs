//! The nodes, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;

use raftbank_consensus::{
    Config, Engine, Entry, Event, Index, Input, Load, NodeId, Output, Raft, Record, Role, Term, Timers, Write,
};

use super::Name;
use super::disk::{Disk, Image, Unsynced};
use super::mail::Letter;
use super::wire::{self, Reader};

type Done = Result<(), Box<dyn Error>>;

/// One member.
pub struct Node {
    /// None while it is down.
    pub engine: Option<Raft>,
    pub disk: Disk,
    /// `settle` does not sync it.
    pub slow: bool,
    config: Config,
    loads: VecDeque<Load>,
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

fn name(id: NodeId) -> Name {
    Name(usize::from(id.0))
}

impl World {
    pub fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub fn node(&mut self, node: Name) -> Result<&mut Node, Box<dyn Error>> {
        self.nodes.get_mut(node.0).ok_or_else(|| format!("there is no n{}", node.0 + 1).into())
    }

    fn engine(&mut self, node: Name) -> Result<&mut Raft, Box<dyn Error>> {
        self.node(node)?.engine.as_mut().ok_or_else(|| format!("n{} is down", node.0 + 1).into())
    }

    fn names(&self) -> Vec<Name> {
        (0..self.nodes.len()).map(Name).collect()
    }

    pub fn each(&mut self, node: Option<Name>, print: impl Fn(&mut Self, Name)) {
        for node in node.map_or_else(|| self.names(), |node| vec![node]) {
            print(self, node);
        }
    }

    pub fn cluster(&mut self, nodes: usize, timers: Timers, chunk_bytes_max: usize, cache_bytes_max: usize) {
        let members: Vec<NodeId> = (0..nodes).map(|node| id(Name(node))).collect();
        for node in &members {
            let (id, seed, members) = (*node, u64::from(node.0) * 1000, members.clone());
            let config = Config { id, members, seed, timers, chunk_bytes_max, cache_bytes_max, rejoining: false };
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

    fn open(&mut self, node: Name) {
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

    fn absorb(&mut self, node: Name, output: Output) {
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
            Event::Contradicted(index) => format!("is contradicted at {index}"),
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

    /// Prints nothing if nothing comes of it.
    pub fn tick(&mut self, node: Name) -> Done {
        let output = self.engine(node)?.step(Input::Tick);
        if output != Output::default() {
            self.line(&format!("n{} ticks", node.0 + 1));
        }
        self.absorb(node, output);
        Ok(())
    }

    pub fn campaign(&mut self, node: Name) -> Done {
        for _ in 0..100 {
            let before = self.out.len();
            self.tick(node)?;
            if self.out.len() > before && self.engine(node)?.status().role == Role::Candidate {
                return Ok(());
            }
        }
        Err("it does not campaign".into())
    }

    pub fn pass(&mut self, ticks: u32) -> Done {
        for _ in 0..ticks {
            for node in self.names() {
                if self.nodes[node.0].engine.is_some() {
                    self.tick(node)?;
                }
            }
            self.settle()?;
        }
        Ok(())
    }

    pub fn settle(&mut self) -> Done {
        for _ in 0..10_000 {
            if !self.mail.is_empty() {
                let letter = self.mail.remove(0);
                self.deliver(letter)?;
                continue;
            }
            let ready = |node: &Node| !node.slow && node.engine.is_some();
            if let Some(node) = self.nodes.iter().position(|node| ready(node) && !node.disk.queue.is_empty()) {
                self.sync(Name(node), Some(1))?;
            } else if let Some(node) = self.nodes.iter().position(|node| ready(node) && !node.loads.is_empty()) {
                self.load(Name(node), None)?;
            } else {
                return Ok(());
            }
        }
        Err("the exchange does not end".into())
    }

    pub fn elect(&mut self, node: Name) -> Done {
        let waits = self.node(node)?.config.timers.election_ticks_min;
        let mut others = self.names();
        others.retain(|other| {
            let engine = self.nodes[other.0].engine.as_ref();
            *other != node && engine.is_some_and(|engine| engine.status().role != Role::Leader)
        });
        for other in &others {
            self.step(*other, "must not lead", Input::Eligible(false))?;
            (0..waits).try_for_each(|_| self.tick(*other))?;
        }
        for _ in 0..100 {
            self.tick(node)?;
            self.settle()?;
            if self.engine(node)?.status().role == Role::Leader {
                return others.iter().try_for_each(|other| self.step(*other, "may lead", Input::Eligible(true)));
            }
        }
        Err("it is not elected".into())
    }

    pub fn sync(&mut self, node: Name, groups: Option<usize>) -> Done {
        let waiting = self.node(node)?.disk.queue.len();
        if waiting < groups.unwrap_or(1) {
            return Err(format!("{waiting} groups are not synced").into());
        }
        for _ in 0..groups.unwrap_or(waiting) {
            let Some(unsynced) = self.node(node)?.disk.sync() else { break };
            self.line(&format!("n{} synced #{}", node.0 + 1, unsynced.group));
            for (to, message) in unsynced.gated {
                self.send(node, name(to), message);
            }
            let output = self.engine(node)?.step(Input::Synced(unsynced.group));
            self.absorb(node, output);
        }
        Ok(())
    }

    pub fn crash(&mut self, node: Name, keep: usize) -> Done {
        self.engine(node)?;
        let Node { engine, disk, .. } = self.node(node)?;
        *engine = None;
        (0..keep).for_each(|_| _ = disk.sync());
        let lost = disk.queue.len();
        disk.queue.clear();
        self.line(&format!("n{} is down, {lost} groups are lost", node.0 + 1));
        Ok(())
    }

    pub fn restart(&mut self, node: Name) -> Done {
        if self.node(node)?.engine.is_some() {
            return Err("it is not down".into());
        }
        self.open(node);
        Ok(())
    }

    pub fn lose_disk(&mut self, node: Name) -> Done {
        let Node { disk, config, .. } = self.node(node)?;
        *disk = Disk::default();
        config.rejoining = true;
        self.open(node);
        Ok(())
    }

    pub fn terms(&mut self, node: Name) -> Done {
        let others: Vec<Name> = self.names().into_iter().filter(|other| *other != node).collect();
        let mut newest = 0;
        for other in others {
            self.engine(other)?; // one that is down tells nothing
            newest = newest.max(self.node(other)?.disk.durable.hard.term);
        }
        self.step(node, &format!("is told the newest term, {newest}"), Input::RejoinTerms(newest))
    }

    pub fn propose(&mut self, node: Name, text: &str, term: Option<Term>, last: Option<Index>, bytes: usize) -> Done {
        let status = self.engine(node)?.status();
        let (term, last_index) = (term.unwrap_or(status.term), last.unwrap_or(status.last_index));
        let entry = Entry::from(format!("{text:.<bytes$}").into_bytes());
        self.step(
            node,
            &format!("is to append {text} after {last_index} in term {term}"),
            Input::Propose { term, last_index, entry },
        )
    }

    pub fn dispute(&mut self, node: Name, index: Index) -> Done {
        // The driver's part: what was to be acknowledged with that write is not sent.
        let brings = |write: &Write| matches!(write, Write::Splice { records, .. } if records.iter().any(|record| record.index == index));
        for unsynced in &mut self.node(node)?.disk.queue {
            if unsynced.writes.iter().any(brings) {
                unsynced.gated.clear();
            }
        }
        self.step(node, &format!("disputes {index}"), Input::Dispute(index))
    }

    pub fn load(&mut self, node: Name, records: Option<usize>) -> Done {
        let Node { loads, disk, .. } = self.node(node)?;
        let load = loads.pop_front().ok_or("nothing is to be loaded")?;
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let first = bytes == 0;
            bytes += 32 + record.entry.as_ref().map_or(0, |entry| entry.len());
            first || bytes <= load.bytes_max
        };
        let found = disk.durable.records.iter().skip(load.from as usize - 1).take_while(fits);
        let records: Vec<Record> = found.take(records.unwrap_or(usize::MAX)).cloned().collect();
        let head = format!("loaded [{}] for {}", wire::records(&records), wire::name(load.peer));
        self.step(node, &head, Input::Loaded { peer: load.peer, from: load.from, records })
    }

    pub fn print_status(&mut self, node: Name) {
        let Some(engine) = &self.nodes[node.0].engine else { return self.line(&format!("n{} down", node.0 + 1)) };
        let status = engine.status();
        let mut text = role_text(status.role, status.leader, status.term);
        text += &format!(" last={} commit={}", status.last_index, status.committed);
        if status.role == Role::Leader {
            text += if status.can_propose { " serves" } else { " does not serve yet" };
            for peer in &status.peers {
                let silent = if peer.active { "" } else { " (silent)" };
                text += &format!(", {} has {}{silent}", wire::name(peer.id), peer.matched);
            }
        }
        self.line(&format!("n{} {text}", node.0 + 1));
    }

    pub fn print_log(&mut self, node: Name) {
        let disk = &self.nodes[node.0].disk;
        let (durable, visible) = (&disk.durable, disk.visible());
        let same = durable.records.iter().zip(&visible.records).take_while(|(one, other)| one == other).count();
        let vote = durable.hard.vote.map_or("none".to_owned(), wire::name);
        let mut text = format!("n{} term={} vote={vote}", node.0 + 1, durable.hard.term);
        text += &format!(" [{}]", wire::records(&visible.records[..same]));
        if visible.records.len() > same {
            text += &format!(" unsynced [{}]", wire::records(&visible.records[same..]));
        }
        self.line(&text);
    }
}

fn role_text(role: Role, leader: Option<NodeId>, term: Term) -> String {
    match (role, leader) {
        (Role::Leader, _) => format!("leader t={term}"),
        (Role::Candidate, _) => format!("candidate t={term}"),
        (Role::Follower, Some(leader)) => format!("follower of {} t={term}", wire::name(leader)),
        (Role::Follower, None) => format!("follower t={term}"),
    }
}
