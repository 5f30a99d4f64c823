//! Everything that an opened folder says, to be compared with what it said before it was damaged.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use raftbank_consensus::{HardState, NodeId, Record, TermRun};
use raftbank_ledger::StateRows;
use raftbank_store::{Expected, Meta, Opened, Reader, SledReader, SledStore, StoreError};
use raftbankd::verify;

use super::files::{Files, workplace};

/// Bytes of records that are read at a time.
const PORTION_BYTES: usize = 1 << 20;

/// What a folder says.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Identity, incarnation, and whether it is rejoining.
    pub meta: Meta,
    /// Term and vote.
    pub hard: HardState,
    /// The table of terms.
    pub terms: Vec<TermRun>,
    /// The log's end.
    pub last_index: u64,
    /// The last record whose results are in the rows.
    pub applied: u64,
    /// The whole log, record 0 included.
    pub records: Vec<Record>,
    /// Accounts, values, ids and tip at `applied`.
    pub rows: StateRows,
    /// Incarnations of the other members.
    pub peers: BTreeMap<NodeId, u64>,
    /// Their public keys.
    pub keys: BTreeMap<NodeId, [u8; 32]>,
}

/// Why there is no picture.
#[derive(Debug)]
pub enum Blur {
    /// Reading found damage, which is what it should do.
    Found(StoreError),
    /// Two ways to read the same thing differ, or the books are not those of the chain.
    Wrong(String),
}

impl From<StoreError> for Blur {
    fn from(error: StoreError) -> Self {
        Self::Found(error)
    }
}

impl Picture {
    /// Reads everything in every way there is, and compares the ways with each other.
    ///
    /// # Errors
    /// See [`Blur`].
    pub fn of(opened: &Opened, reader: &SledReader) -> Result<Self, Blur> {
        let records: Vec<Record> = reader.walk(0, PORTION_BYTES).collect::<Result<_, _>>()?;
        let stored = reader.rows()?;
        let durable = &opened.durable;
        let wrong = |what: &str| Err(Blur::Wrong(what.to_owned()));
        if records.last().map(|record| record.index) != Some(durable.last_index) {
            return wrong("the log does not end where it says");
        }
        if !records.ends_with(&durable.tail) || durable.tail.len() as u64 != durable.last_index - opened.applied {
            return wrong("the tail is not the log's");
        }
        if stored.applied != opened.applied || durable.committed != opened.applied {
            return wrong("the applied index differs");
        }
        let (state, rows) = (&opened.state, stored.rows);
        let same = state.accounts().eq(rows.accounts.iter().map(|(name, balance)| (name, *balance)))
            && state.values().eq(rows.values.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
            && *state.ids() == rows.ids
            && *state.tip() == rows.tip;
        if !same {
            return wrong("the state is not that of the rows");
        }
        let applied = records.iter().filter(|record| record.index <= opened.applied);
        for (height, entry) in (0..).zip(applied.filter_map(|record| record.entry.as_ref())) {
            if reader.block(height)?.as_ref() != Some(entry) {
                return Err(Blur::Wrong(format!("block {height} is not the log's")));
            }
        }
        match verify::books(reader, None, &mut |_, _| true)? {
            Some(report) if report.problem.is_none() => {}
            Some(report) => return Err(Blur::Wrong(format!("verify: {:?}", report.problem))),
            None => return wrong("verify stopped"),
        }
        Ok(Self {
            meta: opened.meta.clone(),
            hard: durable.hard,
            terms: durable.terms.clone(),
            last_index: durable.last_index,
            applied: opened.applied,
            records,
            rows,
            peers: opened.peers.clone(),
            keys: opened.keys.clone(),
        })
    }

    /// What an undamaged folder says. A copy is opened: other processes may look at the same folder.
    ///
    /// # Errors
    /// It is not in order.
    pub fn of_files(files: &Files) -> Result<Self> {
        let work = workplace()?;
        let dir = work.path().join("data");
        files.write(&dir)?;
        let meta = SledStore::meta(&dir)?;
        let expected = Expected { cluster_id: meta.cluster_id, node: meta.node };
        let (_store, reader, opened) = SledStore::open(&dir, &expected)?;
        match Self::of(&opened, &reader) {
            Ok(picture) => Ok(picture),
            Err(blur) => bail!("an undamaged folder: {blur:?}"),
        }
    }

    /// The first thing in which another picture differs.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let records = || {
            let at = self.records.iter().zip(&other.records).position(|(ours, theirs)| ours != theirs);
            format!("record {at:?}, ends {} and {}", self.last_index, other.last_index)
        };
        [
            (self.meta != other.meta, format!("{:?}, not {:?}", other.meta, self.meta)),
            (self.hard != other.hard, format!("{:?}, not {:?}", other.hard, self.hard)),
            (self.records != other.records, records()),
            (self.terms != other.terms, "the table of terms".to_owned()),
            (self.last_index != other.last_index, "the log's end".to_owned()),
            (self.applied != other.applied, format!("applied {}, not {}", other.applied, self.applied)),
            (!same_rows(&self.rows, &other.rows), "accounts, values, ids or tip".to_owned()),
            (self.peers != other.peers, format!("peers {:?}, not {:?}", other.peers, self.peers)),
            (self.keys != other.keys, "the public keys".to_owned()),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }
}

fn same_rows(a: &StateRows, b: &StateRows) -> bool {
    let StateRows { accounts, values, ids, pendings, log, tip, cluster_id, difficulty } = a;
    *accounts == b.accounts
        && *values == b.values
        && *ids == b.ids
        && *pendings == b.pendings
        && *log == b.log
        && *tip == b.tip
        && *cluster_id == b.cluster_id
        && *difficulty == b.difficulty
}
