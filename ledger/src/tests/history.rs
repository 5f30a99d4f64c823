//! The past read from blocks is the past that was executed.
#![allow(clippy::unwrap_used)]

use super::*;

fn operation() -> impl Strategy<Value = Operation> {
    let name = prop::sample::select(vec!["alice", "bob", "carol", "dave", "world"]);
    let pair = (name.clone(), name.clone(), 1_u64..120);
    prop_oneof![
        name.clone().prop_map(open),
        pair.prop_map(|(from, to, value)| transfer(from, to, value)),
        (name.clone(), 1_u64..50).prop_map(|(to, value)| credit(to, value)),
        (name, 1_u64..50).prop_map(|(from, value)| debit(from, value)),
        (0_u8..4, 0_u8..4).prop_map(|(key, value)| put(&format!("k{key}"), &format!("v{value}"))),
    ]
}

proptest! {
    #[test]
    fn books_made_from_blocks_are_the_state(batches in prop::collection::vec(prop::collection::vec(operation(), 1..6), 1..6)) {
        let block = genesis().block().unwrap();
        let (mut state, mut books) = (fresh(), Books::default());
        books.apply(&block);
        let mut number = 0;
        let mut last = block;
        for batch in batches {
            let requests: Vec<Request> = batch.into_iter().map(|operation| {
                number += 1;
                request(&format!("r{number}"), operation)
            }).collect();
            let before: Vec<(Account, Balance)> = state.accounts().map(|(name, balance)| (name.clone(), balance)).collect();
            (last, _) = push(&mut state, requests);
            books.apply(&last);
            let entries = &last.entries;
            for (name, balance) in before {
                let moved: Balance = entries.iter().map(|entry| effect(entry, &name, None)).sum();
                prop_assert_eq!(state.balance(&name), Some(balance + moved));
                prop_assert!(entries.iter().any(|entry| touches(entry, &name, None)) || moved == 0);
            }
        }
        prop_assert!(books.accounts().eq(state.accounts()));
        let tree = books.tree();
        prop_assert_eq!(tree.root(), last.header.state_root);
        for name in ["alice", "bob", "carol", "dave", "world", "nobody"].map(account) {
            let (balance, proof) = state.prove(&name);
            prop_assert_eq!(&Books::prove(&tree, &name), &proof);
            prop_assert_eq!(books.balance(&name), balance);
            prop_assert_eq!(proof.root(&account_key(&name)), Ok(last.header.state_root));
            let told = match balance {
                Some(balance) => PlaceInTree::Value(balance_hash(balance)),
                None => proof.end,
            };
            prop_assert_eq!(proof.end, told);
            prop_assert_eq!(balance.is_none(), !matches!(proof.end, PlaceInTree::Value(_)));
        }
    }
}
