//! What the ledger must do, seen from outside: one check for each promise.

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Amount, Block, Decision, Hash, Header, Outcome, Refusal, Request, State, header_hash_of};

use super::Check;
use super::chain::{Chain, TIME_MS, account, credit, put, request, transfer};

/// Blocks after which an id must still be known.
const LATER: u64 = 100;

pub(super) const CHECKS: &[Check] = &[
    ("an id is never forgotten", an_id_is_never_forgotten),
    ("a repeat in a batch is a duplicate", a_repeat_in_a_batch_is_a_duplicate),
    ("a repeat gets the first outcome", a_repeat_gets_the_first_outcome),
    ("nobody spends the same money twice", nobody_spends_the_same_money_twice),
    ("an amount is positive", an_amount_is_positive),
    ("every node decides the same", every_node_decides_the_same),
    ("a nonce has to be found", a_nonce_has_to_be_found),
    ("a block extends the one before", a_block_extends_the_one_before),
    ("the hash covers the whole header", the_hash_covers_the_whole_header),
    ("time never falls along the chain", time_never_falls_along_the_chain),
    ("a restored state knows its ids", a_restored_state_knows_its_ids),
    ("every stored value is verified", every_stored_value_is_verified),
];

fn an_id_is_never_forgotten() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let first = request("pay", credit("alice", 5)?)?;
    chain.push(vec![first.clone()])?;
    for _ in 0..LATER {
        chain.grow()?;
    }
    let decisions = chain.state().execute(vec![first], 0).decisions;
    ensure!(matches!(decisions[..], [Decision::Duplicate { height: 1, .. }]), "{LATER} blocks later: {decisions:?}");
    Ok(())
}

fn a_repeat_in_a_batch_is_a_duplicate() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let pay = request("pay", credit("alice", 5)?)?;
    let decisions = chain.push(vec![pay.clone(), pay])?;
    let balance = chain.state().balance(&account("alice")?);
    ensure!(balance == Some(15), "10 and 5 make {balance:?}, {decisions:?}");
    Ok(())
}

fn a_repeat_gets_the_first_outcome() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let pay = request("pay", transfer("alice", "bob", 11)?)?;
    let decisions = chain.push(vec![pay.clone()])?;
    let [Decision::Included { outcome: first, .. }] = decisions[..] else { bail!("{decisions:?}") };
    let Some(Decision::Duplicate { outcome: again, .. }) = chain.state().decide(&pay) else { bail!("forgotten") };
    ensure!(first == again && first == Outcome::Refused(Refusal::InsufficientFunds), "{first:?}, then {again:?}");
    Ok(())
}

fn nobody_spends_the_same_money_twice() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let twice = ["one", "two"].map(|id| request(id, transfer("alice", "bob", 10)?));
    let decisions = chain.push(twice.into_iter().collect::<Result<_>>()?)?;
    for (account, balance) in chain.state().accounts() {
        ensure!(account.is_world() || balance >= 0, "{account} has {balance} after {decisions:?}");
    }
    Ok(())
}

fn an_amount_is_positive() -> Result<()> {
    ensure!(Amount::new(0).is_err() && Amount::parse("0").is_err(), "0 is an amount");
    let mut bytes = request("pay", credit("alice", 1)?)?.encode();
    *bytes.last_mut().context("bytes")? = 0;
    ensure!(Request::decode(&bytes).is_err(), "a request to credit 0 was read");
    Ok(())
}

fn every_node_decides_the_same() -> Result<()> {
    let chain = Chain::new(0)?;
    // Each refused for two reasons; one node after the other.
    let batch: Vec<Request> =
        [transfer("bob", "nobody", 5)?, transfer("nobody", "bob", 5)?, transfer("bob", "bob", 5)?]
            .into_iter()
            .enumerate()
            .map(|(at, operation)| request(&format!("id-{at}"), operation))
            .collect::<Result<_>>()?;
    let first = chain.state().execute(batch.clone(), 0).decisions;
    for node in 2..6 {
        let other = chain.state().execute(batch.clone(), 0).decisions;
        ensure!(first == other, "node 1 says {first:?}, node {node} {other:?}");
    }
    Ok(())
}

fn a_nonce_has_to_be_found() -> Result<()> {
    let chain = Chain::new(8)?;
    let (block, _) = chain.build(vec![request("pay", credit("alice", 5)?)?], TIME_MS)?;
    let refused = (0..32).filter(|nonce| {
        let header = Header { nonce: *nonce, ..block.header.clone() };
        let other = Block { header, entries: block.entries.clone() };
        chain.verifier().is_ok_and(|mut verifier| verifier.push(&other.encode()).is_err())
    });
    let refused = refused.count();
    ensure!(refused >= 24, "of 32 nonces that nobody searched {refused} were refused");
    Ok(())
}

fn a_block_extends_the_one_before() -> Result<()> {
    let mut chain = Chain::new(0)?;
    chain.grow()?;
    let (block, _) = chain.build(vec![request("pay", credit("alice", 5)?)?], TIME_MS)?;
    let header = Header { previous: Hash([7; 32]), ..block.header };
    let other = Block { header, entries: block.entries };
    ensure!(chain.verifier()?.push(&other.encode()).is_err(), "a block that extends another chain was taken");
    Ok(())
}

fn the_hash_covers_the_whole_header() -> Result<()> {
    let chain = Chain::new(0)?;
    let (block, _) = chain.build(vec![request("pay", credit("alice", 5)?)?], TIME_MS)?;
    let mut bytes = block.encode();
    let hash = block.hash();
    ensure!(header_hash_of(&bytes)? == hash, "the hash is not that of the bytes");
    for at in 0..block.header.encode().len() {
        bytes[at] ^= 1;
        if let Ok(other) = Block::decode(&bytes) {
            ensure!(other.hash() != hash, "byte {at} of the header is not in the hash");
        }
        bytes[at] ^= 1;
    }
    Ok(())
}

fn time_never_falls_along_the_chain() -> Result<()> {
    let mut chain = Chain::new(0)?;
    chain.grow()?;
    let before = chain.state().tip().time_ms;
    let (block, _) = chain.build(vec![request("pay", credit("alice", 5)?)?], before - 500)?;
    ensure!(block.header.time_ms >= before, "a clock was set back, and the block says {}", block.header.time_ms);
    let header = Header { time_ms: before - 1, ..block.header };
    let other = Block { header, entries: block.entries };
    ensure!(chain.verifier()?.push(&other.encode()).is_err(), "a block from before the one before was taken");
    Ok(())
}

fn a_restored_state_knows_its_ids() -> Result<()> {
    let mut chain = Chain::new(0)?;
    let pay = request("pay", credit("alice", 5)?)?;
    chain.push(vec![pay.clone()])?;
    let decision = State::restore(chain.rows())?.decide(&pay);
    ensure!(matches!(decision, Some(Decision::Duplicate { .. })), "after a restart: {decision:?}");
    Ok(())
}

fn every_stored_value_is_verified() -> Result<()> {
    let mut chain = Chain::new(0)?;
    chain.push(vec![request("put", put("key", "value"))?])?;
    let (verifier, state) = (chain.verifier()?, chain.state());
    verifier.compare(state.accounts(), state.values(), state.ids(), state.pendings().rows())?;
    let values = state.values().map(|(key, value)| (key, if key == b"key" { &b"other"[..] } else { value }));
    ensure!(
        verifier.compare(state.accounts(), values, state.ids(), state.pendings().rows()).is_err(),
        "a value that was altered verifies"
    );
    Ok(())
}
