//! What happened in a run, or in many: a run that never saw a fault proves nothing about it.

use std::ops::AddAssign;

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that happened.
    pub events: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Leaders that ceased to lead while they ran.
    pub step_downs: u64,
    /// Leaders elected because their predecessor told them to campaign.
    pub transfers: u64,
    /// Writes that cut records off.
    pub conflicts_cut: u64,
    /// Processes that ended with a power cut.
    pub crashes: u64,
    /// Those after which the disk lacked a term, a vote or a record.
    pub crashes_that_lost_unsynced: u64,
    /// Disks that were lost for good.
    pub disks_lost: u64,
    /// Nodes that became voters again after that.
    pub rejoined: u64,
    /// Operations that a client saw committed.
    pub writes: u64,
    /// Operations tried again.
    pub retries: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// Reads refused.
    pub reads_refused: u64,
    /// Chunks of old records read from a disk.
    pub chunks_loaded: u64,
    /// Records disputed by a follower.
    pub disputes: u64,
    /// Leaders that a majority contradicted.
    pub contradicted: u64,
    /// Messages lost.
    pub messages_lost: u64,
    /// The longest that a healed cluster took to agree and serve.
    pub recovery_ms_max: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let recovery_ms_max = self.recovery_ms_max.max(other.recovery_ms_max);
        for (mine, theirs) in self.all_mut().into_iter().zip(other.all()) {
            *mine += theirs.1;
        }
        self.recovery_ms_max = recovery_ms_max;
    }
}

impl Counts {
    /// Every sum, with its name.
    pub fn all(&self) -> [(&'static str, u64); 17] {
        [
            ("events", self.events),
            ("elections", self.elections),
            ("step-downs", self.step_downs),
            ("leaderships handed over", self.transfers),
            ("conflicts cut", self.conflicts_cut),
            ("crashes", self.crashes),
            ("crashes that lost unsynced data", self.crashes_that_lost_unsynced),
            ("disks lost", self.disks_lost),
            ("rejoined", self.rejoined),
            ("writes", self.writes),
            ("retries", self.retries),
            ("reads", self.reads),
            ("reads refused", self.reads_refused),
            ("chunks loaded", self.chunks_loaded),
            ("disputes", self.disputes),
            ("leaders contradicted", self.contradicted),
            ("messages lost", self.messages_lost),
        ]
    }

    /// What a run of a few hundred seeds must have seen at least once to be worth something, and has not. Contradicted
    /// leaders are too rare for that: one in about a thousand seeds.
    pub fn missing(&self) -> Vec<&'static str> {
        let common = self.all().into_iter().filter(|(name, _)| *name != "leaders contradicted");
        common.filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    fn all_mut(&mut self) -> [&mut u64; 17] {
        [
            &mut self.events,
            &mut self.elections,
            &mut self.step_downs,
            &mut self.transfers,
            &mut self.conflicts_cut,
            &mut self.crashes,
            &mut self.crashes_that_lost_unsynced,
            &mut self.disks_lost,
            &mut self.rejoined,
            &mut self.writes,
            &mut self.retries,
            &mut self.reads,
            &mut self.reads_refused,
            &mut self.chunks_loaded,
            &mut self.disputes,
            &mut self.contradicted,
            &mut self.messages_lost,
        ]
    }
}
