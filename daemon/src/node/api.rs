//! What goes into a [`Node`](super::Node) and what comes out of it.

use raftbank_consensus::{NodeId, Record, Role, Term, Timers};
use raftbank_ledger::{Account, Balance, Hash, Header, NodeName};
use raftbank_proofs::SignerKey;
use raftbank_store::Batch;
use raftbank_wire::api::{ApiReply, ApiRequest};

/// The time at which an event happens. `mono_ms` never goes back and drives every deadline; `wall_ms` (Unix time) only
/// stamps blocks and is compared with the peers' clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a monotonic clock with any origin.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// What a node is told once, at start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node's position in the genesis' member list.
    pub id: NodeId,
    /// All members in the order of the genesis file.
    pub names: Vec<NodeName>,
    /// Random, another one at each start: seeds the election time-outs, and names this process in calls to peers.
    pub seed: u64,
    /// Length of one [`Event::Tick`], in milliseconds.
    pub tick_ms: u64,
    /// Consensus timers, in ticks.
    pub timers: Timers,
    /// Most requests in one block.
    pub batch_requests_max: usize,
    /// Most bytes of requests in one block.
    pub batch_bytes_max: usize,
    /// The random number that this data folder was born with.
    pub incarnation: u64,
    /// The folder was made by `--rejoin` and has not caught up yet.
    pub rejoining: bool,
    /// Nonces tried at once, without the detour over [`Action::Mine`].
    pub nonces_inline: u64,
    /// A leader executes its next block while the last one is on its way, if so many requests wait for it. With fewer it is
    /// better to wait for more.
    pub ahead_requests_min: usize,
    /// The next block waits a moment for the next requests of clients that were answered just now, if they and the calls that
    /// wait already are so many or more.
    pub gather_calls_min: usize,
    /// What this node signs heads of the log tree with.
    pub signer: SignerKey,
    /// How often a leader lets a new head be signed, in milliseconds; 0: never.
    pub checkpoint_ms: u64,
    /// Name and version, for `status`.
    pub software: String,
}

/// Something that happened to the relay link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Connected to the relay.
    Connected,
    /// The connection to the relay is gone.
    Lost,
    /// A peer is connected to the relay.
    Up(NodeId),
    /// A peer has left the relay.
    Down(NodeId),
}

/// What can happen to a node.
#[derive(Debug)]
pub enum Event {
    /// `tick_ms` have passed.
    Tick,
    /// A frame from a peer, not yet checked.
    Frame {
        /// Who the relay says sent it.
        from: NodeId,
        /// The frame's bytes.
        payload: Vec<u8>,
    },
    /// The relay link changed.
    Link(LinkChange),
    /// A client asks. Answered by one or more [`Action::Reply`] with the same token.
    Api {
        /// Chosen by the runtime, never used twice.
        token: u64,
        /// The request. What is read from the store ([`crate::runtime::clients`]) and the relay's verbs are not the node's
        /// to answer.
        request: ApiRequest,
    },
    /// The client that asked under this token is gone.
    ApiGone {
        /// The token of its request.
        token: u64,
    },
    /// This [`Action::Persist`] group and all before it are durable.
    Synced {
        /// The group's number.
        group: u64,
    },
    /// The answer to [`Action::Load`]; empty if the records could not be read.
    Loaded {
        /// As asked.
        peer: NodeId,
        /// As asked.
        from: u64,
        /// Consecutive records from `from` on.
        records: Vec<Record>,
    },
    /// The answer to [`Action::Mine`].
    Mined {
        /// As asked.
        job: u64,
        /// The nonce; `None` if the search ended without one.
        nonce: Option<u64>,
    },
    /// The time of [`Action::Gather`] is over.
    Gathered {
        /// As asked.
        turn: u64,
    },
    /// Stop cleanly: finish the block in flight, hand the leadership over, see this node's clients answered, then
    /// [`Action::Stop`] with exit code 0; within two seconds.
    Shutdown,
}

/// What the runtime has to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send a frame to a peer through the relay. It may be lost.
    Send {
        /// The peer.
        to: NodeId,
        /// The frame's bytes.
        payload: Vec<u8>,
    },
    /// Write `batch` to the store. With a `group` the store must be synced, and [`Event::Synced`] is expected;
    /// without one the write needs no sync. Writes happen in the order of the actions.
    Persist {
        /// Numbered 1, 2, 3…; `None`: no sync needed.
        group: Option<u64>,
        /// What to write.
        batch: Batch,
    },
    /// Answer with [`Event::Gathered`] a moment later: long enough that clients which were answered just now may have asked
    /// again. Asked for once more in the same turn if some have. Needs no answer once another turn is asked for, or
    /// [`Node::gathering`](super::Node::gathering) names none.
    Gather {
        /// To be repeated in the answer.
        turn: u64,
    },
    /// Read records from the store and answer with [`Event::Loaded`].
    Load {
        /// For whom, to be repeated in the answer.
        peer: NodeId,
        /// First index.
        from: u64,
        /// Stop after this many bytes (at least one record is returned).
        bytes_max: usize,
    },
    /// Answer a client.
    Reply {
        /// The token of its request.
        token: u64,
        /// The answer.
        reply: ApiReply,
        /// Nothing more will follow for this token.
        last: bool,
    },
    /// Search a nonce, starting at `header.nonce`.
    Mine {
        /// To be repeated in the answer.
        job: u64,
        /// The header to be mined.
        header: Header,
    },
    /// The result of this job is no longer wanted.
    CancelMine {
        /// The job.
        job: u64,
    },
    /// Something worth logging.
    Notice(Notice),
    /// End the process with this exit code. Nothing after this action may be performed.
    Stop {
        /// An exit code of the contract: 0, 1 or 6.
        exit_code: u8,
        /// For the log and for systemd's status line.
        reason: String,
    },
}

/// Something worth logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The role, the leader or the term changed.
    Role {
        /// The new role.
        role: Role,
        /// The leader, if known.
        leader: Option<NodeId>,
        /// The term.
        term: Term,
    },
    /// This node leads and must not (it stops, or its clock is wrong): this member was told to take over.
    HandingOver {
        /// The successor.
        to: NodeId,
    },
    /// A block was committed and applied.
    Committed {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: Hash,
        /// Number of requests in it.
        requests: usize,
        /// Accounts it changed, with the balance before (`None`: just opened) and after.
        balances: Vec<(Account, Option<Balance>, Balance)>,
    },
    /// Something an operator should know.
    Warning(String),
    /// Something an operator may like to know.
    Info(String),
}
