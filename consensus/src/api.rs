//! The face of the engine: what goes in, what comes out, and what the driver owes for each.
//!
//! The driver's duties, in the order of an [`Output`]: send `eager` at once; hand `writes` to the store as one group;
//! when that group and all before it are durable, send its `gated` messages and step [`Input::Synced`]. Losing,
//! repeating, delaying or reordering any message is allowed at any time. Sending a gated message early is not.

use serde::{Deserialize, Serialize};

use crate::{Entry, Message};

/// A member: its position in the genesis' member list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u8);

/// A term of leadership, from 1; 0 is before the first election (Raft thesis §3.3).
pub type Term = u64;
/// A position in the log. 0 is the genesis block: always present, committed, of term 0, and never sent.
pub type Index = u64;
/// A batch of writes that becomes durable together. Numbered 1, 2, 3, … since `open`; they complete in order.
pub type Group = u64;
/// The driver's name for a linearizable read, unique since `open`.
pub type BarrierId = u64;

/// One position of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Position, from 1.
    pub index: Index,
    /// Term of the leader that made it.
    pub term: Term,
    /// Payload; `None` is the no-op that a leader appends at the start of its term (Raft thesis §6.4).
    pub entry: Option<Entry>,
}

/// What must be durable before a node speaks of it: its term, and whom it voted for in that term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Newest term this node has seen.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub vote: Option<NodeId>,
}

/// Records from `first` up to the next run (or the log's end) are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermRun {
    /// First index of the run.
    pub first: Index,
    /// Its term.
    pub term: Term,
}

/// What the store held when the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Term and vote.
    pub hard: HardState,
    /// Terms of records 1 to `last_index`, ascending in index and term.
    pub terms: Vec<TermRun>,
    /// The log's last index.
    pub last_index: Index,
    /// Up to here the driver has applied; committed events start right after it.
    pub committed: Index,
    /// Every record after `committed`.
    pub tail: Vec<Record>,
}

/// Intervals in ticks of the driver's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// A leader is heard at least this often. At least 1.
    pub heartbeat_ticks: u32,
    /// No election starts, and no vote is given, sooner after a leader was heard. Above `heartbeat_ticks`.
    pub election_ticks_min: u32,
    /// An election starts at the latest this long after a leader was heard; a leader that hears no majority for this
    /// long steps down. At least `election_ticks_min`; should be well above, or elections collide.
    pub election_ticks_max: u32,
}

/// What one node needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// All voting members, this node among them: 1 to 7, each once.
    pub members: Vec<NodeId>,
    /// Determines every random choice. Must differ between nodes and between starts of a node.
    pub seed: u64,
    /// Intervals.
    pub timers: Timers,
    /// Bytes of records in one message. A single record above this is still sent, alone.
    pub chunk_bytes_max: usize,
    /// Bytes of committed records kept in memory for followers; older ones are asked for with [`Output::loads`].
    pub cache_bytes_max: usize,
    /// A leader tells its followers that records are committed with the next records, or with its next tick if there are none
    /// by then, or when it is asked to ([`Input::TellCommits`]), and not in a message of its own at once. Saves most of the
    /// messages while one write follows another.
    pub tells_commits_late: bool,
    /// The node lost its disk: it promises nothing until [`Input::Promote`].
    pub rejoining: bool,
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not 1 to 7 members, or one of them twice.
    #[error("a cluster has 1 to 7 members, each named once")]
    Members,
    /// The node is not one of the members.
    #[error("this node is not one of the members")]
    NotMember,
    /// Intervals are zero or in the wrong order.
    #[error(
        "timers must satisfy 1 <= heartbeat < election_min <= election_max \
         (they are {heartbeat}, {election_min}, {election_max} ticks)"
    )]
    Timers {
        /// `heartbeat_ticks`
        heartbeat: u32,
        /// `election_ticks_min`
        election_min: u32,
        /// `election_ticks_max`
        election_max: u32,
    },
}

/// Most members of a cluster.
pub(crate) const MEMBERS_MAX: usize = 7;

impl Config {
    /// Checks what [`Engine::open`] requires.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let unique = self.members.iter().enumerate().all(|(at, id)| !self.members[..at].contains(id));
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX || !unique {
            return Err(ConfigError::Members);
        }
        if !self.members.contains(&self.id) {
            return Err(ConfigError::NotMember);
        }
        let Timers { heartbeat_ticks, election_ticks_min, election_ticks_max } = self.timers;
        if heartbeat_ticks == 0 || election_ticks_min <= heartbeat_ticks || election_ticks_max < election_ticks_min {
            return Err(ConfigError::Timers {
                heartbeat: heartbeat_ticks,
                election_min: election_ticks_min,
                election_max: election_ticks_max,
            });
        }
        Ok(())
    }
}

/// A consensus engine: a pure function from its history of inputs to outputs.
pub trait Engine: Sized {
    /// Starts from what the store holds.
    ///
    /// # Panics
    /// If the configuration is not valid (see [`Config::validate`]) or `durable` contradicts itself.
    fn open(config: Config, durable: Durable) -> (Self, Output);

    /// Takes one input.
    ///
    /// # Panics
    /// If the driver breaks its side (a group completes out of order), or if the cluster is provably broken (a leader
    /// contradicts a committed record, two leaders in one term): going on could only make it worse.
    fn step(&mut self, input: Input) -> Output;

    /// How this node sees itself and its peers.
    fn status(&self) -> Status;

    /// So many of the next ticks will only be counted, unless another input comes before them: each gives an empty output.
    /// A driver may hold them back and feed them together, before the next input of any other kind but [`Input::Synced`].
    fn quiet_ticks(&self) -> u32;
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One tick of the monotonic clock has passed.
    Tick,
    /// A message arrived. Anything malformed is dropped.
    Receive {
        /// The member that sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// The link to this peer was interrupted: what was in flight may be lost. Only makes recovery quicker.
    LinkReset(NodeId),
    /// This group and all before it are durable, and its gated messages are on their way.
    Synced(Group),
    /// Append an entry. Refused unless this node leads in `term`, that term's no-op is committed, the log ends at
    /// `last_index` and no transfer is under way.
    Propose {
        /// The term in which the entry was built.
        term: Term,
        /// The record that the entry extends.
        last_index: Index,
        /// Payload.
        entry: Entry,
    },
    /// Asks for a linearizable read (ReadIndex, Raft thesis §6.4).
    ReadBarrier(BarrierId),
    /// Leader: this peer is to hear now of all that is committed, even if [`Config::tells_commits_late`]. Does nothing if it
    /// was told already, or if this node does not lead.
    TellCommits(NodeId),
    /// Answers [`Output::loads`], exactly once each. May hold fewer records than asked, or none after a failure.
    Loaded {
        /// As asked.
        peer: NodeId,
        /// As asked.
        from: Index,
        /// Records `from`, `from + 1`, …
        records: Vec<Record>,
    },
    /// Leader: hand the leadership to another voter (Raft thesis §3.10): the first one, of those heard within an election
    /// timeout, that holds the whole log durably. Until then, and until it is deposed by it, this node refuses proposals.
    /// Answered with [`Event::HandingOver`], or [`Event::TransferFailed`] if nobody could take it within an election
    /// timeout: then this node leads on. Ignored by a node that does not lead, and while a transfer is under way.
    TransferLeadership,
    /// `false`: step down if leading, and do not campaign. `true` (the default) lifts that.
    Eligible(bool),
    /// The driver computed another result for this record than its leader. To be stepped right after the output that
    /// wrote the record, whose `gated` messages must not be sent: then nobody has heard of it, and it is cut off as if
    /// it had been lost on its way, and not taken again unless it is committed. Ignored for a record that is durable.
    Dispute(Index),
    /// Rejoining: every other member has told its durable term; this is the highest. Adopted with a vote for itself.
    RejoinTerms(Term),
    /// The rejoining flag was cleared durably: be a voter again.
    Promote,
}

/// What the driver has to do, after one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Number of the group that `writes` and `gated` belong to. `Some` iff one of them is not empty.
    pub group: Option<Group>,
    /// To be written in this order, and made durable.
    pub writes: Vec<Write>,
    /// To be sent at once.
    pub eager: Vec<(NodeId, Message)>,
    /// To be sent once the group is durable.
    pub gated: Vec<(NodeId, Message)>,
    /// Records to be read from the store; each is answered with [`Input::Loaded`].
    pub loads: Vec<Load>,
    /// In order.
    pub events: Vec<Event>,
}

/// A change of durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Replaces term and vote.
    Hard(HardState),
    /// Cuts the log from `from` on, then appends `records` there.
    Splice {
        /// First index that is cut, and index of the first record.
        from: Index,
        /// None if a disputed record is only cut off.
        records: Vec<Record>,
    },
}

/// Committed records that a follower needs and the engine's cache has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// For whom.
    pub peer: NodeId,
    /// First index.
    pub from: Index,
    /// Stop before this many bytes of payload, but read at least one record.
    pub bytes_max: usize,
}

/// What the driver should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These records can never change any more. In order, without gaps, each exactly once since `open`.
    Committed(Vec<Record>),
    /// A linearizable read may be answered from any state that includes `index`.
    ReadReady {
        /// As asked.
        id: BarrierId,
        /// The commit index when the read was asked.
        index: Index,
    },
    /// This node cannot answer that read: it does not lead (any more), or too many reads are in flight.
    ReadRefused(BarrierId),
    /// The entry was not appended: it is in no log and never will be.
    Refused(Entry),
    /// Role, leader or term has changed.
    Role {
        /// This node's role.
        role: Role,
        /// The leader of `term`, if known.
        leader: Option<NodeId>,
        /// This node's term.
        term: Term,
    },
    /// A message was dropped that contradicts what this node knows for certain: its sender's memory is damaged or lost,
    /// this node's is, or somebody lies.
    Impossible {
        /// The sender.
        from: NodeId,
        /// What it claimed, as the rest of a sentence: "claimed …".
        what: String,
    },
    /// Leader: a majority of the members computed another result for this record.
    Contradicted(Index),
    /// Leader: this voter holds the whole log and was told to campaign. Said once for each that is told; whether it wins
    /// is seen from the role.
    HandingOver(NodeId),
    /// Leader: nobody has taken over the leadership within an election timeout, or nobody is there who could. This node
    /// leads on.
    TransferFailed,
    /// Rejoining: everything the leader had is durable here. Clear the flag durably, then step [`Input::Promote`].
    RejoinComplete,
}

/// What a node does in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Orders records.
    Leader,
    /// Asks for votes, or asks whether it would get them (pre-vote).
    Candidate,
    /// Follows the leader, if there is one.
    Follower,
}

/// A node's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node's role.
    pub role: Role,
    /// The leader of `term`, if known.
    pub leader: Option<NodeId>,
    /// Newest term seen.
    pub term: Term,
    /// The log's last index.
    pub last_index: Index,
    /// The commit index.
    pub committed: Index,
    /// Leader, the no-op of its term is committed, and no transfer is under way.
    pub can_propose: bool,
    /// The other members, ascending. `matched` and `active` are known to a leader only.
    pub peers: Vec<PeerStatus>,
}

/// Another member as a leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub id: NodeId,
    /// Up to here its durable log is known to equal the leader's.
    pub matched: Index,
    /// Heard from within an election timeout.
    pub active: bool,
}
