//! Pending transfers: money that an account reserves until the transfer is posted, voided, or its time is over.
//!
//! The state tree has a leaf for each, which changes once at most and is never removed. What an account holds, and which
//! transfers are due next, is derived from them. Time is that of the chain: the time in the block's header.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::amount::{Amount, Balance};
use crate::bank::Executed;
use crate::bytes::{DecodeError, Reader, put_text8};
use crate::hash::Hash;
use crate::names::{Account, RequestId};
use crate::outcome::Refusal;
use crate::violation::Violation;

/// Most pending transfers that expire at the start of one block; the rest follow in the next.
pub const EXPIRED_PER_BLOCK: usize = 4_096;

const PENDING_DOMAIN: &[u8] = b"raftbank/pending/1\n";

/// Where a pending transfer stands. Only [`PendingStatus::Pending`] changes, and only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingStatus {
    /// Its money is held.
    Pending,
    /// Its money was moved.
    Posted,
    /// Its money was freed by a request.
    Voided,
    /// Its money was freed because its time was over.
    Expired,
}

impl PendingStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Posted, Self::Voided, Self::Expired];

    /// The canonical byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Posted => 1,
            Self::Voided => 2,
            Self::Expired => 3,
        }
    }

    /// The stable word in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// A pending transfer. Its id is that of the request that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Where it stands.
    pub status: PendingStatus,
    /// Unix milliseconds: the first block of this time or later finds it expired.
    pub expires_ms: u64,
    /// Who pays.
    pub from: Account,
    /// Who is paid.
    pub to: Account,
    /// What is held of the payer's balance while it is pending.
    pub amount: Amount,
    /// What was moved: 0 unless it is posted.
    pub posted: u64,
}

impl Pending {
    /// Canonical bytes, the value in the state tree: status, end of its time, from, to, amount, posted amount.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(27 + self.from.as_str().len() + self.to.as_str().len());
        out.push(self.status.byte());
        out.extend_from_slice(&self.expires_ms.to_be_bytes());
        put_text8(&mut out, self.from.as_str());
        put_text8(&mut out, self.to.as_str());
        out.extend_from_slice(&self.amount.get().to_be_bytes());
        out.extend_from_slice(&self.posted.to_be_bytes());
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Pending::encode`] would not have written, or a posted amount that does not fit the status.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let byte = reader.u8("status")?;
        let status = PendingStatus::ALL.into_iter().find(|status| status.byte() == byte);
        let status = status.ok_or_else(|| DecodeError::field("status", format!("{byte} is none")))?;
        let account = |reader: &mut Reader<'_>, field: &'static str| {
            Account::parse(reader.text8(field)?).map_err(|error| DecodeError::field(field, error))
        };
        let expires_ms = reader.u64("expires")?;
        let (from, to) = (account(&mut reader, "from")?, account(&mut reader, "to")?);
        let amount = Amount::new(reader.u64("amount")?).map_err(|error| DecodeError::field("amount", error))?;
        let posted = reader.u64("posted amount")?;
        reader.end()?;
        let fits = if status == PendingStatus::Posted { 1..=amount.get() } else { 0..=0 };
        if !fits.contains(&posted) {
            let why = format!("{posted} of {amount}, and it is {}", status.code());
            return Err(DecodeError::field("posted amount", why));
        }
        Ok(Self { status, expires_ms, from, to, amount, posted })
    }

    /// True while its money is held.
    pub fn is_open(&self) -> bool {
        self.status == PendingStatus::Pending
    }
}

/// The key in the state tree of a pending transfer.
pub fn pending_key(id: &RequestId) -> Hash {
    Hash::of(&[PENDING_DOMAIN, id.as_str().as_bytes()])
}

/// The leaves of the state tree for these pending transfers.
pub(crate) fn leaves(rows: &BTreeMap<RequestId, Pending>) -> impl Iterator<Item = (Hash, Hash)> {
    rows.iter().map(|(id, pending)| (pending_key(id), Hash::of(&[&pending.encode()])))
}

/// All pending transfers there ever were, with what is derived from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pendings {
    rows: BTreeMap<RequestId, Pending>,
    /// The open ones, by the end of their time.
    due: BTreeSet<(u64, RequestId)>,
    /// What each account holds; none that holds nothing.
    held: BTreeMap<Account, Balance>,
}

impl Pendings {
    /// From rows that a store has kept.
    pub fn new(rows: BTreeMap<RequestId, Pending>) -> Self {
        let mut held: BTreeMap<Account, Balance> = BTreeMap::new();
        let mut due = BTreeSet::new();
        for (id, pending) in rows.iter().filter(|(_, pending)| pending.is_open()) {
            *held.entry(pending.from.clone()).or_default() += Balance::from(pending.amount);
            due.insert((pending.expires_ms, id.clone()));
        }
        Self { rows, due, held }
    }

    /// A pending transfer, whatever became of it.
    pub fn get(&self, id: &RequestId) -> Option<&Pending> {
        self.rows.get(id)
    }

    /// All of them, in order of their ids.
    pub fn rows(&self) -> &BTreeMap<RequestId, Pending> {
        &self.rows
    }

    /// The open ones, in the order in which they expire.
    pub fn open(&self) -> impl Iterator<Item = (&RequestId, &Pending)> {
        self.due.iter().filter_map(|(_, id)| self.rows.get_key_value(id))
    }

    /// The same behind this place.
    pub fn open_after(&self, after: Option<&(u64, RequestId)>) -> impl Iterator<Item = (&RequestId, &Pending)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((from, Bound::Unbounded)).filter_map(|(_, id)| self.rows.get_key_value(id))
    }

    /// What the account holds for open ones.
    pub fn held(&self, account: &Account) -> Balance {
        self.held.get(account).copied().unwrap_or(0)
    }

    /// All accounts that hold something, in order.
    pub fn holders(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.held.iter().map(|(account, held)| (account, *held))
    }

    /// Checks that what is derived fits: the sums to the transfers, and each sum to its account's balance.
    ///
    /// # Errors
    /// The first account that does not fit.
    pub fn check(&self, balance: impl Fn(&Account) -> Balance) -> Result<(), Violation> {
        let derived = Self::new(self.rows.clone());
        for account in self.held.keys().chain(derived.held.keys()) {
            let (held, expected) = (self.held(account), derived.held(account));
            if held != expected {
                return Err(Violation::Held { account: account.to_string(), held, expected });
            }
        }
        self.check_within(balance)
    }

    /// Checks a block's changes against the transfers they come from.
    ///
    /// # Errors
    /// A sum that is not that of the open transfers, or below 0.
    pub(crate) fn check_changes(&self, changes: &PendingChanges) -> Result<(), Violation> {
        let mut expected: BTreeMap<&Account, Balance> = BTreeMap::new();
        for (id, pending) in &changes.rows {
            let was_open = self.rows.get(id).is_some_and(Pending::is_open);
            let change = Balance::from(pending.is_open()) - Balance::from(was_open);
            let sum = expected.entry(&pending.from).or_insert_with(|| self.held(&pending.from));
            *sum += change * Balance::from(pending.amount);
        }
        for account in changes.held.keys().chain(expected.keys().copied()) {
            let held = changes.held.get(account).copied().unwrap_or_else(|| self.held(account));
            let expected = expected.get(account).copied().unwrap_or_else(|| self.held(account));
            if held != expected || held < 0 {
                return Err(Violation::Held { account: account.to_string(), held, expected });
            }
        }
        Ok(())
    }

    /// Checks that nobody but `world` holds more than it has.
    ///
    /// # Errors
    /// The first account that does.
    pub(crate) fn check_within(&self, balance: impl Fn(&Account) -> Balance) -> Result<(), Violation> {
        self.held.iter().try_for_each(|(account, held)| within(account, balance(account), *held))
    }

    /// Makes a block's changes so. Returns the transfers that changed.
    pub(crate) fn adopt(&mut self, changes: PendingChanges) -> Vec<(RequestId, Pending)> {
        for (id, pending) in &changes.rows {
            let due = (pending.expires_ms, id.clone());
            if pending.is_open() {
                self.due.insert(due);
            } else {
                self.due.remove(&due);
            }
            self.rows.insert(id.clone(), pending.clone());
        }
        for (account, held) in changes.held {
            match held {
                0 => self.held.remove(&account),
                _ => self.held.insert(account, held),
            };
        }
        changes.rows.into_iter().collect()
    }
}

/// Nobody but `world` holds more than it has.
pub(crate) fn within(account: &Account, balance: Balance, held: Balance) -> Result<(), Violation> {
    if account.is_world() || balance >= held {
        return Ok(());
    }
    Err(Violation::Overdrawn { account: account.to_string(), balance, held })
}

/// What a block changes in pending transfers. Empty for most blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingChanges {
    pub rows: BTreeMap<RequestId, Pending>,
    /// New sums, 0 included.
    pub held: BTreeMap<Account, Balance>,
}

/// The pending transfers while a block is executed: over those of the bank and of the blocks below (the oldest first).
/// Costs nothing but a look at empty maps while nobody holds anything.
#[derive(Debug)]
pub(crate) struct PendingRun<'a> {
    base: &'a Pendings,
    under: &'a [&'a Executed],
    time_ms: u64,
    pub changes: PendingChanges,
}

impl<'a> PendingRun<'a> {
    /// Begins a block of this time: what is due expires first.
    pub fn new(base: &'a Pendings, under: &'a [&'a Executed], time_ms: u64) -> Self {
        let mut run = Self { base, under, time_ms, changes: PendingChanges::default() };
        for (_, id) in run.due() {
            run.close(&id, PendingStatus::Expired, 0);
        }
        run
    }

    /// The open transfers whose time is over, in order of that time and of their ids, as many as expire in one block.
    fn due(&self) -> Vec<(u64, RequestId)> {
        // What the blocks below have changed, the newest of each. A transfer that is open there was made there.
        let mut below: BTreeMap<&RequestId, &Pending> = BTreeMap::new();
        for executed in self.under {
            below.extend(&executed.pendings.rows);
        }
        let time = self.time_ms;
        let still = self.base.due.iter().take_while(|(expires_ms, _)| *expires_ms <= time);
        let still = still.filter(|(_, id)| !below.contains_key(id)).take(EXPIRED_PER_BLOCK).cloned();
        let made = below.iter().filter(|(_, pending)| pending.is_open() && pending.expires_ms <= time);
        let mut due: Vec<_> = still.chain(made.map(|(id, pending)| (pending.expires_ms, (*id).clone()))).collect();
        due.sort_unstable();
        due.truncate(EXPIRED_PER_BLOCK);
        due
    }

    fn get(&self, id: &RequestId) -> Option<&Pending> {
        let below = || self.under.iter().rev().find_map(|below| below.pendings.rows.get(id));
        self.changes.rows.get(id).or_else(below).or_else(|| self.base.rows.get(id))
    }

    /// What the account holds.
    pub fn held(&self, account: &Account) -> Balance {
        let below = || self.under.iter().rev().find_map(|below| below.pendings.held.get(account));
        let held = self.changes.held.get(account).or_else(below).or_else(|| self.base.held.get(account));
        held.copied().unwrap_or(0)
    }

    /// Changes what the account holds.
    pub fn hold(&mut self, account: &Account, change: Balance) {
        let held = self.held(account) + change;
        self.changes.held.insert(account.clone(), held);
    }

    /// Reserves money for a transfer whose time is counted from this block's.
    pub fn open(&mut self, id: &RequestId, from: &Account, to: &Account, amount: Amount, timeout_ms: u64) {
        let pending = Pending {
            status: PendingStatus::Pending,
            expires_ms: self.time_ms.saturating_add(timeout_ms),
            from: from.clone(),
            to: to.clone(),
            amount,
            posted: 0,
        };
        self.hold(from, amount.into());
        self.changes.rows.insert(id.clone(), pending);
    }

    /// A transfer that can be posted or voided.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn find(&self, id: &RequestId) -> Result<Pending, Refusal> {
        let pending = self.get(id).ok_or(Refusal::UnknownPending)?;
        match pending.status {
            PendingStatus::Posted => Err(Refusal::AlreadyPosted),
            PendingStatus::Voided => Err(Refusal::AlreadyVoided),
            PendingStatus::Expired => Err(Refusal::PendingExpired),
            // Due, and not among those that expired at the start of this block.
            PendingStatus::Pending if pending.expires_ms <= self.time_ms => Err(Refusal::PendingExpired),
            PendingStatus::Pending => Ok(pending.clone()),
        }
    }

    /// Ends a transfer that is open: its money is not held any more.
    pub fn close(&mut self, id: &RequestId, status: PendingStatus, posted: u64) {
        let Some(pending) = self.get(id).cloned() else { return };
        self.hold(&pending.from, -Balance::from(pending.amount));
        self.changes.rows.insert(id.clone(), Pending { status, posted, ..pending });
    }
}
