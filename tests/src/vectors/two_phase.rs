//! Vectors of linked and pending transfers: the bank of the other vectors with three more blocks, and forgeries of the
//! last one whose hashes all fit.

use anyhow::{Context, Result};
use raftbank_ledger::{
    Account, Amount, Block, Header, Leg, NodeName, Operation, Request, RequestId, TIMEOUT_MS_MAX, pow,
};
use raftbank_proofs::block_json;

use super::Bank;
use super::files::Made;

/// Blocks in the newest head of this chain.
const SIZE: usize = 12;
/// Time of the last block: the pending transfer `hold-1` has expired by then.
const LAST_MS: u64 = 3_000;

fn request(id: &str, operation: Operation) -> Result<Request> {
    Ok(Request::new(RequestId::parse(id)?, operation)?)
}

fn leg(from: &str, to: &str, amount: u64, memo: &str) -> Result<Leg> {
    let (from, to) = (Account::parse(from)?, Account::parse(to)?);
    Ok(Leg { from, to, amount: Amount::new(amount)?, memo: memo.to_owned() })
}

fn linked<const N: usize>(legs: [Result<Leg>; N]) -> Result<Operation> {
    Ok(Operation::Linked { legs: legs.into_iter().collect::<Result<_>>()? })
}

fn pending(from: &str, to: &str, amount: u64, timeout_ms: u64) -> Result<Operation> {
    let Leg { from, to, amount, memo } = leg(from, to, amount, "hold")?;
    Ok(Operation::Pending { from, to, amount, timeout_ms, memo })
}

/// All of it if the amount is 0.
fn post(id: &str, amount: u64) -> Result<Operation> {
    Ok(Operation::Post { pending: RequestId::parse(id)?, amount: Amount::new(amount).ok() })
}

fn void(id: &str) -> Result<Operation> {
    Ok(Operation::Void { pending: RequestId::parse(id)? })
}

/// What the last block holds.
fn last() -> Result<Vec<Request>> {
    let requests = [
        ("late", post("hold-1", 0)?),
        ("too-late", void("hold-1")?),
        ("free", linked([leg("bob", "carol", 10, ""), leg("bob", "carol", 1, "")])?),
        ("whole", post("hold-4", 0)?),
    ];
    requests.into_iter().map(|(id, operation)| request(id, operation)).collect()
}

impl Bank {
    /// The bank of the other vectors, and three more blocks.
    ///
    /// # Errors
    /// None, if the rules of the bank are as they were.
    pub fn two_phase() -> Result<Self> {
        let mut bank = Self::new("pepper")?;
        let first = vec![
            request("hold-1", pending("bob", "carol", 35, 500)?)?,
            request("hold-2", pending("bob", "carol", 11, 500)?)?, // bob has 45
            request("hold-3", pending("world", "alice", 1 << 62, TIMEOUT_MS_MAX)?)?,
            request("hold-4", pending("carol", "world", 9, 900_000)?)?,
            request("spend", Operation::Debit { account: Account::parse("bob")?, amount: Amount::new(11)? })?,
            request("both", linked([leg("bob", "carol", 10, "wages"), leg("carol", "bob", 2, "")])?)?,
            request("none", linked([leg("carol", "bob", 1, ""), leg("bob", "nobody", 1, "")])?)?,
        ];
        let second = vec![
            request("hold-5", pending("alice", "bob", 20, 900_000)?)?,
            request("hold-6", pending("alice", "bob", 20, 900_000)?)?,
            request("more", post("hold-5", 21)?)?,
            request("part", post("hold-5", 15)?)?,
            request("again", post("hold-5", 5)?)?,
            request("void", void("hold-6")?)?,
            request("void-2", void("hold-6")?)?,
            request("nothing", post("spend", 0)?)?,
        ];
        bank.push_at(first, 8, 2_008)?;
        bank.push_at(second, 9, 2_507)?;
        bank.push_at(last()?, 10, LAST_MS)?;
        Ok(bank)
    }

    /// The last block as it would be at another time, with the time that it has; all its hashes fit.
    fn forged(&self, executed_ms: u64) -> Result<Block> {
        let state = &self.states[SIZE - 2];
        let executed = state.execute(last()?, executed_ms);
        let header = Header { time_ms: LAST_MS, ..executed.seal(state, 5, NodeName::parse("n3")?) };
        let nonce = pow::mine(&header, 0, 1 << 20).context("a nonce")?;
        Ok(Block { header: Header { nonce, ..header }, entries: executed.entries() })
    }
}

pub(super) fn all(made: &mut Made) -> Result<()> {
    let bank = Bank::two_phase()?;
    let lines: Vec<String> = bank.blocks.iter().map(|block| format!("{}\n", block_json(block))).collect();
    let chain = made.file("two-phase-chain.jsonl", lines.concat());
    made.file("two-phase-checkpoint.txt", bank.checkpoint(SIZE));
    made.case(0, "linked and pending transfers", &["export", &chain]);
    let checked = ["export", &chain, "--checkpoint", "two-phase-checkpoint.txt", "--keys", "keys.txt"];
    made.case(0, "linked and pending transfers, and their head", &checked);
    for (name, why, old, new) in [
        (
            "leg",
            "an altered amount of a linked transfer",
            "\"10\",\"from\":\"bob\",\"memo\":\"wages\"",
            "\"11\",\"from\":\"bob\",\"memo\":\"wages\"",
        ),
        ("timeout", "an altered timeout", "\"timeout_ms\":500", "\"timeout_ms\":501"),
        ("timeout-text", "a timeout that is no number", "\"timeout_ms\":500", "\"timeout_ms\":\"500\""),
        ("all", "another spelling of all of it", "\"amount\":\"0\"", "\"amount\":\"00\""),
    ] {
        let bad = lines.concat().replacen(old, new, 1);
        let bad = made.file(&format!("bad-two-phase-{name}.jsonl"), bad);
        made.case(6, why, &["export", &bad]);
    }
    // Executed as in the block before: what has expired by this block's time is held still, and moved.
    let forged = format!("{}\n", block_json(&bank.forged(0)?));
    let bad = made.file("bad-two-phase-expiry.jsonl", [&lines[..SIZE - 1], &[forged]].concat().concat());
    made.case(6, "money is moved after its time", &["export", &bad]);
    for id in ["hold-1", "hold-3", "both", "none", "part", "void", "late"] {
        let found = bank.requests().find(|(_, _, entry)| entry.request.id.as_str() == id);
        let (height, index, _) = found.context("a request")?;
        let receipt = bank.receipt(height, index, SIZE);
        made.checked(0, "a receipt", "receipt", &format!("two-phase-receipt-{id}.txt"), receipt);
    }
    Ok(())
}
