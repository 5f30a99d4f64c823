//! What clients ask and what is answered, on the Unix sockets of nodes and of the relay.
//!
//! Shapes only: requests and blocks travel as the ledger's canonical bytes, names as plain text that the receiver
//! checks. Each enum's variants have golden bytes in this crate's tests; new variants go to the end.

mod diagnosis;
mod held;
mod many;
mod relay;

use serde::{Deserialize, Serialize};

pub use diagnosis::{
    Diagnosis, FolderFigures, MemberDiagnosis, Refused, RefusedNode, RelayConnection, RelayDiagnosis,
    SOFTWARE_BYTES_MAX, SyncFigures, printable, version_of,
};
pub use held::{HELD_ROWS_MAX, HeldRow};
pub use many::{MANY_BYTES_MAX, MANY_REQUESTS_MAX, Many, ManyError, ManyResult, unpack};
pub use relay::{LinkCommand, LinkCut, LinkReply, PartitionCommand, RelayCounters, RelayMember, RelayStatusReply};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ApiRequest {
    /// Execute a request, exactly once per id. Answered by `Written` or `Failed`.
    Write {
        /// The ledger's canonical bytes of the request, its id included.
        #[serde(with = "crate::bytes")]
        request: Vec<u8>,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// An account's balance. Answered by `Balance` or `Failed`.
    Balance {
        /// The account's name.
        account: String,
        /// Answer from this node's state at once, instead of linearizably.
        local: bool,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// All accounts with their balances. Answered by `Accounts` or `Failed`.
    Accounts {
        /// Answer from this node's state at once, instead of linearizably.
        local: bool,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// The value under a key. Answered by `Value` or `Failed`.
    Get {
        /// The key, 1–256 bytes.
        #[serde(with = "crate::bytes")]
        key: Vec<u8>,
        /// Answer from this node's state at once, instead of linearizably.
        local: bool,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// The state of this node (answered by `Status`) or of the relay (`RelayStatus`).
    Status,
    /// A stream of `Event` without end.
    Watch,
    /// One block. Answered by `Block` or `Failed`.
    Block {
        /// Its height; 0 is the genesis block.
        height: u64,
    },
    /// A stream of `Block`, then `End`.
    Blocks {
        /// First height.
        from: u64,
        /// Last height; none: the last that this node has committed when it is asked.
        to: Option<u64>,
    },
    /// Execute every block again and compare. A stream of `Progress`, then `Verified`.
    Verify,
    /// Relay only. Answered by `Partition` or `Failed`.
    Partition(PartitionCommand),
    /// Relay only. Answered by `Link` or `Failed`.
    Link(LinkCommand),
    /// Where a request stands in the chain. Answered by `Found` or `Failed` (`unknown_request`).
    Find {
        /// Its id.
        id: String,
    },
    /// The newest head that a majority has signed. Answered by `Checkpoint` or `Failed`.
    Checkpoint {
        /// Wait until it covers so many blocks.
        size_min: u64,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// The public keys of all members. Answered by `Keys`.
    Keys,
    /// That a block is in the log tree. Answered by `Hashes` or `Failed`.
    Inclusion {
        /// The block's height.
        height: u64,
        /// Size of the tree.
        size: u64,
    },
    /// That the log tree of size `new` begins with that of size `old`. Answered by `Hashes` or `Failed`.
    Consistency {
        /// Size of the older tree, at least 1.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// An account's balance after a block, with its proof. Answered by `BalanceAt` or `Failed`, after any number of
    /// `Progress`.
    BalanceAt {
        /// The account's name.
        account: String,
        /// The block's height; none: this node's head.
        height: Option<u64>,
    },
    /// As `Verify`; and the chain must contain this head.
    VerifyAgainst {
        /// Size of its log tree.
        size: u64,
        /// Root of its log tree.
        root: [u8; 32],
    },
    /// What this node has stored of its state. A stream of `Rows`, then `End`.
    Rows,
    /// The health of this node (answered by `Diagnosis`) or of the relay (`RelayDiagnosis`).
    Diagnose,
    /// Execute many requests, each exactly once per id and with an outcome of its own. Answered by `WrittenMany`, or by
    /// `Failed`, which then speaks of all of them.
    WriteMany {
        /// The ledger's canonical bytes of the requests, see [`Many`].
        #[serde(with = "crate::bytes")]
        requests: Vec<u8>,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// An account's balance and what it holds of it. Answered by `Funds`, by `Balance` if a member may not know what is
    /// held yet, or by `Failed`.
    Funds {
        /// The account's name.
        account: String,
        /// Answer from this node's state at once, instead of linearizably.
        local: bool,
        /// How long the answer may take, in milliseconds.
        timeout_ms: u32,
    },
    /// The pending transfers that are open, as this node has them. Answered by `Held` or `Failed`.
    Held {
        /// Only those from or to this account.
        account: Option<String>,
        /// Only those behind this place: `next` of the answer before.
        after: Option<(u64, String)>,
    },
    /// The pending transfers with these ids, whatever became of them, as this node has them. Answered by `Held`, without
    /// those that it does not know, or by `Failed`.
    HeldById {
        /// At most [`HELD_ROWS_MAX`].
        ids: Vec<String>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ApiReply {
    /// The recorded outcome of a write.
    Written {
        /// The request's id.
        id: String,
        /// Committed or refused; both stand in the chain.
        outcome: WriteOutcome,
        /// Height of the block that holds it.
        height: u64,
        /// Its place in that block, from 0.
        index: u32,
        /// The id was executed before; height and index are those of the first time.
        duplicate: bool,
    },
    /// No outcome was recorded by this request (or nobody knows: [`FailKind::Unknown`]).
    Failed {
        /// What that means for the caller.
        kind: FailKind,
        /// For programs, in snake case.
        code: String,
        /// For people: what is wrong and what to do.
        message: String,
    },
    /// An account's balance.
    Balance {
        /// Its name.
        account: String,
        /// In the smallest unit.
        balance: i128,
        /// Net effect of the writes that are in flight at the node that answers.
        pending: i128,
        /// Height of the last block in the balance.
        height: u64,
        /// Answered from this node's state at once.
        local: bool,
    },
    /// All accounts, `world` included; the sum is 0.
    Accounts {
        /// Height of the last block in the balances.
        height: u64,
        /// Names and balances in order of names.
        accounts: Vec<(String, i128)>,
    },
    /// The value under a key.
    Value {
        /// The key.
        #[serde(with = "crate::bytes")]
        key: Vec<u8>,
        /// The value.
        #[serde(with = "crate::bytes")]
        value: Vec<u8>,
        /// Height of the last block in the state that was read.
        height: u64,
    },
    /// A node's state.
    Status(StatusReply),
    /// Something happened.
    Event(WatchEvent),
    /// A block.
    Block {
        /// Its canonical bytes.
        #[serde(with = "crate::bytes")]
        bytes: Vec<u8>,
    },
    /// The stream is complete.
    End {
        /// How many blocks or rows it had.
        count: u64,
    },
    /// How far a verification has come.
    Progress {
        /// Blocks done.
        done: u64,
        /// Blocks in all.
        total: u64,
    },
    /// The result of a verification.
    Verified {
        /// Nothing is wrong.
        ok: bool,
        /// Height of the last block that was verified.
        height: u64,
        /// Its hash.
        head: [u8; 32],
        /// Blocks executed again, block 0 included.
        blocks: u64,
        /// Requests in them.
        transactions: u64,
        /// Entries in the log that are not known to be committed; not verified.
        uncommitted: u64,
        /// What is wrong.
        problem: Option<String>,
    },
    /// The relay's partition.
    Partition {
        /// One group with all members: no partition.
        groups: Vec<Vec<String>>,
        /// When it heals by itself, in milliseconds from now.
        heals_in_ms: Option<u64>,
    },
    /// The relay's cuts, delay and loss.
    Link(LinkReply),
    /// The relay's state.
    RelayStatus(RelayStatusReply),
    /// Where a request stands in the chain.
    Found {
        /// Height of its block.
        height: u64,
        /// Its place in that block, from 0.
        index: u32,
    },
    /// A head with its signatures.
    Checkpoint {
        /// A signed note, see docs/format.md.
        note: String,
    },
    /// The public keys of all members.
    Keys {
        /// In the order of the genesis file: name and key; none: not heard of yet.
        members: Vec<(String, Option<[u8; 32]>)>,
    },
    /// A proof in the log tree.
    Hashes {
        /// In the order of RFC 6962.
        hashes: Vec<[u8; 32]>,
    },
    /// An account's balance after a block.
    BalanceAt {
        /// The account's name.
        account: String,
        /// Its balance; none: there was no such account.
        balance: Option<i128>,
        /// The block's height.
        height: u64,
        /// Where another leaf stands in the place of an account that does not exist: its key and its value's hash.
        other: Option<([u8; 32], [u8; 32])>,
        /// Sibling subtrees from the account's place up to the root.
        siblings: Vec<[u8; 32]>,
    },
    /// A part of the stored state.
    Rows {
        /// Height of the last block in it.
        height: u64,
        /// Accounts with their balances.
        accounts: Vec<(String, i128)>,
        /// Keys of the key-value store with the SHA-256 of their values.
        values: Vec<(Vec<u8>, [u8; 32])>,
    },
    /// A node's health.
    Diagnosis(Box<Diagnosis>),
    /// The relay's health.
    RelayDiagnosis(RelayDiagnosis),
    /// What became of the requests of a batch.
    WrittenMany {
        /// One each, in their order.
        results: Vec<ManyResult>,
    },
    /// An account's balance and what it holds of it.
    Funds {
        /// Its name.
        account: String,
        /// In the smallest unit.
        balance: i128,
        /// What it holds of that for pending transfers.
        held: i128,
        /// Net effect of the writes that are in flight at the node that answers.
        pending: i128,
        /// Height of the last block in the balance.
        height: u64,
        /// Answered from this node's state at once.
        local: bool,
    },
    /// Pending transfers, at most [`HELD_ROWS_MAX`].
    Held {
        /// Height of the last block in them.
        height: u64,
        /// Time of that block, in Unix milliseconds: what the chain takes for now.
        time_ms: u64,
        /// In the order in which they expire.
        rows: Vec<HeldRow>,
        /// There may be more behind this place.
        next: Option<(u64, String)>,
    },
}

/// The recorded outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// It was done.
    Committed,
    /// It was not done, and the chain says so.
    Refused {
        /// For programs, such as `insufficient_funds`.
        code: String,
        /// For people.
        message: String,
    },
}

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailKind {
    /// The request is malformed (exit code 2).
    Usage,
    /// The bank says no, without a record (3).
    Refused,
    /// Not executed, and it never will be (4).
    NotExecuted,
    /// It may yet commit; ask again with the same id (5).
    Unknown,
    /// Damage was found (6).
    Corruption,
    /// Something that must not happen (1).
    Internal,
}

/// A node's part in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRole {
    /// It leads.
    Leader,
    /// It follows, or waits for a leader.
    Follower,
    /// It asks for votes.
    Candidate,
}

impl NodeRole {
    /// `leader`, `follower` or `candidate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
        }
    }
}

/// A node, and the cluster as it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// This node's id.
    pub node: String,
    /// Its role.
    pub role: NodeRole,
    /// The leader it follows; itself if it leads.
    pub leader: Option<String>,
    /// Its term.
    pub term: u64,
    /// Height of the last block it has applied.
    pub height: u64,
    /// Hash of that block.
    pub head: [u8; 32],
    /// All members in the order of the genesis file, this node included.
    pub members: Vec<MemberStatus>,
    /// Last index of its log.
    pub last_index: u64,
    /// Last index it knows to be committed.
    pub commit_index: u64,
    /// Last index in its state.
    pub applied_index: u64,
    /// Why the node does not take its full part, such as `clock_skew`, `rejoining` or `no_relay`.
    pub condition: Option<String>,
    /// Hash of block 0.
    pub cluster_id: [u8; 32],
    /// The random number that its data folder was born with.
    pub incarnation: u64,
    /// Requests in flight at this node.
    pub pending: u64,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Name and version, such as `raftbankd/0.1.0`.
    pub software: String,
}

/// A member as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: String,
    /// It was heard lately.
    pub reachable: bool,
    /// Its height when it was last heard; 0 if never.
    pub height: u64,
}

/// What a watcher is told. At the start of a stream come the present role and the present head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchEvent {
    /// Role, leader or term changed.
    Role {
        /// The node's new role.
        role: NodeRole,
        /// The leader, if known.
        leader: Option<String>,
        /// The term.
        term: u64,
    },
    /// A block was committed.
    Block {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: [u8; 32],
        /// Requests in it.
        requests: u32,
    },
    /// A block changed this balance.
    Balance {
        /// The account.
        account: String,
        /// Its balance after the block.
        balance: i128,
        /// The block's height.
        height: u64,
    },
}

#[cfg(test)]
mod tests;
