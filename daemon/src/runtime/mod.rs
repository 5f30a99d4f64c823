//! The shell around a [`Node`]: sockets, the disk, proof-of-work, clocks and signals.
//!
//! One task owns the node. Whatever happens (a tick, a frame from the relay, a client's request, a completed sync, a
//! found nonce) reaches it as an event; the actions that the node returns are performed in order ([`crate::driver`]).
//! The node never waits: syncs ([`disk`]), reads of old records ([`loader`]) and proof-of-work ([`miner`]) run on
//! threads of their own.

pub mod alarm;
pub mod clients;
pub mod diagnosis;
pub mod direct;
pub mod disk;
pub mod gathering;
pub mod loader;
pub mod miner;
pub mod notices;
pub mod sync_times;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raftbank_consensus::NodeId;
use raftbank_ledger::{Header, NodeName};
use raftbank_service::watchdog::Watchdog;
use raftbank_store::{Batch, StoreError};
use raftbank_wire::api::ApiReply;
use raftbank_wire::link::{LinkEvent, LinkSender};
use raftbank_wire::server::Incoming;
use tokio::sync::mpsc;

use self::alarm::Alarm;
use self::clients::Clients;
use self::diagnosis::Around;
use self::disk::Disk;
use self::gathering::Gathering;
use self::loader::Loader;
use self::miner::Miner;
use crate::driver::{Driver, Ended, Load, Ports};
use crate::error::Failure;
use crate::node::{Action, Event, LinkChange, Node, Notice, Now};
use crate::pace::Pace;
use crate::status::{Picture, Status};

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
    /// When to look at those for whom the next block waits.
    pub gathering: Gathering,
    /// What wakes the loop in time.
    pub alarm: Alarm,
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
    /// What the loop tells the supervisor each time it has gone round.
    pub watchdog: Watchdog,
    /// What a diagnosis needs beside the node.
    pub around: Around,
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
        let tick = Duration::from_millis(self.tick_ms);
        let pace = Pace::new(tick, self.started.elapsed());
        let mut turn = Turn { runtime: self, driver: Driver::new(opening), pace };
        let result = turn.run().await;
        (result, turn.runtime.disk)
    }
}

impl Ports for Runtime {
    fn send(&mut self, to: NodeId, payload: Vec<u8>) {
        // False means lost, which every message may be.
        let _ = self.link.send(to.0, payload);
    }

    fn persist(&mut self, group: Option<u64>, batch: Batch) {
        self.disk.persist(group, batch);
    }

    fn load(&mut self, load: Load) -> bool {
        self.loader.load(load)
    }

    fn reply(&mut self, token: u64, reply: ApiReply, last: bool) -> bool {
        if let ApiReply::Diagnosis(diagnosis) = reply {
            let Some(responder) = self.clients.take(token) else { return false };
            self.around.answer(diagnosis, self.disk.sync_figures(), responder);
            return true;
        }
        self.clients.reply(token, reply, last)
    }

    fn mine(&mut self, job: u64, header: Header) -> Option<Event> {
        if header.difficulty <= miner::INLINE_DIFFICULTY_MAX {
            return Some(Event::Mined { job, nonce: miner::search(&header, || true) });
        }
        self.miner.mine(job, header);
        None
    }

    fn cancel_mine(&mut self, job: u64) {
        self.miner.cancel(job);
    }

    fn gather(&mut self, turn: u64) {
        self.gathering.ask(turn, Instant::now());
    }

    fn notice(&mut self, notice: Notice) {
        notices::log(&notice, &self.names);
    }
}

/// The loop's working state.
struct Turn {
    runtime: Runtime,
    driver: Driver,
    pace: Pace,
}

/// What ended a wait.
enum Woken {
    /// A sync has completed, or it is time for a tick.
    Due,
    Report(Report),
    Link(LinkEvent),
    Client(Incoming),
}

impl Turn {
    async fn run(&mut self) -> Result<Ended, Failure> {
        let mut swept = Instant::now();
        loop {
            if let Some(ended) = self.driver.perform(&mut self.runtime) {
                return Ok(ended);
            }
            self.runtime.status.node(&Picture::of(&self.runtime.node), &self.runtime.names);
            let woken = if self.driver.is_idle() { self.wait().await? } else { Woken::Due };
            self.drain(woken)?;
            self.look().await?;
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                for event in self.runtime.clients.sweep() {
                    self.driver.push(event);
                }
            }
            let started = self.runtime.started;
            self.driver.step(&mut self.runtime.node, || now(started));
            // Last, and nowhere else: a loop that hangs anywhere above is ended by the supervisor. A disk that hangs does
            // not hold the loop up; that has a rule of its own ([`disk::STALL`]) and an exit code that names it.
            self.runtime.watchdog.feed();
        }
    }

    /// Waits for the first thing to happen. What is durable comes first, then time, then peers, then clients.
    async fn wait(&mut self) -> Result<Woken, Failure> {
        let tick = self.runtime.started + self.pace.rest(self.driver.quiet_ticks(&self.runtime.node));
        let look = self.runtime.gathering.due(self.runtime.node.gathering());
        let Runtime { disk, reports, link_events, incoming, watchdog, alarm, .. } = &mut self.runtime;
        let open = !disk.is_behind();
        let wake = [watchdog.due(), look].into_iter().flatten().fold(tick, Instant::min);
        tokio::select! {
            biased;
            () = disk.changed() => Ok(Woken::Due),
            rung = alarm.ring(wake) => rung.map(|()| Woken::Due).map_err(Failure::io("the loop's timer cannot be set")),
            Some(report) = reports.recv() => Ok(Woken::Report(report)),
            Some(event) = link_events.recv(), if open => Ok(Woken::Link(event)),
            Some(request) = incoming.recv(), if open => Ok(Woken::Client(request)),
        }
    }

    /// Takes what else is ready, so that it is worked off together.
    fn drain(&mut self, woken: Woken) -> Result<(), Failure> {
        self.synced()?;
        for _ in 0..self.pace.pass(self.runtime.started.elapsed()) {
            self.driver.tick();
        }
        match woken {
            Woken::Due => {}
            Woken::Report(report) => self.report(report)?,
            Woken::Link(event) => self.linked(event),
            Woken::Client(request) => self.asked(request),
        }
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

    /// Lets the node look at those for whom its next block waits: after all that clients have sent until now.
    async fn look(&mut self) -> Result<(), Failure> {
        if let Some(turn) = self.runtime.gathering.take_due(Instant::now()) {
            // What lies in the sockets is read by other tasks.
            tokio::task::yield_now().await;
            self.drain(Woken::Due)?;
            self.driver.push(Event::Gathered { turn });
        }
        Ok(())
    }

    /// Tells the node what has become durable, or ends the process if the disk failed.
    fn synced(&mut self) -> Result<(), Failure> {
        if let Some(error) = self.runtime.disk.failure(disk::STALL) {
            return Err(error.into());
        }
        self.driver.synced(self.runtime.disk.durable());
        Ok(())
    }

    fn report(&mut self, report: Report) -> Result<(), Failure> {
        match report {
            Report::Event(event) => self.driver.push(event),
            Report::Shutdown => {
                self.runtime.status.stopping();
                self.driver.push(Event::Shutdown);
            }
            Report::ReadFailed(error) => return Err(error.into()),
            Report::Damaged(problem) => return Err(Failure::Corrupt(damaged(&problem))),
        }
        Ok(())
    }

    fn linked(&mut self, event: LinkEvent) {
        self.runtime.around.linked(&event);
        let change = match event {
            LinkEvent::Frame { from, payload } => {
                return self.driver.push(Event::Frame { from: NodeId(from), payload });
            }
            LinkEvent::Connected => {
                tracing::info!("connected to the relay");
                self.runtime.status.admitted();
                LinkChange::Connected
            }
            LinkEvent::Disconnected => {
                tracing::warn!("the connection to the relay is lost; trying again");
                LinkChange::Lost
            }
            LinkEvent::Refused(message) => {
                let message = diagnosis::refusal(&message);
                tracing::error!("the relay refuses this node: {message}");
                self.runtime.status.refused(&message);
                LinkChange::Lost
            }
            LinkEvent::PeerUp(peer) => LinkChange::Up(NodeId(peer)),
            LinkEvent::PeerDown(peer) => LinkChange::Down(NodeId(peer)),
        };
        self.driver.push(Event::Link(change));
    }

    fn asked(&mut self, request: Incoming) {
        if let Some(event) = self.runtime.clients.admit(request, &self.runtime.node) {
            self.driver.push(event);
        }
    }
}
