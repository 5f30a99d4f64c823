//! What clients say to a node or to the relay over its Unix socket, and what they hear. Shapes only: requests and blocks
//! are opaque bytes here, made and read by the ledger.

use serde::{Deserialize, Serialize};

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiRequest {
    /// Execute a write.
    Write {
        /// Canonical bytes of a ledger request.
        request: Vec<u8>,
        /// How long the client waits, in milliseconds.
        timeout_ms: u32,
    },
    /// An account's balance.
    Balance {
        /// The account.
        account: String,
        /// Answer from this node's applied state instead of linearizably.
        local: bool,
        /// How long the client waits, in milliseconds.
        timeout_ms: u32,
    },
    /// All balances.
    Accounts {
        /// As in `Balance`.
        local: bool,
        /// As in `Balance`.
        timeout_ms: u32,
    },
    /// The value of a key.
    Get {
        /// The key.
        key: Vec<u8>,
        /// As in `Balance`.
        local: bool,
        /// As in `Balance`.
        timeout_ms: u32,
    },
    /// This node and the cluster as it sees it.
    Status,
    /// A stream of [`ApiReply::Event`] that has no end.
    Watch,
    /// One block.
    Block {
        /// Its height.
        height: u64,
    },
    /// A stream of [`ApiReply::Block`], then [`ApiReply::End`].
    Blocks {
        /// First height.
        from: u64,
        /// Last height; the head if `None`.
        to: Option<u64>,
    },
    /// Re-execute the chain: a stream of [`ApiReply::Progress`], then [`ApiReply::Verified`].
    Verify,
    /// Relay only: show or change the partition.
    Partition(PartitionCommand),
    /// Relay only: show or change link faults.
    Link(LinkCommand),
    /// Relay only: who is connected, and counters.
    RelayStatus,
}

/// What to do about the partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionCommand {
    /// Tell the groups.
    Show,
    /// Nodes of different groups no longer reach each other.
    Set {
        /// Groups as in `n1,n2/n3`; every node exactly once.
        groups: String,
        /// Heals by itself after this many milliseconds.
        for_ms: Option<u64>,
    },
    /// Back to one group.
    Heal,
}

/// What to do about links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkCommand {
    /// Tell cuts, delay and loss.
    Show,
    /// Drop everything from `a` to `b`, and the other way round unless `one_way`.
    Cut {
        /// Sender.
        a: String,
        /// Receiver.
        b: String,
        /// Only this direction.
        one_way: bool,
    },
    /// Undo `Cut`, in both directions.
    Restore {
        /// One end.
        a: String,
        /// The other end.
        b: String,
    },
    /// Hold each message back for a random time of its own.
    Delay {
        /// At least this many milliseconds.
        min_ms: u32,
        /// At most this many milliseconds.
        max_ms: u32,
    },
    /// Drop messages at random.
    Loss {
        /// Hundredths of a per cent, 0 to 10,000.
        hundredths: u32,
    },
    /// No cuts, no delay, no loss.
    Clear,
}

/// What became of a write that is in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// It was done.
    Committed,
    /// The bank refused, and recorded it.
    Refused {
        /// Stable code.
        code: String,
        /// A sentence.
        message: String,
    },
}

/// Why a request failed; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailKind {
    /// Wrong usage: exit 2.
    Usage,
    /// The bank refused: exit 3.
    Refused,
    /// Not executed, and never will be: exit 4.
    NotExecuted,
    /// It may yet commit: exit 5.
    Unknown,
    /// Corruption was found: exit 6.
    Corruption,
    /// A defect: exit 1.
    Internal,
}

/// The answer to a request, or one item of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiReply {
    /// A write is in the chain.
    Written {
        /// The request's id.
        id: String,
        /// What became of it.
        outcome: WriteOutcome,
        /// Height of its block.
        height: u64,
        /// Position in its block.
        index: u32,
        /// It was there before this call.
        duplicate: bool,
    },
    /// The request failed.
    Failed {
        /// How.
        kind: FailKind,
        /// Stable code.
        code: String,
        /// A sentence that says what is wrong and what to do.
        message: String,
    },
    /// A balance.
    Balance {
        /// The account.
        account: String,
        /// As of `height`.
        balance: i128,
        /// Net effect of the writes in flight at the answering node.
        pending: i128,
        /// Height of the state that answered.
        height: u64,
        /// Not linearizable.
        local: bool,
    },
    /// All balances.
    Accounts {
        /// Height of the state that answered.
        height: u64,
        /// In order of name.
        accounts: Vec<(String, i128)>,
    },
    /// A value.
    Value {
        /// Its key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// Height of the state that answered.
        height: u64,
    },
    /// This node and the cluster.
    Status(StatusReply),
    /// Something happened.
    Event(WatchEvent),
    /// A block.
    Block {
        /// Canonical bytes.
        bytes: Vec<u8>,
    },
    /// The end of a stream of blocks.
    End {
        /// The node's height.
        height: u64,
    },
    /// Verification goes on.
    Progress {
        /// Blocks done.
        done: u64,
        /// Blocks in all.
        total: u64,
    },
    /// Verification is over.
    Verified(VerifyReply),
    /// The partition.
    Partition {
        /// One group if there is none.
        groups: Vec<Vec<String>>,
        /// Milliseconds until it heals by itself.
        heals_in_ms: Option<u64>,
    },
    /// Link faults.
    Link {
        /// `(from, to)`: what `from` sends does not reach `to`.
        cuts: Vec<(String, String)>,
        /// Minimum and maximum in milliseconds.
        delay_ms: (u32, u32),
        /// Hundredths of a per cent.
        loss_hundredths: u32,
    },
    /// The relay.
    RelayStatus(RelayStatus),
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReply {
    /// Everything is as it should be.
    pub ok: bool,
    /// Height of the last verified block.
    pub height: u64,
    /// Its hash.
    pub head: [u8; 32],
    /// Blocks verified, block 0 included.
    pub blocks: u64,
    /// Requests in them.
    pub transactions: u64,
    /// Records stored behind them that are not known to be committed.
    pub uncommitted: u64,
    /// What is wrong, in a sentence.
    pub problem: Option<String>,
}

/// A node and the cluster as it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The node's id.
    pub node: String,
    /// `leader`, `follower` or `candidate`.
    pub role: String,
    /// The leader, if one is known.
    pub leader: Option<String>,
    /// Consensus term.
    pub term: u64,
    /// Height of the last applied block.
    pub height: u64,
    /// Its hash.
    pub head: [u8; 32],
    /// All members, this node included.
    pub members: Vec<MemberStatus>,
    /// Index of the last applied record.
    pub applied: u64,
    /// Requests in flight at this node.
    pub pending: u64,
    /// Something that keeps the node from its full duty: `clock_skew`, `rejoining`, `no_relay`.
    pub condition: Option<String>,
    /// Hash of block 0.
    pub cluster: [u8; 32],
    /// Name and version.
    pub software: String,
    /// Since this process started, in milliseconds.
    pub uptime_ms: u64,
}

/// A member as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: String,
    /// It was heard lately.
    pub reachable: bool,
    /// Its height when it was last heard.
    pub height: u64,
}

/// Something that happened at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchEvent {
    /// Role, leader or term changed.
    Role {
        /// `leader`, `follower` or `candidate`.
        role: String,
        /// The leader, if one is known.
        leader: Option<String>,
        /// Consensus term.
        term: u64,
    },
    /// A block was applied.
    Block {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: [u8; 32],
        /// Requests in it.
        requests: u64,
    },
    /// A balance changed.
    Balance {
        /// The account.
        account: String,
        /// Its new balance.
        balance: i128,
        /// Height of the block that changed it.
        height: u64,
    },
}

/// Who is connected to the relay, and what it has carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// All members.
    pub members: Vec<String>,
    /// Those that are connected.
    pub connected: Vec<String>,
    /// The cluster that is served, if known.
    pub cluster: Option<[u8; 32]>,
    /// Messages forwarded.
    pub forwarded: u64,
    /// Their bytes.
    pub forwarded_bytes: u64,
    /// Messages dropped, by reason.
    pub dropped: Vec<(String, u64)>,
}
