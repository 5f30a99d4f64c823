//! Reads old records for peers that lag, on a thread of its own.

use std::sync::mpsc::{self, SyncSender, TrySendError};

use raftbank_consensus::Record;
use raftbank_store::{Reader, StoreError};

use crate::driver::Load;

/// Requests that may wait. The engine asks for one chunk per peer at a time.
const QUEUE_MAX: usize = 32;

/// The reading thread. It ends when this is dropped.
pub struct Loader {
    queue: SyncSender<Load>,
}

impl Loader {
    /// Starts the thread; `loaded` is called on it with each answer.
    pub fn start<R: Reader + 'static>(
        reader: R,
        loaded: impl Fn(Load, Result<Vec<Record>, StoreError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::sync_channel::<Load>(QUEUE_MAX);
        std::thread::Builder::new().name("loader".to_owned()).spawn(move || {
            for load in requests {
                loaded(load, reader.records(load.from, load.bytes_max));
            }
        })?;
        Ok(Self { queue })
    }

    /// Queues a request. False: the queue is full; the caller answers "nothing read" and the engine asks again.
    pub fn load(&self, load: Load) -> bool {
        match self.queue.try_send(load) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use raftbank_consensus::{Entry, NodeId, Record};
    use raftbank_ledger::Hash;
    use raftbank_store::{Reader, StoreError, StoredRows};

    use super::{Load, Loader, QUEUE_MAX};

    /// Answers each request with one empty record.
    #[derive(Clone)]
    struct Echo;

    impl Reader for Echo {
        fn records(&self, from: u64, _bytes_max: usize) -> Result<Vec<Record>, StoreError> {
            Ok(vec![Record { index: from, term: 1, entry: None }])
        }

        fn block(&self, _height: u64) -> Result<Option<Entry>, StoreError> {
            Ok(None)
        }

        fn rows(&self) -> Result<StoredRows, StoreError> {
            Err(StoreError::Io { what: "reading".to_owned(), source: std::io::Error::other("not here") })
        }

        fn log_node(&self, _level: u8, _index: u64) -> Result<Option<Hash>, StoreError> {
            Ok(None)
        }
    }

    #[test]
    fn requests_are_answered_in_order_and_the_queue_has_an_end() {
        let (answers, answered) = mpsc::sync_channel(0);
        let loader = Loader::start(Echo, move |load, records| {
            // Waits until the test takes it.
            let _ = answers.send((load.from, records.expect("readable")));
        })
        .expect("started");
        let load = |from| Load { peer: NodeId(1), from, bytes_max: 1 };
        // One or none is being answered already; beyond the queue's bound none is taken.
        let taken = (0..2 * QUEUE_MAX as u64).take_while(|from| loader.load(load(*from))).count();
        assert!((QUEUE_MAX..=QUEUE_MAX + 1).contains(&taken), "{taken}");
        for from in 0..taken as u64 {
            let (index, records) = answered.recv_timeout(Duration::from_secs(60)).expect("answered");
            assert_eq!((index, records[0].index), (from, from));
        }
        assert!(loader.load(load(7)), "there is room again");
    }
}
