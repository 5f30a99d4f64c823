//! What must be true of every request, block, name, amount, hash and genesis: no bytes break a decoder, every value
//! survives, and every value has one spelling. Beside `format`, which has the golden bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use raftbank_codec::hostile::{assert_one_spelling, assert_survives_damage};

use super::*;

fn respell_request(bytes: &[u8]) -> Option<Vec<u8>> {
    let request = Request::decode(bytes).ok()?;
    assert_eq!(request.operation.is_basic(), bytes[0] <= Operation::BASIC_VERB_MAX);
    assert!(Request::new(request.id.clone(), request.operation.clone()).is_ok(), "decoded beyond the bounds");
    Some(request.encode())
}

fn respell_block(bytes: &[u8]) -> Option<Vec<u8>> {
    let block = Block::decode(bytes).ok()?;
    assert_eq!(header_hash_of(bytes), Ok(block.hash()));
    assert_eq!(block.entries.len(), block.header.request_count as usize);
    Some(block.encode())
}

fn name() -> impl Strategy<Value = Account> {
    "[a-zA-Z0-9._:-]{1,64}".prop_map(|text| account(&text))
}

fn id() -> impl Strategy<Value = RequestId> {
    "[a-zA-Z0-9._:-]{1,64}".prop_map(|text| RequestId::parse(&text).unwrap())
}

/// Any operation at all, however long.
fn operation() -> impl Strategy<Value = Operation> {
    let money = || prop_oneof![1..=Amount::MAX, 1..=3_u64, Just(Amount::MAX)].prop_map(amount);
    let memo = || prop_oneof![4 => "\\PC{0,40}", 1 => Just("m".repeat(MEMO_BYTES_MAX))];
    let key = prop_oneof![4 => vec(any::<u8>(), 1..20), 1 => Just(vec![1; KEY_BYTES_MAX])];
    prop_oneof![
        name().prop_map(|account| Operation::Open { account }),
        (name(), name(), money(), memo()).prop_map(|(from, to, amount, memo)| Operation::Transfer {
            from,
            to,
            amount,
            memo
        }),
        (name(), money()).prop_map(|(account, amount)| Operation::Credit { account, amount }),
        (name(), money()).prop_map(|(account, amount)| Operation::Debit { account, amount }),
        (key, vec(any::<u8>(), 0..60)).prop_map(|(key, value)| Operation::Put { key, value }),
        vec((name(), name(), money(), memo()), LEGS_MIN..5).prop_map(|legs| {
            let leg = |(from, to, amount, memo)| Leg { from, to, amount, memo };
            Operation::Linked { legs: legs.into_iter().map(leg).collect() }
        }),
        (name(), name(), money(), 1..=TIMEOUT_MS_MAX, memo()).prop_map(|(from, to, amount, timeout_ms, memo)| {
            Operation::Pending { from, to, amount, timeout_ms, memo }
        }),
        (id(), prop::option::of(money())).prop_map(|(pending, amount)| Operation::Post { pending, amount }),
        id().prop_map(|pending| Operation::Void { pending }),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    ("[a-zA-Z0-9._:-]{1,64}", operation()).prop_map(|(id, operation)| request(&id, operation))
}

fn any_block() -> impl Strategy<Value = Block> {
    let entry = (any_request(), 0_u8..11)
        .prop_map(|(request, outcome)| Entry { request, outcome: Outcome::from_byte(outcome).unwrap() });
    let hashes = any::<[[u8; 32]; 4]>().prop_map(|hashes| hashes.map(Hash));
    (vec(entry, 0..3), any::<[u64; 4]>(), hashes, "[a-zA-Z0-9._-]{1,32}", any::<u8>()).prop_map(
        |(
            entries,
            [height, term, time_ms, nonce],
            [cluster_id, previous, transaction_root, state_root],
            name,
            bits,
        )| {
            let header = Header {
                version: HEADER_VERSION,
                cluster_id,
                height,
                previous,
                term,
                proposer: NodeName::parse(&name).unwrap(),
                time_ms,
                request_count: entries.len() as u32,
                transaction_root,
                state_root,
                difficulty: bits,
                nonce,
            };
            Block { header, entries }
        },
    )
}

/// Bytes behind a verb and an id.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..7, vec(prop_oneof![2 => Just(0_u8), 1 => 0_u8..4, 2 => any::<u8>(), 2 => Just(b'a')], 0..60))
        .prop_map(|(verb, rest)| [&[verb, 1, b'x'], &rest[..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_request_survives_and_its_damage_is_seen(request in any_request()) {
        prop_assert_eq!(&Request::decode(&request.encode()).unwrap(), &request);
        assert_survives_damage(&request.encode(), respell_request);
    }

    #[test]
    fn a_block_survives_and_its_damage_is_seen(block in any_block()) {
        prop_assert_eq!(&Block::decode(&block.encode()).unwrap(), &block);
        assert_survives_damage(&block.encode(), respell_block);
        for entry in &block.entries {
            assert_survives_damage(&entry.encode(), |bytes| Entry::decode(bytes).ok().map(|entry| entry.encode()));
        }
    }

    #[test]
    fn every_damage_to_a_mined_block_is_refused_by_who_knows_the_bank(requests in vec(any_operation(), 1..4)) {
        let mut state = fresh();
        let before = fresh();
        let batch = requests.into_iter().enumerate().map(|(at, what)| request(&format!("r{at}"), what)).collect();
        let (block, _) = push(&mut state, batch);
        let bytes = block.encode();
        prop_assert!(before.check(&block).is_ok());
        for damaged in raftbank_codec::hostile::damaged(&bytes) {
            let Ok(other) = Block::decode(&damaged) else { continue };
            let fine = other.check_static(before.difficulty(), before.cluster_id()).is_ok();
            if fine && before.check(&other).is_ok() {
                // Another nonce may do as well, and so may another time, term or proposer, of which the state knows
                // nothing: those four are the leader's to choose, and the hash binds them.
                let chosen = Header {
                    nonce: other.header.nonce,
                    time_ms: other.header.time_ms,
                    term: other.header.term,
                    proposer: other.header.proposer.clone(),
                    ..block.header.clone()
                };
                prop_assert_eq!(&other.header, &chosen);
                prop_assert_eq!(&other.entries, &block.entries);
                prop_assert_ne!(other.hash(), block.hash());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_nearly_a_request_is_refused_or_has_one_spelling(bytes in nearly_a_request()) {
        assert_one_spelling(&bytes, respell_request);
        let entry = [&(bytes.len() as u32).to_be_bytes(), &bytes[..], &[3]].concat();
        assert_one_spelling(&entry, |bytes| Entry::decode(bytes).ok().map(|entry| entry.encode()));
    }

    #[test]
    fn names_are_taken_as_they_are_or_not_at_all(text in "\\PC{0,70}|[a-z._:-]{0,70}|[ -~]{0,8}") {
        let plain = |others: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(byte as char));
        let fine = plain("._:-") && (1..=64).contains(&text.len());
        let node = plain("._-") && (1..=32).contains(&text.len());
        prop_assert_eq!(Account::parse(&text).ok().map(String::from), fine.then(|| text.clone()));
        prop_assert_eq!(RequestId::parse(&text).ok().map(String::from), fine.then(|| text.clone()));
        prop_assert_eq!(NodeName::parse(&text).ok().map(String::from), node.then(|| text.clone()));
        prop_assert_eq!(Account::try_from(text.clone()), Account::parse(&text));
        if let Err(error) = Account::parse(&text) {
            prop_assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }

    #[test]
    fn an_amount_is_its_digits_or_an_error(text in "[0-9]{0,22}|-?[0-9]{0,4}[.,]?[0-9]{0,4}|\\PC{0,45}|[0-9]{40,80}") {
        match Amount::parse(&text) {
            Ok(amount) => {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit()));
                prop_assert!((1..=Amount::MAX).contains(&amount.get()));
                prop_assert_eq!(amount.to_string(), text.trim_start_matches('0'));
            }
            Err(error) => {
                let number = text.parse::<u128>().ok().filter(|_| !text.starts_with('+'));
                prop_assert!(!number.is_some_and(|number| (1..=u128::from(Amount::MAX)).contains(&number)), "{error}");
                prop_assert!(error.to_string().len() < 400, "long input is not repeated: {}", error);
            }
        }
    }

    #[test]
    fn a_hash_is_64_digits_in_either_case(text in "[0-9a-f]{60,66}|[0-9a-fA-F]{64}|\\PC{0,64}") {
        if let Ok(hash) = text.parse::<Hash>() {
            prop_assert_eq!(hash.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn any_genesis_is_refused_or_makes_a_block_that_tells_it_again(genesis in any_genesis()) {
        let text = toml::to_string(&genesis).unwrap();
        prop_assert_eq!(&toml::from_str::<Genesis>(&text).unwrap(), &genesis);
        match genesis.block() {
            Ok(block) => {
                prop_assert_eq!(&Block::decode(&block.encode()).unwrap(), &block);
                let info = Genesis::from_block(&block).unwrap();
                prop_assert_eq!((&info.name, &info.salt), (&genesis.name, &genesis.salt));
                prop_assert_eq!((&info.members, info.time_ms), (&genesis.members, genesis.time_ms));
                let (state, _) = State::new(&block).unwrap();
                prop_assert_eq!(state.accounts().map(|(_, balance)| balance).sum::<Balance>(), 0);
            }
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
}

fn any_genesis() -> impl Strategy<Value = Genesis> {
    let text = || prop_oneof![6 => "[a-z ]{1,9}", 1 => "\\PC{0,140}", 1 => "[a-z\n]{0,3}"];
    let member =
        prop_oneof![5 => "n[1-9]", 1 => "[a-zA-Z0-9._-]{1,32}"].prop_map(|text| NodeName::parse(&text).unwrap());
    let who = || "[a-d]|world".prop_map(|text| account(&text));
    let money = || prop_oneof![4 => 0..1_000_u64, 1 => any::<u64>()];
    let holder = (who(), money()).prop_map(|(name, balance)| GenesisAccount { name, balance });
    let move_ = (who(), who(), money()).prop_map(|(from, to, amount)| GenesisTransfer { from, to, amount });
    (text(), text(), vec(member, 0..9), 0_u8..26, 0_u64..1 << 62, vec(holder, 0..4), vec(move_, 0..3)).prop_map(
        |(name, salt, members, difficulty, time_ms, accounts, transfers)| Genesis {
            name,
            salt,
            members,
            difficulty,
            time_ms,
            accounts,
            transfers,
        },
    )
}
