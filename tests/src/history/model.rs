//! A bank that is not the shipping one: what each request must do, written from the contract, with every balance at
//! every height. It shares the request's types with the ledger, and nothing of its execution.

use std::collections::BTreeMap;

use raftbank_ledger::{Leg, Operation, Request};

/// The most that an account may hold.
const MOST: i128 = (1 << 63) - 1;
/// The only account that may go below zero.
const WORLD: &str = "world";

/// Values over time: (first height at which it holds, value), ascending.
type Times<T> = Vec<(u64, T)>;

/// All balances and values at all heights.
#[derive(Debug, Default)]
pub struct Model {
    accounts: BTreeMap<String, Times<i128>>,
    values: BTreeMap<Vec<u8>, Times<Vec<u8>>>,
    holds: BTreeMap<String, Hold>,
    held: BTreeMap<String, Times<i128>>,
    height: u64,
    time_ms: u64,
    sum: i128,
}

/// A pending transfer.
#[derive(Debug)]
struct Hold {
    from: String,
    to: String,
    amount: i128,
    expires_ms: u64,
    /// `None` while its money is held; then what is told to whoever comes too late.
    ended: Option<&'static str>,
}

/// Most pending transfers that expire in one block.
const EXPIRE_MOST: usize = 4_096;

impl Model {
    /// Height of the last block executed.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Sum of all balances now.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// Begins the block at `height`: what is due by its time expires.
    pub fn begin(&mut self, height: u64, time_ms: u64) {
        (self.height, self.time_ms) = (height, time_ms);
        let due = |(id, hold): (&String, &Hold)| {
            (hold.ended.is_none() && hold.expires_ms <= time_ms).then(|| (hold.expires_ms, id.clone()))
        };
        let mut due: Vec<(u64, String)> = self.holds.iter().filter_map(due).collect();
        due.sort();
        for (_, id) in due.into_iter().take(EXPIRE_MOST) {
            self.end(&id, "pending_expired");
        }
    }

    /// Executes a request of the block that was begun; returns `committed`, or the code of the refusal.
    pub fn execute(&mut self, request: &Request) -> &'static str {
        let height = self.height;
        match &request.operation {
            Operation::Open { account } => {
                let name = account.as_str();
                if name == WORLD || self.accounts.contains_key(name) {
                    return "account_exists";
                }
                self.set(name, 0);
                "committed"
            }
            Operation::Transfer { from, to, amount, .. } => self.pay(from.as_str(), to.as_str(), amount.get()),
            Operation::Credit { account, amount } => self.pay(WORLD, account.as_str(), amount.get()),
            Operation::Debit { account, amount } => self.pay(account.as_str(), WORLD, amount.get()),
            Operation::Put { key, value } => {
                set_at(self.values.entry(key.clone()).or_default(), height, value.clone());
                "committed"
            }
            Operation::Linked { legs } => {
                // Tried on paper first: what each leg would leave of the accounts that are named.
                let mut paper: BTreeMap<&str, i128> = BTreeMap::new();
                for Leg { from, to, amount, .. } in legs {
                    let (from, to, amount) = (from.as_str(), to.as_str(), i128::from(amount.get()));
                    match self.may(&paper, from, to, amount) {
                        Err(refusal) => return refusal,
                        Ok((payer, payee)) => paper.extend([(from, payer - amount), (to, payee + amount)]),
                    }
                }
                for (name, balance) in paper {
                    self.set(name, balance);
                }
                "committed"
            }
            Operation::Pending { from, to, amount, timeout_ms, .. } => {
                let (from, to, amount) = (from.as_str(), to.as_str(), i128::from(amount.get()));
                if let Err(refusal) = self.may(&BTreeMap::new(), from, to, amount) {
                    return refusal;
                }
                let expires_ms = self.time_ms.saturating_add(*timeout_ms);
                let hold = Hold { from: from.to_owned(), to: to.to_owned(), amount, expires_ms, ended: None };
                self.holds.insert(request.id.as_str().to_owned(), hold);
                self.hold(from, amount);
                "committed"
            }
            Operation::Post { pending, amount } => {
                self.post(pending.as_str(), amount.map(|amount| amount.get().into()))
            }
            Operation::Void { pending } => match self.held(pending.as_str()) {
                Err(refusal) => refusal,
                Ok(_) => self.end(pending.as_str(), "already_voided"),
            },
        }
    }

    fn pay(&mut self, from: &str, to: &str, amount: u64) -> &'static str {
        let amount = i128::from(amount);
        match self.may(&BTreeMap::new(), from, to, amount) {
            Err(refusal) => refusal,
            Ok((payer, payee)) => {
                self.set(from, payer - amount);
                self.set(to, payee + amount);
                "committed"
            }
        }
    }

    /// The balances of both, those on paper first, if this much can be moved.
    fn may(
        &self,
        paper: &BTreeMap<&str, i128>,
        from: &str,
        to: &str,
        amount: i128,
    ) -> Result<(i128, i128), &'static str> {
        if from == to {
            return Err("same_account");
        }
        let known = |name: &str| paper.get(name).copied().or(self.now(name)).or((name == WORLD).then_some(0));
        let (Some(payer), Some(payee)) = (known(from), known(to)) else { return Err("unknown_account") };
        let held: i128 =
            self.holds.values().filter(|hold| hold.ended.is_none() && hold.from == from).map(|hold| hold.amount).sum();
        if from != WORLD && payer - held < amount {
            return Err("insufficient_funds");
        }
        if to != WORLD && payee + amount > MOST {
            return Err("balance_overflow");
        }
        Ok((payer, payee))
    }

    /// A pending transfer that can still be posted or voided.
    fn held(&self, id: &str) -> Result<&Hold, &'static str> {
        let hold = self.holds.get(id).ok_or("unknown_pending")?;
        match hold.ended {
            Some(told) => Err(told),
            None if hold.expires_ms <= self.time_ms => Err("pending_expired"),
            None => Ok(hold),
        }
    }

    fn end(&mut self, id: &str, told: &'static str) -> &'static str {
        if let Some(hold) = self.holds.get_mut(id) {
            hold.ended = Some(told);
            let (from, amount) = (hold.from.clone(), hold.amount);
            self.hold(&from, -amount);
        }
        "committed"
    }

    fn hold(&mut self, account: &str, change: i128) {
        let held = self.held_at(account, self.height) + change;
        set_at(self.held.entry(account.to_owned()).or_default(), self.height, held);
    }

    /// What the account held for pending transfers at a height.
    pub fn held_at(&self, account: &str, height: u64) -> i128 {
        self.held.get(account).and_then(|times| at(times, height)).unwrap_or(0)
    }

    fn post(&mut self, id: &str, amount: Option<i128>) -> &'static str {
        let (from, to, all) = match self.held(id) {
            Err(refusal) => return refusal,
            Ok(Hold { from, to, amount, .. }) => (from.clone(), to.clone(), *amount),
        };
        let amount = amount.unwrap_or(all);
        if amount > all {
            return "exceeds_pending";
        }
        let (payer, payee) = (self.now(&from).unwrap_or(0), self.now(&to).unwrap_or(0));
        if to != WORLD && payee + amount > MOST {
            return "balance_overflow";
        }
        self.set(&from, payer - amount);
        self.set(&to, payee + amount);
        self.end(id, "already_posted")
    }

    /// What each account holds now for pending transfers.
    pub fn holds(&self) -> BTreeMap<String, i128> {
        let mut sums = BTreeMap::new();
        for hold in self.holds.values().filter(|hold| hold.ended.is_none()) {
            *sums.entry(hold.from.clone()).or_insert(0) += hold.amount;
        }
        sums
    }

    fn now(&self, account: &str) -> Option<i128> {
        self.accounts.get(account).and_then(|times| times.last()).map(|(_, balance)| *balance)
    }

    fn set(&mut self, account: &str, balance: i128) {
        self.sum += balance - self.now(account).unwrap_or(0);
        set_at(self.accounts.entry(account.to_owned()).or_default(), self.height, balance);
    }

    /// A balance at a height; `world` always has one.
    pub fn balance_at(&self, account: &str, height: u64) -> Option<i128> {
        self.accounts.get(account).and_then(|times| at(times, height)).or((account == WORLD).then_some(0))
    }

    /// All balances at a height, in order of name; `world` once it was used.
    pub fn accounts_at(&self, height: u64) -> Vec<(String, i128)> {
        self.accounts
            .iter()
            .filter_map(|(account, times)| at(times, height).map(|balance| (account.clone(), balance)))
            .collect()
    }

    /// A value at a height.
    pub fn value_at(&self, key: &[u8], height: u64) -> Option<Vec<u8>> {
        self.values.get(key).and_then(|times| at(times, height))
    }
}

fn set_at<T>(times: &mut Times<T>, height: u64, value: T) {
    match times.last_mut() {
        Some((last, kept)) if *last == height => *kept = value,
        _ => times.push((height, value)),
    }
}

fn at<T: Clone>(times: &Times<T>, height: u64) -> Option<T> {
    let after = times.partition_point(|(first, _)| *first <= height);
    after.checked_sub(1).map(|last| times[last].1.clone())
}
