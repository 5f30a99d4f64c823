//! The faults that an operator has asked for, and what they do to one message. Pure: time is handed in.
//!
//! A message passes the partition, then the cuts, then the loss, then the delay. Each fault may carry a moment at which
//! it ends by itself. Nothing of this survives a restart of the relay.

use std::time::{Duration, Instant};

use raftbank_wire::api::{LinkCommand, LinkCut, LinkReply, PartitionCommand};
use raftbank_wire::groups;
use rand::{Rng, RngExt};
use thiserror::Error;

/// Longest delay of a message, in milliseconds.
pub const DELAY_MS_MAX: u32 = 600_000;
/// Longest time after which a fault ends by itself, in milliseconds: 30 days.
pub const FOR_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// Why a command changed nothing: one sentence for the operator.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct FaultError(pub String);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to its destination at once.
    Forward,
    /// It goes after this time.
    Delay(Duration),
    /// It ends here.
    Drop(Reason),
}

/// Why a message ends at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its ends are in different groups.
    Partition,
    /// That direction is cut.
    Cut,
    /// Chance.
    Loss,
    /// Too much waits for its destination already.
    Overflow,
    /// Its destination is not connected, or is none of the members.
    Absent,
}

impl Reason {
    /// One word for the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Cut => "cut",
            Self::Loss => "loss",
            Self::Overflow => "overflow",
            Self::Absent => "absent",
        }
    }
}

/// One direction that carries nothing.
#[derive(Clone, Copy, Debug)]
struct Cut {
    from: u8,
    to: u8,
    until: Option<Instant>,
}

/// All faults of the moment. Members are known by their place in the relay's list.
#[derive(Debug)]
pub struct Faults {
    members: Vec<String>,
    /// Each member's group; all the same without a partition.
    group_of: Vec<usize>,
    partition_until: Option<Instant>,
    /// At most one per direction, so at most members².
    cuts: Vec<Cut>,
    delay_ms: (u32, u32),
    delay_until: Option<Instant>,
    loss_percent: f64,
    loss_until: Option<Instant>,
}

impl Faults {
    /// None for these members.
    pub fn none(members: Vec<String>) -> Self {
        let group_of = vec![0; members.len()];
        Self {
            members,
            group_of,
            partition_until: None,
            cuts: Vec::new(),
            delay_ms: (0, 0),
            delay_until: None,
            loss_percent: 0.0,
            loss_until: None,
        }
    }

    /// Decides about a message that has just arrived. Both ends must be members.
    pub fn judge(&self, from: u8, to: u8, chance: &mut impl Rng) -> Fate {
        if let Some(reason) = self.blocks(from, to) {
            return Fate::Drop(reason);
        }
        if self.loss_percent > 0.0 && chance.random_range(0.0..100.0) < self.loss_percent {
            return Fate::Drop(Reason::Loss);
        }
        let (min, max) = self.delay_ms;
        if max == 0 {
            return Fate::Forward;
        }
        let micros = chance.random_range(u64::from(min) * 1_000..=u64::from(max) * 1_000);
        Fate::Delay(Duration::from_micros(micros))
    }

    /// Whether nothing at all goes from one member to the other, and why.
    pub fn blocks(&self, from: u8, to: u8) -> Option<Reason> {
        if self.group_of.get(usize::from(from)) != self.group_of.get(usize::from(to)) {
            Some(Reason::Partition)
        } else if self.cuts.iter().any(|cut| cut.from == from && cut.to == to) {
            Some(Reason::Cut)
        } else {
            None
        }
    }

    /// Any fault is set.
    pub fn any(&self) -> bool {
        self.is_partitioned() || !self.cuts.is_empty() || self.delay_ms.1 > 0 || self.loss_percent > 0.0
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// Groups that do not name every member exactly once, or an end out of range. Nothing has changed then.
    pub fn partition(&mut self, command: &PartitionCommand, now: Instant) -> Result<(), FaultError> {
        match command {
            PartitionCommand::Show => {}
            PartitionCommand::Set { groups, for_ms } => {
                let parsed = match groups::parse(groups, &self.members) {
                    Err(_) if planted!(TypoHeals) => return self.partition(&PartitionCommand::Heal, now),
                    parsed => parsed.map_err(|error| FaultError(error.to_string()))?,
                };
                let until = end(now, *for_ms)?;
                for (number, group) in parsed.iter().enumerate() {
                    for (member, group_of) in self.members.iter().zip(&mut self.group_of) {
                        if group.contains(member) {
                            *group_of = number;
                        }
                    }
                }
                self.partition_until = until;
            }
            PartitionCommand::Heal => self.heal(),
        }
        Ok(())
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// Unknown members or values out of range. Nothing has changed then.
    pub fn link(&mut self, command: &LinkCommand, now: Instant) -> Result<(), FaultError> {
        match command {
            LinkCommand::Show => {}
            LinkCommand::Cut { a, b, one_way, for_ms } => {
                let (a, b) = self.pair(a, b)?;
                let until = end(now, *for_ms)?;
                self.cut(a, b, until);
                if !one_way {
                    self.cut(b, a, until);
                }
            }
            LinkCommand::Restore { a, b } => {
                let (a, b) = self.pair(a, b)?;
                self.cuts.retain(|cut| (cut.from, cut.to) != (a, b) && (cut.from, cut.to) != (b, a));
            }
            LinkCommand::Delay { min_ms, max_ms, for_ms } => {
                let (min, max) = (*min_ms, *max_ms);
                if min > max || max > DELAY_MS_MAX {
                    return Err(FaultError(format!(
                        "a delay of {min}..{max} ms is not possible: the first must not be larger than the second, \
                         and the second not larger than {DELAY_MS_MAX}"
                    )));
                }
                let until = end(now, *for_ms)?;
                self.delay_ms = (min, max);
                self.delay_until = until.filter(|_| max > 0);
            }
            LinkCommand::Loss { percent, for_ms } => {
                // Not a range check: NaN is in no range and in no comparison.
                if !(0.0..=100.0).contains(percent) {
                    return Err(FaultError(format!("a loss of {percent} is not possible: give 0 to 100 percent")));
                }
                let until = end(now, *for_ms)?;
                self.loss_percent = *percent;
                self.loss_until = until.filter(|_| *percent > 0.0);
            }
            LinkCommand::Clear => {
                self.cuts.clear();
                self.end_delay();
                self.end_loss();
            }
        }
        Ok(())
    }

    /// Ends what has reached its end. Says what ended, for the log.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let mut ended = Vec::new();
        if over(self.partition_until) {
            self.heal();
            ended.push("the partition".to_owned());
        }
        let (gone, kept) = self.cuts.drain(..).partition(|cut| over(cut.until));
        self.cuts = kept;
        for cut in &gone {
            let Cut { from, to, .. } = cut;
            ended.push(format!("the cut from {} to {}", self.name(*from), self.name(*to)));
        }
        if over(self.delay_until) {
            self.end_delay();
            ended.push("the delay".to_owned());
        }
        if over(self.loss_until) {
            self.end_loss();
            ended.push("the loss".to_owned());
        }
        ended
    }

    /// When [`Faults::expire`] has something to do next.
    pub fn next_end(&self) -> Option<Instant> {
        let single = [self.partition_until, self.delay_until, self.loss_until];
        single.into_iter().chain(self.cuts.iter().map(|cut| cut.until)).flatten().min()
    }

    /// The groups of the partition by name; one group without a partition. And when it heals by itself, in
    /// milliseconds.
    pub fn show_partition(&self, now: Instant) -> (Vec<Vec<String>>, Option<u64>) {
        let mut groups = vec![Vec::new(); self.group_of.iter().max().map_or(0, |last| last + 1)];
        for (member, group) in self.members.iter().zip(&self.group_of) {
            groups[*group].push(member.clone());
        }
        (groups, left(self.partition_until, now))
    }

    /// Cuts, delay and loss.
    pub fn show_link(&self, now: Instant) -> LinkReply {
        let mut cuts: Vec<_> = self
            .cuts
            .iter()
            .map(|cut| LinkCut {
                from: self.name(cut.from).to_owned(),
                to: self.name(cut.to).to_owned(),
                heals_in_ms: left(cut.until, now),
            })
            .collect();
        cuts.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        LinkReply {
            cuts,
            delay_ms: self.delay_ms,
            delay_ends_in_ms: left(self.delay_until, now),
            loss_percent: self.loss_percent,
            loss_ends_in_ms: left(self.loss_until, now),
        }
    }

    fn is_partitioned(&self) -> bool {
        self.group_of.iter().any(|group| *group != 0)
    }

    fn heal(&mut self) {
        self.group_of.fill(0);
        self.partition_until = None;
    }

    fn end_delay(&mut self) {
        self.delay_ms = (0, 0);
        self.delay_until = None;
    }

    fn end_loss(&mut self) {
        self.loss_percent = 0.0;
        self.loss_until = None;
    }

    fn cut(&mut self, from: u8, to: u8, until: Option<Instant>) {
        self.cuts.retain(|cut| (cut.from, cut.to) != (from, to));
        self.cuts.push(Cut { from, to, until });
    }

    fn name(&self, member: u8) -> &str {
        self.members.get(usize::from(member)).map_or("?", String::as_str)
    }

    fn pair(&self, a: &str, b: &str) -> Result<(u8, u8), FaultError> {
        let place = |name: &str| {
            let found = self.members.iter().position(|member| member == name);
            found.and_then(|place| u8::try_from(place).ok()).ok_or_else(|| {
                FaultError(format!("there is no member \"{name}\": the members are {}", self.members.join(", ")))
            })
        };
        let pair = (place(a)?, place(b)?);
        if pair.0 == pair.1 {
            return Err(FaultError(format!("{a} has no link to itself: name two members")));
        }
        Ok(pair)
    }
}

fn end(now: Instant, for_ms: Option<u64>) -> Result<Option<Instant>, FaultError> {
    match for_ms {
        None => Ok(None),
        Some(ms @ 1..=FOR_MS_MAX) => Ok(Some(now + Duration::from_millis(ms))),
        Some(ms) => Err(FaultError(format!("a fault cannot last {ms} ms: give 1 ms to 30 days"))),
    }
}

/// Milliseconds from now, rounded up, so that what has not ended is never shown as 0.
fn left(until: Option<Instant>, now: Instant) -> Option<u64> {
    let left = until?.saturating_duration_since(now);
    Some(u64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
