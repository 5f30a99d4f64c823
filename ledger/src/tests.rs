//! The rules of the bank and the format of its chain.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use crate::*;

fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

fn amount(value: u64) -> Amount {
    Amount::new(value).unwrap()
}

fn request(id: &str, operation: Operation) -> Request {
    Request::new(RequestId::parse(id).unwrap(), operation).unwrap()
}

fn open(name: &str) -> Operation {
    Operation::Open { account: account(name) }
}

fn credit(name: &str, value: u64) -> Operation {
    Operation::Credit { account: account(name), amount: amount(value) }
}

fn debit(name: &str, value: u64) -> Operation {
    Operation::Debit { account: account(name), amount: amount(value) }
}

fn transfer(from: &str, to: &str, value: u64) -> Operation {
    Operation::Transfer { from: account(from), to: account(to), amount: amount(value), memo: "rent".into() }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into() }
}

fn genesis() -> Genesis {
    Genesis {
        name: "test".into(),
        salt: "pepper".into(),
        members: ["n1", "n2", "n3"].map(|name| NodeName::parse(name).unwrap()).to_vec(),
        difficulty: 4,
        time_ms: 1_000,
        accounts: vec![
            GenesisAccount { name: account("alice"), balance: 100 },
            GenesisAccount { name: account("bob"), balance: 0 },
        ],
        transfers: vec![GenesisTransfer { from: account("alice"), to: account("bob"), amount: 40 }],
    }
}

fn fresh() -> State {
    State::new(&genesis().block().unwrap()).unwrap().0
}

/// Executes, mines and commits a batch as a leader would.
fn push(state: &mut State, batch: Vec<Request>) -> (Block, Vec<Decision>) {
    let executed = state.execute(batch);
    let header = executed.seal(state, 3, NodeName::parse("n2").unwrap(), 2_000);
    let nonce = pow::mine(&header, 0, 1 << 20).unwrap();
    let block = Block { header: Header { nonce, ..header }, entries: executed.entries.clone() };
    let decisions = executed.decisions.clone();
    state.commit(executed, &block.header);
    (block, decisions)
}

fn outcomes(decisions: &[Decision]) -> Vec<&'static str> {
    decisions
        .iter()
        .map(|decision| match decision {
            Decision::Included { outcome, .. } => outcome.code(),
            Decision::Duplicate { .. } => "duplicate",
            Decision::IdReused => "id_reused",
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_genesis_file_gives_the_first_balances() {
    let state = fresh();
    let balances: Vec<(&str, Balance)> = state.accounts().map(|(name, balance)| (name.as_str(), balance)).collect();
    assert_eq!(balances, [("alice", 60), ("bob", 40), ("world", -100)]);
    assert_eq!(state.tip().height, 0);
    assert_eq!(state.cluster_id(), genesis().block().unwrap().hash());
}

#[test]
fn any_other_genesis_is_another_cluster() {
    let id = genesis().block().unwrap().hash();
    let mut others = vec![genesis(); 7];
    others[0].name = "other".into();
    others[1].salt = "other".into();
    others[2].members.pop();
    others[3].members.swap(0, 1);
    others[4].difficulty = 5;
    others[5].time_ms += 1;
    others[6].transfers.clear();
    for other in others {
        assert_ne!(other.block().unwrap().hash(), id, "{other:?}");
    }
}

#[test]
fn a_genesis_that_cannot_be_is_refused() {
    let wrong = |change: fn(&mut Genesis)| {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.validate().unwrap_err()
    };
    assert_eq!(wrong(|g| g.members.clear()), GenesisError::Members(0));
    assert!(matches!(wrong(|g| g.members[1] = g.members[0].clone()), GenesisError::MemberTwice(_)));
    assert_eq!(wrong(|g| g.difficulty = 25), GenesisError::Difficulty(25));
    assert_eq!(wrong(|g| g.salt.clear()), GenesisError::Text("salt"));
    assert!(matches!(wrong(|g| g.transfers[0].amount = 0), GenesisError::Amount { .. }));
    assert!(matches!(wrong(|g| g.transfers[0].amount = 101), GenesisError::Refused { .. }));
    assert!(matches!(wrong(|g| g.accounts[1].name = account("alice")), GenesisError::Refused { .. }));
    assert!(matches!(wrong(|g| g.accounts[0].name = Account::world()), GenesisError::Refused { .. }));
    assert!(matches!(wrong(|g| g.accounts[0].balance = 1 << 63), GenesisError::Amount { .. }));
    let text = serde_json::to_string(&genesis()).unwrap();
    assert!(serde_json::from_str::<Genesis>(&text.replace("salt", "pepper")).is_err(), "unknown keys are errors");
    assert!(serde_json::from_str::<Genesis>(&text.replace("alice", "al ice")).is_err());
}

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

#[test]
fn names_and_bounds() {
    for text in ["a", "A-z.0_9:", &"x".repeat(64)] {
        assert!(Account::parse(text).is_ok() && RequestId::parse(text).is_ok());
    }
    for text in ["", " ", "a b", "ä", "a/b", "a,b", "a\n", "a\0", &"x".repeat(65)] {
        assert!(Account::parse(text).is_err() && RequestId::parse(text).is_err(), "{text:?}");
    }
    assert!(NodeName::parse("a:b").is_err() && NodeName::parse(&"x".repeat(33)).is_err());
    let id = || RequestId::parse("x").unwrap();
    let memo = |length| Operation::Transfer {
        from: account("a"),
        to: account("b"),
        amount: amount(1),
        memo: "m".repeat(length),
    };
    assert!(Request::new(id(), memo(256)).is_ok() && Request::new(id(), memo(257)).is_err());
    let put = |key: usize, value: usize| Operation::Put { key: vec![1; key], value: vec![2; value] };
    for (key, value, fine) in [(1, 0, true), (256, 65_536, true), (0, 1, false), (257, 1, false), (1, 65_537, false)] {
        assert_eq!(Request::new(id(), put(key, value)).is_ok(), fine, "key {key}, value {value}");
    }
}

#[test]
fn golden_bytes() {
    assert_eq!(hex(&request("r1", open("alice")).encode()), "01027231".to_owned() + "05616c696365");
    assert_eq!(
        hex(&request("r2", transfer("alice", "bob", 258)).encode()),
        "02027232".to_owned() + "05616c696365" + "03626f62" + "0000000000000102" + "000472656e74"
    );
    assert_eq!(hex(&request("r3", credit("bob", 1)).encode()), "0302723303626f620000000000000001");
    assert_eq!(hex(&request("r4", debit("bob", 1)).encode()), "0402723403626f620000000000000001");
    assert_eq!(hex(&request("r5", put("k", "vv")).encode()), "0502723500016b000000027676");
    let entry = Entry { request: request("r1", open("alice")), outcome: Outcome::Refused(Refusal::AccountExists) };
    assert_eq!(hex(&entry.encode()), "0000000a0102723105616c69636503");
    let block = genesis().block().unwrap();
    assert_eq!(block.hash().to_string(), GOLDEN_GENESIS_HASH);
    let mut state = fresh();
    let (block, _) = push(&mut state, vec![request("r2", transfer("alice", "bob", 5))]);
    assert_eq!(hex(&block.encode()), GOLDEN_BLOCK);
    assert_eq!(block.hash().to_string(), GOLDEN_BLOCK_HASH);
}

const GOLDEN_GENESIS_HASH: &str = "3a3052784a4b7b2eab1febfcb9ad84416d2d91e6fee1de16f8b2e38b684d6fd0";
const GOLDEN_BLOCK: &str = "000000013a3052784a4b7b2eab1febfcb9ad84416d2d91e6fee1de16f8b2e38b684d6fd000000000000000013a3052784a4b7b2eab1febfcb9ad84416d2d91e6fee1de16f8b2e38b684d6fd00000000000000003026e3200000000000007d0000000017c8fea7b979d3f6927fbd3ba509072f9e5df63be0dabd2f2163dd195e47aa78559c46ccb681b105849e53fb2b4584205c7a8774eef95d44f5afc467299138a43040000000000000002000000210000001c0202723205616c69636503626f620000000000000005000472656e7400";
const GOLDEN_BLOCK_HASH: &str = "01ea0eadcdb3b1f7e8855fcdb3f93f71e853d456c926436b90edd3554abf6a2a";

#[test]
fn every_flipped_bit_of_a_block_is_found() {
    let mut state = fresh();
    let before = state.clone();
    let batch =
        vec![request("a", transfer("alice", "bob", 5)), request("b", put("k", "v")), request("c", open("carol"))];
    let (block, _) = push(&mut state, batch);
    let bytes = block.encode();
    let check = |bytes: &[u8]| -> Result<Hash, Violation> {
        let block = Block::decode(bytes)?;
        assert_eq!(block.encode(), bytes, "one spelling");
        block.check_static(before.difficulty(), before.cluster_id())?;
        before.check(&block)?;
        Ok(block.hash())
    };
    assert_eq!(check(&bytes), Ok(block.hash()));
    for position in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[position / 8] ^= 1 << (position % 8);
        // With a low difficulty a flipped header may still meet it, but never under the same hash.
        assert_ne!(check(&flipped), Ok(block.hash()), "bit {position}");
        // Entries are covered by the root: no other hash either.
        if position / 8 >= block.header.encode().len() {
            assert!(check(&flipped).is_err(), "bit {position}");
        }
    }
    for length in 0..bytes.len() {
        assert!(check(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn a_block_that_does_not_follow_is_refused() {
    let mut state = fresh();
    let before = state.clone();
    let (block, _) = push(&mut state, vec![request("a", transfer("alice", "bob", 5))]);
    let change = |change: fn(&mut Block)| {
        let mut changed = block.clone();
        change(&mut changed);
        changed.check_static(before.difficulty(), before.cluster_id()).and_then(|()| before.check(&changed).map(|_| ()))
    };
    let remine = |change: fn(&mut Header)| {
        let mut header = block.header.clone();
        change(&mut header);
        header.nonce = pow::mine(&header, 0, 1 << 20).unwrap();
        let changed = Block { header, entries: block.entries.clone() };
        changed.check_static(before.difficulty(), before.cluster_id()).and_then(|()| before.check(&changed).map(|_| ()))
    };
    assert_eq!(change(|_| ()), Ok(()));
    assert!(matches!(remine(|h| h.height += 1), Err(Violation::Height { .. })));
    assert!(matches!(remine(|h| h.previous = Hash::ZERO), Err(Violation::Previous { .. })));
    assert!(matches!(remine(|h| h.cluster_id = Hash::ZERO), Err(Violation::Cluster { .. })));
    assert!(matches!(remine(|h| h.time_ms = 999), Err(Violation::Time { .. })));
    assert!(matches!(remine(|h| h.difficulty = 0), Err(Violation::Difficulty { .. })));
    assert!(matches!(remine(|h| h.state_root = Hash::ZERO), Err(Violation::StateRoot { .. })));
    assert!(matches!(remine(|h| h.transaction_root = Hash::ZERO), Err(Violation::TransactionRoot { .. })));
    assert!(matches!(remine(|h| h.request_count = 2), Err(Violation::Count { .. })));
    assert!(matches!(change(|b| b.entries.clear()), Err(Violation::Empty)));
    let mut rewritten = block.clone();
    rewritten.entries[0].outcome = Outcome::Refused(Refusal::InsufficientFunds);
    rewritten.header.transaction_root = transaction_root(&rewritten.entries);
    rewritten.header.nonce = pow::mine(&rewritten.header, 0, 1 << 20).unwrap();
    rewritten.check_static(before.difficulty(), before.cluster_id()).unwrap();
    assert!(matches!(before.check(&rewritten), Err(Violation::Outcome { .. })));
    // Committed already: it does not follow itself.
    assert!(state.check(&block).is_err());
}

#[test]
fn proof_of_work_counts_bits() {
    let mut state = fresh();
    let (block, _) = push(&mut state, vec![request("a", open("carol"))]);
    for difficulty in 0..=12 {
        let header = Header { difficulty, ..block.header.clone() };
        let nonce = pow::mine(&header, 0, 1 << 20).unwrap();
        let hash = Header { nonce, ..header.clone() }.hash();
        assert!(hash.leading_zero_bits() >= u32::from(difficulty), "{hash} for {difficulty}");
        // The first one: every nonce before it falls short.
        assert!((0..nonce).all(|nonce| !pow::meets(&Header { nonce, ..header.clone() }.hash(), difficulty)));
    }
}

#[test]
fn verify_finds_what_was_altered() {
    let mut state = fresh();
    let genesis = genesis().block().unwrap().encode();
    let blocks: Vec<Vec<u8>> = [
        vec![request("a", transfer("alice", "bob", 5)), request("b", put("k", "v"))],
        vec![request("c", transfer("bob", "alice", 500))],
    ]
    .into_iter()
    .map(|batch| push(&mut state, batch).0.encode())
    .collect();
    let mut verifier = Verifier::new(&genesis).unwrap();
    for block in &blocks {
        verifier.push(block).unwrap();
    }
    assert_eq!((verifier.blocks(), verifier.transactions()), (3, 5 + 3));
    assert_eq!(verifier.state().tip(), state.tip());
    verifier.compare(state.accounts(), state.values(), state.ids()).unwrap();

    let mut wrong = state.clone();
    wrong.corrupt_balance_for_tests(&account("alice"), 56);
    let error = verifier.compare(wrong.accounts(), state.values(), state.ids()).unwrap_err();
    assert_eq!(error.to_string(), "the balance of alice is stored as 56, but the chain gives 55");
    let values = [(&b"k"[..], &b"w"[..])];
    assert!(verifier.compare(state.accounts(), values, state.ids()).is_err());
    let mut ids: Vec<(RequestId, IdRecord)> = state.ids().map(|(id, record)| (id.clone(), record.clone())).collect();
    ids[1].1.index += 1;
    assert!(verifier.compare(state.accounts(), state.values(), ids.iter().map(|(a, b)| (a, b))).is_err());
    ids.remove(1);
    assert!(verifier.compare(state.accounts(), state.values(), ids.iter().map(|(a, b)| (a, b))).is_err());

    // A chain with a block left out, or the same block twice.
    let mut verifier = Verifier::new(&genesis).unwrap();
    assert!(verifier.push(&blocks[1]).is_err());
    verifier.push(&blocks[0]).unwrap();
    assert!(verifier.push(&blocks[0]).is_err());
}

#[test]
fn stored_rows_that_do_not_give_the_root_are_refused() {
    let mut state = fresh();
    push(&mut state, vec![request("b", put("k", "v"))]);
    let rows = || StateRows {
        accounts: state.accounts().map(|(account, balance)| (account.clone(), balance)).collect(),
        values: state.values().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
        ids: state.ids().map(|(id, record)| (id.clone(), record.clone())).collect(),
        tip: state.tip().clone(),
        cluster_id: state.cluster_id(),
        difficulty: state.difficulty(),
    };
    let restored = State::restore(rows()).unwrap();
    assert_eq!(restored.tip(), state.tip());
    let batch = || vec![request("n", transfer("alice", "bob", 1))];
    assert_eq!(restored.execute(batch()).state_root, state.execute(batch()).state_root);
    let mut wrong = rows();
    wrong.accounts.insert(account("alice"), 61);
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
    let mut wrong = rows();
    wrong.values.insert(b"k".to_vec(), b"w".to_vec());
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let name = || (0_u8..5).prop_map(|n| ["alice", "bob", "carol", "dave", "world"][usize::from(n)]);
    prop_oneof![
        name().prop_map(open),
        (name(), name(), 1_u64..80).prop_map(|(from, to, value)| transfer(from, to, value)),
        (name(), 1_u64..80).prop_map(|(name, value)| credit(name, value)),
        (name(), 1_u64..80).prop_map(|(name, value)| debit(name, value)),
        ("[a-c]", "[a-z]{0,5}").prop_map(|(key, value)| put(&key, &value)),
    ]
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
            if state.execute(batch.clone()).entries.is_empty() {
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
        verifier.compare(state.accounts(), state.values(), state.ids()).unwrap();
    }

    #[test]
    fn requests_have_one_spelling(operation in any_operation(), noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let request = request("some-id", operation);
        prop_assert_eq!(&Request::decode(&request.encode()).unwrap(), &request);
        for bytes in [noise.clone(), [request.encode(), noise].concat()] {
            if let Ok(decoded) = Request::decode(&bytes) {
                prop_assert_eq!(decoded.encode(), bytes);
            }
        }
    }
}
