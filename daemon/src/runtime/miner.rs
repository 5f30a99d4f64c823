//! Proof-of-work on a thread of its own, so that timers and heartbeats go on while a nonce is searched.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use raftbank_ledger::{Header, pow};

/// Up to this difficulty a search is so short (some 1,000 hashes, 0.2 ms on a common machine) that handing it to
/// another thread and back is not worth it.
pub const INLINE_DIFFICULTY_MAX: u8 = 10;

/// Nonces tried between two looks at whether the result is still wanted: half a millisecond on a common machine.
const CHUNK: u64 = 1 << 13;

/// No job is wanted.
const NONE: u64 = 0;

/// Searches `header`'s nonce from the one it has, until it is found or `wanted` says no.
pub fn search(header: &Header, wanted: impl Fn() -> bool) -> Option<u64> {
    let mut start = header.nonce;
    while wanted() {
        let count = CHUNK.min(u64::MAX - start);
        if count == 0 {
            return None;
        }
        if let Some(nonce) = pow::mine(header, start, count) {
            return Some(nonce);
        }
        start += count;
    }
    None
}

#[derive(Default)]
struct Slot {
    job: Option<(u64, Header)>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
    /// The job that is wanted; the search for any other ends at its next chunk.
    wanted: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mining thread. It works on one job: a new one replaces the one before.
pub struct Miner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Miner {
    /// Starts the thread; `found` is called on it with each job that was not replaced or cancelled, and its nonce.
    pub fn start(found: impl Fn(u64, Option<u64>) + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("miner".to_owned()).spawn(move || work(&worker, &found))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Searches for `job` from now on. Jobs are numbered from 1.
    pub fn mine(&self, job: u64, header: Header) {
        assert_ne!(job, NONE, "jobs are numbered from 1");
        let mut slot = self.shared.lock();
        self.shared.wanted.store(job, Ordering::Release);
        slot.job = Some((job, header));
        self.shared.filled.notify_one();
    }

    /// Drops `job`, unless another has replaced it.
    pub fn cancel(&self, job: u64) {
        let mut slot = self.shared.lock();
        if slot.job.as_ref().is_some_and(|(waiting, _)| *waiting == job) {
            slot.job = None;
        }
        // A failed exchange means that another job is wanted: nothing to do.
        let _ = self.shared.wanted.compare_exchange(job, NONE, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.shared.wanted.store(NONE, Ordering::Release);
        self.shared.lock().stop = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the miner has been printed; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, found: &impl Fn(u64, Option<u64>)) {
    loop {
        let mut slot = shared.lock();
        let (job, header) = loop {
            if slot.stop {
                return;
            }
            match slot.job.take() {
                Some(next) => break next,
                None => slot = shared.filled.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(slot);
        let wanted = || shared.wanted.load(Ordering::Acquire) == job;
        let nonce = search(&header, wanted);
        if wanted() {
            found(job, nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use raftbank_ledger::{Hash, Header, NodeName, pow};

    use super::{Miner, search};

    /// Long enough for any machine; never waited for when the code is right.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn header(difficulty: u8) -> Header {
        Header {
            version: 1,
            cluster_id: Hash([7; 32]),
            height: 1,
            previous: Hash([8; 32]),
            term: 1,
            proposer: NodeName::parse("n1").expect("valid"),
            time_ms: 1,
            request_count: 0,
            transaction_root: Hash::ZERO,
            state_root: Hash::ZERO,
            difficulty,
            nonce: 0,
        }
    }

    #[test]
    fn what_it_finds_meets_the_difficulty() {
        let (sender, receiver) = mpsc::channel();
        let miner =
            Miner::start(move |job, nonce| sender.send((job, nonce)).expect("the test listens")).expect("started");
        for job in 1..=3 {
            miner.mine(job, header(12));
            let (found, nonce) = receiver.recv_timeout(PATIENCE).expect("found");
            assert_eq!(found, job);
            let mined = Header { nonce: nonce.expect("2^64 nonces are enough"), ..header(12) };
            assert!(pow::meets(&mined.hash(), 12));
        }
    }

    #[test]
    fn a_replaced_or_cancelled_job_is_not_reported() {
        let (sender, receiver) = mpsc::channel();
        let miner = Miner::start(move |job, _| sender.send(job).expect("the test listens")).expect("started");
        // A difficulty that no search of a test's length meets.
        miner.mine(1, header(64));
        miner.mine(2, header(64));
        miner.cancel(1);
        miner.cancel(2);
        miner.mine(3, header(4));
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(3));
        drop(miner);
        assert!(receiver.recv_timeout(PATIENCE).is_err(), "nothing but job 3 was reported");
    }

    #[test]
    fn a_search_ends_when_it_is_not_wanted_or_out_of_nonces() {
        assert_eq!(search(&header(64), || false), None);
        assert_eq!(search(&Header { nonce: u64::MAX - 3, ..header(64) }, || true), None);
    }
}
