//! What the drivers of the nodes do: sync, crash, start again, propose, load, dispute.

use raftbank_consensus::{Engine, Entry, Index, Input, Record, Term, Write};

use super::Name;
use super::disk::Disk;
use super::wire;
use super::world::{Done, Node, World, name};

impl World {
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
}
