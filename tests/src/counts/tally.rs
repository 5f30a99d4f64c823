//! The counters at one moment, and what was added to them between two.

use std::fs;
use std::ops::{Add, Sub};

use anyhow::{Context, Result};

/// What is counted of each node, in the order of [`Tally`].
pub const KINDS: [&str; 12] = [
    "sha256 calls",
    "sha256 bytes",
    "sha256 compressions",
    "node allocations",
    "node allocated bytes",
    "store allocations",
    "store allocated bytes",
    "syncs",
    "store batches",
    "store bytes",
    "frames",
    "frame bytes",
];

/// Reads the counters of this process.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Allocations of this thread so far, and their bytes, as the program's allocator has counted them.
    pub allocated: fn() -> (u64, u64),
}

/// Whose work is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Node, driver, consensus and ledger: the same in each run.
    Node,
    /// The store: sled allocates as its own threads come and go.
    Store,
}

/// The counters, or what was added to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub [u64; KINDS.len()]);

impl Meter {
    /// The counters now, with all allocations counted as those of a part. Frames are counted by the world.
    pub fn now(&self, part: Part) -> Tally {
        let hashed = raftbank_ledger::counts::now();
        let stored = raftbank_store::counts::now();
        let (allocations, allocated) = (self.allocated)();
        let of = |wanted: Part, number: u64| if part == wanted { number } else { 0 };
        Tally([
            hashed.calls,
            hashed.bytes,
            hashed.compressions,
            of(Part::Node, allocations),
            of(Part::Node, allocated),
            of(Part::Store, allocations),
            of(Part::Store, allocated),
            stored.syncs,
            stored.batches,
            stored.bytes,
            0,
            0,
        ])
    }
}

impl Tally {
    /// One frame of so many bytes, which is one message.
    pub fn frame(bytes: usize) -> Self {
        let mut tally = Self::default();
        tally.0[10] = 1;
        tally.0[11] = bytes as u64;
        tally
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - other.0[at]))
    }
}

/// Bytes that this process has handed to write calls: `wchar` of proc(5). Its neighbour `write_bytes` counts what becomes
/// dirty in the page cache, in units that differ between kernels and file systems, and from run to run.
///
/// # Errors
/// The kernel does not tell.
pub fn written() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"));
    line.and_then(|number| number.trim().parse().ok()).context("wchar in /proc/self/io")
}
