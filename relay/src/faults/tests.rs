//! What each fault does to a message, and what a wrong command leaves alone.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use raftbank_wire::api::{LinkCommand, PartitionCommand};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Fate, Faults, Reason};

fn three() -> Faults {
    Faults::none(["n1", "n2", "n3"].map(String::from).to_vec())
}

fn chance() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn set(groups: &str, for_ms: Option<u64>) -> PartitionCommand {
    PartitionCommand::Set { groups: groups.to_owned(), for_ms }
}

fn cut(a: &str, b: &str, one_way: bool, for_ms: Option<u64>) -> LinkCommand {
    LinkCommand::Cut { a: a.to_owned(), b: b.to_owned(), one_way, for_ms }
}

#[test]
fn a_partition_separates_groups_and_only_them() {
    let (mut faults, now) = (three(), Instant::now());
    faults.partition(&set("n3/n1,n2", None), now).unwrap();
    assert!(faults.any());
    assert_eq!(faults.judge(0, 1, &mut chance()), Fate::Forward);
    assert_eq!(faults.judge(1, 0, &mut chance()), Fate::Forward);
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        assert_eq!(faults.judge(from, to, &mut chance()), Fate::Drop(Reason::Partition));
    }
    let (groups, heals) = faults.show_partition(now);
    assert_eq!((groups, heals), (vec![vec!["n3".to_owned()], vec!["n1".to_owned(), "n2".to_owned()]], None));

    faults.partition(&PartitionCommand::Heal, now).unwrap();
    assert!(!faults.any());
    assert_eq!(faults.judge(0, 2, &mut chance()), Fate::Forward);
    assert_eq!(faults.show_partition(now).0.len(), 1);
}

#[test]
fn a_wrong_partition_changes_nothing() {
    let (mut faults, now) = (three(), Instant::now());
    faults.partition(&set("n1/n2,n3", Some(5_000)), now).unwrap();
    let before = faults.show_partition(now);
    for wrong in ["", "n1,n2", "n1,n2,n3,n3", "n1/n2/n4", "n1//n2,n3", "n1,n2/n3/", "n1 n2/n3", "heal"] {
        let error = faults.partition(&set(wrong, None), now).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert_eq!(faults.show_partition(now), before, "{wrong:?}");
    }
    for wrong in [0, u64::MAX] {
        faults.partition(&set("n1,n2,n3", Some(wrong)), now).unwrap_err();
        assert_eq!(faults.show_partition(now), before);
    }
}

#[test]
fn every_fault_can_end_by_itself() {
    let (mut faults, now) = (three(), Instant::now());
    assert_eq!(faults.next_end(), None);
    faults.partition(&set("n1/n2,n3", Some(1_000)), now).unwrap();
    faults.link(&cut("n1", "n2", true, Some(2_000)), now).unwrap();
    faults.link(&LinkCommand::Delay { min_ms: 1, max_ms: 2, for_ms: Some(3_000) }, now).unwrap();
    faults.link(&LinkCommand::Loss { percent: 50.0, for_ms: Some(4_000) }, now).unwrap();
    assert_eq!(faults.show_partition(now).1, Some(1_000));
    for (second, word) in [(1, "partition"), (2, "cut from n1 to n2"), (3, "delay"), (4, "loss")] {
        let end = now + Duration::from_secs(second);
        assert_eq!(faults.next_end(), Some(end));
        assert!(faults.expire(end - Duration::from_millis(1)).is_empty());
        let ended = faults.expire(end);
        assert!(ended.len() == 1 && ended[0].contains(word), "{ended:?}");
    }
    assert!(!faults.any());
}

#[test]
fn a_cut_has_a_direction() {
    let (mut faults, now) = (three(), Instant::now());
    faults.link(&cut("n1", "n2", true, None), now).unwrap();
    assert_eq!(faults.blocks(0, 1), Some(Reason::Cut));
    assert_eq!(faults.blocks(1, 0), None);
    faults.link(&cut("n3", "n2", false, None), now).unwrap();
    assert_eq!((faults.blocks(2, 1), faults.blocks(1, 2)), (Some(Reason::Cut), Some(Reason::Cut)));
    assert_eq!(faults.show_link(now).cuts.len(), 3);
    // Once more is not twice.
    faults.link(&cut("n1", "n2", true, Some(9)), now).unwrap();
    assert_eq!(faults.show_link(now).cuts.len(), 3);

    faults.link(&LinkCommand::Restore { a: "n2".into(), b: "n1".into() }, now).unwrap();
    assert_eq!(faults.blocks(0, 1), None);
    assert_eq!(faults.blocks(2, 1), Some(Reason::Cut));
    faults.link(&LinkCommand::Clear, now).unwrap();
    assert!(!faults.any());
}

#[test]
fn wrong_link_commands_change_nothing() {
    let (mut faults, now) = (three(), Instant::now());
    let wrong = [
        cut("n1", "n4", false, None),
        cut("n1", "n1", false, None),
        cut("n1", "n2", false, Some(0)),
        LinkCommand::Restore { a: "n1".into(), b: String::new() },
        LinkCommand::Delay { min_ms: 2, max_ms: 1, for_ms: None },
        LinkCommand::Delay { min_ms: 0, max_ms: u32::MAX, for_ms: None },
        LinkCommand::Loss { percent: -1.0, for_ms: None },
        LinkCommand::Loss { percent: 100.1, for_ms: None },
        LinkCommand::Loss { percent: f64::NAN, for_ms: None },
    ];
    for command in wrong {
        faults.link(&command, now).unwrap_err();
        assert!(!faults.any(), "{command:?}");
    }
}

#[test]
fn delays_are_drawn_for_each_message() {
    let (mut faults, now, mut chance) = (three(), Instant::now(), chance());
    faults.link(&LinkCommand::Delay { min_ms: 10, max_ms: 20, for_ms: None }, now).unwrap();
    let mut delays = Vec::new();
    for _ in 0..100 {
        let Fate::Delay(delay) = faults.judge(0, 1, &mut chance) else { panic!("no delay") };
        assert!((Duration::from_millis(10)..=Duration::from_millis(20)).contains(&delay), "{delay:?}");
        delays.push(delay);
    }
    // They overtake each other.
    assert!(!delays.is_sorted());
}

#[test]
fn loss_takes_its_part() {
    let (mut faults, now, mut chance) = (three(), Instant::now(), chance());
    let mut lost = |percent: f64| {
        faults.link(&LinkCommand::Loss { percent, for_ms: None }, now).unwrap();
        (0..10_000).filter(|_| faults.judge(0, 1, &mut chance) == Fate::Drop(Reason::Loss)).count()
    };
    assert_eq!(lost(0.0), 0);
    assert_eq!(lost(100.0), 10_000);
    // A quarter of 10,000 within seven standard deviations (43), with a fixed seed.
    assert!((2_200..2_800).contains(&lost(25.0)));
}
