//! The clients: a few threads, each with a runtime, connections and clients of its own, so that nothing is handed from
//! one thread to another while it is measured.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use raftbank_wire::api::Many;
use rand::SeedableRng;
use rand::rngs::StdRng;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::args::Mode;
use super::batch;
use super::choice::Choice;
use super::link::Link;
use super::schedule::Schedule;
use super::source::{Item, Source, Template, balance};
use super::tally::{Fate, Tally};
use crate::failure::Failure;

/// Most threads.
const THREADS_MAX: usize = 8;
/// Clients that share a connection, unless there would be too many connections.
const CLIENTS_EACH: usize = 64;
/// Most connections to one socket: a node takes 512 of all its clients together.
const CONNECTIONS_MAX: usize = 64;
/// How long the clients warm up.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// What all threads do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What a request is.
    pub mode: Mode,
    /// The nodes.
    pub sockets: Vec<PathBuf>,
    /// Clients of all threads.
    pub clients: u32,
    /// Transfers in a batch.
    pub batch: u32,
    /// Requests that fall due each second.
    pub rate: Option<f64>,
    /// How long to measure.
    pub time: Duration,
    /// How long a request waits for its answer, and with a rate how long it waits to be sent.
    pub timeout: Duration,
    /// Which accounts.
    pub choice: Choice,
    /// The transfers.
    pub template: Template,
}

impl Plan {
    /// How many threads there are.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.min(THREADS_MAX).min(self.clients as usize)
    }

    /// The clients of thread `index`, by their numbers.
    fn clients_of(&self, index: usize) -> impl Iterator<Item = usize> {
        (index..self.clients as usize).step_by(self.threads())
    }

    /// Connections that thread `index` makes: socket and clients of each.
    fn links_of(&self, index: usize) -> Vec<(PathBuf, usize)> {
        let sockets = self.sockets.len();
        let mut clients = vec![0; sockets];
        // Thread by thread in turn, then socket by socket.
        self.clients_of(index).for_each(|client| clients[(client / self.threads() + index) % sockets] += 1);
        let most = (CONNECTIONS_MAX / self.threads()).max(1);
        let mut links = Vec::new();
        for (socket, clients) in self.sockets.iter().zip(clients) {
            // A batch is large: whoever shares its connection waits for it.
            let each = if self.mode == Mode::Batch { 1 } else { CLIENTS_EACH };
            let count = usize::div_ceil(clients, each).min(most);
            links.extend((0..count).map(|link| (socket.clone(), (clients + count - 1 - link) / count)));
        }
        links
    }

    /// Connections of all threads.
    pub fn connections(&self) -> usize {
        (0..self.threads()).map(|index| self.links_of(index).len()).sum()
    }
}

/// What the clients of a thread share.
#[derive(Debug)]
pub struct Crew {
    /// What they do.
    pub plan: Arc<Plan>,
    index: usize,
    source: Mutex<Source>,
    tally: Arc<Mutex<Tally>>,
    /// False while they warm up.
    counting: AtomicBool,
}

/// How a thread and the one that waits for it talk.
#[derive(Clone, Debug)]
pub struct Signals {
    /// The thread is connected and warm.
    pub warm: mpsc::Sender<()>,
    /// When the measurement has begun.
    pub begin: watch::Receiver<Option<Instant>>,
}

/// Runs one thread's clients from warm-up to end.
///
/// # Errors
/// No runtime or timer; a client is defective.
pub fn work(plan: Arc<Plan>, index: usize, tally: Arc<Mutex<Tally>>, mut signals: Signals) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
    runtime.block_on(async move {
        let links: Vec<(Arc<Link>, usize)> =
            plan.links_of(index).into_iter().map(|(path, clients)| (Arc::new(Link::new(&path)), clients)).collect();
        let source = Mutex::new(Source::new(plan.choice, StdRng::from_rng(&mut rand::rng()), index));
        let crew = Arc::new(Crew { plan, index, source, tally, counting: AtomicBool::new(false) });
        phase(&crew, &links, Instant::now(), WARM_UP).await?;
        crew.counting.store(true, Ordering::Relaxed);
        // Whoever would hear it may have given up.
        let _ = signals.warm.send(()).await;
        let begin = match signals.begin.wait_for(Option::is_some).await {
            Ok(begin) => *begin,
            Err(_) => None,
        };
        let Some(begin) = begin else { return Ok(()) };
        phase(&crew, &links, begin, crew.plan.time).await
    })
}

/// All clients, until the time is up and all their requests are over.
async fn phase(crew: &Arc<Crew>, links: &[(Arc<Link>, usize)], begin: Instant, time: Duration) -> Result<(), Failure> {
    let plan = &crew.plan;
    let pace = match plan.rate {
        None => None,
        Some(rate) => {
            let schedule = Schedule::new(rate, crew.index, plan.threads(), time, plan.timeout);
            Some(Arc::new(super::pace::Pace::new(schedule, begin)?))
        }
    };
    let mut clients = JoinSet::new();
    for (link, count) in links {
        for _ in 0..*count {
            let (crew, link) = (Arc::clone(crew), Arc::clone(link));
            match &pace {
                None => clients.spawn(closed(crew, link, begin + time)),
                Some(pace) => clients.spawn(open(crew, link, Arc::clone(pace))),
            };
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or_else(|error| Err(Failure::internal(format!("a client: {error}"))))?;
    }
    Ok(())
}

/// A client that asks again as soon as it is answered.
async fn closed(crew: Arc<Crew>, link: Arc<Link>, end: Instant) -> Result<(), Failure> {
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(());
        }
        crew.request(&link, begun).await;
    }
}

/// A client that asks when something is due.
async fn open(crew: Arc<Crew>, link: Arc<Link>, pace: Arc<super::pace::Pace>) -> Result<(), Failure> {
    loop {
        let (late, due) = pace.next().await?;
        crew.count(|tally| tally.late(late));
        let Some(due) = due else { return Ok(()) };
        crew.request(&link, due).await;
    }
}

impl Crew {
    /// One request, whose latency is counted from `due`.
    async fn request(self: &Arc<Self>, link: &Arc<Link>, due: Instant) {
        if self.plan.mode == Mode::Batch {
            let answered = batch::send(self, link).await;
            return self.count(|tally| if answered { tally.answered(due.elapsed()) } else { tally.given_up() });
        }
        let fate = match self.plan.mode {
            Mode::Read => {
                let item = self.source().read();
                link.read(|timeout_ms| balance(item, timeout_ms), self.plan.timeout).await
            }
            Mode::Single | Mode::Batch => self.transfer(link).await,
        };
        let latency = due.elapsed();
        self.count(|tally| {
            if matches!(fate, Fate::Failed(..)) {
                tally.given_up()
            } else {
                tally.answered(latency)
            }
            tally.fate(fate);
        });
    }

    /// One transfer.
    pub async fn transfer(&self, link: &Link) -> Fate {
        let item: Item = self.source().transfer();
        link.write(&self.plan.template.transfer(item), self.plan.timeout).await
    }

    /// The next batch, of at most so many transfers.
    pub fn many(&self, transfers: u32) -> Many {
        let mut many = Many::default();
        let mut source = self.source();
        for _ in 0..transfers {
            // What does not fit any more is made up for by the next batch; its id is never used.
            if !many.push(&self.plan.template.transfer(source.transfer())) {
                break;
            }
        }
        many
    }

    /// Counts, unless this is the warm-up.
    pub fn count(&self, change: impl FnOnce(&mut Tally)) {
        if self.counting.load(Ordering::Relaxed) {
            change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Skew;
    use super::*;

    fn plan(mode: Mode, clients: u32, sockets: usize) -> Plan {
        Plan {
            mode,
            sockets: (0..sockets).map(|number| PathBuf::from(format!("n{number}"))).collect(),
            clients,
            batch: 10,
            rate: None,
            time: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            choice: Choice::new(Skew::Uniform, 2),
            template: Template::new("0"),
        }
    }

    #[test]
    fn every_client_has_a_connection_and_every_socket_its_share_of_clients() {
        for mode in [Mode::Single, Mode::Batch] {
            for (clients, sockets) in [(1, 1), (1, 3), (2, 3), (5, 2), (64, 3), (1_000, 1), (10_000, 3)] {
                let plan = plan(mode, clients, sockets);
                let links: Vec<_> = (0..plan.threads()).flat_map(|index| plan.links_of(index)).collect();
                assert!(links.iter().all(|(_, clients)| *clients > 0), "{links:?}");
                assert_eq!(links.iter().map(|(_, clients)| clients).sum::<usize>(), clients as usize);
                for socket in &plan.sockets {
                    let mine: Vec<_> = links.iter().filter(|(path, _)| path == socket).collect();
                    assert!(mine.len() <= CONNECTIONS_MAX, "{mine:?}");
                    let (share, clients) = (mine.iter().map(|(_, count)| count).sum::<usize>(), clients as usize);
                    let slack = plan.threads();
                    assert!((clients / sockets).abs_diff(share) <= slack, "{clients} {sockets}: {links:?}");
                }
            }
        }
    }
}
