//! Processes on their machines: how they begin and end, and what becomes of their writes.

use raftbank_consensus::NodeId;
use raftbank_store::{Store, StoreError};
use raftbank_wire::api::ApiRequest;

use super::Violation;
use super::event::Event;
use super::machine::TICK_MS;
use super::observe::violated;
use super::world::World;

/// Most batches that share one sync, as in the daemon.
const GROUPS_PER_SYNC_MAX: usize = 256;

impl World {
    /// The store's thread: takes what waits, and begins one sync for all of it.
    pub(super) fn write(&mut self, node: NodeId) -> Result<(), Violation> {
        let machine = &mut self.machines[usize::from(node.0)];
        let (epoch, sync_us) = (machine.epoch, machine.sync_us);
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        while process.syncing.is_none() && !process.desk.queue.is_empty() {
            let count = process.desk.queue.len().min(GROUPS_PER_SYNC_MAX);
            process.desk.seen -= count;
            let (mut newest, mut written) = (None, Ok(()));
            for queued in process.desk.queue.drain(..count) {
                written = written.and_then(|()| process.store.write(&queued.batch));
                newest = queued.group.or(newest);
            }
            if let Err(error) = written {
                return self.disk_failed(node, &error);
            }
            if newest.is_some() {
                process.syncing = Some(newest);
                let delay_us = self.dice.range(sync_us.0, sync_us.1);
                self.later(delay_us, Event::SyncDone { node, epoch });
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn sync_done(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(process) = self.machine_mut(node).process.as_mut() else { return Ok(()) };
        let newest = process.syncing.take().flatten();
        if let Err(error) = process.store.sync() {
            return self.disk_failed(node, &error);
        }
        if let Some(newest) = newest {
            process.driver.synced(newest);
        }
        self.write(node)?;
        self.turn_soon(node);
        Ok(())
    }

    pub(super) fn disk_failed(&mut self, node: NodeId, error: &StoreError) -> Result<(), Violation> {
        self.trace.line(self.now_us, format_args!("{node:?} ends: {error}"));
        if error.exit_code() != 7 {
            violated!("{node:?} ends with {}: {error}", error.exit_code());
        }
        self.counts.sync_errors += 1;
        // What the kernel had not written is gone, or part of it is not.
        self.power_cut(node);
        let delay_us = self.dice.range(1_000, 500_000);
        self.later(delay_us, Event::Start(node));
        Ok(())
    }

    /// A node has ended its process.
    pub(super) fn ended(&mut self, node: NodeId, exit_code: u8, reason: &str) -> Result<(), Violation> {
        let machine = self.machine_mut(node);
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        let (flipped, stopping) = (machine.tainted, process.stopping);
        match exit_code {
            0 if stopping => {
                let mut failed = None;
                for queued in process.desk.queue.drain(..) {
                    failed = failed.or(process.store.write(&queued.batch).err());
                }
                failed = failed.or(process.store.sync().err()).or(process.store.sync_mark().err());
                if let Some(error) = failed {
                    return self.disk_failed(node, &error);
                }
                self.counts.terminated += 1;
                self.process_gone(node);
                let delay_us = self.dice.range(1_000, 500_000);
                self.later(delay_us, Event::Start(node));
            }
            6 if flipped => {
                self.counts.flips_found += 1;
                self.process_gone(node);
                self.refuse(node);
            }
            _ => violated!("{node:?} ends with {exit_code}: {reason}"),
        }
        Ok(())
    }

    /// The process does not exist any more; its disk is as the kernel has it.
    pub(super) fn process_gone(&mut self, node: NodeId) {
        let machine = self.machine_mut(node);
        let Some(process) = machine.process.take() else { return };
        machine.epoch += 1;
        if process.flipped {
            self.flipped_us = Some(self.now_us);
        }
        let machine = self.machine_mut(node);
        drop(process.store);
        machine.disk.kill();
        let waiting: Vec<usize> = process.tokens.values().copied().collect();
        for client in waiting {
            if let Some((copy, ..)) = self.clients[client].token {
                self.later(20, Event::Broken { client, copy });
            }
        }
        for event in process.paused.into_iter().flatten() {
            if let Event::Api { client, copy, .. } = event {
                self.later(20, Event::Broken { client, copy });
            }
        }
        if process.linked {
            self.peers_change(node, false);
        }
    }

    pub(super) fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let (seed, now_us) = (self.dice.any(), self.now_us);
        let machine = &mut self.machines[usize::from(node.0)];
        if machine.process.is_some() || machine.refused {
            return Ok(());
        }
        match machine.start(&self.charter, seed, now_us) {
            Ok(()) => {}
            Err(error) if error.exit_code() == 6 && machine.rolled_back => {
                self.counts.rolled_back += 1;
                self.trace.line(now_us, format_args!("{node:?} refuses its disk: {error}"));
                self.refuse(node);
                return Ok(());
            }
            Err(error) => violated!("{node:?} does not start: {error}"),
        }
        if machine.rolled_back {
            violated!("{node:?} starts on a disk that was rolled back");
        }
        let epoch = machine.epoch;
        self.trace.line(now_us, format_args!("{node:?} starts"));
        let key = self.charter.signer(node, self.machine(node).key_life).verifier();
        self.observer.begins(node, now_us);
        self.observer.heads.key(node, key);
        let phase_us = self.dice.below(TICK_MS * 1_000);
        self.later(phase_us, Event::Tick { node, epoch });
        self.later(1_000_000, Event::MarkDue { node, epoch });
        let connect_us = self.dice.range(500, 30_000);
        self.later(connect_us, Event::Connect { node, epoch });
        if self.dice.chance(200) {
            self.later(1_000, Event::Api { node, epoch, client: usize::MAX, copy: 0, request: ApiRequest::Watch });
        }
        self.turn(node)
    }

    /// A stopped process goes on with what has waited for it; ticks that passed do not come back.
    pub(super) fn resume(&mut self, node: NodeId) {
        let now_us = self.now_us;
        let Some(process) = self.machine_mut(node).process.as_mut() else { return };
        let Some(waiting) = process.paused.take() else { return };
        self.trace.line(now_us, format_args!("{node:?} resumes"));
        self.observer.begins(node, now_us);
        for (delay_us, event) in waiting.into_iter().enumerate() {
            self.later(delay_us as u64, event);
        }
    }
}
