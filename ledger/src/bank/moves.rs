//! What moves more than one transfer's money at once, or in two steps: linked transfers, and pending ones with their
//! posting and voiding.

use super::Run;
use crate::amount::{Amount, BALANCE_MAX, Balance};
use crate::names::{Account, RequestId};
use crate::outcome::Refusal;
use crate::pending::PendingStatus;
use crate::request::Leg;

impl Run<'_> {
    /// All legs, each on what those before it left, or none.
    pub(super) fn linked(&mut self, legs: &[Leg]) -> Result<(), Refusal> {
        let mut before = Vec::with_capacity(2 * legs.len());
        for leg in legs {
            for account in [&leg.from, &leg.to] {
                let slot = self.slot(account);
                before.push((slot, *self.accounts.at(slot)));
            }
            let Err(refusal) = self.transfer(&leg.from, &leg.to, leg.amount.into()) else { continue };
            let kept = if planted!(LinkedKeepsFirstLeg) { 2.min(before.len() - 2) } else { 0 };
            for (slot, value) in before.drain(kept..).rev() {
                *self.accounts.at_mut(slot) = value;
            }
            return Err(refusal);
        }
        Ok(())
    }

    /// Reserves what a transfer would move, if that could be made now.
    pub(super) fn pending(
        &mut self,
        id: &RequestId,
        (from, to): (&Account, &Account),
        amount: Amount,
        timeout_ms: u64,
    ) -> Result<(), Refusal> {
        self.check_transfer(from, to, amount.into())?;
        self.pendings.open(id, from, to, amount, timeout_ms);
        Ok(())
    }

    /// Moves the money of a pending transfer, all of it or this much.
    pub(super) fn post(&mut self, id: &RequestId, amount: Option<Amount>) -> Result<(), Refusal> {
        let pending = self.pendings.find(id)?;
        let amount = amount.unwrap_or(pending.amount);
        if amount > pending.amount {
            return Err(Refusal::ExceedsPending);
        }
        // Both were there when it was made, and no account is ever closed.
        let (from, to) = (self.slot(&pending.from), self.slot(&pending.to));
        let (payer, payee) = (self.at(from).unwrap_or(0), self.at(to).unwrap_or(0));
        let moved = Balance::from(amount);
        if payee + moved > BALANCE_MAX {
            return Err(Refusal::BalanceOverflow);
        }
        self.pendings.close(id, PendingStatus::Posted, amount.get());
        self.set(from, payer - moved);
        self.set(to, payee + moved);
        Ok(())
    }

    /// Frees the money of a pending transfer.
    pub(super) fn void(&mut self, id: &RequestId) -> Result<(), Refusal> {
        let pending = self.pendings.find(id)?;
        self.pendings.close(id, PendingStatus::Voided, 0);
        if planted!(VoidKeepsHold) {
            self.pendings.hold(&pending.from, pending.amount.into());
        }
        Ok(())
    }
}
