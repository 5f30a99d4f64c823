//! What differs is named, and nothing else.
#![allow(clippy::unwrap_used)]

use raftbank_ledger::{Amount, Genesis, GenesisAccount, Header, NodeName, Operation, Request, RequestId, State, pow};

use super::*;

fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

fn genesis() -> Block {
    let members = vec![NodeName::parse("n1").unwrap()];
    let of = |name: &str, balance| GenesisAccount { name: account(name), balance };
    let accounts = vec![of("alice", 100), of("bob", 0), of("carol", 7)];
    let genesis = Genesis {
        name: "test".into(),
        salt: "salt".into(),
        members,
        difficulty: 0,
        time_ms: 1,
        accounts,
        transfers: Vec::new(),
    };
    genesis.block().unwrap()
}

fn next(state: &State, amount: u64) -> Block {
    let operation = Operation::Transfer {
        from: account("alice"),
        to: account("bob"),
        amount: Amount::new(amount).unwrap(),
        memo: String::new(),
    };
    let request = Request::new(RequestId::parse("r1").unwrap(), operation).unwrap();
    let executed = state.execute(vec![request], 2);
    let header = executed.seal(state, 1, NodeName::parse("n1").unwrap());
    let nonce = pow::mine(&header, 0, 1).unwrap();
    Block { header: Header { nonce, ..header }, entries: executed.entries() }
}

#[test]
fn the_account_that_was_damaged_in_memory_is_named() {
    let first = genesis();
    let (mut state, _) = State::new(&first).unwrap();
    let mut before = Books::default();
    before.apply(&first);
    let good = next(&state, 5);
    state.corrupt_balance_for_tests(&account("alice"), 100 ^ (1 << 20));
    let bad = next(&state, 5);
    let item = |block: &Block| Item { block: block.clone(), committed: true };
    let differ = compare(&before, &item(&good), &item(&bad));
    assert_eq!((differ.height, &differ.fields[..]), (1, &["state root"][..]));
    assert_eq!(differ.suspects[0], None);
    let told = differ.suspects[1].as_ref().unwrap();
    assert!(told.contains("account alice with 1048676") && told.contains("give 100"), "{told}");
    state.corrupt_balance_for_tests(&account("alice"), 12_345);
    let told = compare(&before, &item(&good), &item(&next(&state, 5))).suspects[1].clone().unwrap();
    assert!(told.contains("no single flipped bit"), "{told}");
}

#[test]
fn stored_rows_that_are_not_the_chains_are_named() {
    let mut books = Books::default();
    books.apply(&genesis());
    let mut stored = Stored { height: Some(0), ..Stored::default() };
    stored.accounts = books.accounts().map(|(name, balance)| (name.clone(), balance)).collect();
    stored.values.insert(b"raftbank/genesis".to_vec(), books.value_hash(b"raftbank/genesis").unwrap());
    assert_eq!(odd(&books, &stored), []);
    stored.accounts.insert(account("bob"), 3);
    stored.accounts.remove(&account("carol"));
    stored.values.clear();
    let told: Vec<_> = odd(&books, &stored).into_iter().map(|odd| (odd.what, odd.stored, odd.chain)).collect();
    let line = |what: &str, stored: &str, chain: &str| (what.to_owned(), stored.to_owned(), chain.to_owned());
    assert_eq!(
        told,
        [line("account bob", "3", "0"), line("account carol", "nothing", "7"), line("the number of keys", "0", "1")]
    );
}
