//! One node of the bank as a state machine without I/O: consensus, ledger, batcher and the routing of requests.
//!
//! The runtime feeds [`Event`]s and performs [`Action`]s; the simulator does the same with a simulated network, disk
//! and clock. Nothing in this module reads a clock, touches a disk or a socket, or starts a thread: time comes in with
//! each event as [`Now`]. So a run is a function of its inputs, and the code that ships is the code that is simulated.
//!
//! How a write travels: `calls` admits it (a known id is answered from applied state at once) and routes it to the
//! leader; there `batch` executes everything that waits on the applied state, mines, and proposes one block;
//! `apply` commits what consensus has committed and answers. Reads wait for a barrier of the leader (`reads`).
//! `peers` checks every frame's cluster and incarnation; `clock` compares wall clocks; `leaving` hands the leadership over
//! and stops; `rejoin` brings back a node whose disk was lost; `heads` gathers signatures for the roots of the log tree.

mod answers;
mod api;
mod apply;
mod batch;
mod calls;
mod clock;
mod diagnose;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod heads;
mod held;
mod in_flight;
mod leaving;
mod many;
pub mod message;
mod peers;
mod reads;
mod rejoin;
mod status;
#[cfg(test)]
mod tests;
mod ticks;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raftbank_consensus::{self as consensus, Engine, Input, Message, NodeId, Output, Raft, Role, Term};
use raftbank_ledger::{Account, Balance, NodeName, State};
use raftbank_proofs::VerifierKey;
use raftbank_store::{Batch, StateWrite};

pub use self::api::{Action, Event, LinkChange, NodeConfig, Notice, Now};
pub use self::batch::{AHEAD_REQUESTS_MIN, NONCES_INLINE};
pub use self::gather::GATHER_CALLS_MIN;

use self::apply::{Checked, without_records};
use self::batch::Proposal;
use self::calls::{Call, CallId};
use self::gather::Gathering;
use self::heads::Heads;
use self::leaving::Leaving;
use self::message::CallName;
use self::peers::Peer;
use self::reads::Reads;
use self::rejoin::Rejoin;

/// Why a group was persisted, beyond the engine's own writes.
#[derive(Debug)]
enum Then {
    /// The peer's incarnation is known durably: frames are accepted from now on.
    PeerKnown(NodeId, u64),
    /// The peer's new incarnation is known durably: tell it our term.
    AnswerRejoin(NodeId, u64, Term),
    /// This node's rejoining flag is cleared durably.
    Promote,
}

/// A group whose sync is awaited.
#[derive(Debug, Default)]
struct AwaitedGroup {
    engine: Option<consensus::Group>,
    gated: Vec<(NodeId, Message)>,
    then: Vec<Then>,
}

/// One node of the bank. See the module's documentation.
#[derive(Debug)]
pub struct Node<E: Engine = Raft> {
    config: NodeConfig,
    engine: E,
    state: State,
    now: Now,
    started_mono_ms: u64,
    actions: Vec<Action>,
    inputs: VecDeque<Input>,

    // What consensus last said.
    role: Role,
    leader: Option<NodeId>,
    term: Term,
    /// Leader only: the no-op of `term` is applied, so blocks may be proposed and reads may be asked.
    serving: bool,
    /// The last record applied to `state` (or skipped, for a no-op).
    applied: u64,
    /// The records right after `applied`, checked beside their sync: their commit need not execute them again.
    checked: VecDeque<Checked>,

    // Durability.
    next_group: u64,
    awaited: BTreeMap<u64, AwaitedGroup>,
    unsaved_state: Vec<StateWrite>,

    // Requests.
    /// Boxed: they come and go at the front, where all behind them would be moved.
    calls: BTreeMap<CallId, Box<Call>>,
    calls_by_token: BTreeMap<u64, CallId>,
    calls_by_peer: BTreeMap<(NodeId, CallName), CallId>,
    deadlines: BTreeSet<(u64, CallId)>,
    calls_bytes: usize,
    /// The calls that are batches.
    batches: BTreeSet<CallId>,
    next_call: CallId,
    queue: VecDeque<CallId>,
    pending: BTreeMap<Account, Balance>,
    proposals: BTreeMap<u64, Proposal>,
    mining: Option<batch::Mining>,
    /// The block behind the one that is in flight.
    ahead: Option<batch::Built>,
    /// The index in flight behind which a block was tried to be executed: once is enough.
    ahead_of: u64,
    /// What the next block waits for.
    gathering: Gathering,
    /// A block was proposed in this step.
    proposed_now: bool,
    /// Another event follows in this turn.
    more_follows: bool,
    /// The index of the last proposal; the engine's next refusal speaks of it.
    proposing: Option<u64>,
    next_job: u64,
    reads: Reads,
    watchers: BTreeSet<u64>,

    // Signed heads.
    own_key: VerifierKey,
    heads: Heads,

    // Peers.
    peers: BTreeMap<NodeId, Peer>,
    linked: bool,
    last_beacon_ms: u64,
    last_beacon_height: u64,
    last_retry_ms: u64,
    told_version_ms: u64,
    asked_version_ms: u64,
    /// A block with a verb that 0.1.0 does not know was committed.
    new_verbs: bool,
    clock_skew: bool,
    rejoin: Option<Rejoin>,
    leaving: Leaving,
    stopped: bool,
}

impl<E: Engine> Node<E> {
    /// Opens a node on what its store holds. Perform the returned actions before the first event.
    pub fn open(
        config: NodeConfig,
        durable: consensus::Durable,
        applied: u64,
        state: State,
        known: &BTreeMap<NodeId, u64>,
        keys: &BTreeMap<NodeId, [u8; 32]>,
        now: Now,
    ) -> (Self, Vec<Action>) {
        assert_eq!(durable.committed, applied, "the engine hands out exactly the records that are not applied yet");
        let members: Vec<NodeId> = (0..config.names.len()).map(member).collect();
        let engine_config = consensus::Config {
            id: config.id,
            members: members.clone(),
            seed: config.seed,
            timers: config.timers,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            cache_bytes_max: CACHE_BYTES_MAX,
            tells_commits_late: true,
            rejoining: config.rejoining,
        };
        let term = durable.hard.term;
        let tail = durable.tail.clone();
        let (engine, output) = E::open(engine_config, durable);
        let peers =
            members.iter().filter(|id| **id != config.id).map(|id| (*id, Peer::new(known.get(id).copied()))).collect();
        let rejoin = config.rejoining.then(Rejoin::default);
        let mut node = Self {
            own_key: config.signer.verifier(),
            heads: Heads::new(state.log()),
            config,
            engine,
            state,
            now,
            started_mono_ms: now.mono_ms,
            actions: Vec::new(),
            inputs: VecDeque::new(),
            role: Role::Follower,
            leader: None,
            term,
            serving: false,
            applied,
            checked: VecDeque::new(),
            next_group: 1,
            awaited: BTreeMap::new(),
            unsaved_state: Vec::new(),
            calls: BTreeMap::new(),
            calls_by_token: BTreeMap::new(),
            calls_by_peer: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            calls_bytes: 0,
            batches: BTreeSet::new(),
            next_call: 1,
            queue: VecDeque::new(),
            pending: BTreeMap::new(),
            proposals: BTreeMap::new(),
            mining: None,
            ahead: None,
            ahead_of: 0,
            gathering: Gathering::default(),
            proposed_now: false,
            more_follows: false,
            proposing: None,
            next_job: 1,
            reads: Reads::default(),
            watchers: BTreeSet::new(),
            peers,
            linked: false,
            last_beacon_ms: 0,
            last_beacon_height: 0,
            last_retry_ms: 0,
            told_version_ms: 0,
            asked_version_ms: 0,
            new_verbs: false,
            clock_skew: false,
            rejoin,
            leaving: Leaving::default(),
            stopped: false,
        };
        node.state.salt_tables(node.config.seed);
        for (id, public) in keys {
            let key = node.verifier(*id, public);
            if let Some(peer) = node.peers.get_mut(id) {
                peer.key = key;
            }
        }
        node.check_tail(&tail);
        node.absorb(output);
        node.settle();
        let actions = std::mem::take(&mut node.actions);
        (node, actions)
    }

    /// Feeds one event and returns what has to be done about it, in order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.step_in_turn(now, event, false)
    }

    /// As [`Node::step`]. `more`: another event follows in the same turn, before the actions are performed, so what shares
    /// one message may wait for it.
    pub fn step_in_turn(&mut self, now: Now, event: Event, more: bool) -> Vec<Action> {
        self.more_follows = more;
        assert!(now.mono_ms >= self.now.mono_ms, "a monotonic clock never goes back");
        self.now = now;
        self.proposed_now = false;
        if self.stopped {
            return Vec::new();
        }
        match event {
            Event::Tick => self.tick(),
            Event::Frame { from, payload } => self.frame(from, &payload),
            Event::Link(change) => self.link(change),
            Event::Api { token, request } => self.api(token, request),
            Event::ApiGone { token } => self.api_gone(token),
            Event::Synced { group } => self.synced(group),
            Event::Loaded { peer, from, records } => self.inputs.push_back(Input::Loaded { peer, from, records }),
            Event::Mined { job, nonce } => self.mined(job, nonce),
            Event::Gathered { turn } => self.gathered(turn),
            Event::Shutdown => self.shutdown(),
        }
        self.settle();
        std::mem::take(&mut self.actions)
    }

    /// The applied state, for the runtime's `verify` and for tests.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Damages a balance in memory, as a flipped bit would, for simulations.
    #[doc(hidden)]
    pub fn corrupt_balance_for_tests(&mut self, account: &Account, balance: Balance) {
        self.state.corrupt_balance_for_tests(account, balance);
    }

    /// What consensus says of itself, for tests.
    #[doc(hidden)]
    pub fn engine_status(&self) -> consensus::Status {
        self.engine.status()
    }

    /// Index of the last applied record.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// This node's role, the leader it knows and its term.
    pub fn role(&self) -> (Role, Option<NodeId>, Term) {
        (self.role, self.leader, self.term)
    }

    /// True once the node serves, or knows who does.
    pub fn has_leader(&self) -> bool {
        self.leader.is_some_and(|leader| leader != self.config.id || self.serving)
    }

    /// Works off everything that an event has set in motion, until nothing more can be done without another event.
    fn settle(&mut self) {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                if self.stopped {
                    return;
                }
                let output = self.engine.step(input);
                self.absorb(output);
            }
            if self.stopped {
                return;
            }
            self.build_block();
            self.ask_barrier();
            self.adjust_leadership();
            if self.inputs.is_empty() {
                break;
            }
        }
        self.heads_settle();
        self.save_state();
        self.stop_if_done();
    }

    /// Takes what the engine has to say: commits first, so that what it wants written is checked on the newest state.
    fn absorb(&mut self, output: Output) {
        let Output { group, mut writes, eager, mut gated, loads, events } = output;
        for (to, message) in eager {
            self.send_raft(to, message);
        }
        for event in events {
            self.consensus_event(event);
            if self.stopped {
                return;
            }
        }
        if let Some(index) = self.check_spliced(&writes) {
            // Whatever this output promises, it does not promise it: a lost message is always allowed. And the record
            // does not reach the disk: a power cut right after it would leave it there, undisputed.
            gated.clear();
            without_records(&mut writes, index);
            self.inputs.push_back(Input::Dispute(index));
        }
        if let Some(group) = group {
            self.persist(writes, AwaitedGroup { engine: Some(group), gated, then: Vec::new() }, Vec::new(), false);
        }
        for load in loads {
            self.actions.push(Action::Load { peer: load.peer, from: load.from, bytes_max: load.bytes_max });
        }
    }

    fn persist(
        &mut self,
        writes: Vec<consensus::Write>,
        awaited: AwaitedGroup,
        peers: Vec<(NodeId, u64)>,
        clear_rejoining: bool,
    ) {
        let group = self.next_group;
        self.next_group += 1;
        self.awaited.insert(group, awaited);
        let state = std::mem::take(&mut self.unsaved_state);
        self.actions.push(Action::Persist {
            group: Some(group),
            batch: Batch { writes, state, peers, keys: Vec::new(), clear_rejoining },
        });
    }

    /// State is written without a sync of its own: it can be replayed from the log.
    fn save_state(&mut self) {
        if !self.unsaved_state.is_empty() {
            let state = std::mem::take(&mut self.unsaved_state);
            let batch = Batch { state, ..Batch::default() };
            self.actions.push(Action::Persist { group: None, batch });
        }
    }

    fn synced(&mut self, group: u64) {
        let Some(awaited) = self.awaited.remove(&group) else { return };
        for (to, message) in awaited.gated {
            self.send_raft(to, message);
        }
        if let Some(group) = awaited.engine {
            self.inputs.push_back(Input::Synced(group));
        }
        for then in awaited.then {
            match then {
                Then::PeerKnown(peer, incarnation) => self.peer_known(peer, incarnation),
                Then::AnswerRejoin(peer, incarnation, term) => self.answer_rejoin(peer, incarnation, term),
                Then::Promote => self.promote(),
            }
        }
    }

    fn consensus_event(&mut self, event: consensus::Event) {
        match event {
            consensus::Event::Committed(records) => self.committed(records),
            consensus::Event::ReadReady { id, index } => self.read_ready(id, index),
            consensus::Event::ReadRefused(id) => self.read_refused(id),
            consensus::Event::Refused(_) => self.proposal_refused(),
            consensus::Event::Role { role, leader, term } => self.role_changed(role, leader, term),
            consensus::Event::Impossible { from, what } => self.warn_impossible(from, &what),
            consensus::Event::Contradicted(index) => self.stop(
                6,
                format!(
                    "a majority of the members computed another result for record {index} than this node, which led: \
                     this node's state is damaged; move its data folder away and start it with --rejoin"
                ),
            ),
            consensus::Event::HandingOver(to) => self.handing_over(to),
            consensus::Event::TransferFailed => self.transfer_failed(),
            consensus::Event::RejoinComplete => self.rejoin_complete(),
        }
    }

    fn role_changed(&mut self, role: Role, leader: Option<NodeId>, term: Term) {
        let changed = (self.role, self.leader, self.term) != (role, leader, term);
        if !changed {
            return;
        }
        let was_leading = self.role == Role::Leader;
        if was_leading && (role != Role::Leader || term != self.term) {
            self.serving = false;
            self.gathering.end();
            self.abandon_mining();
        }
        self.role = role;
        self.leader = leader;
        self.term = term;
        self.note_role();
        self.actions.push(Action::Notice(Notice::Role { role, leader, term }));
        self.watch_role();
        self.reroute();
    }

    fn stop(&mut self, exit_code: u8, reason: String) {
        if !self.stopped {
            self.stopped = true;
            self.fail_all_calls();
            self.fail_waiters();
            self.actions.push(Action::Stop { exit_code, reason });
        }
    }

    fn warn(&mut self, text: String) {
        self.actions.push(Action::Notice(Notice::Warning(text)));
    }

    fn info(&mut self, text: String) {
        self.actions.push(Action::Notice(Notice::Info(text)));
    }

    fn name(&self, id: NodeId) -> &str {
        self.config.names.get(usize::from(id.0)).map_or("?", NodeName::as_str)
    }

    fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    fn heartbeat_ms(&self) -> u64 {
        u64::from(self.config.timers.heartbeat_ticks) * self.config.tick_ms
    }

    fn election_ms(&self) -> u64 {
        u64::from(self.config.timers.election_ticks_max) * self.config.tick_ms
    }
}

/// Bytes of records in one catch-up message.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Bytes of recent records that the engine keeps in memory for its followers.
pub const CACHE_BYTES_MAX: usize = 32 << 20;

fn member(position: usize) -> NodeId {
    NodeId(u8::try_from(position).expect("a genesis has at most 7 members"))
}
