//! What must be true after a run, for simulated and real clusters alike: the chain against all that clients were told.
//!
//! The chain is the witness of the order, so nothing has to be searched:
//! - replaying it, with the shipping verifier and with an independent [model](model::Model), gives every outcome and
//!   every balance; money is conserved after each block;
//! - each acknowledged request stands in it once, at the place and with the outcome that was told; each unknown one at
//!   most once; a request that was called not executed, never;
//! - real time: what was known before something else was asked stands before it, reads included;
//! - a view (a read, linearizable or local, or what a watcher sees) shows exactly what the chain gives at its height.

pub mod cluster;
mod model;

use std::collections::BTreeMap;

use raftbank_ledger::{Block, Verifier};

pub use self::cluster::{blocks, check, verify};
pub use self::model::Model;

/// A moment of a run: nanoseconds of a clock that all clients share.
pub type Moment = u64;
/// A position in the order of everything: height, and place in the block. A read of height H stands behind block H.
type Place = (u64, u32);

/// A rule that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// Breaks a rule.
macro_rules! violated {
    ($($text:tt)*) => { return Err(Violation(format!($($text)*))) };
}

/// What is known about one request in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stands in the chain, at this place.
    Acknowledged {
        /// Height of the block.
        height: u64,
        /// Place in the block.
        index: u32,
        /// `committed`, or the code of the refusal.
        outcome: String,
        /// Told on asking again.
        duplicate: bool,
    },
    /// Not executed, and it never will be.
    NotExecuted,
    /// Nobody could say.
    Unknown,
    /// An answer that must not happen.
    Surprise(String),
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its id.
    pub id: String,
    /// Before it was sent for the first time.
    pub sent: Moment,
    /// After its fate was known.
    pub known: Moment,
    /// How often it was sent.
    pub tries: u32,
    /// What became of it.
    pub fate: Fate,
}

impl Attempt {
    /// Its outcome is known.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.fate, Fate::Acknowledged { .. })
    }
}

/// What a client was shown of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A balance; `None`: there is no such account.
    Balance(String, Option<i128>),
    /// A balance, and what is held of it.
    Funds(String, i128, i128),
    /// All balances.
    Accounts(Vec<(String, i128)>),
    /// A value; `None`: there is no such key.
    Value(Vec<u8>, Option<Vec<u8>>),
}

/// One answer to a read.
#[derive(Clone, Debug)]
pub struct View {
    /// Which node answered, for messages.
    pub node: usize,
    /// Before it was asked.
    pub sent: Moment,
    /// After it was answered.
    pub known: Moment,
    /// Linearizable; otherwise the state of one node, which may be old.
    pub linearizable: bool,
    /// The state's height; `None` where the answer does not tell (a refusal).
    pub height: Option<u64>,
    /// What it showed.
    pub sight: Sight,
}

/// Everything that clients were told in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Writes.
    pub attempts: Vec<Attempt>,
    /// Reads.
    pub views: Vec<View>,
}

impl From<Vec<Attempt>> for History {
    fn from(attempts: Vec<Attempt>) -> Self {
        Self { attempts, views: Vec::new() }
    }
}

impl History {
    /// Adds another one.
    pub fn extend(&mut self, other: Self) {
        self.attempts.extend(other.attempts);
        self.views.extend(other.views);
    }

    /// How many requests were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.attempts.iter().filter(|attempt| attempt.is_acknowledged()).count() as u64
    }
}

/// What a run came to, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Blocks of the chain, block 0 included.
    pub blocks: u64,
    /// Requests that clients made.
    pub requests: u64,
    /// Of those, acknowledged as committed.
    pub committed: u64,
    /// Acknowledged as refused by the bank.
    pub refused: u64,
    /// Acknowledged only on asking again.
    pub asked_again: u64,
    /// Not executed.
    pub not_executed: u64,
    /// Never known to their client.
    pub unknown: u64,
    /// Of those, found in the chain.
    pub unknown_found: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Answers from the state of one node.
    pub local_reads: u64,
}

/// Judges what clients were told by the chain, block 0 first. Returns the bank that the chain makes, too.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge(chain: &[Vec<u8>], history: &History) -> Result<(Summary, Model), Violation> {
    let replay = replay(chain)?;
    let mut summary = told(&history.attempts, &replay.places)?;
    summary.blocks = chain.len() as u64;
    for view in &history.views {
        seen(view, &replay)?;
        *(if view.linearizable { &mut summary.reads } else { &mut summary.local_reads }) += 1;
    }
    in_order(history)?;
    Ok((summary, replay.model))
}

/// The chain, executed again.
struct Replay {
    places: BTreeMap<String, (u64, u32, String)>,
    model: Model,
}

fn replay(chain: &[Vec<u8>]) -> Result<Replay, Violation> {
    let Some(genesis) = chain.first() else { violated!("no block 0") };
    let wrong = |height: usize, error: &dyn std::fmt::Display| Violation(format!("block {height}: {error}"));
    let mut verifier = Verifier::new(genesis).map_err(|error| wrong(0, &error))?;
    let mut model = Model::default();
    let mut places = BTreeMap::new();
    let mut last_time_ms = 0;
    for (height, bytes) in chain.iter().enumerate() {
        if height > 0 {
            verifier.push(bytes).map_err(|error| wrong(height, &error))?;
        }
        let block = Block::decode(bytes).map_err(|error| wrong(height, &error))?;
        if block.header.time_ms < last_time_ms {
            violated!("block {height}: its time is before that of the block before");
        }
        last_time_ms = block.header.time_ms;
        model.begin(height as u64, last_time_ms);
        for (entry, index) in block.entries.iter().zip(0..) {
            let id = entry.request.id.as_str();
            let told = (height as u64, index, entry.outcome.code().to_owned());
            if let Some(first) = places.insert(id.to_owned(), told) {
                violated!("{id} stands in the chain twice, first at {first:?}, then in block {height}");
            }
            let expected = model.execute(&entry.request);
            if expected != entry.outcome.code() {
                violated!("block {height}: {id} is {}, and should be {expected}", entry.outcome.code());
            }
        }
        if model.sum() != 0 {
            violated!("block {height}: the balances add up to {}", model.sum());
        }
    }
    let of_ledger: Vec<(String, i128)> =
        verifier.state().accounts().map(|(account, balance)| (account.as_str().to_owned(), balance)).collect();
    if of_ledger != model.accounts_at(u64::MAX) {
        violated!("the ledger's balances {of_ledger:?} are not the model's {:?}", model.accounts_at(u64::MAX));
    }
    let held: BTreeMap<String, i128> =
        verifier.state().pendings().holders().map(|(account, held)| (account.as_str().to_owned(), held)).collect();
    if held != model.holds() {
        violated!("by the ledger {held:?} is held, and by the model {:?}", model.holds());
    }
    Ok(Replay { places, model })
}

/// Every acknowledgement is true, and what was called not executed is nowhere.
fn told(attempts: &[Attempt], places: &BTreeMap<String, (u64, u32, String)>) -> Result<Summary, Violation> {
    let mut summary = Summary { requests: attempts.len() as u64, ..Summary::default() };
    for attempt in attempts {
        let found = places.get(&attempt.id);
        match &attempt.fate {
            Fate::Acknowledged { height, index, outcome, duplicate } => {
                let told = (*height, *index, outcome.clone());
                if found != Some(&told) {
                    violated!("{attempt:?} was acknowledged, and the chain has {found:?}");
                }
                summary.asked_again += u64::from(*duplicate);
                let sum = if outcome == "committed" { &mut summary.committed } else { &mut summary.refused };
                *sum += 1;
            }
            Fate::NotExecuted => {
                if found.is_some() {
                    violated!("{attempt:?} is in the chain at {found:?}");
                }
                summary.not_executed += 1;
            }
            Fate::Unknown => {
                summary.unknown += 1;
                summary.unknown_found += u64::from(found.is_some());
            }
            Fate::Surprise(_) => violated!("{attempt:?}"),
        }
    }
    Ok(summary)
}

/// A view shows what the chain gives at its height, and that height exists.
fn seen(view: &View, replay: &Replay) -> Result<(), Violation> {
    let Some(height) = view.height else { return Ok(()) };
    let top = replay.model.height();
    if height > top {
        violated!("{view:?} is of a height that the chain, which ends at {top}, does not have");
    }
    let expected = match &view.sight {
        Sight::Balance(account, _) => Sight::Balance(account.clone(), replay.model.balance_at(account, height)),
        Sight::Funds(account, ..) => {
            let balance = replay.model.balance_at(account, height).unwrap_or(0);
            Sight::Funds(account.clone(), balance, replay.model.held_at(account, height))
        }
        Sight::Accounts(_) => Sight::Accounts(replay.model.accounts_at(height)),
        Sight::Value(key, _) => Sight::Value(key.clone(), replay.model.value_at(key, height)),
    };
    if view.sight != expected {
        violated!("{view:?} shows what no prefix of the chain gives; at that height it is {expected:?}");
    }
    Ok(())
}

/// Whatever was known before something else was asked stands before it in the chain.
fn in_order(history: &History) -> Result<(), Violation> {
    struct Step<'a> {
        at: Moment,
        is_end: bool,
        place: Place,
        is_read: bool,
        what: &'a dyn std::fmt::Debug,
    }
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut add = |sent, known, place, is_read, what| {
        steps.push(Step { at: sent, is_end: false, place, is_read, what });
        steps.push(Step { at: known, is_end: true, place, is_read, what });
    };
    for attempt in &history.attempts {
        if let Fate::Acknowledged { height, index, .. } = attempt.fate {
            add(attempt.sent, attempt.known, (height, index), false, attempt);
        }
    }
    for view in history.views.iter().filter(|view| view.linearizable) {
        if let Some(height) = view.height {
            add(view.sent, view.known, (height, u32::MAX), true, view);
        }
    }
    // At the same moment nothing is known to be before anything else: beginnings come first.
    steps.sort_by_key(|step| (step.at, step.is_end));
    let mut newest: Option<(Place, &dyn std::fmt::Debug)> = None;
    for step in steps {
        if step.is_end {
            if newest.is_none_or(|(place, _)| place < step.place) {
                newest = Some((step.place, step.what));
            }
        } else if let Some((place, other)) = newest
            && (step.place < place || (step.place == place && !step.is_read))
        {
            violated!(
                "{:?} stands at {:?}, before {place:?} of {other:?}, which was known before it was asked",
                step.what,
                step.place
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
