//! What is asked of the relay alone, and what it answers.

use serde::{Deserialize, Serialize};

/// What is done about the partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionCommand {
    /// Show it.
    Show,
    /// Carry messages within groups only; messages across that wait in the relay are dropped.
    Set {
        /// `n1,n2/n3`: every member exactly once, see [`crate::groups::parse`].
        groups: String,
        /// Heals by itself after so many milliseconds.
        for_ms: Option<u64>,
    },
    /// All members are in one group again. Cuts, delay and loss stay.
    Heal,
}

/// What is done about single links, delay and loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LinkCommand {
    /// Show them.
    Show,
    /// Carry nothing more from `a` to `b`, nor from `b` to `a` unless `one_way`.
    Cut {
        /// A member.
        a: String,
        /// Another member.
        b: String,
        /// Only from `a` to `b`.
        one_way: bool,
        /// Heals by itself after so many milliseconds.
        for_ms: Option<u64>,
    },
    /// Removes the cuts between `a` and `b`, in both directions.
    Restore {
        /// A member.
        a: String,
        /// Another member.
        b: String,
    },
    /// Holds each message back for its own random time; messages may overtake each other. 0 and 0: no delay.
    Delay {
        /// Shortest time, in milliseconds.
        min_ms: u32,
        /// Longest time, in milliseconds.
        max_ms: u32,
        /// Ends by itself after so many milliseconds.
        for_ms: Option<u64>,
    },
    /// Drops this part of all messages, each by its own chance.
    Loss {
        /// 0 to 100.
        percent: f64,
        /// Ends by itself after so many milliseconds.
        for_ms: Option<u64>,
    },
    /// Removes all cuts, the delay and the loss. The partition stays.
    Clear,
}

/// Cuts, delay and loss at the relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkReply {
    /// Directed links that carry nothing.
    pub cuts: Vec<LinkCut>,
    /// Shortest and longest delay, in milliseconds.
    pub delay_ms: (u32, u32),
    /// When the delay ends by itself, in milliseconds from now.
    pub delay_ends_in_ms: Option<u64>,
    /// Part of all messages that is dropped, 0 to 100.
    pub loss_percent: f64,
    /// When the loss ends by itself, in milliseconds from now.
    pub loss_ends_in_ms: Option<u64>,
}

/// One direction of one link that carries nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCut {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// When it heals by itself, in milliseconds from now.
    pub heals_in_ms: Option<u64>,
}

/// The relay's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatusReply {
    /// Name and version.
    pub software: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// The cluster it serves; none: that of the first node that connects.
    pub cluster_id: Option<[u8; 32]>,
    /// All members, and which of them are connected.
    pub members: Vec<RelayMember>,
    /// A partition, a cut, a delay or a loss is set.
    pub faults: bool,
    /// What it has carried and dropped since it started.
    pub counters: RelayCounters,
}

/// A member as the relay sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayMember {
    /// Its id.
    pub id: String,
    /// It is connected.
    pub connected: bool,
    /// Its software while it is connected, else empty.
    pub software: String,
    /// Messages that wait to be written to it.
    pub queued: u64,
}

/// Messages since the relay started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayCounters {
    /// Handed to their destination's connection.
    pub forwarded: u64,
    /// Bytes of those.
    pub forwarded_bytes: u64,
    /// Held back by a delay at this moment.
    pub delayed_now: u64,
    /// Dropped between groups of a partition.
    pub dropped_partition: u64,
    /// Dropped on a cut link.
    pub dropped_cut: u64,
    /// Dropped by loss.
    pub dropped_loss: u64,
    /// Dropped because too much waited for the destination already.
    pub dropped_overflow: u64,
    /// Dropped because the destination is not connected, or does not exist.
    pub dropped_absent: u64,
}
