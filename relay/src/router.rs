//! Where messages wait and where they go. No I/O: connections hand messages in; time is handed in.
//!
//! Each connected member has one bounded queue, which its connection writes out. Delayed messages wait apart, ordered
//! by the moment at which they go on, bounded per destination as well. What does not fit is dropped and counted: to the
//! nodes the relay is a network, and networks lose messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use raftbank_wire::api::{ApiReply, LinkCommand, PartitionCommand, RelayCounters, RelayMember};
use raftbank_wire::control::{self, Control};
use raftbank_wire::frame::Frame;
use raftbank_wire::queue::{Queue, Rejected};
use rand::SeedableRng;
use rand::rngs::{SysError, SysRng};
use rand_chacha::ChaCha8Rng;

use crate::faults::{Fate, FaultError, Faults, Reason};

/// Most messages that wait for one destination, and as many again that are delayed on their way to it.
pub const QUEUE_MESSAGES_MAX: usize = 16_384;
/// Most bytes that wait for one destination, and as many again that are delayed on their way to it.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Length and tag of a frame.
const TAGGED_HEAD_BYTES: usize = 5;
/// Most words about peers on top of a full queue; a member that reads nothing for so long is disconnected.
const CHANGES_MAX: usize = 256;

/// A connected member.
#[derive(Debug)]
struct Link {
    session: u64,
    software: String,
    queue: Arc<Queue>,
}

/// Messages and bytes that wait for one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    messages: usize,
    bytes: usize,
}

impl Load {
    fn has_room(self, bytes: usize) -> bool {
        self.messages < QUEUE_MESSAGES_MAX && self.bytes + bytes <= QUEUE_BYTES_MAX
    }

    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes -= bytes;
    }
}

/// A delayed message.
#[derive(Debug)]
struct Held {
    from: u8,
    to: u8,
    payload: Vec<u8>,
}

/// The relay's heart.
#[derive(Debug)]
pub struct Router {
    members: Vec<String>,
    links: Vec<Option<Link>>,
    faults: Faults,
    pub(crate) chance: ChaCha8Rng,
    /// By the moment at which it goes on; the number keeps equal moments apart.
    held: BTreeMap<(Instant, u64), Held>,
    held_load: Vec<Load>,
    held_count: u64,
    sessions: u64,
    counters: RelayCounters,
    /// Log every message.
    pub log_messages: bool,
}

impl Router {
    /// For these members, without faults.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn new(members: Vec<String>, log_messages: bool) -> Result<Self, SysError> {
        Ok(Self {
            links: members.iter().map(|_| None).collect(),
            faults: Faults::none(members.clone()),
            chance: ChaCha8Rng::try_from_rng(&mut SysRng)?,
            held: BTreeMap::new(),
            held_load: vec![Load::default(); members.len()],
            held_count: 0,
            sessions: 0,
            counters: RelayCounters::default(),
            log_messages,
            members,
        })
    }

    /// A member's place by its name.
    pub fn place(&self, name: &str) -> Option<u8> {
        self.members.iter().position(|member| member == name).and_then(|place| u8::try_from(place).ok())
    }

    /// A member's name by its place.
    pub fn name(&self, place: u8) -> &str {
        self.members.get(usize::from(place)).map_or("?", String::as_str)
    }

    /// All members.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// Who is connected.
    pub fn connected(&self) -> Vec<u8> {
        let places = self.links.iter().enumerate().filter(|(_, link)| link.is_some());
        places.filter_map(|(place, _)| u8::try_from(place).ok()).collect()
    }

    /// The session of a member's connection, if it has one.
    pub fn session(&self, member: u8) -> Option<u64> {
        self.link(member).map(|link| link.session)
    }

    /// Connects a member; a connection that it had is closed. Returns the session and the queue to be written out: it
    /// is closed when the session has ended.
    pub fn connect(&mut self, member: u8, software: String) -> (u64, Arc<Queue>) {
        if let Some(old) = self.session(member) {
            self.disconnect(member, old);
        }
        self.sessions += 1;
        let (session, queue) = (self.sessions, Queue::new(QUEUE_MESSAGES_MAX, QUEUE_BYTES_MAX));
        if let Some(slot) = self.links.get_mut(usize::from(member)) {
            *slot = Some(Link { session, software, queue: Arc::clone(&queue) });
        }
        self.tell(member, Control::LinkUp(member));
        (session, queue)
    }

    /// Ends a session. What waits for it, or is delayed on its way to it, is dropped. False: it had ended before.
    pub fn disconnect(&mut self, member: u8, session: u64) -> bool {
        if self.session(member) != Some(session) {
            return false;
        }
        if let Some(link) = self.links.get_mut(usize::from(member)).and_then(Option::take) {
            link.queue.close();
            self.purge_queue(member, &link.queue, |_| Some(Reason::Absent));
            link.queue.discard();
        }
        self.purge_held(|held| (held.to == member).then_some(Reason::Absent));
        self.tell(member, Control::LinkDown(member));
        true
    }

    /// Asks a member's connection for a sign of life.
    pub fn ping(&self, member: u8) {
        if let Some(link) = self.link(member)
            && link.queue.len() < QUEUE_MESSAGES_MAX + CHANGES_MAX
        {
            // Closed: the session is about to end, which answers the question.
            let _ = link.queue.push_over(Control::Ping.frame());
        }
    }

    /// A member's connection has read a message.
    pub fn route(&mut self, now: Instant, from: u8, to: u8, payload: Vec<u8>) {
        // Faults that have ended must not touch it, whether or not their timer has fired yet.
        self.advance(now);
        let bytes = payload.len();
        if from == to || self.link(to).is_none() {
            return self.dropped(from, to, bytes, Reason::Absent);
        }
        match self.faults.judge(from, to, &mut self.chance) {
            Fate::Drop(reason) => self.dropped(from, to, bytes, reason),
            Fate::Forward => self.enqueue(from, to, payload),
            Fate::Delay(delay) => {
                let load = &mut self.held_load[usize::from(to)];
                if !load.has_room(bytes) {
                    return self.dropped(from, to, bytes, Reason::Overflow);
                }
                load.add(bytes);
                self.log(from, to, bytes, || format!("delayed by {delay:?}"));
                self.held_count += 1;
                self.held.insert((now + delay, self.held_count), Held { from, to, payload });
            }
        }
    }

    /// Does what time brings: faults end, delayed messages go on.
    pub fn advance(&mut self, now: Instant) {
        for ended in self.faults.expire(now) {
            tracing::info!("{ended} has ended by itself");
        }
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let Held { from, to, payload } = entry.remove();
            self.held_load[usize::from(to)].remove(payload.len());
            self.enqueue(from, to, payload);
        }
    }

    /// When [`Router::advance`] has something to do next.
    pub fn next_moment(&self) -> Option<Instant> {
        let held = self.held.first_key_value().map(|((moment, _), _)| *moment);
        held.into_iter().chain(self.faults.next_end()).min()
    }

    /// Carries a command out. What waits and may no longer pass is dropped.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn partition(&mut self, command: &PartitionCommand, now: Instant) -> Result<ApiReply, FaultError> {
        self.advance(now);
        self.faults.partition(command, now)?;
        if !planted!(PartitionLeaks) {
            self.purge();
        }
        let (groups, heals_in_ms) = self.faults.show_partition(now);
        if *command != PartitionCommand::Show {
            let shown: Vec<_> = groups.iter().map(|group| group.join(",")).collect();
            tracing::info!(heals_in_ms, "partition: {}", shown.join("/"));
        }
        Ok(ApiReply::Partition { groups, heals_in_ms })
    }

    /// Carries a command out. What waits and may no longer pass is dropped; what is delayed keeps its delay.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn link_faults(&mut self, command: &LinkCommand, now: Instant) -> Result<ApiReply, FaultError> {
        self.advance(now);
        self.faults.link(command, now)?;
        self.purge();
        let reply = self.faults.show_link(now);
        if *command != LinkCommand::Show {
            let cuts: Vec<_> = reply.cuts.iter().map(|cut| format!("{}->{}", cut.from, cut.to)).collect();
            let (min, max) = reply.delay_ms;
            tracing::info!("links: cut [{}], delay {min}..{max} ms, loss {} %", cuts.join(" "), reply.loss_percent);
        }
        Ok(ApiReply::Link(reply))
    }

    /// A partition, a cut, a delay or a loss is set.
    pub fn has_faults(&self) -> bool {
        self.faults.any()
    }

    /// All that [`Self::summary`] is made of: a bit for each member that is connected, and whether faults are set.
    pub fn gist(&self) -> (u128, bool) {
        let bits = self.links.iter().rev().fold(0, |bits, link| (bits << 1) | u128::from(link.is_some()));
        (bits, self.has_faults())
    }

    /// Who is connected and whether faults are set, as in `n1, n3 of 3 members connected; faults are set`.
    pub fn summary(&self) -> String {
        let names: Vec<&str> = self.connected().into_iter().map(|place| self.name(place)).collect();
        let members = self.members.len();
        let connected = match names.len() {
            0 => format!("no member of {members} connected"),
            count if count == members => format!("all {members} members connected"),
            _ => format!("{} of {members} members connected", names.join(", ")),
        };
        let faults = if self.has_faults() { "; faults are set (bankctl partition show, link show)" } else { "" };
        connected + faults
    }

    /// What has been carried and dropped.
    pub fn counters(&self) -> RelayCounters {
        RelayCounters { delayed_now: self.held.len() as u64, ..self.counters }
    }

    /// All members as `status` shows them.
    pub fn shown_members(&self) -> Vec<RelayMember> {
        let shown = self.members.iter().zip(&self.links).map(|(id, link)| RelayMember {
            id: id.clone(),
            connected: link.is_some(),
            software: link.as_ref().map(|link| link.software.clone()).unwrap_or_default(),
            queued: link.as_ref().map_or(0, |link| link.queue.len() as u64),
        });
        shown.collect()
    }

    fn link(&self, member: u8) -> Option<&Link> {
        self.links.get(usize::from(member))?.as_ref()
    }

    fn enqueue(&mut self, from: u8, to: u8, payload: Vec<u8>) {
        let bytes = payload.len();
        let pushed = match self.link(to) {
            Some(link) => link.queue.push(Frame::tagged(from, payload)),
            None => Err(Rejected::Closed),
        };
        match pushed {
            Ok(()) => {
                self.counters.forwarded += 1;
                self.counters.forwarded_bytes += bytes as u64;
                self.log(from, to, bytes, || "forwarded".to_owned());
            }
            Err(Rejected::Full) => self.dropped(from, to, bytes, Reason::Overflow),
            Err(Rejected::Closed) => self.dropped(from, to, bytes, Reason::Absent),
        }
    }

    /// Tells all others about a member.
    fn tell(&self, about: u8, change: Control) {
        for (place, link) in self.links.iter().enumerate() {
            let Some(link) = link else { continue };
            if place == usize::from(about) {
                continue;
            }
            if link.queue.len() >= QUEUE_MESSAGES_MAX + CHANGES_MAX {
                // The connection finds its queue closed and ends the session.
                link.queue.discard();
            }
            // Closed: the session is about to end, and the next one begins with a list of who is connected.
            let _ = link.queue.push_over(change.frame());
        }
    }

    /// Drops what waits in a queue or is delayed and may no longer pass.
    fn purge(&mut self) {
        let faults = std::mem::replace(&mut self.faults, Faults::none(Vec::new()));
        for to in self.connected() {
            if let Some(queue) = self.link(to).map(|link| Arc::clone(&link.queue)) {
                self.purge_queue(to, &queue, |from| faults.blocks(from, to));
            }
        }
        self.purge_held(|held| faults.blocks(held.from, held.to));
        self.faults = faults;
    }

    /// Drops the messages in a queue for whose sender `drops` gives a reason.
    fn purge_queue(&mut self, to: u8, queue: &Queue, drops: impl Fn(u8) -> Option<Reason>) {
        let mut gone = Vec::new();
        queue.retain(|frame| {
            let from = frame.tag();
            let reason = if from == control::TAG { None } else { drops(from) };
            gone.extend(reason.map(|reason| (from, frame.wire_bytes(), reason)));
            reason.is_none()
        });
        for (from, wire_bytes, reason) in gone {
            let bytes = wire_bytes.saturating_sub(TAGGED_HEAD_BYTES);
            // It was counted as forwarded when it was queued, and has not been after all.
            self.counters.forwarded -= 1;
            self.counters.forwarded_bytes -= bytes as u64;
            self.dropped(from, to, bytes, reason);
        }
    }

    fn purge_held(&mut self, drops: impl Fn(&Held) -> Option<Reason>) {
        let doomed: Vec<_> = self.held.iter().filter_map(|(key, held)| Some((*key, drops(held)?))).collect();
        for (key, reason) in doomed {
            if let Some(held) = self.held.remove(&key) {
                self.held_load[usize::from(held.to)].remove(held.payload.len());
                self.dropped(held.from, held.to, held.payload.len(), reason);
            }
        }
    }

    fn dropped(&mut self, from: u8, to: u8, bytes: usize, reason: Reason) {
        let counter = match reason {
            Reason::Partition => &mut self.counters.dropped_partition,
            Reason::Cut => &mut self.counters.dropped_cut,
            Reason::Loss => &mut self.counters.dropped_loss,
            Reason::Overflow => &mut self.counters.dropped_overflow,
            Reason::Absent => &mut self.counters.dropped_absent,
        };
        *counter += 1;
        self.log(from, to, bytes, || format!("dropped: {}", reason.as_str()));
    }

    fn log(&self, from: u8, to: u8, bytes: usize, fate: impl FnOnce() -> String) {
        if self.log_messages {
            tracing::info!(target: "raftbank_relayd::messages", "{} -> {}, {bytes} bytes: {}", self.name(from),
                self.name(to), fate());
        }
    }
}

#[cfg(test)]
mod tests;
