//! The chain: where it begins, which block may follow, and what verification finds.
#![allow(clippy::unwrap_used)]

use super::*;

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
    assert_eq!(wrong(|g| g.name = "x".repeat(129)), GenesisError::Text("name"));
    assert_eq!(wrong(|g| g.name = "a\u{1b}[2J".into()), GenesisError::Text("name"));
    assert_eq!(
        wrong(|g| g.members = (0..8).map(|n| NodeName::parse(&format!("n{n}")).unwrap()).collect()),
        GenesisError::Members(8)
    );
    assert!(matches!(wrong(|g| g.transfers[0].to = account("nobody")), GenesisError::Refused { .. }));
    assert!(matches!(wrong(|g| g.transfers[0].to = account("alice")), GenesisError::Refused { .. }));
    let many = |g: &mut Genesis| {
        g.accounts =
            (0..BLOCK_REQUESTS_MAX).map(|n| GenesisAccount { name: account(&format!("a{n}")), balance: 0 }).collect();
        g.transfers.clear();
    };
    assert!(matches!(wrong(many), GenesisError::TooLarge(_)));
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
fn the_sample_genesis_file_is_valid() {
    let text = include_str!("../../../etc/genesis.toml");
    let sample: Genesis = toml::from_str(text).unwrap();
    let (state, _) = State::new(&sample.block().unwrap()).unwrap();
    let balances: Vec<(&str, Balance)> = state.accounts().map(|(name, balance)| (name.as_str(), balance)).collect();
    assert_eq!(balances, [("alice", 90), ("bob", 100), ("carol", 10), ("world", -200)]);
    assert_eq!(state.difficulty(), 8);
    for (from, to) in [("difficulty = 8", "dificulty = 8"), ("amount = 10", "amount = 10\nmemo = \"x\"")] {
        assert!(text.contains(from) && toml::from_str::<Genesis>(&text.replace(from, to)).is_err(), "{to}");
    }
    let missing = text.replace("salt = ", "# ");
    assert!(toml::from_str::<Genesis>(&missing).unwrap_err().to_string().contains("salt"));
}

#[test]
fn block_0_is_what_a_genesis_file_makes_and_nothing_else() {
    let block = genesis().block().unwrap();
    let info = Genesis::from_block(&block).unwrap();
    assert_eq!(
        info,
        GenesisInfo {
            name: "test".into(),
            salt: "pepper".into(),
            members: genesis().members,
            difficulty: 4,
            time_ms: 1_000
        }
    );
    let changes: [fn(&mut Block); 12] = [
        |b| b.header.height = 1,
        |b| b.header.term = 1,
        |b| b.header.nonce = 1,
        |b| b.header.previous = Hash([1; 32]),
        |b| b.header.cluster_id = Hash([1; 32]),
        |b| b.header.proposer = NodeName::parse("n1").unwrap(),
        |b| b.header.difficulty = 0,
        |b| b.header.time_ms = 0,
        |b| b.header.request_count = 4,
        |b| b.entries.swap(0, 1),
        |b| b.entries[2].request.id = RequestId::parse("other").unwrap(),
        |b| b.entries.truncate(4),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = block.clone();
        change(&mut changed);
        assert!(matches!(State::new(&changed), Err(Violation::Genesis(_))), "change {number}");
    }
    let mut changed = block.clone();
    changed.header.state_root = Hash([1; 32]);
    assert!(matches!(State::new(&changed), Err(Violation::StateRoot { .. })));
    // The roots fit, and yet no genesis file holds a transfer that was refused.
    let mut refused = block;
    refused.entries[4].outcome = Outcome::Refused(Refusal::InsufficientFunds);
    refused.header.transaction_root = transaction_root(&refused.entries);
    assert!(matches!(State::new(&refused), Err(Violation::Genesis(_))));
}

/// Where the header's fields end whose value a follower cannot know: with the hash still good enough, a change of one
/// of them gives another block that would do as well. It is then not the block that the next one extends.
fn is_free(position: usize) -> bool {
    let (term, proposer, time, nonce) = (76..84, 84..87, 87..95, 164..172);
    term.contains(&position) || proposer.contains(&position) || time.contains(&position) || nonce.contains(&position)
}

#[test]
fn every_flipped_bit_of_a_block_is_found() {
    let mut state = fresh();
    let before = state.clone();
    let batch =
        vec![request("a", transfer("alice", "bob", 5)), request("b", put("k", "v")), request("c", open("carol"))];
    let (block, _) = push(&mut state, batch);
    let tip = state.tip().clone();
    let (next, _) = push(&mut state, vec![request("d", open("dave"))]);
    let bytes = block.encode();
    let check = |bytes: &[u8]| -> Result<Block, Violation> {
        let block = Block::decode(bytes)?;
        assert_eq!(block.encode(), bytes, "one spelling");
        block.check_static(before.difficulty(), before.cluster_id())?;
        before.check(&block)?;
        Ok(block)
    };
    assert_eq!(check(&bytes), Ok(block.clone()));
    let mut passed = 0;
    for position in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[position / 8] ^= 1 << (position % 8);
        let Ok(other) = check(&flipped) else { continue };
        passed += 1;
        assert!(is_free(position / 8), "bit {position}");
        assert_ne!(other.hash(), block.hash(), "bit {position}");
        let mut verifier = Verifier::new(&genesis().block().unwrap().encode()).unwrap();
        verifier.push(&flipped).unwrap();
        assert!(matches!(verifier.compare_tip(&tip), Err(Violation::Stored { .. })), "bit {position}");
        assert!(verifier.push(&next.encode()).is_err(), "bit {position}");
    }
    // At a difficulty of 4 bits about one in sixteen: the second half of this test is not idle.
    assert!((1..60).contains(&passed), "{passed}");
    for length in 0..bytes.len() {
        assert!(check(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn an_id_that_is_in_the_chain_already_makes_a_block_invalid() {
    let mut state = fresh();
    push(&mut state, vec![request("x", transfer("alice", "bob", 1))]);
    let forge = |ids: [&str; 2]| {
        let executed = state.execute(vec![request("p", open("p")), request("q", open("q"))], 2_000);
        let mut header = executed.seal(&state, 3, NodeName::parse("n2").unwrap());
        let mut entries = executed.entries();
        for (entry, id) in entries.iter_mut().zip(ids) {
            entry.request.id = RequestId::parse(id).unwrap();
        }
        header.transaction_root = transaction_root(&entries);
        header.nonce = pow::mine(&header, 0, 1 << 20).unwrap();
        let block = Block { header, entries };
        block.check_static(state.difficulty(), state.cluster_id()).unwrap();
        state.check(&block).map(|executed| executed.requests())
    };
    assert_eq!(forge(["p", "q"]), Ok(2));
    assert_eq!(forge(["p", "p"]), Err(Violation::IdTwice("p".into())));
    assert_eq!(forge(["p", "x"]), Err(Violation::IdTwice("x".into())));
    assert_eq!(forge(["genesis:0", "q"]), Err(Violation::IdTwice("genesis:0".into())));
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
fn neither_time_nor_term_ever_falls() {
    let mut state = fresh();
    push(&mut state, vec![request("a", open("carol"))]);
    assert_eq!((state.tip().term, state.tip().time_ms), (3, 2_000));
    let executed = state.execute(vec![request("b", open("dave"))], 2_000);
    let check = |term: u64, time_ms: u64| {
        let mut header = executed.seal(&state, term, NodeName::parse("n3").unwrap());
        header.time_ms = time_ms;
        let block = Block { header, entries: executed.entries() };
        state.check(&block).map(|_| ())
    };
    assert_eq!(check(3, 2_000), Ok(()));
    assert_eq!(check(9, 9_000), Ok(()));
    assert_eq!(check(2, 2_000), Err(Violation::TermFell { previous: 3, found: 2 }));
    assert_eq!(check(3, 1_999), Err(Violation::Time { previous: 2_000, found: 1_999 }));
    // A leader whose clock is behind takes the time of the block before.
    let sealed = |time_ms| {
        let executed = state.execute(vec![request("b", open("dave"))], time_ms);
        executed.seal(&state, 3, NodeName::parse("n3").unwrap()).time_ms
    };
    assert_eq!((sealed(0), sealed(2_001)), (2_000, 2_001));
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
    verifier.compare(state.accounts(), state.values(), state.ids(), state.pendings().rows()).unwrap();

    let none = std::iter::empty;
    let mut wrong = state.clone();
    wrong.corrupt_balance_for_tests(&account("alice"), 56);
    let error = verifier.compare(wrong.accounts(), state.values(), state.ids(), none()).unwrap_err();
    assert_eq!(error.to_string(), "the balance of alice is stored as 56, but the chain gives 55");
    let values = [(&b"k"[..], &b"w"[..])];
    assert!(verifier.compare(state.accounts(), values, state.ids(), none()).is_err());
    let mut ids: Vec<(RequestId, IdRecord)> = state.ids().sorted();
    ids[1].1.index += 1;
    assert!(verifier.compare(state.accounts(), state.values(), &ids.iter().cloned().collect(), none()).is_err());
    ids.remove(1);
    assert!(verifier.compare(state.accounts(), state.values(), &ids.iter().cloned().collect(), none()).is_err());

    // Keys are compared as they are, not as they are shown.
    let mut binary = state.clone();
    let key = Operation::Put { key: vec![0xfe], value: b"v".to_vec() };
    let (block, _) = push(&mut binary, vec![request("binary", key)]);
    verifier.push(&block.encode()).unwrap();
    let values: Vec<(Vec<u8>, Vec<u8>)> = binary
        .values()
        .map(|(key, value)| (if key == [0xfe] { vec![0xff] } else { key.to_vec() }, value.to_vec()))
        .collect();
    let values = values.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let error = verifier.compare(binary.accounts(), values, binary.ids(), none()).unwrap_err().to_string();
    assert!(error.starts_with("the value of \\xfe is stored as nothing"), "{error}");
    // A row more, a row less, and a balance so damaged that the sum overflows.
    let mut rows: Vec<(Account, Balance)> = binary.accounts().map(|(name, balance)| (name.clone(), balance)).collect();
    let compare = |rows: &[(Account, Balance)]| {
        verifier.compare(rows.iter().map(|(name, balance)| (name, *balance)), binary.values(), binary.ids(), none())
    };
    assert_eq!(compare(&rows), Ok(()));
    assert!(compare(&rows[1..]).is_err());
    rows.push((account("zoe"), 0));
    assert!(compare(&rows).is_err());
    rows.pop();
    (rows[0].1, rows[1].1) = (Balance::MAX, Balance::MAX);
    assert!(compare(&rows).is_err());
    // The head: another nonce in the last block is another hash.
    assert_eq!(verifier.compare_tip(binary.tip()), Ok(()));
    assert!(verifier.compare_tip(state.tip()).is_err());

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
    let restored = State::restore(rows(&state)).unwrap();
    assert_eq!(restored.tip(), state.tip());
    let batch = || vec![request("n", transfer("alice", "bob", 1))];
    assert_eq!(restored.execute(batch(), 2_000).state_root, state.execute(batch(), 2_000).state_root);
    let mut wrong = rows(&state);
    wrong.accounts.insert(account("alice"), 61);
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
    let mut wrong = rows(&state);
    wrong.values.insert(b"k".to_vec(), b"w".to_vec());
    assert!(matches!(State::restore(wrong), Err(Violation::StateRoot { .. })));
}

#[test]
fn a_state_has_the_log_tree_of_its_chain() {
    let (mut state, delta) = State::new(&genesis().block().unwrap()).unwrap();
    let mut hashes = vec![merkle::leaf_hash(&state.cluster_id().0)];
    assert_eq!(delta.log, [LogNode { level: 0, index: 0, hash: hashes[0] }]);
    let mut verifier = Verifier::new(&genesis().block().unwrap().encode()).unwrap();
    for number in 0..5 {
        let before = state.log().clone();
        let (block, _) = push(&mut state, vec![request(&format!("r{number}"), put("k", "v"))]);
        hashes.push(merkle::leaf_hash(&block.hash().0));
        assert_eq!(state.log().root(), merkle::root(&hashes));
        verifier.push(&block.encode()).unwrap();
        assert_eq!(verifier.log_nodes(), before.clone().push(block.hash()));
        verifier.compare_log(state.log()).unwrap();
        assert!(matches!(verifier.compare_log(&before), Err(Violation::Stored { .. })));
    }
    let mut wrong = rows(&state);
    wrong.log.push(Hash::ZERO);
    assert!(matches!(State::restore(wrong), Err(Violation::LogSize { expected: 6, found: 7 })));
    assert_eq!(State::restore(rows(&state)).unwrap().log(), state.log());
}

#[test]
fn a_balance_that_changed_after_execution_is_found_before_anything_is_committed() {
    let (mut state, _) = State::new(&genesis().block().unwrap()).unwrap();
    let before: Vec<_> = state.accounts().map(|(account, balance)| (account.clone(), balance)).collect();
    let (account, balance) = before.iter().find(|(account, _)| !account.is_world()).unwrap().clone();
    let request = Request {
        id: RequestId::parse("credit-1").unwrap(),
        operation: Operation::Credit { account: account.clone(), amount: Amount::new(5).unwrap() },
    };
    let executed = state.execute(vec![request], 2_000);
    let header = executed.seal(&state, 1, NodeName::parse("n1").unwrap());
    state.corrupt_balance_for_tests(&account, balance ^ 64);
    let tip = state.tip().clone();
    assert!(matches!(state.commit(executed, &header), Err(Violation::Unbalanced(_))));
    assert_eq!(*state.tip(), tip);
}

#[test]
fn blocks_are_checked_on_top_of_blocks_that_are_not_committed_yet() {
    // Each block needs the one before: an account, money in it, a payment, and an id that is used again.
    let batches = [
        vec![request("b1", open("dave"))],
        vec![request("b2", credit("dave", 7)), request("b3", put("k", "v"))],
        vec![request("b4", transfer("dave", "alice", 5)), request("b5", transfer("dave", "alice", 5))],
    ];
    let mut ahead = fresh();
    let mut blocks = Vec::new();
    for batch in batches {
        let executed = ahead.execute(batch, 2_000);
        let header = executed.seal(&ahead, 1, NodeName::parse("n1").unwrap());
        let header = Header { nonce: pow::mine(&header, 0, 1 << 24).unwrap(), ..header };
        blocks.push(Block { header: header.clone(), entries: executed.entries() });
        ahead.commit(executed, &header).unwrap();
    }
    let mut behind = fresh();
    let mut checked: Vec<(Header, Executed)> = Vec::new();
    for block in &blocks {
        let under: Vec<_> = checked.iter().map(|(header, executed)| (header, executed)).collect();
        let executed = behind.check_after(&under, block).unwrap();
        checked.push((block.header.clone(), executed));
    }
    // What is wrong is found there as well: another outcome, another predecessor, an id of an uncommitted block.
    let under: Vec<_> = checked.iter().take(2).map(|(header, executed)| (header, executed)).collect();
    let mut lie = blocks[2].clone();
    lie.header.state_root = Hash::of(&[b"x"]);
    assert!(matches!(behind.check_after(&under, &lie), Err(Violation::StateRoot { .. })));
    assert!(matches!(behind.check_after(&under[..1], &blocks[2]), Err(Violation::Height { .. })));
    assert!(behind.check(&blocks[2]).is_err());
    let mut twice = blocks[2].clone();
    twice.entries[0].request = blocks[0].entries[0].request.clone();
    assert!(matches!(behind.check_after(&under, &twice), Err(Violation::IdTwice(_))));
    for (header, executed) in checked {
        behind.commit(executed, &header).unwrap();
    }
    assert_eq!(behind.tip(), ahead.tip());
    assert!(behind.accounts().eq(ahead.accounts()) && behind.ids() == ahead.ids());
    assert_eq!(
        behind.execute(vec![request("c", open("erin"))], 2_000).state_root,
        ahead.execute(vec![request("c", open("erin"))], 2_000).state_root
    );
}
