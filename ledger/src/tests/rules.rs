//! The rules of the bank: outcomes, ids, and money that is only ever moved.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn refusals_are_outcomes_in_a_fixed_order() {
    let mut state = fresh();
    let (_, decisions) = push(
        &mut state,
        vec![
            request("1", transfer("alice", "bob", 61)),
            request("2", transfer("alice", "bob", 60)),
            request("3", transfer("nobody", "bob", 1)),
            request("4", transfer("alice", "nobody", 1)),
            request("5", transfer("nobody", "nobody", 1)),
            request("6", open("alice")),
            request("7", open("world")),
            request("8", credit("nobody", 1)),
            request("9", debit("bob", 101)),
            request("10", debit("bob", 100)),
            request("11", credit("alice", Amount::MAX)),
            request("12", credit("alice", 1)),
            request("13", put("k", "v")),
        ],
    );
    assert_eq!(
        outcomes(&decisions),
        [
            "insufficient_funds",
            "committed",
            "unknown_account",
            "unknown_account",
            "same_account",
            "account_exists",
            "account_exists",
            "unknown_account",
            "insufficient_funds",
            "committed",
            "committed",
            "balance_overflow",
            "committed",
        ]
    );
    assert_eq!(state.balance(&account("alice")), Some(BALANCE_MAX));
    assert_eq!(state.value(b"k"), Some(&b"v"[..]));
}

#[test]
fn every_movement_has_two_sides() {
    let mut state = fresh();
    let balances = |state: &State| ["alice", "bob", "world"].map(|name| state.balance(&account(name)).unwrap());
    assert_eq!(balances(&state), [60, 40, -100]);
    let mut step = |id: &str, operation: Operation| {
        let (_, decisions) = push(&mut state, vec![request(id, operation)]);
        (outcomes(&decisions)[0], balances(&state))
    };
    assert_eq!(step("1", credit("alice", 5)), ("committed", [65, 40, -105]));
    assert_eq!(step("2", debit("bob", 40)), ("committed", [65, 0, -65]));
    assert_eq!(step("3", debit("bob", 1)), ("insufficient_funds", [65, 0, -65]));
    assert_eq!(step("4", transfer("world", "bob", 7)), ("committed", [65, 7, -72]));
    assert_eq!(step("5", transfer("alice", "world", 65)), ("committed", [0, 7, -7]));
    assert_eq!(step("6", transfer("alice", "alice", 1)), ("same_account", [0, 7, -7]));
    assert_eq!(step("7", credit("world", 1)), ("same_account", [0, 7, -7]));
    assert_eq!(step("8", debit("world", 1)), ("same_account", [0, 7, -7]));
}

#[test]
fn world_is_there_before_anybody_used_it() {
    let mut bare = genesis();
    (bare.accounts, bare.transfers) = (Vec::new(), Vec::new());
    let mut state = State::new(&bare.block().unwrap()).unwrap().0;
    assert_eq!(state.balance(&Account::world()), Some(0));
    assert_eq!(state.accounts().count(), 0);
    let (_, decisions) = push(&mut state, vec![request("1", open("alice")), request("2", credit("alice", 1))]);
    assert_eq!(outcomes(&decisions), ["committed", "committed"]);
    assert_eq!(state.balance(&Account::world()), Some(-1));
}

#[test]
fn many_in_one_batch_cannot_overdraw_together() {
    let mut state = fresh();
    let batch = (0..61).map(|n| request(&format!("t{n}"), transfer("alice", "bob", 1))).collect();
    let (_, decisions) = push(&mut state, batch);
    assert_eq!(outcomes(&decisions).iter().filter(|code| **code == "committed").count(), 60);
    assert_eq!(outcomes(&decisions)[60], "insufficient_funds");
    assert_eq!(state.balance(&account("alice")), Some(0));
}

#[test]
fn an_id_counts_once_for_ever_and_over_all_verbs() {
    let mut state = fresh();
    let (block, decisions) = push(
        &mut state,
        vec![
            request("x", transfer("alice", "bob", 1)),
            request("x", transfer("alice", "bob", 1)),
            request("x", transfer("alice", "bob", 2)),
            request("x", open("carol")),
            request("y", transfer("alice", "bob", 1_000)),
        ],
    );
    assert_eq!(outcomes(&decisions), ["committed", "duplicate", "id_reused", "id_reused", "insufficient_funds"]);
    assert_eq!(block.entries.len(), 2);
    push(&mut state, vec![request("z", credit("alice", 5_000))]);
    // In a later block as well: both are answered, and neither is in the block.
    let again = vec![
        request("x", transfer("alice", "bob", 1)),
        request("x", transfer("alice", "bob", 2)),
        request("new", open("erin")),
        request("new", open("erin")),
    ];
    let executed = state.execute(again, 2_000);
    assert_eq!(outcomes(&executed.decisions), ["duplicate", "id_reused", "committed", "duplicate"]);
    assert_eq!(executed.entries().len(), 1);
    assert_eq!(executed.decisions[3], Decision::Duplicate { height: 3, index: 0, outcome: Outcome::Committed });
    let first = Decision::Duplicate { height: 1, index: 0, outcome: Outcome::Committed };
    assert_eq!(state.decide(&request("x", transfer("alice", "bob", 1))), Some(first));
    assert_eq!(state.decide(&request("x", transfer("bob", "alice", 1))), Some(Decision::IdReused));
    // A refusal is kept as well: the same request does not succeed later.
    let refused = Outcome::Refused(Refusal::InsufficientFunds);
    let kept = Decision::Duplicate { height: 1, index: 1, outcome: refused };
    assert_eq!(state.decide(&request("y", transfer("alice", "bob", 1_000))), Some(kept));
    assert_eq!(state.decide(&request("new", open("carol"))), None);
    assert!(matches!(state.decide(&request("genesis:0", open("carol"))), Some(Decision::IdReused)));
}

proptest! {
    #[test]
    fn money_is_conserved_and_nobody_but_world_goes_below_zero(
        batches in prop::collection::vec(prop::collection::vec((0_u8..40, any_operation()), 1..10), 1..10)
    ) {
        let mut state = fresh();
        let mut verifier = Verifier::new(&genesis().block().unwrap().encode()).unwrap();
        for batch in batches {
            let batch: Vec<Request> =
                batch.into_iter().map(|(id, operation)| request(&format!("id{id}"), operation)).collect();
            if state.execute(batch.clone(), 2_000).entries().is_empty() {
                continue;
            }
            let (block, decisions) = push(&mut state, batch.clone());
            prop_assert_eq!(decisions.len(), batch.len());
            verifier.push(&block.encode()).unwrap();
            prop_assert_eq!(state.accounts().map(|(_, balance)| balance).sum::<Balance>(), 0);
            for (name, balance) in state.accounts() {
                prop_assert!(name.is_world() || (0..=BALANCE_MAX).contains(&balance));
            }
            for (request, decision) in batch.iter().zip(decisions) {
                if let Decision::Included { index, outcome } = decision {
                    let again = Decision::Duplicate { height: block.header.height, index, outcome };
                    prop_assert_eq!(state.decide(request), Some(again));
                }
            }
        }
        verifier.compare(state.accounts(), state.values(), state.ids(), state.pendings().rows()).unwrap();
        // The tree that grew block by block is the one that is built from all rows at once.
        State::restore(rows(&state)).unwrap();
    }
}
