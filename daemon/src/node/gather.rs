//! Waiting a moment for clients that were answered just now: those that have one request under way each ask again as soon
//! as they can, and a block that waits for them serves all with one sync. Without that, those who have just been answered
//! and those who wait would take turns, in blocks of half the size.
//!
//! Not all clients come back: some are done, and some ask when they please. So a turn ends as soon as nobody has come
//! between two looks. Then at most as many are waited for as came back this time; every [`TRY_EVERY`]th turn waits for all
//! of them again.

/// What [`NodeConfig::gather_calls_min`](super::NodeConfig) should be: one client alone shares a block with nobody.
pub const GATHER_CALLS_MIN: usize = 2;

/// A share is counted in so many parts of the whole.
const ALL: usize = 16;
/// Most looks in a turn: whoever comes only in time to be seen by the next one must not hold up the others for ever.
const LOOKS_MAX: u32 = 3;
/// Turns from one that waits for everybody in vain to the next that does.
const TRY_EVERY: u32 = 8;

/// What is known of the clients, and the turn under way.
#[derive(Debug)]
pub(super) struct Gathering {
    turn: Option<Turn>,
    next: u64,
    /// So many of [`ALL`] clients that were answered are waited for.
    share: usize,
    /// Calls of [`Gathering::begin`] since somebody was waited for in vain.
    since: u32,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    number: u64,
    /// Clients that were answered.
    answered: usize,
    /// Calls that waited when it began.
    waiting: usize,
    /// It is over when so many wait.
    enough: usize,
    /// Calls that waited at the last look.
    seen: usize,
    looks: u32,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { turn: None, next: 1, share: ALL, since: 0 }
    }
}

impl Gathering {
    /// So many clients were answered, and so many calls wait, of which `max` can share a block. Returns the turn that
    /// begins, if one does.
    pub(super) fn begin(&mut self, answered: usize, waiting: usize, max: usize) -> Option<u64> {
        if self.share < ALL {
            self.since += 1;
            if self.since == TRY_EVERY {
                self.share = ALL;
            }
        }
        let enough = (waiting + (answered * self.share).div_ceil(ALL)).min(max);
        if enough <= waiting {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.turn = Some(Turn { number, answered, waiting, enough, seen: waiting, looks: 0 });
        Some(number)
    }

    /// The turn under way.
    pub(super) fn turn(&self) -> Option<u64> {
        self.turn.map(|turn| turn.number)
    }

    /// Whether the next block waits for more calls than these.
    pub(super) fn waits(&self, waiting: usize) -> bool {
        self.turn.is_some_and(|turn| waiting < turn.enough)
    }

    /// A block is made of what waits, or this node leads no more.
    pub(super) fn end(&mut self) {
        self.turn = None;
    }

    /// A moment of this turn is over, and so many calls wait. True: some have come meanwhile, and there is to be another
    /// look. Nothing happens if another turn is under way.
    pub(super) fn look(&mut self, number: u64, waiting: usize) -> bool {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.number == number) else { return false };
        turn.looks += 1;
        let more = waiting > turn.seen && turn.looks < LOOKS_MAX;
        if more {
            turn.seen = waiting;
        } else {
            let came = waiting.saturating_sub(turn.waiting);
            self.share = (came * ALL / turn.answered.max(1)).min(ALL);
            self.since = 0;
            self.turn = None;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::{Gathering, LOOKS_MAX, TRY_EVERY};

    const MAX: usize = 1_000;

    #[test]
    fn everybody_is_waited_for_as_long_as_some_come() {
        let mut gathering = Gathering::default();
        let turn = gathering.begin(10, 3, MAX).expect("a turn");
        assert!(gathering.waits(12) && !gathering.waits(13));
        gathering.end();
        assert!(!gathering.waits(0));
        let next = gathering.begin(10, 3, MAX).expect("a turn");
        assert_ne!(turn, next);
        assert!(!gathering.look(turn, 5), "another turn is under way");
        assert!(gathering.look(next, 5) && gathering.waits(5), "two have come");
        assert!(!gathering.look(next, 5) && !gathering.waits(5), "nobody has come");
    }

    #[test]
    fn no_turn_lasts_for_ever() {
        let mut gathering = Gathering::default();
        let turn = gathering.begin(MAX, 0, MAX).expect("a turn");
        let looks = (1..).take_while(|waiting| gathering.look(turn, *waiting)).count();
        assert_eq!(looks, LOOKS_MAX as usize - 1);
        assert_eq!(gathering.turn(), None);
    }

    #[test]
    fn a_block_holds_no_more() {
        let mut gathering = Gathering::default();
        gathering.begin(10, 95, 100).expect("a turn");
        assert!(gathering.waits(99) && !gathering.waits(100));
        assert_eq!(Gathering::default().begin(10, 100, 100), None);
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_seldom() {
        let mut gathering = Gathering::default();
        let mut turn = gathering.begin(64, 0, MAX).expect("a turn");
        // 60 of 64 come, again and again.
        for _ in 0..3 {
            assert!(gathering.look(turn, 60) && !gathering.look(turn, 60));
            for _ in 1..TRY_EVERY {
                gathering.begin(64, 0, MAX).expect("a turn");
                assert!(gathering.waits(59) && !gathering.waits(60));
                gathering.end();
            }
            turn = gathering.begin(64, 0, MAX).expect("a turn");
            assert!(gathering.waits(63) && !gathering.waits(64), "all of them once more");
        }
        // Nobody comes.
        assert!(!gathering.look(turn, 0));
        for _ in 1..TRY_EVERY {
            assert_eq!(gathering.begin(64, 7, MAX), None);
        }
        gathering.begin(64, 7, MAX).expect("a turn");
        assert!(gathering.waits(70) && !gathering.waits(71));
        // All do now, and from then on all are waited for.
        gathering.end();
        for _ in 0..2 * TRY_EVERY {
            gathering.begin(64, 0, MAX).expect("a turn");
            assert!(gathering.waits(63));
            gathering.end();
        }
    }
}
