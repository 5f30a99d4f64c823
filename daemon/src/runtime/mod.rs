//! The shell around a [`Node`]: sockets, the disk, proof-of-work, clocks and signals.
//!
//! One task owns the node. Whatever happens (a tick, a frame from the relay, a client's request, a completed sync, a
//! found nonce) reaches it as an event; the actions that the node returns are performed in order. The node never
//! waits: syncs ([`disk`]), reads of old records ([`loader`]) and proof-of-work ([`miner`]) run on threads of their
//! own. All events that are ready are stepped before the actions are performed, so that requests that arrive together
//! travel together and one sync serves all that waits.

pub mod clients;
pub mod disk;
pub mod loader;
pub mod miner;
pub mod notices;

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raftbank_consensus::NodeId;
use raftbank_ledger::NodeName;
use raftbank_store::StoreError;
use raftbank_wire::link::{LinkEvent, LinkSender};
use raftbank_wire::server::Incoming;
use tokio::sync::mpsc;

use self::clients::Clients;
use self::disk::Disk;
use self::loader::{Load, Loader};
use self::miner::Miner;
use crate::error::Failure;
use crate::node::{Action, Event, LinkChange, Node, Now};
use crate::status::Status;

/// Most events of one source that are stepped before their actions are performed.
const EVENTS_MAX: usize = 256;
/// How often clients that have gone away are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Messages of the node's own threads that may wait; each thread has one or two at a time.
pub const REPORTS_MAX: usize = 64;

/// What the node's own threads and tasks report.
#[derive(Debug)]
pub enum Report {
    /// An event for the node.
    Event(Event),
    /// Old records could not be read.
    ReadFailed(StoreError),
    /// A verification found damage.
    Damaged(String),
    /// Stop cleanly.
    Shutdown,
}

/// How a node's run ended, other than by a [`Failure`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code that the node chose.
    pub exit_code: u8,
    /// Why.
    pub reason: String,
}

/// Everything the loop works with. Made by [`crate::server`].
pub struct Runtime {
    /// The node.
    pub node: Node,
    /// All members.
    pub names: Vec<NodeName>,
    /// Length of a tick, in milliseconds.
    pub tick_ms: u64,
    /// The store thread.
    pub disk: Disk,
    /// The thread that reads old records.
    pub loader: Loader,
    /// The mining thread.
    pub miner: Miner,
    /// The way to the peers.
    pub link: LinkSender,
    /// What comes from the peers.
    pub link_events: mpsc::Receiver<LinkEvent>,
    /// What comes from clients.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Who waits for an answer.
    pub clients: Clients,
    /// What comes from the node's own threads.
    pub reports: mpsc::Receiver<Report>,
    /// What the supervisor is told.
    pub status: Status,
    /// The origin of the monotonic clock.
    pub started: Instant,
}

/// What a verification's finding means for this node.
fn damaged(problem: &str) -> String {
    format!(
        "verification found damage: {problem}. Keep the data folder as evidence: move it away and start this node with \
         --rejoin"
    )
}

/// Reads both clocks.
pub fn now(started: Instant) -> Now {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Now {
        mono_ms: millis(started.elapsed()),
        // A clock before 1970 is skewed beyond use; the node finds that out by itself.
        wall_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
    }
}

impl Runtime {
    /// Runs until the node stops, or the disk fails. `opening` are the actions of [`Node::open`].
    pub async fn run(self, opening: Vec<Action>) -> (Result<Ended, Failure>, Disk) {
        let mut turn = Turn {
            runtime: self,
            events: VecDeque::new(),
            later: Vec::new(),
            actions: opening,
            synced: 0,
            next_tick: Instant::now(),
        };
        let result = turn.run().await;
        (result, turn.runtime.disk)
    }
}

/// The loop's working state.
struct Turn {
    runtime: Runtime,
    /// Ready to be stepped.
    events: VecDeque<Event>,
    /// To be stepped at the next tick.
    later: Vec<Event>,
    /// To be performed.
    actions: Vec<Action>,
    /// The last group that the node was told to be durable.
    synced: u64,
    next_tick: Instant,
}

impl Turn {
    async fn run(&mut self) -> Result<Ended, Failure> {
        let mut swept = Instant::now();
        loop {
            if let Some(ended) = self.perform() {
                return Ok(ended);
            }
            let (role, leader, _) = self.runtime.node.role();
            self.runtime.status.node(role, leader, self.runtime.node.has_leader(), &self.runtime.names);
            if self.events.is_empty() {
                self.wait().await?;
            }
            self.drain()?;
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                self.events.extend(self.runtime.clients.sweep());
            }
            while let Some(event) = self.events.pop_front() {
                let now = now(self.runtime.started);
                let actions = self.runtime.node.step(now, event);
                self.actions.extend(actions);
            }
        }
    }

    /// Waits for the first thing to happen. What is durable comes first, then time, then peers, then clients.
    async fn wait(&mut self) -> Result<(), Failure> {
        let Runtime { disk, reports, link_events, incoming, .. } = &mut self.runtime;
        let open = !disk.is_behind();
        tokio::select! {
            biased;
            () = disk.changed() => {}
            () = tokio::time::sleep_until(self.next_tick.into()) => {}
            Some(report) = reports.recv() => self.report(report)?,
            Some(event) = link_events.recv(), if open => self.linked(event),
            Some(request) = incoming.recv(), if open => self.asked(request),
        }
        Ok(())
    }

    /// Takes what else is ready, so that it is worked off together.
    fn drain(&mut self) -> Result<(), Failure> {
        self.synced()?;
        self.tick();
        for _ in 0..EVENTS_MAX {
            let Ok(report) = self.runtime.reports.try_recv() else { break };
            self.report(report)?;
        }
        if self.runtime.disk.is_behind() {
            return Ok(());
        }
        for _ in 0..EVENTS_MAX {
            let Ok(event) = self.runtime.link_events.try_recv() else { break };
            self.linked(event);
        }
        for _ in 0..EVENTS_MAX {
            let Ok(request) = self.runtime.incoming.try_recv() else { break };
            self.asked(request);
        }
        Ok(())
    }

    /// Ticks if it is time. After a pause (a stopped process, a starved machine) time goes on from there: what was
    /// missed is not made up for, or a node would campaign before it has read what waits for it.
    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.next_tick {
            let tick = Duration::from_millis(self.runtime.tick_ms);
            let next = self.next_tick + tick;
            self.next_tick = if next > now { next } else { now + tick };
            self.events.push_back(Event::Tick);
            self.events.extend(self.later.drain(..));
        }
    }

    /// Tells the node what has become durable, or ends the process if the disk failed.
    fn synced(&mut self) -> Result<(), Failure> {
        if let Some(error) = self.runtime.disk.failure() {
            return Err(error.into());
        }
        let durable = self.runtime.disk.durable();
        while self.synced < durable {
            self.synced += 1;
            self.events.push_back(Event::Synced { group: self.synced });
        }
        Ok(())
    }

    fn report(&mut self, report: Report) -> Result<(), Failure> {
        match report {
            Report::Event(event) => self.events.push_back(event),
            Report::Shutdown => {
                self.runtime.status.stopping();
                self.events.push_back(Event::Shutdown);
            }
            Report::ReadFailed(error) => return Err(error.into()),
            Report::Damaged(problem) => return Err(Failure::Corrupt(damaged(&problem))),
        }
        Ok(())
    }

    fn linked(&mut self, event: LinkEvent) {
        let change = match event {
            LinkEvent::Frame { from, payload } => {
                return self.events.push_back(Event::Frame { from: NodeId(from), payload });
            }
            LinkEvent::Connected => {
                tracing::info!("connected to the relay");
                LinkChange::Connected
            }
            LinkEvent::Disconnected => {
                tracing::warn!("the connection to the relay is lost; trying again");
                LinkChange::Lost
            }
            LinkEvent::Refused(message) => {
                tracing::error!("the relay refuses this node: {message}");
                self.runtime.status.refused(&message);
                LinkChange::Lost
            }
            LinkEvent::PeerUp(peer) => LinkChange::Up(NodeId(peer)),
            LinkEvent::PeerDown(peer) => LinkChange::Down(NodeId(peer)),
        };
        self.events.push_back(Event::Link(change));
    }

    fn asked(&mut self, request: Incoming) {
        if let Some(event) = self.runtime.clients.admit(request, &self.runtime.node) {
            self.events.push_back(event);
        }
    }

    /// Performs all actions, in order. `Some`: the node has stopped, and nothing after that is performed.
    fn perform(&mut self) -> Option<Ended> {
        for action in std::mem::take(&mut self.actions) {
            match action {
                // False means lost, which every message may be.
                Action::Send { to, payload } => {
                    let _ = self.runtime.link.send(to.0, payload);
                }
                Action::Persist { group, batch } => self.runtime.disk.persist(group, batch),
                Action::Load { peer, from, bytes_max } => {
                    if !self.runtime.loader.load(Load { peer, from, bytes_max }) {
                        self.later.push(Event::Loaded { peer, from, records: Vec::new() });
                    }
                }
                Action::Reply { token, reply, last } => {
                    if !self.runtime.clients.reply(token, reply, last) && !last {
                        self.events.push_back(Event::ApiGone { token });
                    }
                }
                Action::Mine { job, header } if header.difficulty <= miner::INLINE_DIFFICULTY_MAX => {
                    self.events.push_back(Event::Mined { job, nonce: miner::search(&header, || true) });
                }
                Action::Mine { job, header } => self.runtime.miner.mine(job, header),
                Action::CancelMine { job } => self.runtime.miner.cancel(job),
                Action::Notice(notice) => notices::log(&notice, &self.runtime.names),
                Action::Stop { exit_code, reason } => return Some(Ended { exit_code, reason }),
            }
        }
        None
    }
}
