//! What can be done to a cluster, and how often. The weights are drawn anew for each round.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of one node; it is started again.
    Kill,
    /// `kill -9` of everything at once.
    KillAll,
    /// SIGTERM: it ends with 0.
    Terminate,
    /// SIGSTOP for a while.
    Pause,
    /// `kill -9` of the relay; it is started again.
    KillRelay,
    /// Two groups that do not hear each other.
    Partition,
    /// One node alone.
    Isolate,
    /// One direction of some links.
    OneWay,
    /// Lost messages.
    Loss,
    /// Late messages.
    Delay,
    /// No room on the disk.
    DiskFull,
    /// The file system turns read-only.
    ReadOnly,
    /// The disk fails a sync.
    SyncError,
    /// The disk fails a write.
    WriteError,
    /// No more open files.
    FilesOut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Kill,
        Self::KillAll,
        Self::Terminate,
        Self::Pause,
        Self::KillRelay,
        Self::Partition,
        Self::Isolate,
        Self::OneWay,
        Self::Loss,
        Self::Delay,
        Self::DiskFull,
        Self::ReadOnly,
        Self::SyncError,
        Self::WriteError,
        Self::FilesOut,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of a node",
            Self::KillAll => "kill -9 of all",
            Self::Terminate => "SIGTERM",
            Self::Pause => "SIGSTOP",
            Self::KillRelay => "kill -9 of the relay",
            Self::Partition => "partition",
            Self::Isolate => "node cut off",
            Self::OneWay => "one-way cut",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::DiskFull => "disk full (ENOSPC)",
            Self::ReadOnly => "file system read-only (EROFS)",
            Self::SyncError => "failed sync (EIO)",
            Self::WriteError => "failed write (EIO)",
            Self::FilesOut => "too many open files (EMFILE)",
        }
    }

    fn needs_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::ReadOnly)
    }

    fn needs_tracer(self) -> bool {
        matches!(self, Self::SyncError | Self::WriteError)
    }
}

/// How likely each kind is in this round; not all occur in each.
pub fn weights(rng: &mut ChaCha8Rng, disks: bool, tracer: bool) -> Vec<u32> {
    let mut weights: Vec<u32> = Fault::ALL
        .iter()
        .map(|fault| {
            let weight = [0, 1, 2, 5][rng.random_range(0..4)];
            if (fault.needs_disk() && !disks) || (fault.needs_tracer() && !tracer) { 0 } else { weight }
        })
        .collect();
    weights[0] += 1; // at least one kind
    weights
}

/// Chooses one.
pub fn draw(weights: &[u32], rng: &mut ChaCha8Rng) -> Fault {
    let mut at = rng.random_range(0..weights.iter().sum::<u32>());
    for (fault, weight) in Fault::ALL.iter().zip(weights) {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return *fault,
        }
    }
    Fault::Kill
}
