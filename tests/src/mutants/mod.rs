//! The mutation suite: bugs that real systems shipped are planted one at a time (`raftbank-planted`), and our own checks
//! have to catch each of them.
//!
//! `bin/mutants.rs` is built like everything else. It builds `bin/hunt.rs` with the bugs compiled in, into a folder of
//! its own, and starts it once for each bug: so a bug that hangs or aborts harms nobody else.
//! [`hunters`] are the checks, [`table`] says who hunts what, [`suite`] is the run of all.

mod checks;
pub mod hunters;
pub mod suite;
pub mod table;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Longest violation in the table, in characters.
const LINE_MAX: usize = 240;

/// A way to look for bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hunter {
    /// The simulator of whole banks, seed after seed.
    Bank,
    /// Scenes of the simulator of the consensus core whose outcome is known.
    Scenes,
    /// The simulator of the consensus core, seed after seed.
    Core,
    /// Directed checks of the ledger.
    Ledger,
    /// Scenes of whole nodes, instant and without chance.
    Node,
    /// Real nodes on disks whose power is cut. Needs root; not part of the control run.
    PowerCut,
    /// Directed checks of the relay's partitions.
    Relay,
    /// Crashes, damage and verification of stores.
    Store,
}

impl Hunter {
    /// All that the control run uses.
    pub const ALL: [Self; 7] =
        [Self::Ledger, Self::Relay, Self::Store, Self::Node, Self::Scenes, Self::Core, Self::Bank];

    /// The hunter of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::PowerCut]).find(|hunter| hunter.name() == name)
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Scenes => "scenes",
            Self::Core => "core",
            Self::Ledger => "ledger",
            Self::Node => "node",
            Self::PowerCut => "powercut",
            Self::Relay => "relay",
            Self::Store => "store",
        }
    }
}

/// How long a hunter may look.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Wall clock.
    pub seconds: u64,
    /// Seeds or scenes.
    pub seeds: u64,
}

/// What a child reports, as one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The first line of the violation, if one was found.
    pub caught: Option<String>,
    /// Who looked last: who caught it, if anyone did.
    pub by: String,
    /// Seeds or scenes that this one looked at.
    pub seeds: u64,
    /// Seconds that all took.
    pub seconds: f64,
}

/// Lets these hunters look one after the other, until one finds something.
pub fn hunt(hunters: &[Hunter], limits: Limits) -> Verdict {
    let began = Instant::now();
    let mut verdict = Verdict::default();
    for hunter in hunters {
        let (seeds, caught) = hunters::look(*hunter, limits);
        let caught = caught.map(|text| first_line(&text));
        verdict = Verdict { caught, by: hunter.name().to_owned(), seeds, seconds: 0.0 };
        if verdict.caught.is_some() {
            break;
        }
    }
    verdict.seconds = began.elapsed().as_secs_f64();
    verdict
}

/// As much of it as fits beside the rest of the table.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("?");
    if line.chars().count() <= LINE_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_MAX - 1).chain(['…']).collect()
}

impl Limits {
    /// Runs `check` with 0, 1, 2, … until it says what is wrong or the limits are reached. Returns how often, and that.
    pub(crate) fn each(self, mut check: impl FnMut(u64) -> Option<String>) -> (u64, Option<String>) {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut seed = 0;
        while seed < self.seeds && Instant::now() < end {
            seed += 1;
            if let Some(wrong) = check(seed - 1) {
                return (seed, Some(wrong));
            }
        }
        (seed, None)
    }
}
