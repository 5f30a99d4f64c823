//! What all connections share: the router, admission, and the timer for what is delayed and what ends by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use raftbank_service::notify::READY_AGAIN;
use raftbank_service::watchdog::Watchdog;
use raftbank_wire::api::{ApiReply, LinkCommand, PartitionCommand, RelayDiagnosis, RelayStatusReply};
use raftbank_wire::hello::Hello;
use raftbank_wire::queue::Queue;
use rand::rngs::SysError;
use tokio::sync::Notify;

use crate::admission::{Admission, Refusal};
use crate::config::Config;
use crate::faults::FaultError;
use crate::refusals::Refusals;
use crate::router::Router;

/// Name and version, as nodes and `status` see it.
pub const SOFTWARE: &str = concat!("raftbank-relayd/", env!("CARGO_PKG_VERSION"));

/// Shared by all tasks. Nothing waits while it holds the lock.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    /// The timer has to look again.
    sooner: Notify,
    /// By member: its connection was heard.
    heard: Vec<Notify>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    router: Router,
    admission: Admission,
    refusals: Refusals,
    /// What the timer waits for.
    awaited: Option<Instant>,
}

/// A connected member's session.
#[derive(Debug)]
pub struct Session {
    /// Its place among the members.
    pub member: u8,
    /// Tells this connection of the member from its others.
    pub number: u64,
    /// What is to be written to it.
    pub queue: Arc<Queue>,
    /// Who else is connected.
    pub connected: Vec<u8>,
}

impl Hub {
    /// For the members of the configuration.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn new(config: &Config) -> Result<Arc<Self>, SysError> {
        let members = config.relay.members.clone();
        let router = Router::new(members.clone(), config.log.messages)?;
        Ok(Arc::new(Self {
            heard: members.iter().map(|_| Notify::new()).collect(),
            state: Mutex::new(State {
                router,
                admission: Admission::new(members, config.cluster_id()),
                refusals: Refusals::default(),
                awaited: None,
            }),
            sooner: Notify::new(),
            started: Instant::now(),
        }))
    }

    /// Whether this node may connect at all; its place, and its present session if it has one.
    ///
    /// # Errors
    /// See [`Admission::check`].
    pub fn check(&self, hello: &Hello) -> Result<(u8, Option<u64>), Refusal> {
        let state = self.lock();
        let member = state.admission.check(hello)?;
        Ok((member, state.router.session(member)))
    }

    /// Connects a node in place of the session `replaced`.
    ///
    /// # Errors
    /// It may not connect any more, or has another session by now.
    pub fn connect(&self, hello: &Hello, replaced: Option<u64>) -> Result<Session, Refusal> {
        let mut state = self.lock();
        let member = state.admission.check(hello)?;
        let present = state.router.session(member);
        if present.is_some() && present != replaced {
            return Err(already_connected(&hello.node));
        }
        state.admission.adopt(hello.cluster_id);
        state.refusals.forget(&hello.node);
        let (number, queue) = state.router.connect(member, hello.software.clone());
        let connected = state.router.connected().into_iter().filter(|other| *other != member).collect();
        self.sooner.notify_one();
        Ok(Session { member, number, queue, connected })
    }

    /// Ends a session. False: it had ended before.
    pub fn disconnect(&self, session: &Session) -> bool {
        let mut state = self.lock();
        let ended = state.router.disconnect(session.member, session.number);
        if state.router.connected().is_empty() {
            state.admission.release();
        }
        drop(state);
        self.sooner.notify_one();
        // Who waits for a sign of life looks again.
        self.heard(session);
        ended
    }

    /// A session's connection has brought a message. False: the session has ended.
    pub fn route(&self, session: &Session, to: u8, payload: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.router.session(session.member) != Some(session.number) {
            return false;
        }
        state.router.route(Instant::now(), session.member, to, payload);
        self.look_again(&state);
        true
    }

    /// A session's connection has brought a sign of life.
    pub fn heard(&self, session: &Session) {
        if let Some(heard) = self.heard.get(usize::from(session.member)) {
            heard.notify_waiters();
        }
    }

    /// Asks a member's connection for a sign of life and waits for it, or for the end of its session.
    pub async fn probe(&self, member: u8) {
        let Some(heard) = self.heard.get(usize::from(member)) else { return };
        let heard = heard.notified();
        tokio::pin!(heard);
        heard.as_mut().enable();
        self.lock().router.ping(member);
        heard.await;
    }

    /// Carries an operator's command out.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn partition(&self, command: &PartitionCommand) -> Result<ApiReply, FaultError> {
        let mut state = self.lock();
        let reply = state.router.partition(command, Instant::now());
        self.sooner.notify_one();
        reply
    }

    /// Carries an operator's command out.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn link(&self, command: &LinkCommand) -> Result<ApiReply, FaultError> {
        let mut state = self.lock();
        let reply = state.router.link_faults(command, Instant::now());
        self.sooner.notify_one();
        reply
    }

    /// The relay's state.
    pub fn status(&self) -> RelayStatusReply {
        let state = self.lock();
        RelayStatusReply {
            software: SOFTWARE.to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cluster_id: state.admission.cluster(),
            members: state.router.shown_members(),
            faults: state.router.has_faults(),
            counters: state.router.counters(),
        }
    }

    /// The relay's health.
    pub fn diagnosis(&self) -> RelayDiagnosis {
        RelayDiagnosis { status: self.status(), refused: self.lock().refusals.shown(Instant::now()) }
    }

    /// Remembers that a node was not let in.
    pub fn refused(&self, node: &str, refusal: &Refusal) {
        self.lock().refusals.add(node, refusal, Instant::now());
    }

    /// Logs every message from now on, or none.
    pub fn log_messages(&self, on: bool) {
        self.lock().router.log_messages = on;
    }

    /// Does what time brings, for ever.
    pub async fn run_timer(&self) {
        self.run(Watchdog::off(), |_| true).await;
    }

    /// The router's loop: forwards what is due, ends faults, tells of changes and feeds the watchdog once a turn. It
    /// shares its thread and its lock with all connections, so whoever hangs with either in hand stops it, too. For ever.
    ///
    /// `tell` gets the line of the present state at once and after each change. False: it was not heard, and is told again,
    /// [`READY_AGAIN`] later.
    pub async fn run(&self, mut watchdog: Watchdog, mut tell: impl FnMut(&str) -> bool) {
        let mut shown = None;
        let mut again = None;
        loop {
            let (awaited, line) = {
                let mut state = self.lock();
                state.router.advance(Instant::now());
                state.awaited = state.router.next_moment();
                let now = state.router.gist();
                // A line is made only when it differs: this loop goes round for every delayed message.
                (state.awaited, (shown != Some(now)).then(|| (now, state.router.summary())))
            };
            if let Some((gist, line)) = line
                && again.is_none_or(|again| Instant::now() >= again)
            {
                let is_heard = tell(&line);
                shown = is_heard.then_some(gist);
                again = (!is_heard).then(|| Instant::now() + READY_AGAIN);
            }
            watchdog.feed();
            tokio::select! {
                () = self.sooner.notified() => {}
                () = sleep_until(awaited.into_iter().chain(watchdog.due()).chain(again).min()) => {}
            }
        }
    }

    fn look_again(&self, state: &State) {
        if state.router.next_moment() != state.awaited {
            self.sooner.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug; the network goes on for the others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a second connection of the same member.
pub fn already_connected(node: &str) -> Refusal {
    let message = format!(
        "{node} is connected already, and that connection is alive: two processes must not run as the same node"
    );
    Refusal { code: "already_connected", message }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use raftbank_service::watchdog::Watchdog;
    use raftbank_wire::api::PartitionCommand;

    use super::Hub;
    use crate::config::Config;

    fn hub() -> Arc<Hub> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("relayd.toml");
        std::fs::write(&path, "[relay]\nlisten = \"127.0.0.1:0\"\nmembers = [\"n1\", \"n2\"]\n").expect("written");
        Hub::new(&Config::load(&path).expect("valid")).expect("random numbers")
    }

    #[tokio::test]
    async fn a_line_is_told_until_it_is_heard_and_then_only_when_it_changes() {
        let hub = hub();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (telling, told) = (Arc::clone(&lines), Arc::clone(&lines));
        let loop_hub = Arc::clone(&hub);
        let task = tokio::spawn(async move {
            // The supervisor hears nothing at first.
            let tell = move |line: &str| {
                let mut lines = telling.lock().expect("no panic");
                lines.push(line.to_owned());
                lines.len() > 2
            };
            loop_hub.run(Watchdog::off(), tell).await;
        });
        let until = async |count: usize| {
            let wait = async {
                while told.lock().expect("no panic").len() < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.expect("told in time");
        };
        until(3).await;
        hub.sooner.notify_one();
        let groups = "n1/n2".to_owned();
        hub.partition(&PartitionCommand::Set { groups, for_ms: None }).expect("set");
        until(4).await;
        task.abort();
        let lines = lines.lock().expect("no panic");
        assert_eq!(lines[..3], ["no member of 2 connected"; 3]);
        assert!(lines[3].starts_with("no member of 2 connected; faults are set"), "{lines:?}");
    }
}
