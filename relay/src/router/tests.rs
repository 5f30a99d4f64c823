//! What arrives where, with and without faults; what the bounds drop; sessions. Messages are told apart by their length.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use raftbank_wire::api::{ApiReply, LinkCommand, PartitionCommand};
use raftbank_wire::control;
use raftbank_wire::queue::Queue;

use super::{CHANGES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, Router, TAGGED_HEAD_BYTES};

struct Three {
    router: Router,
    sessions: [u64; 3],
    queues: [Arc<Queue>; 3],
    now: Instant,
}

/// Three members, all connected.
fn three() -> Three {
    let mut router = Router::new(["n1", "n2", "n3"].map(String::from).to_vec(), false).unwrap();
    let links = [0, 1, 2].map(|member| router.connect(member, "test/1".to_owned()));
    for (_, queue) in &links {
        drain(queue);
    }
    Three {
        router,
        sessions: links.each_ref().map(|link| link.0),
        queues: links.map(|link| link.1),
        now: Instant::now(),
    }
}

impl Three {
    fn send(&mut self, from: u8, to: u8, bytes: usize) {
        self.router.route(self.now, from, to, vec![0; bytes]);
    }

    fn heard(&self, member: usize) -> Vec<(u8, usize)> {
        drain(&self.queues[member])
    }

    fn link(&mut self, command: &LinkCommand) {
        self.router.link_faults(command, self.now).unwrap();
    }
}

/// Empties a queue: senders, and lengths without the frames' heads.
fn drain(queue: &Queue) -> Vec<(u8, usize)> {
    let mut frames = Vec::new();
    queue.retain(|frame| {
        frames.push((frame.tag(), frame.wire_bytes() - TAGGED_HEAD_BYTES));
        false
    });
    frames
}

fn changes(frames: &[(u8, usize)]) -> usize {
    frames.iter().filter(|(tag, _)| *tag == control::TAG).count()
}

fn set(groups: &str, for_ms: Option<u64>) -> PartitionCommand {
    PartitionCommand::Set { groups: groups.to_owned(), for_ms }
}

fn delay(min_ms: u32, max_ms: u32) -> LinkCommand {
    LinkCommand::Delay { min_ms, max_ms, for_ms: None }
}

#[test]
fn messages_arrive_in_order_with_their_sender() {
    let mut bank = three();
    bank.send(0, 2, 1);
    bank.send(1, 2, 2);
    bank.send(0, 2, 3);
    assert_eq!(bank.router.shown_members()[2].queued, 3);
    assert_eq!(bank.heard(2), [(0, 1), (1, 2), (0, 3)]);
    assert_eq!(bank.heard(1), []);
    let counters = bank.router.counters();
    assert_eq!((counters.forwarded, counters.forwarded_bytes), (3, 6));
}

#[test]
fn nobody_hears_itself_and_strangers_hear_nothing() {
    let mut bank = three();
    for to in [0, 3, 254, 255] {
        bank.send(0, to, 1);
    }
    assert_eq!(bank.router.counters().dropped_absent, 4);
    assert!((0..3).all(|member| bank.heard(member).is_empty()));
}

#[test]
fn peers_are_told_who_comes_and_goes() {
    let mut bank = three();
    assert!(bank.router.disconnect(1, bank.sessions[1]));
    assert!(!bank.router.disconnect(1, bank.sessions[1]), "a session ends once");
    assert!(bank.queues[1].is_closed());
    assert_eq!(changes(&bank.heard(0)), 1);
    assert_eq!(bank.router.connected(), [0, 2]);
    let (_, queue) = bank.router.connect(1, "test/2".to_owned());
    assert_eq!((changes(&bank.heard(0)), changes(&bank.heard(2)), changes(&drain(&queue))), (1, 2, 0));
}

#[test]
fn a_new_connection_replaces_the_old_one_and_starts_empty() {
    let mut bank = three();
    bank.send(0, 1, 10);
    let (session, queue) = bank.router.connect(1, "test/2".to_owned());
    assert!(bank.queues[1].is_closed() && bank.queues[1].is_empty() && queue.is_empty());
    assert!(!bank.router.disconnect(1, bank.sessions[1]), "the old one's end does not end the new one");
    assert_eq!(bank.router.session(1), Some(session));
    let counters = bank.router.counters();
    assert_eq!((counters.dropped_absent, counters.forwarded, counters.forwarded_bytes), (1, 0, 0));
}

#[test]
fn a_partition_drops_what_waits_and_what_is_delayed() {
    let mut bank = three();
    bank.send(0, 2, 1);
    bank.send(0, 1, 2);
    bank.link(&delay(100, 200));
    bank.send(2, 0, 3);
    bank.send(1, 0, 4);
    assert_eq!(bank.router.counters().delayed_now, 2);

    bank.router.partition(&set("n1,n2/n3", None), bank.now).unwrap();
    let counters = bank.router.counters();
    assert_eq!((counters.dropped_partition, counters.delayed_now, counters.forwarded), (2, 1, 1));
    // Healed at once: what was dropped does not come back.
    bank.router.partition(&PartitionCommand::Heal, bank.now).unwrap();
    bank.router.advance(bank.now + Duration::from_secs(1));
    assert_eq!((bank.heard(0), bank.heard(1), bank.heard(2)), (vec![(1, 4)], vec![(0, 2)], vec![]));
}

#[test]
fn a_cut_drops_what_waits_in_its_direction() {
    let mut bank = three();
    bank.send(0, 2, 1);
    bank.send(2, 0, 2);
    bank.link(&LinkCommand::Cut { a: "n1".into(), b: "n3".into(), one_way: true, for_ms: None });
    bank.send(0, 2, 3);
    assert_eq!((bank.heard(0), bank.heard(2)), (vec![(2, 2)], vec![]));
    assert_eq!(bank.router.counters().dropped_cut, 2);
}

#[test]
fn a_wrong_command_drops_nothing() {
    let mut bank = three();
    bank.send(0, 2, 1);
    bank.router.partition(&set("n1,n2/n33", None), bank.now).unwrap_err();
    bank.router.link_faults(&LinkCommand::Loss { percent: 101.0, for_ms: None }, bank.now).unwrap_err();
    assert!(!bank.router.has_faults());
    assert_eq!(bank.heard(2), [(0, 1)]);
}

#[test]
fn a_partition_for_a_time_ends_without_a_timer_too() {
    let mut bank = three();
    let shown = bank.router.partition(&set("n1/n2/n3", Some(50)), bank.now).unwrap();
    assert!(matches!(shown, ApiReply::Partition { heals_in_ms: Some(50), ref groups } if groups.len() == 3));
    let end = bank.now + Duration::from_millis(50);
    assert_eq!(bank.router.next_moment(), Some(end));
    bank.router.route(end - Duration::from_millis(1), 0, 1, vec![0; 1]);
    bank.router.route(end, 0, 1, vec![0; 2]);
    assert_eq!(bank.heard(1), [(0, 2)]);
    assert_eq!(bank.router.counters().dropped_partition, 1);
}

#[test]
fn delayed_messages_go_on_at_their_own_moment() {
    let mut bank = three();
    bank.link(&delay(10, 90));
    for bytes in 0..100 {
        bank.send(0, 1, bytes);
    }
    let mut order = Vec::new();
    let mut moments = 0;
    while let Some(moment) = bank.router.next_moment() {
        assert!((bank.now + Duration::from_millis(10)..=bank.now + Duration::from_millis(90)).contains(&moment));
        bank.router.advance(moment);
        moments += 1;
        order.extend(bank.heard(1).into_iter().map(|(_, bytes)| bytes));
    }
    assert!(moments > 10 && !order.is_sorted());
    order.sort_unstable();
    assert!(order.into_iter().eq(0..100), "none is lost or doubled");
}

#[test]
fn queues_are_bounded_by_messages_and_by_bytes() {
    let mut bank = three();
    for _ in 0..=QUEUE_MESSAGES_MAX {
        bank.send(0, 1, 0);
    }
    assert_eq!(bank.router.counters().dropped_overflow, 1);
    // Another destination is not concerned.
    bank.send(0, 2, QUEUE_BYTES_MAX - 100);
    bank.send(1, 2, 100);
    assert_eq!(bank.router.counters().dropped_overflow, 2);
    assert_eq!((bank.heard(1).len(), bank.heard(2).len()), (QUEUE_MESSAGES_MAX, 1));
    bank.send(1, 2, 100);
    assert_eq!(bank.heard(2), [(1, 100)], "room again");

    bank.link(&delay(5, 5));
    for _ in 0..=QUEUE_MESSAGES_MAX {
        bank.send(0, 1, 0);
    }
    let counters = bank.router.counters();
    assert_eq!((counters.dropped_overflow, counters.delayed_now), (3, QUEUE_MESSAGES_MAX as u64));
    bank.router.advance(bank.now + Duration::from_millis(5));
    assert_eq!(bank.router.counters().delayed_now, 0);
    assert_eq!(bank.heard(1).len(), QUEUE_MESSAGES_MAX);
}

#[test]
fn a_member_that_never_reads_is_given_up() {
    let mut bank = three();
    for _ in 0..QUEUE_MESSAGES_MAX {
        bank.send(2, 0, 0);
    }
    for _ in 0..=CHANGES_MAX / 2 {
        let (session, _) = bank.router.connect(1, String::new());
        bank.router.disconnect(1, session);
    }
    assert!(bank.queues[0].is_closed() && bank.queues[0].is_empty());
    assert!(!bank.queues[2].is_closed());
    // Its connection notices and ends the session.
    assert!(bank.router.disconnect(0, bank.sessions[0]));
    assert_eq!(bank.router.connected(), [2]);
}
