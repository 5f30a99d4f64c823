//! What goes wrong, and how often. The weights are drawn anew for each seed, because a fixed mix finds less: a bug may
//! need ten power cuts in a row, or none at all. Half of the faults are aimed at the leader.

use raftbank_consensus::NodeId;
use raftbank_ledger::BALANCE_MAX;
use raftbankd::node::LinkChange;

use super::Violation;
use super::event::Event;
use super::requests;
use super::world::World;
use crate::consensus_sim::Dice;
use crate::consensus_sim::network::Weather;

/// The faults of one seed.
#[derive(Debug)]
pub struct Faults {
    weights: Vec<u64>,
    /// Between two faults, on average.
    every_us: u64,
    /// How long a machine stays down or stopped, and a cut lasts, at most.
    lasts_us: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    PowerCut,
    PowerCutAll,
    PowerCutSome,
    Kill,
    Terminate,
    Pause,
    Isolate,
    Split,
    OneWay,
    Hub,
    Heal,
    Session,
    Relay,
    SlowDisk,
    SyncError,
    ClockStep,
    LoseDisk,
    Backup,
    RollBack,
    Flip,
    LoseKey,
}

const FAULTS: [Fault; 21] = [
    Fault::PowerCut,
    Fault::PowerCutAll,
    Fault::PowerCutSome,
    Fault::Kill,
    Fault::Terminate,
    Fault::Pause,
    Fault::Isolate,
    Fault::Split,
    Fault::OneWay,
    Fault::Hub,
    Fault::Heal,
    Fault::Session,
    Fault::Relay,
    Fault::SlowDisk,
    Fault::SyncError,
    Fault::ClockStep,
    Fault::LoseDisk,
    Fault::Backup,
    Fault::RollBack,
    Fault::Flip,
    Fault::LoseKey,
];

impl Faults {
    /// Draws weights and frequencies.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut weights: Vec<u64> = FAULTS.iter().map(|_| dice.pick(&[0, 0, 0, 1, 3, 10])).collect();
        weights[10] = weights[10].max(1); // cuts heal some time, else most seeds would end as two halves
        Self {
            weights,
            every_us: dice.pick(&[20_000, 60_000, 150_000, 400_000]),
            lasts_us: dice.pick(&[30_000, 300_000, 1_000_000]),
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

    /// Ends all faults: links are whole, disks quick, clocks right, and everyone is up.
    pub fn heal_all(&mut self) {
        self.trace.line(self.now_us, format_args!("everything heals"));
        self.faults = None;
        self.weather = Weather::calm();
        self.links.heal();
        if !self.relay_up {
            self.relay_returns();
        }
        for node in self.ids() {
            self.resume(node);
            let machine = self.machine_mut(node);
            machine.sync_us = machine.healthy_sync_us;
            machine.clock_ms = 0;
            machine.disk.mend();
            if machine.process.as_ref().is_some_and(|process| process.flipped) {
                // Half of the members against the other half would wait for an operator. Its disk is right.
                self.power_cut(node);
            }
            if self.machine(node).refused {
                self.replace_disk(node);
            }
            if self.machine(node).process.is_none() {
                self.later(1, Event::Start(node));
            }
        }
    }

    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        let Some(Faults { weights, every_us, lasts_us }) = &self.faults else { return Ok(()) };
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
        self.trace.mix(&[fault as u64, u64::from(node.0)]);
        match fault {
            Fault::PowerCut => self.power_cut_for(node, lasts_us),
            Fault::PowerCutAll => ids.iter().for_each(|node| self.power_cut_for(*node, lasts_us)),
            Fault::PowerCutSome => {
                for node in ids {
                    if self.dice.chance(500) {
                        self.power_cut_for(node, lasts_us);
                    }
                }
            }
            Fault::Kill => {
                if self.machine(node).process.is_some() {
                    self.counts.kills += 1;
                    self.process_gone(node);
                    self.later(lasts_us, Event::Start(node));
                }
            }
            Fault::Terminate => {
                let epoch = self.machine(node).epoch;
                self.later(0, Event::Terminate { node, epoch });
            }
            Fault::Pause => self.pause(node, lasts_us),
            Fault::Isolate => {
                self.counts.cuts += 1;
                self.links.split(|id| u64::from(id == node));
            }
            Fault::Split => {
                self.counts.cuts += 1;
                let sides = self.dice.any();
                self.links.split(|id| sides >> id.0 & 1);
            }
            Fault::OneWay => {
                self.counts.cuts += 1;
                let other = self.dice.pick(&ids);
                let all = self.dice.chance(500);
                let hears = self.dice.chance(500);
                for peer in ids.into_iter().filter(|peer| all || *peer == other) {
                    let (from, to) = if hears { (node, peer) } else { (peer, node) };
                    self.links.set(from, to, false);
                }
            }
            Fault::Hub => {
                self.counts.cuts += 1;
                self.links.only(|a, b| a == node || b == node);
            }
            Fault::Heal => self.links.heal(),
            Fault::Session => self.lose_session(node, lasts_us),
            Fault::Relay => {
                if self.relay_up {
                    self.relay_up = false;
                    ids.iter().for_each(|node| self.lose_session(*node, lasts_us));
                    self.later(lasts_us, Event::RelayUp);
                }
            }
            Fault::SlowDisk => {
                let machine = self.machine_mut(node);
                let healthy = machine.sync_us == machine.healthy_sync_us;
                machine.sync_us = if healthy { (20_000, 400_000) } else { machine.healthy_sync_us };
                self.counts.slow_disks += u64::from(healthy);
            }
            Fault::SyncError => {
                if self.machine(node).process.is_some() {
                    self.machine(node).disk.fail_next_sync();
                }
            }
            Fault::ClockStep => {
                self.counts.clock_steps += 1;
                self.machine_mut(node).clock_ms = self.dice.pick(&[0, 500, -500, 3_000, -8_000, 60_000, -3_600_000]);
            }
            Fault::LoseDisk => {
                if self.can_lose_one() {
                    self.power_cut(node);
                    self.counts.disks_lost += 1;
                    self.replace_disk(node);
                    self.later(lasts_us, Event::Start(node));
                }
            }
            Fault::Backup => {
                let machine = self.machine_mut(node);
                machine.backup = Some(machine.disk.image());
            }
            Fault::RollBack => self.roll_back(node, lasts_us),
            Fault::Flip => self.flip(node),
            Fault::LoseKey => {
                if self.machine(node).process.is_some() {
                    self.process_gone(node);
                    self.machine_mut(node).key_life += 1;
                    self.counts.keys_lost += 1;
                    self.later(lasts_us, Event::Start(node));
                }
            }
        }
        Ok(())
    }

    fn power_cut_for(&mut self, node: NodeId, lasts_us: u64) {
        if self.machine(node).process.is_some() {
            self.power_cut(node);
            self.later(lasts_us, Event::Start(node));
        }
    }

    /// What was not synced is gone, but for the beginning of it that the disk had got to.
    pub(super) fn power_cut(&mut self, node: NodeId) {
        if self.machine(node).process.is_none() {
            return;
        }
        self.process_gone(node);
        let unsynced = self.machine(node).disk.unsynced();
        let survive = if self.dice.chance(300) { self.dice.range(0, unsynced as u64) as usize } else { 0 };
        let lost = self.machine(node).disk.crash(|_| survive);
        self.counts.power_cuts += 1;
        self.counts.losses += u64::from(lost > 0);
        self.trace
            .line(self.now_us, format_args!("{node:?} loses power; {survive} of {unsynced} unsynced changes survive"));
    }

    fn pause(&mut self, node: NodeId, stopped_us: u64) {
        let machine = self.machine_mut(node);
        if machine.runs() {
            let epoch = machine.epoch;
            if let Some(process) = machine.process.as_mut() {
                process.paused = Some(Vec::new());
            }
            self.counts.pauses += 1;
            self.later(stopped_us, Event::Resume { node, epoch });
        }
    }

    fn lose_session(&mut self, node: NodeId, lasts_us: u64) {
        let epoch = self.machine(node).epoch;
        let Some(process) = self.machine_mut(node).process.as_mut().filter(|process| process.linked) else { return };
        process.linked = false;
        self.counts.sessions_lost += 1;
        self.later(10, Event::Link { node, epoch, change: LinkChange::Lost });
        self.peers_change(node, false);
        let back_us = lasts_us.min(300_000) + 20;
        self.later(back_us, Event::Connect { node, epoch });
    }

    pub(super) fn relay_returns(&mut self) {
        self.relay_up = true;
    }

    /// One disk at a time, and only if the others make a majority: nobody could help otherwise.
    fn can_lose_one(&self) -> bool {
        let impaired = |machine: &super::machine::Machine| {
            machine.refused
                || machine.rolled_back
                || machine.disk.is_rejoining()
                // Its log may hold a block that will make it stop with 6.
                || machine.tainted
                || machine.process.as_ref().is_some_and(|process| process.flipped)
        };
        self.machines.len() >= 3 && !self.machines.iter().any(impaired)
    }

    /// A new disk in the place of one that is lost or refused: the node will rejoin.
    pub(super) fn replace_disk(&mut self, node: NodeId) {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        let Ok(disk) = self.charter.disk(node, incarnation, true) else { return };
        self.observer.loses(&self.machines[usize::from(node.0)]);
        let machine = self.machine_mut(node);
        (machine.disk, machine.incarnation, machine.backup) = (disk, incarnation, None);
        (machine.refused, machine.rolled_back, machine.tainted) = (false, false, false);
        // The key was on the old one.
        machine.key_life += 1;
        self.trace.line(self.now_us, format_args!("{node:?} gets a new disk"));
    }

    /// It ended with 6: its operator comes some time.
    pub(super) fn refuse(&mut self, node: NodeId) {
        self.machine_mut(node).refused = true;
        self.later(400_000, Event::Operator(node));
    }

    /// An older backup is put in the place of a disk that has promised more since.
    fn roll_back(&mut self, node: NodeId, lasts_us: u64) {
        if !self.can_lose_one() {
            return;
        }
        let machine = self.machine_mut(node);
        let Some(image) = machine.backup.take() else { return };
        let is_older = {
            let (hard, last_index) = machine.disk.marked_promises();
            let (old_hard, old_last_index) = image.promises();
            old_hard.term < hard.term || old_last_index < last_index
        };
        if is_older {
            self.power_cut(node);
            self.observer.loses(&self.machines[usize::from(node.0)]);
            let machine = self.machine_mut(node);
            machine.disk.roll_back(image);
            machine.rolled_back = true;
            self.later(lasts_us, Event::Start(node));
        }
    }

    /// A bit of a balance flips in memory.
    fn flip(&mut self, node: NodeId) {
        if !self.can_lose_one() {
            return;
        }
        let account = requests::account(self.dice.below(3));
        let bit = self.dice.below(62);
        let Some(process) = self.machine_mut(node).process.as_mut().filter(|process| process.paused.is_none()) else {
            return;
        };
        if let Some(balance) = process.node.state().balance(&account) {
            let flipped = balance ^ (1 << bit);
            if (0..=BALANCE_MAX).contains(&flipped) {
                process.node.corrupt_balance_for_tests(&account, flipped);
                process.flipped = true;
                self.machine_mut(node).tainted = true;
                self.counts.flips += 1;
            }
        }
    }
}
