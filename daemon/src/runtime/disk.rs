//! The store on a thread of its own: all groups that wait are written, then made durable by **one** sync.
//!
//! The first error of a write or sync is final: nothing is written, synced or reported as durable after it, and the
//! loop ends the process. Groups complete in order, so "durable up to" is all the loop has to be told.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raftbank_consensus::Write;
use raftbank_store::{Batch, Store, StoreError};
use raftbank_wire::api::SyncFigures;
use tokio::sync::Notify;

use super::sync_times::SyncTimes;

/// How often the high-water mark is made durable while something changes.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// The same while the store has something to go on with and nothing else is written.
const WORK_EVERY: Duration = Duration::from_millis(20);
/// A sync that takes longer is worth a warning.
const SLOW_SYNC: Duration = Duration::from_secs(1);
/// With more than this many bytes waiting to be written the loop takes nothing in from peers until it is less.
pub const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// Most batches that wait for one sync, so that a stream of them cannot put it off.
const GROUPS_PER_SYNC_MAX: usize = 256;
/// What a record or a state row costs beside its bytes, roughly.
const ROW_BYTES: usize = 128;

enum Job {
    Persist { group: Option<u64>, batch: Batch, bytes: usize },
    Close,
}

/// A write or sync that takes longer than this is taken for lost: no disk that can be worked with is that slow, and a
/// node that waits for ever looks alive and is not.
pub const STALL: Duration = Duration::from_secs(60);

/// What the thread and the loop share. The queue's bound is `backlog_bytes`, which the loop looks at.
struct Shared {
    durable: AtomicU64,
    backlog_bytes: AtomicUsize,
    failed: Mutex<Option<StoreError>>,
    /// When the call into the store that is under way began.
    busy_since: Mutex<Option<Instant>>,
    /// How long the last syncs took.
    sync_times: Mutex<SyncTimes>,
    wake: Notify,
}

impl Shared {
    /// A call into the store begins now, or none is under way.
    fn busy(&self, begins: bool) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = begins.then(Instant::now);
    }
}

/// The loop's handle of the store thread.
pub struct Disk {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Disk {
    /// Starts the thread, which owns `store` from now on.
    pub fn start<S: Store + 'static>(store: S) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let shared = Arc::new(Shared {
            durable: AtomicU64::new(0),
            backlog_bytes: AtomicUsize::new(0),
            failed: Mutex::new(None),
            busy_since: Mutex::new(None),
            sync_times: Mutex::default(),
            wake: Notify::new(),
        });
        let worker = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || work(store, &queue, &worker))?;
        Ok(Self { jobs, shared, thread })
    }

    /// Queues a batch. With a `group`, [`Disk::durable`] reaches that number once it is synced.
    pub fn persist(&self, group: Option<u64>, batch: Batch) {
        let bytes = weight(&batch);
        self.shared.backlog_bytes.fetch_add(bytes, Ordering::AcqRel);
        // The thread ends early only after an error, which the loop is about to see.
        let _ = self.jobs.send(Job::Persist { group, batch, bytes });
    }

    /// Waits until a sync has completed or failed since the last call.
    pub async fn changed(&self) {
        self.shared.wake.notified().await;
    }

    /// The newest group that is durable, as are all before it.
    pub fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// The error that ended the thread, if one did, handed out once; or a call that has taken longer than `stall`.
    pub fn failure(&self, stall: Duration) -> Option<StoreError> {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let busy_since = *self.shared.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        failed.or_else(|| busy_since.filter(|since| since.elapsed() > stall).map(|_| stalled(stall)))
    }

    /// How long the last syncs took.
    pub fn sync_figures(&self) -> SyncFigures {
        self.shared.sync_times.lock().unwrap_or_else(PoisonError::into_inner).figures()
    }

    /// True while more waits than the loop should add to.
    pub fn is_behind(&self) -> bool {
        self.shared.backlog_bytes.load(Ordering::Acquire) > BACKLOG_BYTES_MAX
    }

    /// Writes and syncs all that waits, closes the store and ends the thread. Blocks.
    pub fn close(self) -> Result<(), StoreError> {
        let _ = self.jobs.send(Job::Close);
        let result = match self.thread.join() {
            Ok(result) => result,
            Err(_) => Err(panicked()),
        };
        // An error that came before `Close` was put aside for the loop.
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(result, Err)
    }
}

fn stalled(stall: Duration) -> StoreError {
    let source = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("not done after {} s", stall.as_secs()));
    StoreError::Io { what: "writing to the data folder".to_owned(), source }
}

fn panicked() -> StoreError {
    let source = std::io::Error::other("its reason was printed to standard error");
    StoreError::Io { what: "the store thread panicked".to_owned(), source }
}

/// Reports a panic of the thread like any other failure.
struct Bomb<'a> {
    shared: &'a Shared,
    armed: bool,
}

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        if self.armed {
            fail(self.shared, panicked());
        }
    }
}

fn fail(shared: &Shared, error: StoreError) {
    *shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    shared.wake.notify_one();
}

fn work<S: Store>(mut store: S, queue: &Receiver<Job>, shared: &Shared) -> Result<(), StoreError> {
    let mut bomb = Bomb { shared, armed: true };
    let outcome = run(&mut store, queue, shared);
    let result = match outcome {
        Ok(()) => store.close(),
        Err(error) => {
            fail(shared, error);
            // Not closed: what could not be made durable must not be called so now.
            std::mem::forget(store);
            Ok(())
        }
    };
    bomb.armed = false;
    result
}

/// Works until `Close` or the first error.
fn run<S: Store>(store: &mut S, queue: &Receiver<Job>, shared: &Shared) -> Result<(), StoreError> {
    let mut marked_at = Instant::now();
    let mut unmarked = false;
    // Written since the last turn of the mark. After a turn there is one more that finds nothing new: then the store
    // writes back what it has kept in memory, and an idle node does nothing from there on.
    let mut written = false;
    loop {
        let first = if unmarked {
            match queue.recv_timeout(turn(store, written).saturating_sub(marked_at.elapsed())) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        } else {
            match queue.recv() {
                Ok(job) => Some(job),
                Err(_) => return Ok(()),
            }
        };
        let mut closing = false;
        let mut newest = None;
        for job in first.into_iter().chain(queue.try_iter().take(GROUPS_PER_SYNC_MAX)) {
            match job {
                Job::Persist { group, batch, bytes } => {
                    shared.busy(true);
                    store.write(&batch)?;
                    newest = group.or(newest);
                    (unmarked, written) = (true, true);
                    shared.backlog_bytes.fetch_sub(bytes, Ordering::AcqRel);
                }
                Job::Close => {
                    closing = true;
                    break;
                }
            }
        }
        if let Some(group) = newest {
            if planted!(DurableBeforeSync) {
                shared.durable.store(group, Ordering::Release);
                shared.wake.notify_one();
            }
            let started = Instant::now();
            shared.busy(true);
            store.sync()?;
            let took = started.elapsed();
            shared.sync_times.lock().unwrap_or_else(PoisonError::into_inner).add(took);
            if took > SLOW_SYNC {
                tracing::warn!("the disk took {} ms for one sync", took.as_millis());
            }
            shared.durable.store(group, Ordering::Release);
            shared.wake.notify_one();
        }
        if !closing && unmarked && marked_at.elapsed() >= turn(store, written) {
            shared.busy(true);
            store.sync_mark()?;
            marked_at = Instant::now();
            unmarked = std::mem::take(&mut written) || store.has_work();
        }
        shared.busy(false);
        if closing {
            return Ok(());
        }
    }
}

/// How long after the last turn of the mark the next one is. A store at rest that has begun something goes on with it, with
/// breaks that leave most of the disk to others.
fn turn<S: Store>(store: &S, written: bool) -> Duration {
    if !written && store.has_work() { WORK_EVERY } else { MARK_EVERY }
}

/// Roughly the bytes of a batch.
fn weight(batch: &Batch) -> usize {
    let records: usize = batch
        .writes
        .iter()
        .map(|write| match write {
            Write::Hard(_) => ROW_BYTES,
            Write::Splice { records, .. } => {
                records.iter().map(|record| ROW_BYTES + record.entry.as_ref().map_or(0, |entry| entry.len())).sum()
            }
        })
        .sum();
    let rows: usize = batch
        .state
        .iter()
        .map(|row| {
            row.delta.as_ref().map_or(0, |delta| {
                let values: usize = delta.values.iter().map(|(key, value)| key.len() + value.len()).sum();
                values + ROW_BYTES * (1 + delta.accounts.len() + delta.ids.len())
            })
        })
        .sum();
    ROW_BYTES + records + rows
}

#[cfg(test)]
mod tests;
