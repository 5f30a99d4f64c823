//! What a block's result tells of the state it was computed on.

use std::collections::BTreeSet;

use raftbank_ledger::{Account, Block, Books, Hash, Operation, Outcome, account_key, balance_hash, postings};

/// Most accounts of a block that are tried.
const TRIED_MAX: usize = 1_000;

/// `None` if the block's state root is what its requests do to the state before it, with the outcomes it gives them. Else
/// the account whose balance must have been another one before it, if one flipped bit explains the root.
pub(super) fn of(before: &Books, block: &Block) -> Option<String> {
    let mut after = before.clone();
    after.apply(block);
    let tree = after.tree();
    let wanted = block.header.state_root;
    if tree.root() == wanted {
        return None;
    }
    for account in touched(&after, block) {
        let was = before.balance(&account).unwrap_or(0);
        let moved = after.balance(&account).unwrap_or(0).wrapping_sub(was);
        for bit in 0..i128::BITS {
            let flipped = was ^ (1_i128 << bit);
            let leaf: (Hash, Hash) = (account_key(&account), balance_hash(flipped.wrapping_add(moved)));
            if tree.plan(&[], vec![leaf]).root() == wanted {
                return Some(format!(
                    "its state root is that of account {account} with {flipped} before this block; the blocks before it \
                     give {was} (one bit differs)"
                ));
            }
        }
    }
    Some(
        "its state root is not what its requests do to the state before it; no single flipped bit explains it"
            .to_owned(),
    )
}

/// Accounts whose balances the block sets.
fn touched(after: &Books, block: &Block) -> BTreeSet<Account> {
    let mut accounts = BTreeSet::new();
    for entry in block.entries.iter().filter(|entry| entry.outcome == Outcome::Committed) {
        let pending = match &entry.request.operation {
            Operation::Post { pending, .. } => after.pendings().get(pending),
            _ => None,
        };
        postings(&entry.request.operation, pending, |account, _| {
            accounts.insert(account.clone());
        });
        if accounts.len() >= TRIED_MAX {
            break;
        }
    }
    accounts
}
