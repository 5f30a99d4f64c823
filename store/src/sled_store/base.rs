//! The accounts' base: all accounts as they were after some record, in order of their names, cut into pieces.
//!
//! A row costs sled much more than its bytes, and rows in random places most of all. So once many accounts have changed they
//! are not written one by one: a new base is made of the old one and of what has changed, piece by piece, while the node
//! goes on. Pieces of a base that is not finished mean nothing. One atomic batch makes it the base, together with the row
//! that says which record it stands for. The rows that changed since the old one are garbage from then on, and go by and by;
//! its pieces stay until the base after the new one is written over them.

use crate::{
    engine::{Engine, Tree},
    error::StoreError,
    rows::{self, Applied, Base},
};
use raftbank_ledger::{Account, Balance};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

/// Changed accounts that are read at a time.
const CHANGED_AT_A_TIME: usize = 1_024;
/// Garbage that goes in one step.
const GARBAGE_AT_A_TIME: usize = 64;

type Row = (Account, Balance);

/// The base that sled holds.
pub(super) fn load(tree: &Tree) -> Result<Option<Base>, StoreError> {
    let Some(value) = tree.get(&[rows::BASE])? else { return Ok(None) };
    match rows::unseal_base(&value) {
        Some(base) => Ok(Some(base)),
        None => Err(tree.corrupt("the row of the accounts' base is damaged")),
    }
}

/// A piece of a base.
pub(super) fn piece(tree: &Tree, generation: u64, number: u32) -> Result<Vec<Row>, StoreError> {
    let key = rows::piece_key(generation, number);
    let piece = tree.get(&key)?.and_then(|value| rows::unseal_piece(&key, &value));
    let piece = piece.filter(|(of, _)| *of == generation).map(|(_, accounts)| accounts);
    piece.ok_or_else(|| tree.corrupt(format!("piece {number} of the accounts' base is missing or damaged")))
}

/// The account of a row that has changed since the base was made; if it is damaged, the name that its key has.
pub(super) fn changed(generation: u64, key: &[u8], value: &[u8]) -> Result<Row, String> {
    let name = key.get(rows::changed_prefix(generation).len()..).unwrap_or_default();
    let account = std::str::from_utf8(name).ok().and_then(|name| Account::parse(name).ok());
    account.zip(rows::unseal_balance(key, value)).ok_or_else(|| String::from_utf8_lossy(name).into_owned())
}

/// A new base that is being made.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    /// The record that it will stand for.
    applied: Applied,
    /// The base before.
    old: Option<Base>,
    /// What changed since then and is in no row, in order.
    frozen: Vec<Row>,
    /// Other rows of the same record, sealed.
    others: BTreeMap<Vec<u8>, Vec<u8>>,
    other_bytes: usize,
    /// How much of `frozen` is written.
    frozen_at: usize,
    /// Read from the old base, and the next piece of it.
    from_old: VecDeque<Row>,
    old_at: u32,
    /// Read from the rows that changed since the old base, and the last key of them.
    from_changed: VecDeque<Row>,
    changed_at: Bound<Vec<u8>>,
    changed_done: bool,
    /// The piece that is being filled, and its number.
    piece: Vec<u8>,
    number: u32,
    accounts: u64,
    bytes: u64,
}

impl Rewrite {
    /// Begins one. `frozen` is in order of the names.
    pub fn new(applied: Applied, old: Option<Base>, frozen: Vec<Row>, others: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let first = rows::changed_prefix(old.map_or(0, |base| base.generation));
        Self {
            applied,
            old,
            frozen,
            other_bytes: others.iter().map(|(key, value)| key.len() + value.len()).sum(),
            others,
            frozen_at: 0,
            from_old: VecDeque::new(),
            old_at: 0,
            from_changed: VecDeque::new(),
            changed_at: Bound::Included(first),
            changed_done: false,
            piece: Vec::new(),
            number: 0,
            accounts: 0,
            bytes: 0,
        }
    }

    /// Balances that are in no row before this is finished.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.frozen.iter().map(|(account, balance)| (account, *balance))
    }

    /// Other rows that sled does not have before this is finished.
    pub fn others(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.others
    }

    /// About how many bytes those have.
    pub fn other_bytes(&self) -> usize {
        self.other_bytes
    }

    /// How many accounts are written.
    pub fn written(&self) -> u64 {
        self.accounts
    }

    /// Writes one more piece of about so many bytes. If that was the last one, the new base counts from then on, and it is
    /// told with its place.
    pub fn step(&mut self, engine: &mut Engine, piece_bytes: usize) -> Result<Option<(Base, Applied)>, StoreError> {
        let tree = engine.tree().clone();
        while self.piece.len() < piece_bytes {
            if self.piece.is_empty() {
                self.piece = rows::begin_piece(self.generation());
            }
            let Some((account, balance)) = self.next(&tree)? else {
                // The last piece may be an empty one.
                self.write_piece(engine)?;
                return self.finish(engine).map(Some);
            };
            rows::push_account(&mut self.piece, account.as_str(), balance);
            self.accounts += 1;
        }
        self.write_piece(engine)?;
        Ok(None)
    }

    fn write_piece(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        let piece = std::mem::take(&mut self.piece);
        self.bytes += piece.len() as u64;
        let key = rows::piece_key(self.generation(), self.number);
        self.number += 1;
        engine.change(&key, Some(rows::seal(&key, piece)))
    }

    fn generation(&self) -> u64 {
        self.old.map_or(0, |base| base.generation) + 1
    }

    fn finish(&mut self, engine: &mut Engine) -> Result<(Base, Applied), StoreError> {
        let base =
            Base { generation: self.generation(), pieces: self.number, accounts: self.accounts, bytes: self.bytes };
        let mut together = super::Outgoing::default();
        for (key, value) in std::mem::take(&mut self.others) {
            together.insert(&key, value);
        }
        together.insert(&[rows::BASE], rows::seal_base(&base));
        together.insert(&[rows::APPLIED], rows::seal_applied(&self.applied));
        together.hand_over(engine)?;
        Ok((base, self.applied.clone()))
    }

    /// The next account by name, from the newest source that has it.
    fn next(&mut self, tree: &Tree) -> Result<Option<Row>, StoreError> {
        self.read_old(tree)?;
        self.read_changed(tree)?;
        let heads = [
            self.frozen.get(self.frozen_at).map(|row| &row.0),
            self.from_changed.front().map(|row| &row.0),
            self.from_old.front().map(|row| &row.0),
        ];
        let Some(name) = heads.into_iter().flatten().min().cloned() else { return Ok(None) };
        let mut found = None;
        if let Some(row) = self.frozen.get(self.frozen_at).filter(|row| row.0 == name) {
            found = Some(row.clone());
            self.frozen_at += 1;
        }
        for older in [&mut self.from_changed, &mut self.from_old] {
            if older.front().is_some_and(|row| row.0 == name) {
                found = found.or(older.front().cloned());
                older.pop_front();
            }
        }
        Ok(found)
    }

    fn read_old(&mut self, tree: &Tree) -> Result<(), StoreError> {
        let Some(base) = self.old else { return Ok(()) };
        if self.from_old.is_empty() && self.old_at < base.pieces {
            self.from_old = piece(tree, base.generation, self.old_at)?.into();
            self.old_at += 1;
        }
        Ok(())
    }

    fn read_changed(&mut self, tree: &Tree) -> Result<(), StoreError> {
        if self.changed_done || !self.from_changed.is_empty() {
            return Ok(());
        }
        let generation = self.old.map_or(0, |base| base.generation);
        let range = (self.changed_at.clone(), Bound::Excluded(after(&rows::changed_prefix(generation))));
        for row in tree.scan(range)?.take(CHANGED_AT_A_TIME) {
            let (key, value) = row?;
            let row = changed(generation, &key, &value)
                .map_err(|name| tree.corrupt(format!("the row of account {name:?} is damaged")))?;
            self.from_changed.push_back(row);
            self.changed_at = Bound::Excluded(key.to_vec());
        }
        // To look again for each account costs more than all the rest.
        self.changed_done = self.from_changed.len() < CHANGED_AT_A_TIME;
        Ok(())
    }
}

/// Rows of accounts that changed since a base that does not count any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Garbage(Vec<(Vec<u8>, Vec<u8>)>);

impl Garbage {
    /// All there can be beside this base.
    pub fn beside(base: Option<Base>) -> Self {
        let generation = base.map_or(0, |base| base.generation);
        let mut ranges = Vec::new();
        if generation > 0 {
            ranges.push((vec![rows::ACCOUNT], after(&[rows::ACCOUNT])));
        }
        ranges.push((vec![rows::CHANGED], rows::number_key(rows::CHANGED, generation).to_vec()));
        ranges.push((rows::number_key(rows::CHANGED, generation + 1).to_vec(), after(&[rows::CHANGED])));
        Self(ranges)
    }

    /// True if none is left, as far as was looked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes some of it.
    pub fn step(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        let Some((first, end)) = self.0.last_mut() else { return Ok(()) };
        let tree = engine.tree().clone();
        let mut removed = 0;
        for row in tree.scan(first.clone()..end.clone())?.take(GARBAGE_AT_A_TIME) {
            let (key, _) = row?;
            engine.change(&key, None)?;
            *first = key.to_vec();
            removed += 1;
        }
        if removed < GARBAGE_AT_A_TIME {
            self.0.pop();
        }
        Ok(())
    }
}

/// The first key behind all that begin with this.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn the_key_behind_a_prefix() {
        assert_eq!(after(b"a"), b"b");
        assert_eq!(after(b"d\x00\x07"), b"d\x00\x08");
        assert_eq!(after(b"d\x01\xff\xff"), b"d\x02");
    }
}
