//! What reads cost: rounds of consensus, and frames.

use std::collections::VecDeque;

use raftbank_consensus::NodeId;
use raftbank_ledger::Header;
use raftbank_store::Batch;
use raftbank_wire::api::ApiReply;

use super::bank::{Bank, account, balance, credit, is_committed, open};
use crate::driver::{Driver, Load, Ports};
use crate::node::{Event, Notice};

/// Takes frames and answers; nothing else happens in a turn of reads.
#[derive(Default)]
struct Taken {
    frames: VecDeque<(NodeId, Vec<u8>)>,
    replies: Vec<(u64, ApiReply)>,
}

impl Ports for Taken {
    fn send(&mut self, to: NodeId, payload: Vec<u8>) {
        self.frames.push_back((to, payload));
    }
    fn persist(&mut self, _: Option<u64>, _: Batch) {
        panic!("a read writes nothing");
    }
    fn load(&mut self, _: Load) -> bool {
        false
    }
    fn reply(&mut self, token: u64, reply: ApiReply, _: bool) -> bool {
        self.replies.push((token, reply));
        true
    }
    fn mine(&mut self, _: u64, _: Header) -> Option<Event> {
        panic!("a read makes no block");
    }
    fn cancel_mine(&mut self, _: u64) {}
    fn gather(&mut self, _: u64) {}
    fn notice(&mut self, _: Notice) {}
}

/// A bank with money, its leader, and the driver of that.
fn led() -> (Bank, usize, Driver) {
    let mut bank = Bank::new(3);
    let leader = bank.leader();
    assert!(is_committed(&bank.outcome(leader, "open", open("alice"))));
    assert!(is_committed(&bank.outcome(leader, "credit", credit("alice", 5))));
    (bank, leader, Driver::default())
}

/// One turn of the leader's loop.
fn turn(bank: &mut Bank, leader: usize, driver: &mut Driver, events: Vec<Event>) -> Taken {
    let (mut taken, now) = (Taken::default(), bank.now(leader));
    events.into_iter().for_each(|event| driver.push(event));
    driver.step(&mut bank.nodes[leader], || now);
    assert!(driver.perform(&mut taken).is_none());
    taken
}

/// Hands frames to the followers and returns what they answer.
fn answers(bank: &mut Bank, leader: usize, frames: VecDeque<(NodeId, Vec<u8>)>) -> Vec<Event> {
    for (to, payload) in frames {
        bank.event(to.0.into(), Event::Frame { from: NodeId(leader as u8), payload });
    }
    bank.wire.drain(..).map(|(from, _, payload)| Event::Frame { from: NodeId(from as u8), payload }).collect()
}

fn asks(tokens: std::ops::Range<u64>) -> Vec<Event> {
    tokens.map(|token| Event::Api { token, request: balance("alice") }).collect()
}

#[test]
fn reads_of_one_turn_share_one_round() {
    let (mut bank, leader, mut driver) = led();
    let asked = turn(&mut bank, leader, &mut driver, asks(100..164));
    assert_eq!((asked.frames.len(), asked.replies.len()), (2, 0), "one frame to each follower, and no answer yet");
    let confirmed = answers(&mut bank, leader, asked.frames);
    let answered = turn(&mut bank, leader, &mut driver, confirmed);
    let tokens: Vec<u64> = answered.replies.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, (100..164).collect::<Vec<_>>());
    let name = account("alice");
    for (_, reply) in &answered.replies {
        assert!(
            matches!(reply, ApiReply::Balance { account, balance: 5, .. } if account == name.as_str()),
            "{reply:?}"
        );
    }
}

#[test]
fn reads_of_a_later_turn_are_not_vouched_for_by_the_round_under_way() {
    let (mut bank, leader, mut driver) = led();
    let first = turn(&mut bank, leader, &mut driver, asks(100..110));
    let second = turn(&mut bank, leader, &mut driver, asks(110..120));
    assert_eq!(second.frames.len(), 2, "a round of their own");
    let confirmed = answers(&mut bank, leader, first.frames);
    let answered = turn(&mut bank, leader, &mut driver, confirmed);
    assert_eq!(answered.replies.iter().map(|(token, _)| *token).collect::<Vec<_>>(), (100..110).collect::<Vec<_>>());
    let confirmed = answers(&mut bank, leader, second.frames);
    let answered = turn(&mut bank, leader, &mut driver, confirmed);
    assert_eq!(answered.replies.len(), 10);
}

#[test]
fn reads_and_the_answer_that_another_read_waits_for_in_one_turn_are_kept_apart() {
    let (mut bank, leader, mut driver) = led();
    let first = turn(&mut bank, leader, &mut driver, asks(100..101));
    let mut events = asks(101..102);
    events.extend(answers(&mut bank, leader, first.frames));
    let mixed = turn(&mut bank, leader, &mut driver, events);
    assert_eq!(mixed.replies.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [100]);
    assert_eq!(mixed.frames.len(), 2);
}
