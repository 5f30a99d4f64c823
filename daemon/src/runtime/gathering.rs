//! When the loop has to look at the turn for which the node's next block waits ([`Action::Gather`](crate::node::Action)).

use std::time::{Duration, Instant};

/// Between two looks. A client that was answered asks again in a fraction of it where nothing else runs, so some of many do
/// in any case; who needs longer is not waited for. Three looks are the most (`node/gather.rs`).
pub const GAP: Duration = Duration::from_micros(700);

/// The next look. Only the newest turn is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gathering(Option<(u64, Instant)>);

impl Gathering {
    /// The node asks for a look at this turn.
    pub fn ask(&mut self, turn: u64, now: Instant) {
        self.0 = Some((turn, now + GAP));
    }

    /// When the loop has to wake up for it. `turn` is the node's: for one that has ended it does not.
    pub fn due(&mut self, turn: Option<u64>) -> Option<Instant> {
        self.0 = self.0.filter(|(asked, _)| turn == Some(*asked));
        self.0.map(|(_, at)| at)
    }

    /// The turn to look at now. Each request is answered once.
    pub fn take_due(&mut self, now: Instant) -> Option<u64> {
        self.0.take_if(|(_, at)| *at <= now).map(|(turn, _)| turn)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{GAP, Gathering};

    #[test]
    fn the_newest_turn_is_looked_at_once_and_in_time() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert_eq!((gathering.due(None), gathering.take_due(now)), (None, None));
        gathering.ask(1, now);
        gathering.ask(2, now + GAP / 2);
        let at = now + GAP / 2 + GAP;
        assert_eq!(gathering.due(Some(2)), Some(at));
        assert_eq!(gathering.take_due(at - Duration::from_nanos(1)), None);
        assert_eq!(gathering.take_due(at), Some(2));
        assert_eq!((gathering.due(Some(2)), gathering.take_due(at)), (None, None));
    }

    #[test]
    fn nobody_is_woken_for_a_turn_that_has_ended() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        for turn in [None, Some(2)] {
            gathering.ask(1, now);
            assert_eq!(gathering.due(turn), None);
            assert_eq!(gathering.take_due(now + GAP), None);
        }
    }
}
