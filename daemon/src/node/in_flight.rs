//! What a balance shows as pending: the net effect of the writes that are in flight at this node.

use raftbank_consensus::Engine;
use raftbank_ledger::{Account, Balance, Request, postings};

use super::Node;
use super::calls::Kind;

impl<E: Engine> Node<E> {
    /// Keeps what a balance shows as pending: the net effect of the writes in flight at this node.
    pub(super) fn count_pending(&mut self, request: &Request, sign: Balance) {
        // Of a post nothing is counted: whose money it moves is known for sure only once it is done.
        postings(&request.operation, None, |account, change| {
            let entry = self.pending.entry(account.clone()).or_insert(0);
            *entry += change * sign;
            if *entry == 0 {
                self.pending.remove(account);
            }
        });
    }

    /// The net effect on an account of the writes in flight at this node.
    pub(super) fn pending(&self, account: &Account) -> Balance {
        let of_batches = self.batches.iter().filter_map(|id| match &self.calls.get(id)?.kind {
            Kind::Many(many) => Some(many.moved(account)),
            Kind::Write(_) | Kind::Read(_) => None,
        });
        of_batches.sum::<Balance>() + self.pending.get(account).copied().unwrap_or(0)
    }
}
