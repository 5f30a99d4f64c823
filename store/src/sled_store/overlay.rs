//! Rows of the state that are not in sled yet: one value per key, the newest.
//!
//! The state follows from the log, so its rows need not be stored block by block. They are collected here and go to sled
//! in one atomic batch together with the row that says of which record they are: what sled holds is always the state
//! after some record. Whoever reads looks here first.

use super::outgoing::Outgoing;
use crate::rows::{self, Applied};
use raftbank_ledger::{Account, Balance, Delta};
use std::collections::{BTreeMap, HashMap};

/// Rows grown to this are written back: the bound of memory, and, with one more block, of a batch: a fraction of a segment,
/// as all that lies between two syncs.
const ROWS_BYTES_MAX: usize = 2 << 20;
/// So many bytes of the log that came since are written back, too: the bound of what a start has to execute again.
const LOG_BYTES_MAX: usize = 16 << 20;
/// What a record costs at a start beside its bytes, as bytes of the log.
const RECORD_BYTES: usize = 128;
/// What a row takes beside key and value.
const ROW_BYTES: usize = 48;

/// The rows, with where the state in sled stands.
#[derive(Clone, Debug)]
pub(super) struct Overlay {
    /// The state that sled holds.
    stored: Applied,
    accounts: HashMap<Account, Balance>,
    /// Other rows by key, sealed.
    others: BTreeMap<Vec<u8>, Vec<u8>>,
    row_bytes: usize,
    log_bytes: usize,
}

impl Overlay {
    pub fn new(stored: Applied) -> Overlay {
        Overlay { stored, accounts: HashMap::new(), others: BTreeMap::new(), row_bytes: 0, log_bytes: 0 }
    }

    /// Takes what a block has changed.
    pub fn take(&mut self, delta: &Delta) {
        for (account, balance) in &delta.accounts {
            match self.accounts.get_mut(account) {
                Some(slot) => *slot = *balance,
                None => {
                    self.row_bytes += account.as_str().len() + ROW_BYTES;
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
        self.row_bytes += value.len();
        let new = ROW_BYTES + key.len();
        match self.others.insert(key, value) {
            Some(old) => self.row_bytes -= old.len(),
            None => self.row_bytes += new,
        }
    }

    /// A record was applied whose entry has so many bytes.
    pub fn passed(&mut self, entry_bytes: usize) {
        self.log_bytes = self.log_bytes.saturating_add(entry_bytes + RECORD_BYTES);
    }

    /// It is time to write it back.
    pub fn is_full(&self) -> bool {
        self.row_bytes >= ROWS_BYTES_MAX || self.log_bytes >= LOG_BYTES_MAX
    }

    /// True if sled's state is the one at `applied`.
    pub fn is_stored(&self, applied: &Applied) -> bool {
        self.stored == *applied
    }

    /// All rows with the one that says where they stand, for one batch; the overlay is empty then.
    pub fn drain(&mut self, applied: &Applied) -> Outgoing {
        let mut pending = Outgoing::default();
        let mut accounts: Vec<(Account, Balance)> = std::mem::take(&mut self.accounts).into_iter().collect();
        accounts.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (account, balance) in accounts {
            let key = rows::named_key(rows::ACCOUNT, account.as_str().as_bytes());
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
        (self.row_bytes, self.log_bytes) = (0, 0);
        pending
    }

    /// Balances that sled does not have yet.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.accounts.iter().map(|(account, balance)| (account, *balance))
    }

    /// Other rows of one kind that sled does not have yet.
    pub fn others(&self, kind: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
        let rows = self.others.range(vec![kind]..).take_while(move |(key, _)| key.first() == Some(&kind));
        rows.map(|(key, value)| (&key[..], &value[..]))
    }
}
