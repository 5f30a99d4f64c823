//! Rows of the state that are not in sled yet: one value per key, the newest.
//!
//! The state follows from the log, so its rows need not be stored block by block. They are collected here and go to sled
//! together with the row that says of which record they are: what sled holds is always the state after some record. A few
//! go as rows, in one atomic batch; many accounts go into a new base (`base.rs`). Whoever reads looks here first.

use super::{
    base::{Garbage, Rewrite},
    outgoing::Outgoing,
};
use crate::{
    engine::{Engine, Limits},
    error::StoreError,
    rows::{self, Applied, Base},
};
use raftbank_ledger::{Account, Balance, Delta};
use std::collections::{BTreeMap, HashMap};

/// What a record costs at a start beside its bytes, as bytes of the log.
const RECORD_BYTES: usize = 128;
/// What a row takes beside key and value.
const ROW_BYTES: usize = 48;
/// Steps at a time while nothing else is to be done: what comes then waits for some milliseconds.
const STEPS_AT_REST: usize = 20;
/// A larger base is not made anew while a node stops.
const AT_CLOSE_BYTES_MAX: usize = 64 << 20;
/// An account in a base, about.
const BASE_ROW_BYTES: u64 = 32;
/// Pieces that one write may have to wait for while there is time for the rest.
const STEPS_AT_A_TIME: usize = 32;

/// The rows, with where the state in sled stands.
#[derive(Clone, Debug)]
pub(super) struct Overlay {
    limits: Limits,
    /// The state that sled holds.
    stored: Applied,
    base: Option<Base>,
    /// Accounts in sled when it was opened.
    rows: u64,
    accounts: HashMap<Account, Balance>,
    /// Other rows by key, sealed.
    others: BTreeMap<Vec<u8>, Vec<u8>>,
    account_bytes: usize,
    other_bytes: usize,
    log_bytes: usize,
    /// A base that is being made of all that came before what is collected now.
    rewrite: Option<Box<Rewrite>>,
    garbage: Garbage,
    /// Bytes that may be written of what was begun.
    credit: usize,
}

impl Overlay {
    /// `rows`: how many accounts there are.
    pub fn new(stored: Applied, base: Option<Base>, rows: u64, limits: Limits) -> Overlay {
        Overlay {
            limits,
            rows,
            stored,
            base,
            accounts: HashMap::new(),
            others: BTreeMap::new(),
            account_bytes: 0,
            other_bytes: 0,
            log_bytes: 0,
            rewrite: None,
            garbage: Garbage::beside(base),
            credit: 0,
        }
    }

    /// Takes what a block has changed.
    pub fn take(&mut self, delta: &Delta) {
        for (account, balance) in &delta.accounts {
            match self.accounts.get_mut(account) {
                Some(slot) => *slot = *balance,
                None => {
                    self.account_bytes += account.as_str().len() + ROW_BYTES;
                    self.accounts.insert(account.clone(), *balance);
                }
            }
        }
        for (name, value) in &delta.values {
            let key = rows::named_key(rows::VALUE, name);
            let value = rows::seal(&key, value.clone());
            self.put(key, value);
        }
        for (id, pending) in &delta.pendings {
            let key = rows::named_key(rows::PENDING, id.as_str().as_bytes());
            let value = rows::seal_pending(&key, pending);
            self.put(key, value);
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.other_bytes += value.len();
        let new = ROW_BYTES + key.len();
        match self.others.insert(key, value) {
            Some(old) => self.other_bytes -= old.len(),
            None => self.other_bytes += new,
        }
    }

    /// A record was applied whose entry has so many bytes.
    pub fn passed(&mut self, entry_bytes: usize) {
        self.log_bytes = self.log_bytes.saturating_add(entry_bytes + RECORD_BYTES);
    }

    /// How full it is: at 1 it is time to write it back. A large base is made anew less often: that costs in all accounts.
    /// Twice its bytes is as much as nearly all of its accounts take here.
    /// What is not accounts goes in one batch, so its bound does not grow.
    fn fullness(&self) -> f64 {
        let Limits { rows_bytes, accounts_bytes, log_bytes, .. } = self.limits;
        let others_max = match &self.rewrite {
            // Together with those the bound of what a start may find, and write in one batch.
            Some(rewrite) => (2 * rows_bytes).saturating_sub(rewrite.other_bytes()).max(1),
            // With few accounts all of it is one batch of rows.
            None if self.account_bytes < rows_bytes => rows_bytes / 2,
            None => rows_bytes,
        };
        let parts = [
            (self.account_bytes, accounts_bytes.max(self.base_bytes().saturating_mul(2))),
            (self.other_bytes, others_max),
            (self.log_bytes, log_bytes.max(self.base_bytes().saturating_mul(3))),
        ];
        parts.into_iter().map(|(bytes, most)| bytes as f64 / most as f64).fold(0.0, f64::max)
    }

    /// It is time to write it back.
    pub fn is_full(&self) -> bool {
        self.fullness() >= 1.0
    }

    /// Bytes of the accounts' base; before there is one, about as many as it would have.
    fn base_bytes(&self) -> usize {
        let bytes = self.base.map_or(self.rows * BASE_ROW_BYTES, |base| base.bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Hands over what sled does not have of the state at `applied`, or begins to: then [`Overlay::step`] goes on with it.
    pub fn write_back(&mut self, applied: &Applied, engine: &mut Engine) -> Result<(), StoreError> {
        self.finish_rewrite(engine)?;
        if self.stored == *applied {
            return Ok(());
        }
        if planted!(AppliedIndexApart) {
            let mut apart = Outgoing::default();
            apart.insert(&[rows::APPLIED], rows::seal_applied(applied));
            apart.hand_over(engine)?;
        }
        if self.are_few() {
            return self.drain(applied).hand_over(engine);
        }
        let accounts = self.take_accounts();
        let others = std::mem::take(&mut self.others);
        (self.other_bytes, self.log_bytes) = (0, 0);
        self.rewrite = Some(Box::new(Rewrite::new(applied.clone(), self.base, accounts, others)));
        Ok(())
    }

    /// Whether the accounts that have changed go as rows, in one batch. A large base costs more than some rows.
    fn are_few(&self) -> bool {
        let share = self.base.map_or(self.rows, |base| base.accounts) / 64;
        let few = usize::try_from(share).unwrap_or(usize::MAX).max(self.limits.rewrite_rows);
        self.accounts.len() < few && self.account_bytes < self.limits.rows_bytes
    }

    /// Does a part of what can be done while nothing else is to be done; if something is left, [`Overlay::has_work`].
    pub fn rest(&mut self, applied: &Applied, engine: &mut Engine) -> Result<(), StoreError> {
        // A pause now and then is no reason to write all accounts for some of them.
        let base = self.base_bytes();
        let is_worth_it = self.are_few() || self.account_bytes >= base / 4 || self.log_bytes >= base;
        if self.rewrite.is_none() && is_worth_it {
            self.write_back(applied, engine)?;
        }
        for _ in 0..STEPS_AT_REST {
            if self.rewrite.is_some() {
                self.rewrite_step(engine)?;
            } else {
                self.garbage.step(engine)?;
            }
        }
        Ok(())
    }

    /// Something was begun that is not finished.
    pub fn has_work(&self) -> bool {
        self.rewrite.is_some() || !self.garbage.is_empty()
    }

    /// Finishes all that does not take long. What is left of a large bank is executed again by the next start.
    pub fn close(&mut self, applied: &Applied, engine: &mut Engine) -> Result<(), StoreError> {
        if self.base_bytes() > AT_CLOSE_BYTES_MAX && (self.rewrite.is_some() || !self.are_few()) {
            return Ok(());
        }
        self.write_back(applied, engine)?;
        self.finish_rewrite(engine)?;
        for _ in 0..STEPS_AT_REST {
            self.garbage.step(engine)?;
        }
        Ok(())
    }

    /// Goes on with what was begun: twice as fast as the log grows, and ahead of what fills this overlay again, so that it is
    /// done before the next one is due and no write waits for much of it.
    pub fn step(&mut self, log_bytes: usize, engine: &mut Engine) -> Result<(), StoreError> {
        self.credit = self.credit.saturating_add(2 * log_bytes);
        let fullness = self.fullness();
        for _ in 0..STEPS_AT_A_TIME {
            let written = self.rewrite.as_ref().map_or(1.0, |rewrite| rewrite.written() as f64);
            let accounts = self.base.map_or(self.rows, |base| base.accounts).max(1) as f64;
            if self.credit >= self.limits.piece_bytes {
                self.credit -= self.limits.piece_bytes;
            } else if self.rewrite.is_none() || written / accounts >= 1.25 * fullness {
                return Ok(());
            }
            if self.rewrite.is_some() {
                self.rewrite_step(engine)?;
            } else if !self.garbage.is_empty() {
                self.garbage.step(engine)?;
            } else {
                self.credit = 0;
            }
        }
        Ok(())
    }

    fn finish_rewrite(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        while self.rewrite.is_some() {
            self.rewrite_step(engine)?;
        }
        Ok(())
    }

    fn rewrite_step(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        if let Some((base, applied)) = rewrite.step(engine, self.limits.piece_bytes)? {
            self.rewrite = None;
            (self.base, self.stored) = (Some(base), applied);
            self.garbage = Garbage::beside(self.base);
        }
        Ok(())
    }

    fn take_accounts(&mut self) -> Vec<(Account, Balance)> {
        let mut accounts: Vec<(Account, Balance)> = std::mem::take(&mut self.accounts).into_iter().collect();
        accounts.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.account_bytes = 0;
        accounts
    }

    /// All rows with the one that says where they stand, for one batch; the overlay is empty then.
    pub fn drain(&mut self, applied: &Applied) -> Outgoing {
        let mut pending = Outgoing::default();
        let generation = self.base.map_or(0, |base| base.generation);
        for (account, balance) in self.take_accounts() {
            let key = rows::changed_key(generation, account.as_str().as_bytes());
            let value = rows::seal_balance(&key, balance);
            pending.insert(&key, value);
        }
        for (key, value) in std::mem::take(&mut self.others) {
            pending.insert(&key, value);
        }
        if !planted!(StateRowsWithoutPlace) {
            pending.insert(&[rows::APPLIED], rows::seal_applied(applied));
        }
        self.stored = applied.clone();
        (self.other_bytes, self.log_bytes) = (0, 0);
        pending
    }

    /// Balances that sled does not have yet; of one that comes twice the last counts.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        let frozen = self.rewrite.iter().flat_map(|rewrite| rewrite.accounts());
        frozen.chain(self.accounts.iter().map(|(account, balance)| (account, *balance)))
    }

    /// Other rows of one kind that sled does not have yet; of one that comes twice the last counts.
    pub fn others(&self, kind: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
        let frozen = self.rewrite.as_ref().map(|rewrite| rewrite.others());
        frozen.into_iter().chain([&self.others]).flat_map(move |rows| {
            let rows = rows.range(vec![kind]..).take_while(move |(key, _)| key.first() == Some(&kind));
            rows.map(|(key, value)| (&key[..], &value[..]))
        })
    }
}
