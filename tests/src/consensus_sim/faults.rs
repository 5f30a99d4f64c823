//! What goes wrong, and how often. The weights are drawn anew for each seed, because a fixed mix finds less: a bug may
//! need ten crashes in a row, or none at all. Half of the faults are aimed at the leader.

use raftbank_consensus::{Input, NodeId};

use super::check::Violation;
use super::dice::Dice;
use super::disk::Disk;
use super::network::Weather;
use super::world::{Event, World};

/// The faults of one seed.
#[derive(Debug)]
pub struct Faults {
    weights: Vec<u64>,
    /// Between two faults, on average.
    every_us: u64,
    /// How long a node stays down or stopped, and a cut lasts, at most.
    lasts_us: u64,
    /// Writes from a leader for which a follower computes another result, of 1000.
    disputes_per_mille: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    CrashAll,
    CrashSome,
    Pause,
    Isolate,
    Split,
    OneWay,
    Hub,
    Heal,
    LinkReset,
    SlowDisk,
    LoseDisk,
    Ineligible,
    Transfer,
}

const FAULTS: [Fault; 14] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::CrashSome,
    Fault::Pause,
    Fault::Isolate,
    Fault::Split,
    Fault::OneWay,
    Fault::Hub,
    Fault::Heal,
    Fault::LinkReset,
    Fault::SlowDisk,
    Fault::LoseDisk,
    Fault::Ineligible,
    Fault::Transfer,
];

impl Faults {
    /// Draws weights and frequencies.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut weights: Vec<u64> = FAULTS.iter().map(|_| dice.pick(&[0, 0, 1, 3, 10])).collect();
        weights[8] = weights[8].max(1); // cuts heal some time, else most seeds would end as two halves
        Self {
            weights,
            every_us: dice.pick(&[20_000, 60_000, 150_000, 400_000]),
            lasts_us: dice.pick(&[30_000, 300_000, 1_000_000]),
            disputes_per_mille: dice.pick(&[0, 0, 0, 2, 20]),
        }
    }
}

impl World {
    /// Lets faults begin.
    pub fn begin_faults(&mut self) {
        self.weather = Weather::draw(&mut self.dice);
        let faults = Faults::draw(&mut self.dice);
        self.trace.line(self.now_us, format_args!("{faults:?} {:?}", self.weather));
        self.later(faults.every_us, Event::Fault);
        self.faults = Some(faults);
    }

    /// Ends all faults: links are whole, disks quick, everyone is up.
    ///
    /// # Errors
    /// A rule that a starting node breaks.
    pub fn heal_all(&mut self) -> Result<(), Violation> {
        self.trace.line(self.now_us, format_args!("everything heals"));
        self.faults = None;
        self.weather = Weather::calm();
        self.links.heal();
        for node in self.ids() {
            self.resume(node);
            let server = self.server_mut(node);
            server.sync_us = server.healthy_sync_us;
            if server.disputed {
                self.crash(node, 1); // half of the members against the other half: somebody has to decide
            } else if self.server(node).up() {
                self.step(node, Input::Eligible(true))?;
            } else {
                self.later(1, Event::Start(node));
            }
        }
        Ok(())
    }

    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        let Some(Faults { weights, every_us, lasts_us, .. }) = &self.faults else { return Ok(()) };
        let (every_us, lasts_us) = (*every_us, *lasts_us);
        let fault = FAULTS[self.dice.weighted(weights)];
        let pause_us = self.dice.range(1, 2 * every_us);
        self.later(pause_us, Event::Fault);
        let lasts_us = self.dice.range(1, lasts_us);
        let ids = self.ids();
        let node = match self.leader() {
            Some(leader) if self.dice.chance(500) => leader,
            _ => self.dice.pick(&ids),
        };
        self.trace.line(self.now_us, format_args!("FAULT {fault:?} {node:?}"));
        match fault {
            Fault::Crash => self.crash(node, lasts_us),
            Fault::CrashAll => ids.iter().for_each(|node| self.crash(*node, lasts_us)),
            Fault::CrashSome => {
                for node in ids {
                    if self.dice.chance(500) {
                        self.crash(node, lasts_us);
                    }
                }
            }
            Fault::Pause => self.pause(node, lasts_us),
            Fault::Isolate => self.links.split(|id| u64::from(id == node)),
            Fault::Split => {
                let sides = self.dice.any();
                self.links.split(|id| sides >> id.0 & 1);
            }
            Fault::OneWay => {
                let other = self.dice.pick(&ids);
                let all = self.dice.chance(500);
                let hears = self.dice.chance(500);
                for peer in ids.into_iter().filter(|peer| all || *peer == other) {
                    let (from, to) = if hears { (node, peer) } else { (peer, node) };
                    self.links.set(from, to, false);
                }
            }
            Fault::Hub => self.links.only(|a, b| a == node || b == node),
            Fault::Heal => self.links.heal(),
            Fault::LinkReset => {
                let peer = self.dice.pick(&ids);
                self.later(0, Event::LinkReset { node, peer });
                self.later(1, Event::LinkReset { node: peer, peer: node });
            }
            Fault::SlowDisk => {
                let server = self.server_mut(node);
                let healthy = server.sync_us == server.healthy_sync_us;
                server.sync_us = if healthy { (20_000, 400_000) } else { server.healthy_sync_us };
            }
            Fault::LoseDisk => self.lose_disk(node, lasts_us),
            Fault::Ineligible => {
                if self.server(node).runs() {
                    let epoch = self.server(node).epoch;
                    self.later(lasts_us, Event::Eligible { node, epoch });
                    self.step(node, Input::Eligible(false))?;
                }
            }
            Fault::Transfer => {
                if self.server(node).runs() {
                    self.step(node, Input::TransferLeadership)?;
                }
            }
        }
        Ok(())
    }

    /// True if a follower now computes another result than its leader.
    pub(super) fn disputes(&mut self) -> bool {
        let per_mille = self.faults.as_ref().map_or(0, |faults| faults.disputes_per_mille);
        per_mille > 0 && self.dice.chance(per_mille)
    }

    pub(super) fn crash(&mut self, node: NodeId, down_us: u64) {
        if !self.server(node).up() {
            return;
        }
        let unsynced = self.server(node).disk.unsynced() as u64;
        let survive = if self.dice.chance(300) { self.dice.range(0, unsynced) } else { 0 };
        let lost = self.server_mut(node).crash(survive as usize);
        self.counts.crashes += 1;
        self.counts.crashes_that_lost_unsynced += u64::from(lost);
        self.trace.line(self.now_us, format_args!("{node:?} crashes, {survive} of {unsynced} unsynced writes survive"));
        let records: Vec<_> = self.server(node).disk.durable.records.iter().map(|r| (r.index, r.term)).collect();
        for (index, term) in records {
            self.checker.durable(node, index, term);
        }
        self.later(down_us, Event::Start(node));
    }

    fn pause(&mut self, node: NodeId, stopped_us: u64) {
        let server = self.server_mut(node);
        if server.runs() {
            server.paused = Some(Vec::new());
            let epoch = server.epoch;
            self.later(stopped_us, Event::Resume { node, epoch });
        }
    }

    /// One disk at a time, and only if the others alone make a majority: nobody could help otherwise.
    fn lose_disk(&mut self, node: NodeId, down_us: u64) {
        let rejoining = self.servers.iter().any(|server| server.disk.durable.rejoining);
        if self.servers.len() < 3 || rejoining {
            return;
        }
        self.crash(node, down_us);
        let server = self.server_mut(node);
        server.disk = Disk::new(true);
        server.incarnation += 1;
        self.counts.disks_lost += 1;
        self.trace.line(self.now_us, format_args!("{node:?} loses its disk"));
    }
}
