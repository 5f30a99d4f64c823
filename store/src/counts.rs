//! What was handed to sled and how often the disk was asked to sync, for the counts in `tests/src/counts`. Nothing is
//! counted, and nothing is left of the calls, without the feature `counts`, which nothing that ships has.

/// Work of all stores in this process so far; all zero without the feature `counts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `fdatasync`s of sled's file and of the mark.
    pub syncs: u64,
    /// Batches handed to sled.
    pub batches: u64,
    /// Bytes of the keys and values in them.
    pub bytes: u64,
}

#[cfg(feature = "counts")]
mod cells {
    use std::sync::atomic::AtomicU64;

    pub static SYNCS: AtomicU64 = AtomicU64::new(0);
    pub static BATCHES: AtomicU64 = AtomicU64::new(0);
    pub static BYTES: AtomicU64 = AtomicU64::new(0);
}

/// A file is synced.
#[inline]
pub(crate) fn synced() {
    #[cfg(feature = "counts")]
    cells::SYNCS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// A batch of so many bytes goes to sled.
#[inline]
pub(crate) fn handed(bytes: usize) {
    #[cfg(feature = "counts")]
    {
        use std::sync::atomic::Ordering::Relaxed;
        cells::BATCHES.fetch_add(1, Relaxed);
        cells::BYTES.fetch_add(bytes as u64, Relaxed);
    }
    #[cfg(not(feature = "counts"))]
    let _ = bytes;
}

/// What was counted so far.
#[must_use]
pub fn now() -> Stored {
    #[cfg(feature = "counts")]
    {
        use std::sync::atomic::Ordering::Relaxed;
        Stored {
            syncs: cells::SYNCS.load(Relaxed),
            batches: cells::BATCHES.load(Relaxed),
            bytes: cells::BYTES.load(Relaxed),
        }
    }
    #[cfg(not(feature = "counts"))]
    Stored::default()
}
