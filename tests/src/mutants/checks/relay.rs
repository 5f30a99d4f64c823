//! What the relay's partitions must do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raftbank_relayd::router::Router;
use raftbank_wire::api::{LinkCommand, PartitionCommand};
use raftbank_wire::control;
use raftbank_wire::queue::Queue;

use super::Check;

pub(super) const CHECKS: &[Check] =
    &[("a typo heals nothing", a_typo_heals_nothing), ("nothing crosses a partition", nothing_crosses_a_partition)];

/// Three connected members.
struct Three {
    router: Router,
    queues: Vec<Arc<Queue>>,
    now: Instant,
}

impl Three {
    fn new() -> Result<Self> {
        let names: Vec<String> = ["n1", "n2", "n3"].map(String::from).to_vec();
        let mut router = Router::new(names, false).context("random numbers")?;
        let queues = (0..3).map(|member| router.connect(member, "test/1".into()).1).collect();
        Ok(Self { router, queues, now: Instant::now() })
    }

    fn partition(&mut self, groups: &str) -> Result<()> {
        let command = PartitionCommand::Set { groups: groups.into(), for_ms: None };
        self.router.partition(&command, self.now)?;
        Ok(())
    }

    /// Everyone sends to everyone, time passes, and this is what arrived, by sender and receiver.
    fn crossing(&mut self) -> Vec<(u8, usize)> {
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            self.router.route(self.now, from, to, vec![0; 10]);
        }
        self.arrived()
    }

    fn arrived(&mut self) -> Vec<(u8, usize)> {
        self.now += Duration::from_secs(10);
        self.router.advance(self.now);
        let mut arrived = Vec::new();
        for (to, queue) in self.queues.iter().enumerate() {
            queue.retain(|frame| {
                if frame.tag() != control::TAG {
                    arrived.push((frame.tag(), to));
                }
                false
            });
        }
        arrived.sort_unstable();
        arrived
    }
}

fn a_typo_heals_nothing() -> Result<()> {
    let mut three = Three::new()?;
    three.partition("n1,n2/n3")?;
    for typo in ["n1,n2/n4", "n1,n2,n3/", "n1/n2", "0,1;2", "n1,n2,n3,n3"] {
        ensure!(three.partition(typo).is_err(), "{typo:?} is a partition");
        let arrived = three.crossing();
        ensure!(arrived == [(0, 1), (1, 0)], "after {typo:?} passes {arrived:?}");
    }
    Ok(())
}

fn nothing_crosses_a_partition() -> Result<()> {
    for delayed in [false, true] {
        let mut three = Three::new()?;
        if delayed {
            let delay = LinkCommand::Delay { min_ms: 1_000, max_ms: 1_000, for_ms: None };
            three.router.link_faults(&delay, three.now)?;
        }
        three.router.route(three.now, 0, 2, vec![0; 10]);
        three.router.route(three.now, 0, 1, vec![0; 10]);
        three.partition("n1,n2/n3")?;
        let arrived = three.arrived();
        ensure!(arrived == [(0, 1)], "what was under way (delayed: {delayed}) arrives: {arrived:?}");
        let arrived = three.crossing();
        ensure!(arrived == [(0, 1), (1, 0)], "across the partition (delayed: {delayed}): {arrived:?}");
    }
    Ok(())
}
