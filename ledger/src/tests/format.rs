//! The canonical bytes, their bounds, and that `docs/format.md` still tells the truth.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

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
    assert_eq!(hex(&Hash::of(&[]).0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let digest = request("r2", transfer("alice", "bob", 5)).digest();
    assert_eq!(digest.to_string(), DIGEST);
    assert_eq!(request("other", transfer("alice", "bob", 5)).digest(), digest, "the id is not part of it");

    let block = genesis().block().unwrap();
    assert_eq!(hex(&block.encode()), GENESIS_BLOCK.concat());
    assert_eq!(block.hash().to_string(), GENESIS_HASH);
    let mut state = fresh();
    let (block, _) = push(&mut state, vec![request("r2", transfer("alice", "bob", 5))]);
    assert_eq!(hex(&block.header.encode()), HEADER.concat());
    assert_eq!(hex(&block.entries[0].encode()), ENTRY);
    assert_eq!(hex(&block.encode()), HEADER.concat() + "00000021" + ENTRY);
    assert_eq!(block.hash().to_string(), BLOCK_HASH);
    assert_eq!(header_hash_of(&block.encode()), Ok(block.hash()));
    assert!(header_hash_of(&block.encode()[..171]).is_err());
}

/// All of these were computed by a second implementation, the one in `docs/format.md`.
const GENESIS_BLOCK: [&str; 17] = [
    "00000001",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000",
    "0767656e65736973",
    "00000000000003e8",
    "00000005",
    "7cb39068c8e8f7e7d79c6e1d5e0adafb4512f75463b00a6b7099951bc2860a53",
    "6684ca902dd0d3ea36f2265af9764f3fc982fc2bd59fd4ac8789fcef2637f5ae",
    "04",
    "0000000000000000",
    "0000004500000040050967656e657369733a3000107261667462616e6b2f67656e657369730000001f\
     04746573740670657070657203026e31026e32026e330400000000000003e800",
    "0000001600000011010967656e657369733a3105616c69636500",
    "000000140000000f010967656e657369733a3203626f6200",
    "0000001e00000019030967656e657369733a3305616c696365000000000000006400",
    "000000240000001f020967656e657369733a3405616c69636503626f620000000000000028000000",
];
const GENESIS_HASH: &str = "3a3052784a4b7b2eab1febfcb9ad84416d2d91e6fee1de16f8b2e38b684d6fd0";
const HEADER: [&str; 12] = [
    "00000001",
    GENESIS_HASH,
    "0000000000000001",
    GENESIS_HASH,
    "0000000000000003",
    "026e32",
    "00000000000007d0",
    "00000001",
    "7c8fea7b979d3f6927fbd3ba509072f9e5df63be0dabd2f2163dd195e47aa785",
    "59c46ccb681b105849e53fb2b4584205c7a8774eef95d44f5afc467299138a43",
    "04",
    "0000000000000002",
];
const ENTRY: &str = "0000001c0202723205616c69636503626f620000000000000005000472656e7400";
const BLOCK_HASH: &str = "01ea0eadcdb3b1f7e8855fcdb3f93f71e853d456c926436b90edd3554abf6a2a";
const DIGEST: &str = "89cd25b88b2ebe6a09323856a7eab8783dfb2e613c604b72de7508953a312001";

#[test]
fn the_description_shows_the_golden_bytes() {
    let text = include_str!("../../../docs/format.md");
    let missing: Vec<&str> = HEADER
        .into_iter()
        .chain(GENESIS_BLOCK.into_iter().skip(8).take(2))
        .chain([ENTRY, BLOCK_HASH, DIGEST])
        .filter(|golden| !text.contains(golden))
        .collect();
    assert_eq!(missing, [""; 0]);
    for outcome in Refusal::all().map(Outcome::Refused) {
        assert!(text.contains(&format!("| {} | {} |", outcome.byte(), outcome.code())), "{}", outcome.code());
    }
    for domain in
        ["raftbank/block/1", "raftbank/request/1", "raftbank/account/1", "raftbank/value/1", "raftbank/pending/1"]
    {
        assert!(text.contains(&format!("\"{domain}\\n\"")), "{domain}");
    }
}

#[test]
fn bytes_that_are_no_request_say_why() {
    let transfer = request("r2", transfer("alice", "bob", 258)).encode();
    let change = |position: usize, byte: u8| {
        let mut changed = transfer.clone();
        changed[position] = byte;
        Request::decode(&changed).unwrap_err().to_string()
    };
    assert_eq!(Request::decode(&[]).unwrap_err().to_string(), "the bytes end inside verb");
    assert!(change(0, 0).contains("verb") && change(0, 10).contains("verb"));
    assert!(change(1, 0).contains("id"));
    assert!(change(2, b' ').contains("id: a request id may not contain ' '"), "{}", change(2, b' '));
    assert!(change(5, 0xff).contains("from: not UTF-8"), "{}", change(5, 0xff));
    assert!(change(14, 0x80).contains("amount") && change(14, 0x80).contains("too large"));
    assert!(change(22, 0xff).contains("memo: 65284 bytes; at most 256"), "{}", change(22, 0xff));
    assert!(change(24, 0xff).contains("memo: not UTF-8"));
    let mut zero = transfer.clone();
    zero[14..22].fill(0);
    assert!(Request::decode(&zero).unwrap_err().to_string().contains("must be positive"));
    let longer = [transfer, vec![0]].concat();
    assert_eq!(Request::decode(&longer).unwrap_err(), DecodeError::Trailing(1));
    // An id of 65 bytes, an empty key, a value that claims 4 GiB.
    let long_id = [&[1, 65][..], &[b'x'; 65], &[1, b'a']].concat();
    assert!(Request::decode(&long_id).unwrap_err().to_string().contains("65 characters; at most 64"));
    let empty_key = [&[5, 1, b'p'][..], &[0, 0], &[0, 0, 0, 0]].concat();
    assert!(Request::decode(&empty_key).unwrap_err().to_string().contains("key: 0 bytes; 1 to 256"));
    let huge = [&[5, 1, b'p'][..], &[0, 1, b'k'], &[0xff; 4]].concat();
    assert!(Request::decode(&huge).unwrap_err().to_string().contains("value: 4294967295 bytes; at most 65536"));
}

#[test]
fn a_block_is_bounded_before_it_is_read() {
    let block = genesis().block().unwrap();
    let mut bytes = block.encode();
    let count = 100..104; // after version, cluster id, height, previous, term, proposer of 7 and time
    for (value, why) in [(u32::MAX, "at most 16384"), (16_384, "end inside"), (4, "left over"), (0, "left over")] {
        bytes[count.clone()].copy_from_slice(&value.to_be_bytes());
        let error = Block::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{value}: {error}");
    }
    let error = Block::decode(&vec![0; BLOCK_BYTES_MAX + 1]).unwrap_err().to_string();
    assert!(error.contains("at most 4194304"), "{error}");
    let mut bytes = block.encode();
    bytes[3] = 2;
    assert!(Block::decode(&bytes).unwrap_err().to_string().contains("version: 2"));
}

#[test]
fn hashes_are_lower_case_hexadecimal() {
    let hash: Hash = BLOCK_HASH.parse().unwrap();
    assert_eq!(hash.to_string(), BLOCK_HASH);
    assert_eq!((hash.leading_zero_bits(), Hash::ZERO.leading_zero_bits()), (7, 256));
    for text in ["", "01", &BLOCK_HASH[1..], &BLOCK_HASH.replace('0', "g"), &"ä".repeat(32)] {
        assert_eq!(text.parse::<Hash>(), Err(HashError), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..1_000) {
        // Random bytes alone never get past the version: put some behind a real beginning as well.
        let real = genesis().block().unwrap().encode();
        let spliced = [&real[..cut.min(real.len())], &bytes].concat();
        for bytes in [bytes, spliced] {
            if let Ok(block) = Block::decode(&bytes) {
                prop_assert_eq!(block.encode(), bytes);
            }
        }
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
