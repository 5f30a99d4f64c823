//! What happened in a run, or in many: a run that never saw a fault proves nothing about it.

use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// What happened how often.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $field: u64,)*
            /// The longest that a healed bank took to serve everyone and agree, in milliseconds.
            pub recovery_ms_max: u64,
        }

        impl Counts {
            /// Every sum, with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field),)*]
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
                self.recovery_ms_max = self.recovery_ms_max.max(other.recovery_ms_max);
            }
        }
    };
}

counts! {
    /// Everything that happened.
    events: "events",
    /// Ticks that a node at rest did not wake up for.
    ticks_slept_through: "ticks slept through",
    /// Blocks committed, each counted once.
    blocks: "blocks",
    /// Requests acknowledged as committed.
    committed: "requests committed",
    /// Requests acknowledged as refused by the bank.
    refused: "requests refused by the bank",
    /// Acknowledged on asking again.
    duplicates: "answers to requests asked again",
    /// Commands that ended as not executed.
    not_executed: "commands not executed",
    /// Commands whose outcome was unknown at first.
    unknown: "commands with unknown outcome",
    /// Ids used again with other content, and refused.
    id_reused: "reused ids refused",
    /// Linearizable reads answered.
    reads: "linearizable reads",
    /// Local reads, and what watchers saw.
    local_views: "local views",
    /// Leaders elected.
    elections: "elections",
    /// Leaders elected because their predecessor told them to take over.
    transfers: "leaderships handed over",
    /// Power cuts of a machine.
    power_cuts: "power cuts",
    /// Those that lost something.
    losses: "power cuts that lost unsynced data",
    /// Processes killed.
    kills: "processes killed",
    /// Processes that ended when asked to.
    terminated: "processes that ended as asked",
    /// Processes stopped for a while.
    pauses: "pauses",
    /// Links cut, one node alone, two groups, a hub.
    cuts: "cuts and partitions",
    /// Sessions with the relay that broke.
    sessions_lost: "sessions lost",
    /// Messages lost, or dropped on a cut link.
    messages_lost: "messages lost",
    /// Messages delivered twice.
    messages_repeated: "messages repeated",
    /// Syncs that failed; the process ended with 7.
    sync_errors: "failed syncs",
    /// Disks that became slow.
    slow_disks: "slow disks",
    /// Clocks that were set to another time.
    clock_steps: "clock steps",
    /// Disks lost for good.
    disks_lost: "disks lost",
    /// Disks rolled back, which was noticed at start.
    rolled_back: "disks rolled back and refused",
    /// Machines that became voters again.
    rejoined: "machines rejoined",
    /// Balances flipped in memory.
    flips: "balances flipped in memory",
    /// Processes that ended with 6 because of that.
    flips_found: "flipped balances found (exit 6)",
    /// Old records read from a disk for a peer.
    loads: "loads of old records",
    /// Heads signed by a majority, each counted once.
    heads: "signed heads",
    /// Key files lost; another key was made.
    keys_lost: "signing keys lost",
    /// Nonces searched by the miner.
    mined: "nonces mined apart",
}

impl Counts {
    /// What a run of a few hundred seeds must have seen at least once to be worth something, and has not.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}
