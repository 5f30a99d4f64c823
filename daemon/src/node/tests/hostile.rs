//! A node against whatever a peer or a client may say: random frames, well-formed messages with random content, and
//! random requests, between ticks and syncs.
//!
//! A member that speaks against the rules of consensus (not one that fails) is not survived: the engine stops at what
//! proves a broken cluster, see `Panics` of [`Engine`](raftbank_consensus::Engine). So one test sends everything *but*
//! invented words of consensus, and must never panic; another sends those, too, and only such an end is accepted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use raftbank_wire::api::PartitionCommand;
use serde::Serialize;

use super::*;
use crate::node::message::{Ask, CallName};

/// Consensus messages in the shape in which they travel; the engine's own are closed to the outside.
#[derive(Clone, Debug, Serialize)]
struct Raft {
    term: u64,
    body: RaftBody,
}

#[derive(Clone, Debug, Serialize)]
enum RaftBody {
    PreVote(u64, u64),
    PreVoteReply(u64, bool),
    Vote(u64, u64),
    VoteReply(bool),
    Append([u64; 6], Vec<(u64, u64, Option<Vec<u8>>)>),
    AppendReply([u64; 3], Option<[u64; 3]>, Option<u64>, Option<u64>),
    Stale,
}

#[derive(Clone, Debug)]
enum Deed {
    Noise(u8, Vec<u8>),
    Flipped(usize, usize),
    Raft(usize, Raft),
    Say(usize, u64, Said),
    Ask(ApiRequest),
    Gone(u64),
    Link(u8, u8),
    Tick(u8),
    Deliver,
    Sync,
    Mined(u64, Option<u64>),
}

#[derive(Clone, Debug)]
enum Said {
    Forward(CallName, Ask, u32),
    Answer(CallName, bool),
    Beacon(u64),
    Rejoin(u64),
    Challenge(u64, u64),
    Term(u64, u64),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..6, 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => Just(1 << 63)]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn any_write() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::sample::select(vec!["a", "b", "world"]);
    let operation = prop_oneof![
        name().prop_map(open),
        (name(), 1_u64..1 << 62).prop_map(|(name, amount)| credit(name, amount)),
        (name(), name(), 1_u64..100).prop_map(|(from, to, amount)| transfer(from, to, amount)),
    ];
    let request = (0_u8..30, operation)
        .prop_map(|(id, operation)| Request { id: RequestId::parse(&format!("r{id}")).unwrap(), operation }.encode());
    prop_oneof![4 => request, 1 => any_bytes()]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("world".to_owned()), ".{0,70}"]
}

fn any_ask() -> impl Strategy<Value = ApiRequest> {
    let time = || prop_oneof![Just(0), 0_u32..3_000, Just(u32::MAX)];
    prop_oneof![
        4 => (any_write(), time()).prop_map(|(request, timeout_ms)| ApiRequest::Write { request, timeout_ms }),
        2 => (any_name(), any::<bool>(), time())
            .prop_map(|(account, local, timeout_ms)| ApiRequest::Balance { account, local, timeout_ms }),
        1 => (any::<bool>(), time()).prop_map(|(local, timeout_ms)| ApiRequest::Accounts { local, timeout_ms }),
        1 => (any_bytes(), any::<bool>(), time())
            .prop_map(|(key, local, timeout_ms)| ApiRequest::Get { key, local, timeout_ms }),
        1 => Just(ApiRequest::Status),
        1 => Just(ApiRequest::Partition(PartitionCommand::Heal)),
    ]
}

fn any_said() -> impl Strategy<Value = Said> {
    let call =
        || (number(), number()).prop_map(|(life, number)| CallName { life: life + u64::from(life == 0), number });
    let ask = prop_oneof![
        3 => any_write().prop_map(Ask::Write),
        1 => any_name().prop_map(Ask::Balance),
        1 => Just(Ask::Accounts),
        1 => any_bytes().prop_map(Ask::Get),
    ];
    prop_oneof![
        4 => (call(), ask, any::<u32>()).prop_map(|(call, ask, limit)| Said::Forward(call, ask, limit)),
        2 => (call(), any::<bool>()).prop_map(|(call, reply)| Said::Answer(call, reply)),
        1 => number().prop_map(Said::Beacon),
        1 => number().prop_map(Said::Rejoin),
        1 => (number(), number()).prop_map(|(incarnation, challenge)| Said::Challenge(incarnation, challenge)),
        1 => (number(), number()).prop_map(|(incarnation, term)| Said::Term(incarnation, term)),
    ]
}

fn any_raft() -> impl Strategy<Value = Raft> {
    let records = prop::collection::vec((number(), number(), prop::option::of(any_bytes())), 0..3);
    let six =
        (number(), number(), number(), number(), number(), number()).prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f]);
    let three = || (number(), number(), number()).prop_map(|(a, b, c)| [a, b, c]);
    let body = prop_oneof![
        (number(), number()).prop_map(|(term, index)| RaftBody::PreVote(term, index)),
        (number(), any::<bool>()).prop_map(|(term, granted)| RaftBody::PreVoteReply(term, granted)),
        (number(), number()).prop_map(|(term, index)| RaftBody::Vote(term, index)),
        any::<bool>().prop_map(RaftBody::VoteReply),
        (six, records).prop_map(|(numbers, records)| RaftBody::Append(numbers, records)),
        (three(), prop::option::of(three()), prop::option::of(number()), prop::option::of(number()))
            .prop_map(|(a, b, c, d)| RaftBody::AppendReply(a, b, c, d)),
        Just(RaftBody::Stale),
    ];
    (number(), body).prop_map(|(term, body)| Raft { term, body })
}

fn any_deed(raft: bool) -> impl Strategy<Value = Deed> {
    let raft =
        (1_usize..3, any_raft()).prop_map(move |(from, said)| if raft { Deed::Raft(from, said) } else { Deed::Sync });
    prop_oneof![
        2 => (any::<u8>(), any_bytes()).prop_map(|(from, bytes)| Deed::Noise(from, bytes)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(frame, bit)| Deed::Flipped(frame, bit)),
        6 => raft,
        6 => (1_usize..3, number(), any_said()).prop_map(|(from, wall, said)| Deed::Say(from, wall, said)),
        6 => any_ask().prop_map(Deed::Ask),
        1 => (1_u64..20).prop_map(Deed::Gone),
        1 => (0_u8..4, 0_u8..5).prop_map(|(kind, peer)| Deed::Link(kind, peer)),
        8 => (1_u8..60).prop_map(Deed::Tick),
        6 => Just(Deed::Deliver),
        6 => Just(Deed::Sync),
        1 => (0_u64..4, any::<Option<u64>>()).prop_map(|(job, nonce)| Deed::Mined(job, nonce)),
    ]
}

fn say(bank: &mut Bank, from: usize, wall_ms: u64, body: &[u8]) {
    // Cluster, incarnation and clock in front of the body, as the codec writes an envelope.
    let cluster = bank.nodes[0].state().cluster_id().0;
    let head = [&cluster[..], &(from as u64 + 100).to_le_bytes(), &wall_ms.to_le_bytes()].concat();
    let payload = [&head[..], body].concat();
    assert!(decode::<Envelope>(&payload, FRAME_BYTES_MAX).is_ok(), "what is sent is well-formed");
    bank.event(0, Event::Frame { from: NodeId(from as u8), payload });
}

fn body(said: Said) -> Vec<u8> {
    encode(&match said {
        Said::Forward(call, ask, timeout_ms) => Body::Forward { call, ask, timeout_ms },
        Said::Answer(call, reply) => {
            let failed = ApiReply::Failed { kind: FailKind::Refused, code: "x".into(), message: "y".into() };
            Body::Answer { call, reply: reply.then_some(failed) }
        }
        Said::Beacon(height) => Body::Beacon { height },
        Said::Rejoin(proof) => Body::Rejoin { proof },
        Said::Challenge(incarnation, challenge) => Body::RejoinChallenge { incarnation, challenge },
        Said::Term(incarnation, term) => Body::RejoinTerm { incarnation, term },
    })
}

fn perform(bank: &mut Bank, deed: Deed) {
    match deed {
        Deed::Noise(from, payload) => bank.event(0, Event::Frame { from: NodeId(from % 5), payload }),
        Deed::Flipped(frame, bit) => {
            // Checksums of the transport are not the node's; but a flipped bit of consensus is a word against its rules.
            let whole: Vec<_> = bank.wire.iter().filter(|(_, to, bytes)| *to == 0 && bytes[48] != 0).cloned().collect();
            if !whole.is_empty() {
                let (from, _, mut payload) = whole[frame % whole.len()].clone();
                let bit = 48 * 8 + bit % ((payload.len() - 48) * 8);
                payload[bit / 8] ^= 1 << (bit % 8);
                if payload[48] != 0 {
                    bank.event(0, Event::Frame { from: NodeId(from as u8), payload });
                }
            }
        }
        Deed::Raft(from, raft) => say(bank, from, 0, &[&[0; 4][..], &encode(&raft)].concat()),
        Deed::Say(from, wall, said) => {
            // A wall clock near ours most of the time: with a wild one the node does not lead.
            let wall = if wall < 6 { bank.now(0).wall_ms } else { wall };
            say(bank, from, wall, &body(said));
        }
        Deed::Ask(request) => {
            bank.next_token += 1;
            let token = bank.next_token;
            bank.event(0, Event::Api { token, request });
        }
        Deed::Gone(token) => bank.event(0, Event::ApiGone { token }),
        Deed::Link(kind, peer) => bank.event(
            0,
            Event::Link(match kind {
                0 => LinkChange::Lost,
                1 => LinkChange::Connected,
                2 => LinkChange::Up(NodeId(peer)),
                _ => LinkChange::Down(NodeId(peer)),
            }),
        ),
        Deed::Tick(times) => bank.run_ms(u64::from(times) * 10),
        Deed::Deliver => bank.deliver(),
        Deed::Sync => {
            for id in 0..bank.nodes.len() {
                for group in bank.held[id].as_mut().map(std::mem::take).unwrap_or_default() {
                    bank.event(id, Event::Synced { group });
                }
            }
        }
        Deed::Mined(job, nonce) => bank.event(0, Event::Mined { job, nonce }),
    }
}

/// `Bank` itself sees that no token is answered twice.
fn play(deeds: Vec<Deed>, held: bool) -> Bank {
    let mut bank = Bank::new(3);
    bank.leader();
    bank.held[0] = held.then(Vec::new);
    for deed in deeds {
        perform(&mut bank, deed);
        let sum: i128 = bank.nodes[0].state().accounts().map(|(_, balance)| balance).sum();
        assert_eq!(sum, 0, "money is neither made nor lost");
    }
    bank
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_but_consensus_itself_shakes_a_node(deeds in prop::collection::vec(any_deed(false), 1..50), held in any::<bool>()) {
        let bank = play(deeds, held);
        prop_assert_eq!(&bank.stops, &vec![None; 3]);
    }

    #[test]
    fn consensus_against_its_rules_ends_only_where_it_is_said(deeds in prop::collection::vec(any_deed(true), 1..40)) {
        let end = catch_unwind(AssertUnwindSafe(|| play(deeds, false)));
        if let Err(panic) = end {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
            let said = ["two leaders in term", "contradicts committed record", "contradicts its own log"];
            prop_assert!(said.iter().any(|said| text.contains(said)), "{}", text);
        }
    }
}
