//! Time that passes, and the short ways through an exchange.

use raftbank_consensus::{Engine, Input, Output, Role};

use super::Name;
use super::world::{Done, Node, World};

impl World {
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
}
