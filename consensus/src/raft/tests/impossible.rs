//! Messages that are well-formed and that no honest member can have sent: they are dropped and nobody panics.

use super::*;
use crate::message::{Append, Body};

/// Node 2 follows node 0 in term 1; records 1 and 2 are committed, record 3 is verified and not.
fn following() -> Net {
    let mut net = Net::new(3);
    net.elect(0);
    net.propose(0);
    net.tick_all(5);
    net.deliver();
    net.cut = vec![(id(1), id(0)), (id(2), id(0))];
    net.propose(0);
    net.deliver();
    assert_eq!((net.committed(2), net.last(2)), (2, 3));
    net
}

fn append(prev: (Index, Term), records: &[(Index, Term)]) -> Append {
    let records = records.iter().map(|(index, term)| Record { index: *index, term: *term, entry: None }).collect();
    Append { prev_index: prev.0, prev_term: prev.1, commit: 0, round: 9, last_index: 9, rejoin_nonce: 0, records }
}

impl Net {
    /// Delivers a message to node 2 and returns what it says to anybody.
    fn lie(&mut self, from: usize, term: Term, body: Body) -> Output {
        self.nodes[2].step(Input::Receive { from: id(from), message: Message { term, body } })
    }
}

fn is_dropped(output: &Output, from: usize) -> bool {
    let [Event::Impossible { from: named, .. }] = &output.events[..] else { return false };
    *named == id(from) && output.writes.is_empty() && output.eager.is_empty() && output.gated.is_empty()
}

#[test]
fn a_second_leader_in_a_term_is_not_heard() {
    let mut net = following();
    assert!(is_dropped(&net.lie(1, 1, Body::Append(append((3, 1), &[]))), 1));
    assert_eq!(net.nodes[2].status().leader, Some(id(0)));
    // A leader does not hear one either.
    let message = Message { term: 1, body: Body::Append(append((3, 1), &[])) };
    assert!(is_dropped(&net.nodes[0].step(Input::Receive { from: id(1), message }), 1));
    assert_eq!(net.role(0), Role::Leader);
}

#[test]
fn what_is_committed_is_contradicted_by_nobody() {
    // In the record before, in a record, by the leader and by the next one.
    for (prev, records) in [((2, 2), &[][..]), ((1, 1), &[(2, 2)]), ((0, 0), &[(1, 1), (2, 2), (3, 2)])] {
        for from in [0, 1] {
            let mut net = following();
            let output = net.lie(from, 2, Body::Append(append(prev, records)));
            assert!(is_dropped(&output, from), "{prev:?} {records:?}: {output:?}");
            assert_eq!((net.term(2), net.last(2)), (1, 3), "its term is not adopted either");
        }
    }
}

#[test]
fn a_leader_does_not_contradict_what_it_has_sent() {
    let mut net = following();
    net.nodes[0].step(Input::Tick);
    // A later leader may replace record 3, which is not committed, and goes on from there in its own term only.
    let output = net.lie(1, 3, Body::Append(append((2, 1), &[(3, 2)])));
    assert!(output.events.iter().all(|event| !matches!(event, Event::Impossible { .. })), "{output:?}");
    assert_eq!((net.term(2), net.last(2)), (3, 3));
    assert!(is_dropped(&net.lie(1, 3, Body::Append(append((2, 1), &[(3, 3)]))), 1));
}
