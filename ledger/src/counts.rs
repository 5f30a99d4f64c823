//! How much was hashed, for the counts in `tests/src/counts`. Nothing is counted, and nothing is left of the calls, without
//! the feature `counts`, which nothing that ships has.

/// Work of SHA-256 in this process so far; all zero without the feature `counts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// Messages that were hashed.
    pub calls: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks of 64 bytes that the compression function took, padding included.
    pub compressions: u64,
}

/// Bytes that one call of the compression function takes.
#[cfg(feature = "counts")]
const BLOCK_BYTES: u64 = 64;
/// What SHA-256 appends at least: one bit in a byte of its own, and the length.
#[cfg(feature = "counts")]
const PADDING_BYTES: u64 = 9;

#[cfg(feature = "counts")]
mod cells {
    use std::sync::atomic::AtomicU64;

    pub static CALLS: AtomicU64 = AtomicU64::new(0);
    pub static BYTES: AtomicU64 = AtomicU64::new(0);
    pub static COMPRESSIONS: AtomicU64 = AtomicU64::new(0);
}

/// One message of so many bytes is hashed.
#[inline]
pub fn hashed(bytes: usize) {
    hashed_after(0, bytes);
}

/// One message is hashed whose first `known` bytes were hashed once for many such messages.
#[inline]
pub fn hashed_after(known: usize, bytes: usize) {
    #[cfg(feature = "counts")]
    {
        use std::sync::atomic::Ordering::Relaxed;
        let (known, bytes) = (known as u64, bytes as u64);
        cells::CALLS.fetch_add(1, Relaxed);
        cells::BYTES.fetch_add(bytes, Relaxed);
        let all = (known + bytes + PADDING_BYTES).div_ceil(BLOCK_BYTES);
        cells::COMPRESSIONS.fetch_add(all - known / BLOCK_BYTES, Relaxed);
    }
    #[cfg(not(feature = "counts"))]
    let _ = (known, bytes);
}

/// What was counted so far.
pub fn now() -> Hashed {
    #[cfg(feature = "counts")]
    {
        use std::sync::atomic::Ordering::Relaxed;
        Hashed {
            calls: cells::CALLS.load(Relaxed),
            bytes: cells::BYTES.load(Relaxed),
            compressions: cells::COMPRESSIONS.load(Relaxed),
        }
    }
    #[cfg(not(feature = "counts"))]
    Hashed::default()
}
