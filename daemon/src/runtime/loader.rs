//! Reads old records for peers that lag, on a thread of its own.

use std::sync::mpsc::{self, SyncSender, TrySendError};

use raftbank_consensus::{NodeId, Record};
use raftbank_store::{Reader, StoreError};

/// Requests that may wait. The engine asks for one chunk per peer at a time.
const QUEUE_MAX: usize = 32;

/// One request to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// For whom.
    pub peer: NodeId,
    /// First index.
    pub from: u64,
    /// Stop after this many bytes.
    pub bytes_max: usize,
}

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
