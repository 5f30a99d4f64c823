//! `diff`: where two nodes differ. The chains are compared block by block, then each side's stored state with what its own
//! chain gives.

mod side;
mod suspect;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use raftbank_ledger::{Account, Balance, Block, Books, Hash};
use raftbank_wire::api::FailKind;
use serde_json::{Value, json};

use self::side::{Item, Side};
use super::Context;
use crate::failure::Failure;
use crate::output::SCHEMA;

/// Most accounts that are named on each side.
const NAMED_MAX: usize = 20;

/// What a side has stored, beside its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Height that the rows belong to; none: it cannot be read.
    pub height: Option<u64>,
    /// All balances.
    pub accounts: BTreeMap<Account, Balance>,
    /// SHA-256 of all values.
    pub values: BTreeMap<Vec<u8>, Hash>,
    /// Why the node stopped, if it left a mark.
    pub stopped: Option<String>,
    /// What cannot be read.
    pub damage: Vec<String>,
}

/// What one side adds up to.
#[derive(Debug, Default)]
struct Sum {
    books: Books,
    blocks: u64,
    uncommitted: u64,
    /// The first thing that is wrong with the chain itself.
    broken: Option<String>,
}

impl Sum {
    /// Enters the next block, which is compared with its own header if the chain was good so far.
    fn enter(&mut self, block: &Block, committed: bool) {
        let due = self.blocks + self.uncommitted;
        if block.header.height != due && self.broken.is_none() {
            self.broken = Some(format!("block {} stands where block {due} should", block.header.height));
        }
        if committed {
            self.books.apply(block);
            self.blocks += 1;
        } else {
            self.uncommitted += 1;
        }
    }
}

/// `diff`: 0 if nothing differs, 6 if something does.
///
/// # Errors
/// A side that cannot be read.
pub async fn run(context: &Context, a: &str, b: &str) -> Result<u8, Failure> {
    let mut sides = [Side::open(a, context.timeout).await?, Side::open(b, context.timeout).await?];
    let mut sums = [Sum::default(), Sum::default()];
    let mut differ = None;
    loop {
        let (left, right) = (sides[0].next().await?, sides[1].next().await?);
        if left.is_none() && right.is_none() {
            break;
        }
        if let (Some(left), Some(right), None) = (&left, &right, &differ)
            && left.block != right.block
        {
            differ = Some(compare(&sums[0].books, left, right));
        }
        for (sum, item) in sums.iter_mut().zip([left, right]) {
            if let Some(Item { block, committed }) = item {
                sum.enter(&block, committed);
            }
        }
    }
    let [left, right] = sides;
    let stored = [left.stored()?, right.stored()?];
    let report = Report::new([a, b], differ, &sums, &stored);
    context.out.result(&report.json(), || report.text());
    Ok(if report.same() { 0 } else { crate::failure::exit_code(FailKind::Corruption) })
}

/// The first block in which two chains differ.
#[derive(Debug)]
struct Differ {
    height: u64,
    hashes: [Hash; 2],
    committed: [bool; 2],
    fields: Vec<&'static str>,
    /// For each side, what its result tells of the state that it was computed on.
    suspects: [Option<String>; 2],
}

fn compare(before: &Books, left: &Item, right: &Item) -> Differ {
    let (a, b) = (&left.block.header, &right.block.header);
    let fields = [
        ("height", a.height != b.height),
        ("version", a.version != b.version),
        ("cluster id", a.cluster_id != b.cluster_id),
        ("previous", a.previous != b.previous),
        ("term", a.term != b.term),
        ("proposer", a.proposer != b.proposer),
        ("time", a.time_ms != b.time_ms),
        ("requests", !left.block.entries.iter().map(|e| &e.request).eq(right.block.entries.iter().map(|e| &e.request))),
        ("outcomes", !left.block.entries.iter().map(|e| e.outcome).eq(right.block.entries.iter().map(|e| e.outcome))),
        ("transaction root", a.transaction_root != b.transaction_root),
        ("state root", a.state_root != b.state_root),
        ("difficulty", a.difficulty != b.difficulty),
        ("nonce", a.nonce != b.nonce),
    ];
    Differ {
        height: a.height,
        hashes: [left.block.hash(), right.block.hash()],
        committed: [left.committed, right.committed],
        fields: fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect(),
        suspects: [suspect::of(before, &left.block), suspect::of(before, &right.block)],
    }
}

/// An account or value of which a side has stored something else than its chain gives.
#[derive(Debug, PartialEq, Eq)]
struct Odd {
    what: String,
    stored: String,
    chain: String,
}

struct Report<'a> {
    names: [&'a str; 2],
    differ: Option<Differ>,
    sums: &'a [Sum; 2],
    stored: &'a [Stored; 2],
    odd: [Vec<Odd>; 2],
}

impl<'a> Report<'a> {
    fn new(names: [&'a str; 2], differ: Option<Differ>, sums: &'a [Sum; 2], stored: &'a [Stored; 2]) -> Self {
        let odd = [odd(&sums[0].books, &stored[0]), odd(&sums[1].books, &stored[1])];
        Self { names, differ, sums, stored, odd }
    }

    fn same(&self) -> bool {
        self.differ.is_none()
            && self.odd.iter().all(Vec::is_empty)
            && self.sums.iter().all(|sum| sum.broken.is_none())
            && self.stored.iter().all(|stored| stored.damage.is_empty())
    }

    fn json(&self) -> Value {
        let side = |at: usize| {
            let (sum, stored) = (&self.sums[at], &self.stored[at]);
            json!({
                "name": self.names[at], "blocks": sum.blocks, "uncommitted": sum.uncommitted, "height": stored.height,
                "stopped": stored.stopped, "damage": stored.damage, "broken": sum.broken,
                "differs_from_own_chain": self.odd[at].iter().map(|odd| {
                    json!({ "what": odd.what, "stored": odd.stored, "chain": odd.chain })
                }).collect::<Vec<_>>(),
            })
        };
        let block = self.differ.as_ref().map(|differ| {
            json!({
                "height": differ.height, "hashes": differ.hashes.map(|hash| hash.to_string()),
                "committed": differ.committed, "fields": differ.fields, "suspects": differ.suspects,
            })
        });
        json!({ "schema": SCHEMA, "same": self.same(), "first_different_block": block, "sides": [side(0), side(1)] })
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        match &self.differ {
            None => {
                let [a, b] = [0, 1].map(|at| self.sums[at].blocks + self.sums[at].uncommitted);
                lines.push(match a.cmp(&b) {
                    std::cmp::Ordering::Equal => format!("chains        the same {a} blocks"),
                    std::cmp::Ordering::Less => {
                        format!("chains        the same; {} has {} blocks more", self.names[1], b - a)
                    }
                    std::cmp::Ordering::Greater => {
                        format!("chains        the same; {} has {} blocks more", self.names[0], a - b)
                    }
                });
            }
            Some(differ) => {
                lines.push(format!(
                    "chains        differ from block {} on: {}",
                    differ.height,
                    differ.fields.join(", ")
                ));
                for at in 0..2 {
                    let state = if differ.committed[at] { "committed" } else { "not known to be committed" };
                    lines.push(format!("  {}: {}, {state}", self.names[at], differ.hashes[at]));
                    if let Some(suspect) = &differ.suspects[at] {
                        lines.push(format!("    {suspect}"));
                    }
                }
            }
        }
        for at in 0..2 {
            let (name, stored) = (self.names[at], &self.stored[at]);
            lines.push(name.to_owned());
            if let Some(reason) = &stored.stopped {
                lines.push(format!("  it stopped: {reason}"));
            }
            lines.extend(self.sums[at].broken.iter().chain(&stored.damage).map(|damage| format!("  damage: {damage}")));
            if self.odd[at].is_empty() {
                let height = stored.height.map_or("?".to_owned(), |height| height.to_string());
                lines.push(format!("  its stored state is what its blocks give, at height {height}"));
            }
            for odd in self.odd[at].iter().take(NAMED_MAX) {
                lines.push(format!("  {}: stored is {}, its blocks give {}", odd.what, odd.stored, odd.chain));
            }
            if self.odd[at].len() > NAMED_MAX {
                lines.push(format!("  and {} more", self.odd[at].len() - NAMED_MAX));
            }
        }
        lines.join("\n")
    }
}

/// Everything stored that is not what the chain gives.
fn odd(books: &Books, stored: &Stored) -> Vec<Odd> {
    // Without the row that says where the state stands nothing can be said of it.
    if stored.height.is_none() {
        return Vec::new();
    }
    let nothing = || "nothing".to_owned();
    let show = |balance: Option<Balance>| balance.map_or_else(nothing, |balance| balance.to_string());
    let chain: BTreeMap<&Account, Balance> = books.accounts().collect();
    let names: std::collections::BTreeSet<&Account> = stored.accounts.keys().chain(chain.keys().copied()).collect();
    let mut odd: Vec<Odd> = names
        .into_iter()
        .map(|name| (name, stored.accounts.get(name).copied(), chain.get(name).copied()))
        .filter(|(_, stored, chain)| stored != chain)
        .map(|(name, stored, chain)| Odd { what: format!("account {name}"), stored: show(stored), chain: show(chain) })
        .collect();
    for (key, hash) in &stored.values {
        let chain = books.value_hash(key);
        if chain != Some(*hash) {
            let what = format!("key {}", key.escape_ascii());
            let chain = chain.map_or_else(nothing, |hash| format!("a value with hash {hash}"));
            odd.push(Odd { what, stored: format!("a value with hash {hash}"), chain });
        }
    }
    if stored.values.len() < books.value_count() {
        let (stored, chain) = (stored.values.len().to_string(), books.value_count().to_string());
        odd.push(Odd { what: "the number of keys".to_owned(), stored, chain });
    }
    odd
}
