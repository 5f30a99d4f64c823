//! What is read of a bank before a batch is executed.

use super::Bank;
use crate::index::Short;
use crate::names::Account;
use crate::request::{Operation, Request};

/// With fewer requests than this there is little to fetch at a time.
const FEW: usize = 4;

impl Bank {
    /// Reads what a batch will look for, one thing after the other and without waiting for what is in it. With many accounts
    /// it comes from memory that is in no cache, and the processor fetches several at a time; the execution would wait for
    /// each. Finding something here decides nothing: whatever is done looks for it again.
    pub(super) fn fetch<'a>(&self, batch: impl Iterator<Item = &'a Request> + Clone) {
        if batch.size_hint().0 < FEW {
            return;
        }
        let ids: Vec<Short> = batch.clone().map(|request| self.ids.hash(&request.id)).collect();
        let known = ids.into_iter().filter(|hash| self.ids.is_there(*hash)).count();
        let mut accounts = Vec::with_capacity(2 * batch.size_hint().0);
        batch.for_each(|request| named(&request.operation, |account| accounts.push(self.accounts.hash(account))));
        let numbers: Vec<u32> = accounts.into_iter().filter_map(|hash| self.accounts.number(hash)).collect();
        let positive = numbers.into_iter().filter(|number| self.accounts.at(*number) > 0).count();
        std::hint::black_box((known, positive));
    }
}

/// The accounts that an operation names.
fn named(operation: &Operation, mut each: impl FnMut(&Account)) {
    match operation {
        Operation::Transfer { from, to, .. } | Operation::Pending { from, to, .. } => {
            [from, to].into_iter().for_each(each)
        }
        Operation::Open { account } | Operation::Credit { account, .. } | Operation::Debit { account, .. } => {
            each(account)
        }
        Operation::Linked { legs } => legs.iter().flat_map(|leg| [&leg.from, &leg.to]).for_each(each),
        Operation::Put { .. } | Operation::Post { .. } | Operation::Void { .. } => {}
    }
}
