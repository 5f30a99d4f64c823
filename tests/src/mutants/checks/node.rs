//! What whole nodes must do, seen by their clients: one scene for each promise.

use anyhow::{Context, Result, bail, ensure};
use raftbank_ledger::{Amount, Leg, Operation, RequestId};
use raftbank_wire::api::{ApiReply, ApiRequest, FailKind, WriteOutcome};

use super::Check;
use super::bank::{Bank, is_committed, read};
use super::chain::{account, credit, open, transfer};

pub(super) const CHECKS: &[Check] = &[
    ("a leader with a damaged state commits nothing", a_leader_with_a_damaged_state_commits_nothing),
    ("a node with another result stops", a_node_with_another_result_stops),
    ("a read is never stale", a_read_is_never_stale),
    ("an answer speaks of what is in the chain", an_answer_speaks_of_what_is_in_the_chain),
    ("nothing is answered before it is committed", nothing_is_answered_before_it_is_committed),
    ("what is called not executed never is", what_is_called_not_executed_never_is),
    ("a lost answer pays once", a_lost_answer_pays_once),
    ("nothing stays pending", nothing_stays_pending),
    ("all accounts are shown", all_accounts_are_shown),
    ("a node that came back empty is refused", a_node_that_came_back_empty_is_refused),
    ("a data folder that is gone does not come back", a_data_folder_that_is_gone_does_not_come_back),
    ("a restart forgets no id", a_restart_forgets_no_id),
    ("a leader that stops hands over", a_leader_that_stops_hands_over),
    ("a late word to campaign deposes nobody", a_late_word_to_campaign_deposes_nobody),
    ("nobody gets what it cannot read", nobody_gets_what_it_cannot_read),
];

/// A bank of three with a leader; node 0 is `next`, the other two follow.
fn three() -> Result<(Bank, usize, [usize; 2])> {
    let mut bank = Bank::new(3)?;
    let leader = bank.leader()?;
    bank.run_ms(500)?;
    Ok((bank, leader, [(leader + 1) % 3, (leader + 2) % 3]))
}

fn a_leader_with_a_damaged_state_commits_nothing() -> Result<()> {
    let (mut bank, leader, others) = three()?;
    bank.kill(leader);
    bank.start(leader, Some((account("alice")?, 1_000)))?;
    // It leads again: nobody else's clock runs.
    bank.stopped_clocks.extend(others);
    bank.run_ms(1_000)?;
    bank.stopped_clocks.clear();
    let token = bank.write(leader, "steal", transfer("alice", "bob", 500)?, 3_000)?;
    bank.run_ms(4_000)?;
    let reply = bank.replies.get(&(leader, token));
    ensure!(!is_committed(reply), "alice has 10, and paying 500 was answered with {reply:?}");
    ensure!(bank.stops.get(&leader) == Some(&6), "stopped: {:?}", bank.stops);
    let next = bank.leader()?;
    bank.must_write(next, "pay", transfer("alice", "bob", 10)?)?;
    ensure!(bank.balance("bob")? == 10);
    Ok(())
}

fn a_node_with_another_result_stops() -> Result<()> {
    let (mut bank, leader, [wrong, _]) = three()?;
    bank.kill(wrong);
    bank.start(wrong, Some((account("alice")?, 1_000)))?;
    bank.run_ms(500)?;
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    bank.must_write(leader, "more", credit("alice", 5)?)?;
    ensure!(
        bank.stops.get(&wrong) == Some(&6),
        "its state is damaged, and the nodes that stopped are {:?}",
        bank.stops
    );
    Ok(())
}

fn a_read_is_never_stale() -> Result<()> {
    let (mut bank, leader, [behind, _]) = three()?;
    bank.isolate(behind);
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    for at in [behind, leader] {
        match bank.answer(at, read("alice"))? {
            ApiReply::Balance { balance: 15, .. } => {}
            ApiReply::Failed { kind: FailKind::NotExecuted, .. } if at == behind => {}
            other => bail!("alice has 15, and node {at} (leader: {leader}) says {other:?}"),
        }
    }
    Ok(())
}

fn an_answer_speaks_of_what_is_in_the_chain() -> Result<()> {
    let (mut bank, old, _) = three()?;
    bank.isolate(old);
    let token = bank.write(old, "first", credit("alice", 7)?, 60_000)?;
    bank.run_ms(3_000)?;
    let new = bank.up().into_iter().find(|id| *id != old).context("others")?;
    bank.must_write(new, "second", credit("alice", 1)?)?;
    bank.cut.clear();
    bank.run_ms(5_000)?;
    let state = bank.state(new)?;
    match bank.replies.get(&(old, token)) {
        Some(ApiReply::Written { outcome: WriteOutcome::Committed, height, .. }) => {
            let there = state.request(&RequestId::parse("first")?).map(|record| record.height);
            ensure!(there == Some(*height), "done at height {height}, says the node; the chain has it at {there:?}");
        }
        other => bail!("the leader changed, and the answer is {other:?}"),
    }
    ensure!(bank.balance("alice")? == 18);
    Ok(())
}

fn nothing_is_answered_before_it_is_committed() -> Result<()> {
    let (mut bank, leader, followers) = three()?;
    followers.iter().for_each(|id| bank.hold(*id));
    let token = bank.write(leader, "pay", credit("alice", 5)?, 3_000)?;
    bank.run_ms(100)?;
    let early = bank.replies.get(&(leader, token));
    ensure!(early.is_none(), "no follower has synced it, and it was answered with {early:?}");
    bank.release(followers[0])?;
    bank.run_ms(100)?;
    let reply = bank.replies.get(&(leader, token));
    ensure!(is_committed(reply), "a majority has synced it: {reply:?}");
    Ok(())
}

fn what_is_called_not_executed_never_is() -> Result<()> {
    let (mut bank, leader, followers) = three()?;
    followers.iter().for_each(|id| bank.hold(*id));
    let at_leader = bank.write(leader, "at-leader", credit("alice", 5)?, 500)?;
    bank.run_ms(1_000)?;
    for id in followers {
        bank.release(id)?;
    }
    bank.run_ms(3_000)?;
    let executed = bank.state(leader)?.request(&RequestId::parse("at-leader")?).is_some();
    match bank.replies.get(&(leader, at_leader)) {
        Some(ApiReply::Failed { kind: FailKind::NotExecuted, code, .. }) if executed => {
            bail!("called not executed ({code}), and then it was")
        }
        _ => Ok(()),
    }
}

fn a_lost_answer_pays_once() -> Result<()> {
    let (mut bank, leader, [at, _]) = three()?;
    bank.cut.insert((leader, at));
    let token = bank.write(at, "pay", credit("alice", 5)?, 30_000)?;
    bank.run_ms(500)?;
    // It is committed, and the node that was asked does not know. It asks the next leader.
    bank.kill(leader);
    bank.run_ms(5_000)?;
    let reply = bank.replies.get(&(at, token));
    ensure!(is_committed(reply), "answered with {reply:?}");
    let balance = bank.balance("alice")?;
    ensure!(balance == 15, "10 and 5 make {balance}");
    Ok(())
}

fn nothing_stays_pending() -> Result<()> {
    let (mut bank, leader, _) = three()?;
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    match bank.answer(leader, read("alice"))? {
        ApiReply::Balance { balance: 15, pending: 0, .. } => Ok(()),
        other => bail!("all is answered, and the balance is {other:?}"),
    }
}

fn all_accounts_are_shown() -> Result<()> {
    let (mut bank, leader, _) = three()?;
    bank.must_write(leader, "open", open("carol")?)?;
    match bank.answer(leader, ApiRequest::Accounts { local: false, timeout_ms: 2_000 })? {
        ApiReply::Accounts { accounts, .. } => {
            for name in ["alice", "bob", "carol"] {
                ensure!(accounts.iter().any(|(account, _)| account == name), "{name} is missing in {accounts:?}");
            }
            let sum: i128 = accounts.iter().map(|(_, balance)| balance).sum();
            ensure!(sum == 0, "the sum of all is {sum}");
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}

fn a_node_that_came_back_empty_is_refused() -> Result<()> {
    let (mut bank, leader, [lost, behind]) = three()?;
    bank.isolate(behind);
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    bank.lose_disk(lost, false)?;
    bank.cut.clear();
    bank.isolate(leader);
    // Of those who held the payment only the empty one is reachable: nobody may lead without it.
    bank.run_ms(3_000)?;
    let token = bank.write(behind, "other", credit("bob", 1)?, 2_000)?;
    bank.run_ms(3_000)?;
    let reply = bank.replies.get(&(behind, token));
    ensure!(!is_committed(reply), "without the only holder of a payment, another was made: {reply:?}");
    bank.cut.clear();
    bank.run_ms(5_000)?;
    ensure!(bank.state(behind)?.balance(&account("alice")?) == Some(15), "an acknowledged payment is gone");
    Ok(())
}

fn a_data_folder_that_is_gone_does_not_come_back() -> Result<()> {
    let (mut bank, leader, [lost, other]) = three()?;
    bank.record(lost);
    bank.lose_disk(lost, true)?;
    bank.run_ms(5_000)?;
    let late = bank.recorded.take().context("a recording")?;
    bank.lose_disk(lost, true)?;
    bank.run_ms(5_000)?;
    bank.replay(late)?;
    bank.run_ms(2_000)?;
    // With the third node gone it makes the majority.
    bank.kill(other);
    bank.run_ms(2_000)?;
    bank.must_write(leader, "pay", credit("alice", 5)?)
}

fn a_restart_forgets_no_id() -> Result<()> {
    let (mut bank, leader, _) = three()?;
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    for id in 0..3 {
        bank.kill(id);
    }
    for id in 0..3 {
        bank.start(id, None)?;
    }
    let leader = bank.leader()?;
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    let balance = bank.balance("alice")?;
    ensure!(balance == 15, "10 and 5 make {balance}");
    Ok(())
}

fn a_leader_that_stops_hands_over() -> Result<()> {
    let (mut bank, leader, [at, _]) = three()?;
    let token = bank.write(at, "pay", credit("alice", 5)?, 3_000)?;
    bank.terminate(leader)?;
    let late = bank.write(at, "more", credit("alice", 5)?, 3_000)?;
    // An election timeout is 150 ms at least.
    bank.run_ms(100)?;
    for token in [token, late] {
        let reply = bank.replies.get(&(at, token));
        ensure!(is_committed(reply), "100 ms after the leader was asked to stop: {reply:?}");
    }
    ensure!(bank.stops.get(&leader) == Some(&0), "stopped: {:?}", bank.stops);
    Ok(())
}

fn a_late_word_to_campaign_deposes_nobody() -> Result<()> {
    let (mut bank, old, _) = three()?;
    bank.record(old);
    bank.terminate(old)?;
    bank.run_ms(100)?;
    let late = bank.recorded.take().context("a recording")?;
    bank.start(old, None)?;
    // Who was told leads now. It hands over, too, and follows.
    let told = bank.leader()?;
    bank.terminate(told)?;
    bank.run_ms(100)?;
    bank.start(told, None)?;
    let leader = bank.leader()?;
    bank.must_write(leader, "pay", credit("alice", 5)?)?;
    let before = bank.term(leader)?;
    bank.replay(late)?;
    bank.run_ms(1_000)?;
    let after = (bank.leader()?, bank.term(leader)?);
    ensure!(
        after == (leader, before),
        "node {leader} led in term {before}; after late frames, leader and term are {after:?}"
    );
    Ok(())
}

fn nobody_gets_what_it_cannot_read() -> Result<()> {
    let (mut bank, leader, [lost, _]) = three()?;
    bank.kill(lost);
    bank.software.insert(lost, "test/0.1.9");
    bank.start(lost, None)?;
    bank.run_ms(1_000)?;
    let legs = [("alice", "bob"), ("bob", "alice")].map(|(from, to)| {
        let (from, to, amount) = (account(from)?, account(to)?, Amount::new(5)?);
        Ok(Leg { from, to, amount, memo: String::new() })
    });
    let legs = legs.into_iter().collect::<Result<Vec<Leg>>>()?;
    let token = bank.write(leader, "both", Operation::Linked { legs }, 3_000)?;
    bank.run_ms(4_000)?;
    match bank.replies.get(&(leader, token)) {
        Some(ApiReply::Failed { kind: FailKind::NotExecuted, code, .. }) if code == "not_supported_yet" => Ok(()),
        other => bail!("a member runs 0.1.9, and the answer to linked transfers is {other:?}"),
    }
}
