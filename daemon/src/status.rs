//! What the supervisor is told: ready, one line of status, stopping. Without a supervisor nothing happens.

use std::time::{Duration, Instant};

use raftbank_consensus::{NodeId, Role, Term};
use raftbank_ledger::NodeName;
use raftbank_service::notify;

use crate::node::Node;
use crate::runtime::notices::name;

/// A node that finds no leader for this long is ready all the same: it runs, and waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// What changes with every block is told at most this often.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// What of a node its status line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its part in the term.
    pub role: Role,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// That leader serves.
    pub serving: bool,
    /// What keeps the node from its full duty, as `status` spells it.
    pub condition: Option<&'static str>,
    /// The term.
    pub term: Term,
    /// The last block.
    pub height: u64,
}

impl Picture {
    /// As things are now.
    pub fn of(node: &Node) -> Self {
        let (role, leader, term) = node.role();
        let (serving, condition, height) = (node.has_leader(), node.condition(), node.state().tip().height);
        Self { role, leader, serving, condition, term, height }
    }

    /// Differs in what an operator waits for.
    fn turned(&self, other: &Self) -> bool {
        (self.role, self.leader, self.serving, self.condition)
            != (other.role, other.leader, other.serving, other.condition)
    }

    /// As in `follower of n2, term 7, height 1,204`.
    fn line(&self, names: &[NodeName]) -> String {
        let part = match (self.role, self.leader) {
            (Role::Leader, _) if self.serving => "leader".to_owned(),
            (Role::Leader, _) => "about to lead".to_owned(),
            (_, Some(leader)) if self.serving => format!("follower of {}", name(names, leader)),
            (_, Some(leader)) => format!("{} is about to lead", name(names, leader)),
            (Role::Candidate, None) => "candidate, waiting for a leader".to_owned(),
            (Role::Follower, None) => "waiting for a leader".to_owned(),
        };
        let part = match self.condition {
            None => part,
            Some("rejoining") => format!("rejoining, without a vote until it has caught up; {part}"),
            Some("clock_skew") => {
                format!("clock_skew: this clock is more than 10 s from the others', it will not lead; {part}")
            }
            Some("no_relay") => format!("{part} (relay not connected)"),
            Some(other) => format!("{other}; {part}"),
        };
        format!("{part}, term {}, height {}", grouped(self.term), grouped(self.height))
    }
}

/// The supervisor's picture of this node.
pub struct Status {
    started: Instant,
    /// The supervisor has heard that the node is ready.
    ready: bool,
    /// When it was told so last.
    tried: Option<Instant>,
    stopping: bool,
    /// Why the relay does not let this node in.
    refused: Option<String>,
    shown: Option<(Picture, Instant)>,
}

impl Status {
    /// Nothing has been told yet. `started` is when the node began to look for a leader.
    pub fn new(started: Instant) -> Self {
        Self { started, ready: false, tried: None, stopping: false, refused: None, shown: None }
    }

    /// Tells what has changed. Ready is told with the first leader that serves, or after a while without, together with the
    /// line that says so, until the supervisor has heard it.
    pub fn node(&mut self, picture: &Picture, names: &[NodeName]) {
        self.tell(picture, names, Instant::now(), notify::ready, notify::status);
    }

    fn tell(
        &mut self,
        picture: &Picture,
        names: &[NodeName],
        now: Instant,
        mut say_ready: impl FnMut(&str) -> bool,
        mut say_status: impl FnMut(&str),
    ) {
        let is_due = picture.serving || self.tried.is_some() || now.duration_since(self.started) >= PATIENCE;
        let ready = !self.ready && is_due;
        let wait = ready && self.tried.is_some_and(|tried| now.duration_since(tried) < notify::READY_AGAIN);
        if self.stopping || wait || !(ready || self.is_news(picture, now)) {
            return;
        }
        let mut line = picture.line(names);
        if let Some(message) = &self.refused {
            line = format!("refused by the relay: {message}; {line}");
        }
        if ready {
            if !picture.serving && self.tried.is_none() {
                tracing::warn!("no leader yet; waiting for one (is the relay up, and a majority of the nodes?)");
            }
            self.ready = say_ready(&line);
            self.tried = Some(now);
        } else {
            say_status(&line);
        }
        self.shown = Some((picture.clone(), now));
    }

    /// True if this has to be told now.
    fn is_news(&self, picture: &Picture, now: Instant) -> bool {
        match &self.shown {
            None => true,
            Some((shown, at)) => {
                picture.turned(shown) || (picture != shown && now.duration_since(*at) >= REFRESH_EVERY)
            }
        }
    }

    /// The relay does not let this node in.
    pub fn refused(&mut self, message: &str) {
        if self.refused.as_deref() != Some(message) {
            self.refused = Some(message.to_owned());
            self.shown = None;
        }
    }

    /// The relay has let this node in.
    pub fn admitted(&mut self) {
        if self.refused.take().is_some() {
            self.shown = None;
        }
    }

    /// The node was asked to stop.
    pub fn stopping(&mut self) {
        if !self.stopping {
            self.stopping = true;
            notify::stopping();
        }
    }
}

/// A number with its thousands apart, as in `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use raftbank_consensus::{NodeId, Role};
    use raftbank_ledger::NodeName;

    use super::{Picture, Status, grouped};

    fn names() -> Vec<NodeName> {
        ["n1", "n2", "n3"].map(|name| NodeName::parse(name).expect("valid")).to_vec()
    }

    fn picture(role: Role, leader: Option<u8>, condition: Option<&'static str>) -> Picture {
        let leader = leader.map(NodeId);
        Picture { role, leader, serving: leader.is_some(), condition, term: 7, height: 1_204 }
    }

    #[test]
    fn a_line_names_role_leader_term_height_and_what_is_wrong() {
        for (shown, line) in [
            (picture(Role::Follower, Some(1), None), "follower of n2, term 7, height 1,204"),
            (picture(Role::Leader, Some(0), None), "leader, term 7, height 1,204"),
            (
                picture(Role::Follower, None, Some("no_relay")),
                "waiting for a leader (relay not connected), term 7, height 1,204",
            ),
            (
                picture(Role::Follower, Some(1), Some("rejoining")),
                "rejoining, without a vote until it has caught up; follower of n2, term 7, height 1,204",
            ),
        ] {
            assert_eq!(shown.line(&names()), line);
        }
        let skewed = picture(Role::Follower, Some(1), Some("clock_skew")).line(&names());
        assert!(skewed.starts_with("clock_skew: ") && skewed.ends_with("follower of n2, term 7, height 1,204"));
        assert!(picture(Role::Follower, None, Some("of_later")).line(&names()).starts_with("of_later; "));
    }

    #[test]
    fn turns_are_told_at_once_and_blocks_once_a_second() {
        let mut status = Status::new(Instant::now());
        let (follower, now) = (picture(Role::Follower, Some(1), None), Instant::now());
        assert!(status.is_news(&follower, now));
        status.shown = Some((follower.clone(), now));
        assert!(!status.is_news(&follower, now + Duration::from_secs(60)));
        let higher = Picture { height: 1_205, ..follower.clone() };
        assert!(!status.is_news(&higher, now + Duration::from_millis(999)));
        assert!(status.is_news(&higher, now + Duration::from_secs(1)));
        let skewed = Picture { condition: Some("clock_skew"), ..follower };
        assert!(status.is_news(&skewed, now));
        status.refused("another cluster");
        assert!(status.shown.is_none());
    }

    #[test]
    fn ready_is_said_again_until_the_supervisor_has_heard_it() {
        let start = Instant::now();
        let mut status = Status::new(start);
        let (serving, alone) = (picture(Role::Follower, Some(1), None), picture(Role::Follower, None, None));
        let mut said = Vec::new();
        // A leader for a moment, then none; the supervisor hears nothing before 950 ms.
        for ms in (0..2_000).step_by(10) {
            let (now, shown) = (start + Duration::from_millis(ms), if ms == 0 { &serving } else { &alone });
            status.tell(
                shown,
                &names(),
                now,
                |_| {
                    said.push(ms);
                    ms >= 950
                },
                |_| (),
            );
        }
        assert_eq!(said, [0, 200, 400, 600, 800, 1_000]);
    }

    #[test]
    fn thousands_are_apart() {
        let shown = [0, 12, 999, 1_000, 123_456, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
    }
}
