//! What accounts hold for pending transfers, as this node's applied state has it.

use raftbank_consensus::Engine;
use raftbank_ledger::{Account, Pending, RequestId};
use raftbank_wire::api::{ApiReply, FailKind, HELD_ROWS_MAX, HeldRow};

use super::Node;
use super::answers::failed;

/// Most pending transfers that one question looks at: the node answers nobody else meanwhile.
const LOOKED_AT_MAX: usize = 10_000;

impl<E: Engine> Node<E> {
    /// The open ones, of this payer or payee or of all, in the order in which they expire, behind `after`.
    pub(super) fn held(&self, account: Option<&str>, after: Option<(u64, String)>) -> ApiReply {
        let account = match account.map(Account::parse).transpose() {
            Ok(account) => account,
            Err(error) => return failed(FailKind::Usage, "bad_name", &error.to_string()),
        };
        if let Some(account) = account.as_ref().filter(|account| self.state.balance(account).is_none()) {
            let message = format!("there is no account {account}; open it first");
            return failed(FailKind::Refused, "unknown_account", &message);
        }
        let after = match after.map(|(at, id)| RequestId::parse(&id).map(|id| (at, id))).transpose() {
            Ok(after) => after,
            Err(error) => return failed(FailKind::Usage, "bad_id", &error.to_string()),
        };
        let (mut rows, mut next) = (Vec::new(), None);
        for (looked_at, (id, pending)) in self.state.pendings().open_after(after.as_ref()).enumerate() {
            if rows.len() == HELD_ROWS_MAX || looked_at == LOOKED_AT_MAX {
                return self.listed(rows, next);
            }
            next = Some((pending.expires_ms, id.as_str().to_owned()));
            if account.as_ref().is_none_or(|account| [&pending.from, &pending.to].contains(&account)) {
                rows.push(row(id, pending));
            }
        }
        self.listed(rows, None)
    }

    /// Those with these ids, whatever became of them.
    pub(super) fn held_by_id(&self, ids: &[String]) -> ApiReply {
        if ids.len() > HELD_ROWS_MAX {
            let message = format!("{} ids; at most {HELD_ROWS_MAX} at a time", ids.len());
            return failed(FailKind::Usage, "too_many", &message);
        }
        let ids = ids.iter().filter_map(|id| RequestId::parse(id).ok());
        let rows = ids.filter_map(|id| self.state.pendings().get(&id).map(|pending| row(&id, pending)));
        self.listed(rows.collect(), None)
    }

    fn listed(&self, rows: Vec<HeldRow>, next: Option<(u64, String)>) -> ApiReply {
        let tip = self.state.tip();
        ApiReply::Held { height: tip.height, time_ms: tip.time_ms, rows, next }
    }
}

fn row(id: &RequestId, pending: &Pending) -> HeldRow {
    HeldRow {
        id: id.as_str().to_owned(),
        from: pending.from.as_str().to_owned(),
        to: pending.to.as_str().to_owned(),
        amount: pending.amount.get(),
        posted: pending.posted,
        expires_ms: pending.expires_ms,
        status: pending.status.code().to_owned(),
    }
}
