//! What linked and pending transfers must do, seen from outside.

use anyhow::{Result, ensure};
use raftbank_ledger::{Amount, Leg, Operation, RequestId};

use super::Check;
use super::chain::{Chain, TIME_MS, account, put, request, transfer};

pub(super) const CHECKS: &[Check] = &[
    ("linked transfers are done together or not at all", linked_transfers_are_done_together_or_not_at_all),
    ("a void frees the money", a_void_frees_the_money),
    ("the time of the block decides", the_time_of_the_block_decides),
];

fn pending(amount: u64, timeout_ms: u64) -> Result<Operation> {
    let (from, to) = (account("alice")?, account("bob")?);
    Ok(Operation::Pending { from, to, amount: Amount::new(amount)?, timeout_ms, memo: String::new() })
}

fn linked_transfers_are_done_together_or_not_at_all() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let leg = |amount| -> Result<Leg> {
        let (from, to) = (account("alice")?, account("bob")?);
        Ok(Leg { from, to, amount: Amount::new(amount)?, memo: String::new() })
    };
    let legs = vec![leg(4)?, leg(5)?, leg(6)?];
    let decisions = chain.push(vec![request("all", Operation::Linked { legs })?])?;
    let balance = chain.state().balance(&account("alice")?);
    ensure!(balance == Some(10), "alice has {balance:?} of 10 after a refused one: {decisions:?}");
    Ok(())
}

fn a_void_frees_the_money() -> Result<()> {
    let mut chain = Chain::new(0)?;
    chain.push(vec![request("hold", pending(10, 1_000_000)?)?])?;
    chain.push(vec![request("free", Operation::Void { pending: RequestId::parse("hold")? })?])?;
    chain.push(vec![request("pay", transfer("alice", "bob", 10)?)?])?;
    let balance = chain.state().balance(&account("bob")?);
    ensure!(balance == Some(10), "bob got {balance:?} of the 10 that were free again");
    Ok(())
}

fn the_time_of_the_block_decides() -> Result<()> {
    let mut chain = Chain::new(0)?;
    chain.push(vec![request("first", put("k", "v"))?])?;
    // A leader whose clock is behind that of the chain: its block has the time of the one before.
    let (block, decisions) = chain.build(vec![request("hold", pending(10, 5)?)?], TIME_MS - 100)?;
    let taken = chain.state().check(&block).map(|executed| executed.state_root);
    ensure!(taken.is_ok(), "a follower refuses the block of a leader with a slow clock: {taken:?}, {decisions:?}");
    Ok(())
}
