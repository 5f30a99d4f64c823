use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use raftbank_consensus::{HardState, Write};
use raftbank_store::{Batch, Store, StoreError};

use super::Disk;

/// Long enough for any machine; never waited for when the code is right.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a store was asked to do.
#[derive(Debug, Default)]
struct Seen {
    written: Vec<u64>,
    /// Number of batches written at the time of each sync.
    syncs: Vec<usize>,
    marks: usize,
    closed: bool,
}

/// A store that remembers, and fails when told to.
struct Spy {
    seen: Arc<Mutex<Seen>>,
    gate: Arc<Mutex<()>>,
    fail_write: Option<u64>,
    fail_sync: Option<usize>,
}

impl Store for Spy {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let term = batch.writes.iter().find_map(|write| match write {
            Write::Hard(hard) => Some(hard.term),
            Write::Splice { .. } => None,
        });
        let term = term.expect("each test batch has a term");
        if self.fail_write == Some(term) {
            return Err(broken());
        }
        self.seen.lock().expect("not poisoned").written.push(term);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        drop(self.gate.lock().expect("not poisoned"));
        let mut seen = self.seen.lock().expect("not poisoned");
        if self.fail_sync == Some(seen.syncs.len() + 1) {
            return Err(broken());
        }
        let written = seen.written.len();
        seen.syncs.push(written);
        Ok(())
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.seen.lock().expect("not poisoned").marks += 1;
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        self.seen.lock().expect("not poisoned").closed = true;
        Ok(())
    }
}

fn broken() -> StoreError {
    StoreError::Io { what: "writing".to_owned(), source: std::io::Error::other("the disk is gone") }
}

fn batch(term: u64) -> Batch {
    Batch { writes: vec![Write::Hard(HardState { term, vote: None })], ..Batch::default() }
}

fn spy() -> (Spy, Arc<Mutex<Seen>>, Arc<Mutex<()>>) {
    let (seen, gate) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(())));
    (Spy { seen: Arc::clone(&seen), gate: Arc::clone(&gate), fail_write: None, fail_sync: None }, seen, gate)
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_that_waits_shares_one_sync() {
    let (spy, seen, gate) = spy();
    let held = gate.lock().expect("not poisoned");
    let disk = Disk::start(spy).expect("started");
    disk.persist(Some(1), batch(1));
    wait_until("the first write", || !seen.lock().expect("not poisoned").written.is_empty());
    // The first sync hangs; meanwhile these pile up.
    disk.persist(Some(2), batch(2));
    disk.persist(None, batch(3));
    disk.persist(Some(3), batch(4));
    assert_eq!(disk.durable(), 0, "nothing is durable before its sync");
    drop(held);
    wait_until("group 3", || disk.durable() == 3);
    disk.close().expect("closed");
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(seen.written, [1, 2, 3, 4]);
    // The first sync may have started before or after the second batch was queued, but the rest shares one.
    assert!(seen.syncs.len() <= 2, "{:?}", seen.syncs);
    assert_eq!(seen.syncs.last(), Some(&4));
    assert!(seen.closed);
}

#[test]
fn a_batch_without_a_group_is_written_and_not_waited_for() {
    let (spy, seen, _gate) = spy();
    let disk = Disk::start(spy).expect("started");
    disk.persist(None, batch(1));
    wait_until("the write", || seen.lock().expect("not poisoned").written == [1]);
    assert_eq!(disk.durable(), 0);
    assert!(!disk.is_behind());
    // The second turn finds nothing new, and is the last.
    wait_until("the mark", || seen.lock().expect("not poisoned").marks == 2);
    std::thread::sleep(Duration::from_millis(1_500)); // a wrong driver would turn once more by then
    assert_eq!(seen.lock().expect("not poisoned").marks, 2);
    disk.close().expect("closed");
}

#[test]
fn after_a_failed_write_nothing_is_durable_any_more() {
    let (mut spy, seen, _gate) = spy();
    spy.fail_write = Some(2);
    let disk = Disk::start(spy).expect("started");
    disk.persist(Some(1), batch(1));
    wait_until("group 1", || disk.durable() == 1);
    disk.persist(Some(2), batch(2));
    disk.persist(Some(3), batch(3));
    let error = disk.close().expect_err("the failure is not swallowed");
    assert_eq!(error.exit_code(), 7);
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(seen.written, [1]);
    assert!(!seen.closed, "a store that failed is not called closed");
}

#[test]
fn a_failed_sync_is_reported_once_and_never_tried_again() {
    let (mut spy, seen, _gate) = spy();
    spy.fail_sync = Some(1);
    let disk = Disk::start(spy).expect("started");
    disk.persist(Some(1), batch(1));
    let mut failure = None;
    let started = Instant::now();
    while failure.is_none() {
        assert!(started.elapsed() < PATIENCE, "the failure was never reported");
        failure = disk.failure(PATIENCE);
    }
    assert_eq!(failure.expect("just checked").exit_code(), 7);
    assert_eq!(disk.durable(), 0);
    disk.persist(Some(2), batch(2));
    assert_eq!(disk.durable(), 0);
    assert!(seen.lock().expect("not poisoned").syncs.is_empty());
}

#[test]
fn a_sync_that_never_ends_is_a_failure_of_the_disk() {
    let (spy, _, gate) = spy();
    let held = gate.lock().expect("not poisoned");
    let disk = Disk::start(spy).expect("a thread");
    assert!(disk.failure(Duration::ZERO).is_none(), "nothing is under way");
    disk.persist(Some(1), batch(1));
    wait_until("the sync is under way", || disk.failure(Duration::ZERO).is_some());
    assert!(disk.failure(PATIENCE).is_none(), "it may still end");
    let error = disk.failure(Duration::ZERO).expect("it is late");
    assert_eq!(error.exit_code(), 7);
    drop(held);
    wait_until("the sync ends", || disk.durable() == 1);
    wait_until("nothing is under way", || disk.failure(Duration::ZERO).is_none());
    disk.close().expect("closes");
}
