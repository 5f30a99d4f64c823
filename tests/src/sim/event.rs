//! What can happen in a simulated bank.

use std::rc::Rc;

use raftbank_consensus::NodeId;
use raftbank_wire::api::{ApiReply, ApiRequest};
use raftbankd::driver::Load;
use raftbankd::node::LinkChange;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    Tick {
        node: NodeId,
        epoch: u64,
    },
    /// The process has time for what is queued.
    Turn {
        node: NodeId,
        epoch: u64,
    },
    Frame {
        to: NodeId,
        from: NodeId,
        payload: Rc<Vec<u8>>,
    },
    SyncDone {
        node: NodeId,
        epoch: u64,
    },
    MarkDue {
        node: NodeId,
        epoch: u64,
    },
    Loaded {
        node: NodeId,
        epoch: u64,
        load: Load,
    },
    Mined {
        node: NodeId,
        epoch: u64,
        job: u64,
        nonce: Option<u64>,
    },
    /// A node's short wait is over.
    Gathered {
        node: NodeId,
        epoch: u64,
        turn: u64,
    },
    Link {
        node: NodeId,
        epoch: u64,
        change: LinkChange,
    },
    /// The process reaches the relay.
    Connect {
        node: NodeId,
        epoch: u64,
    },
    Api {
        node: NodeId,
        epoch: u64,
        client: usize,
        copy: u64,
        request: ApiRequest,
    },
    ApiGone {
        node: NodeId,
        epoch: u64,
        token: u64,
    },
    Terminate {
        node: NodeId,
        epoch: u64,
    },
    Resume {
        node: NodeId,
        epoch: u64,
    },
    Start(NodeId),
    RelayUp,
    /// Somebody looks after a machine that ended with 6.
    Operator(NodeId),
    /// A client does its next thing.
    Client(usize),
    /// A client tries to reach its node again.
    Reconnect {
        client: usize,
        command: u64,
    },
    /// A client is answered.
    Answer {
        client: usize,
        copy: u64,
        node: NodeId,
        reply: ApiReply,
    },
    /// A client's connection breaks.
    Broken {
        client: usize,
        copy: u64,
    },
    /// A client gives up.
    Deadline {
        client: usize,
        command: u64,
    },
    Fault,
}
