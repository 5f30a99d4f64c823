//! What must be true of everything that is stored: no bytes break a decoder, every value survives, every value has one
//! spelling, and no single damage passes.

use crate::fuzzing::{record_parts, respell_mark, respell_meta, respell_record, respell_row, sealed, with_checksum};
use crate::record::PART_BYTES;
use crate::rows::{self, Applied};
use crate::{FORMAT, Meta, mark, meta};
use proptest::collection::vec;
use proptest::prelude::*;
use raftbank_codec::hostile::{assert_notices_damage, assert_one_spelling, damaged};
use raftbank_consensus::{Entry, HardState, NodeId, Record};
use raftbank_ledger::{Hash, NodeName, Tip};

fn any_record() -> impl Strategy<Value = Record> {
    (any::<u64>(), any::<u64>(), proptest::option::of(vec(any::<u8>(), 0..40)))
        .prop_map(|(index, term, entry)| Record { index, term, entry: entry.map(Entry::from) })
}

fn any_mark() -> impl Strategy<Value = mark::Mark> {
    (any::<[u64; 4]>(), any::<Option<u8>>(), any::<[u8; 32]>(), any::<bool>()).prop_map(
        |([incarnation, term, last_index, committed], vote, last_digest, closed)| mark::Mark {
            incarnation,
            term,
            vote,
            last_index,
            last_digest,
            committed,
            closed,
        },
    )
}

fn any_meta() -> impl Strategy<Value = Meta> {
    (1..=FORMAT, any::<[u8; 32]>(), "[a-zA-Z0-9._-]{1,32}", any::<u64>(), any::<bool>()).prop_map(
        |(format, cluster_id, node, incarnation, rejoining)| Meta {
            format,
            cluster_id: Hash(cluster_id),
            node: NodeName::parse(&node).unwrap(),
            incarnation,
            rejoining,
        },
    )
}

fn any_applied() -> impl Strategy<Value = Applied> {
    (any::<[u64; 5]>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |([index, term, height, time_ms, tip_term], hash, state_root)| Applied {
            index,
            term,
            tip: Tip { height, hash: Hash(hash), time_ms, term: tip_term, state_root: Hash(state_root) },
        },
    )
}

/// A row of any kind, its key first.
fn any_row() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let with_key = |key: Vec<u8>, seal: &dyn Fn(&[u8]) -> Vec<u8>| {
        let value = seal(&key);
        (key, value)
    };
    prop_oneof![
        (any::<u64>(), any::<Option<u8>>()).prop_map(|(term, vote)| {
            (vec![rows::HARD], rows::seal_hard(&HardState { term, vote: vote.map(NodeId) }))
        }),
        any::<u64>().prop_map(move |number| with_key(vec![rows::OWNER], &|key| rows::seal_number(key, number))),
        any_applied().prop_map(|applied| (vec![rows::APPLIED], rows::seal_applied(&applied))),
        (any::<u64>(), any::<u64>()).prop_map(move |(key, number)| {
            with_key(rows::number_key(rows::RUN, key).to_vec(), &|key| rows::seal_number(key, number))
        }),
        (any::<u8>(), any::<u64>()).prop_map(move |(member, number)| {
            with_key(vec![rows::PEER, member], &|key| rows::seal_number(key, number))
        }),
        ("[a-z]{1,9}", any::<i128>()).prop_map(move |(name, balance)| {
            with_key(rows::named_key(rows::ACCOUNT, name.as_bytes()), &|key| rows::seal_balance(key, balance))
        }),
        ("[a-z]{1,9}", any::<i128>(), 1_u64..9).prop_map(move |(name, balance, generation)| {
            let key = rows::changed_key(generation, name.as_bytes());
            with_key(key, &|key| rows::seal_balance(key, balance))
        }),
        (1_u64.., any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(generation, pieces, accounts, bytes)| {
            (vec![rows::BASE], rows::seal_base(&rows::Base { generation, pieces, accounts, bytes }))
        }),
        (vec(("[a-z]{1,9}", any::<i128>()), 0..5), 1_u64..9, any::<u32>()).prop_map(
            move |(accounts, generation, number)| {
                let mut piece = rows::begin_piece(generation);
                accounts.iter().for_each(|(name, balance)| rows::push_account(&mut piece, name, *balance));
                with_key(rows::piece_key(generation, number).to_vec(), &|key| rows::seal(key, piece.clone()))
            },
        ),
        ("[a-z]{1,9}", any::<u64>(), 1_u64..9, 0_u8..4).prop_map(move |(name, expires_ms, amount, status)| {
            let posted = if status == 1 { amount } else { 0 };
            let bytes = [&[status][..], &expires_ms.to_be_bytes(), &[1, b'a', 1, b'b']].concat();
            let bytes = [bytes, amount.to_be_bytes().to_vec(), u64::to_be_bytes(posted).to_vec()].concat();
            let pending = raftbank_ledger::Pending::decode(&bytes).unwrap();
            with_key(rows::named_key(rows::PENDING, name.as_bytes()), &|key| rows::seal_pending(key, &pending))
        }),
        (vec(any::<u8>(), 1..9), vec(any::<u8>(), 0..40)).prop_map(move |(name, value)| {
            with_key(rows::named_key(rows::VALUE, &name), &|key| rows::seal(key, value.clone()))
        }),
        (any::<u8>(), any::<[u8; 32]>())
            .prop_map(move |(node, public)| with_key(vec![rows::KEY, node], &|key| rows::seal_32(key, &public))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_survives_and_its_damage_is_seen(record in any_record()) {
        let parts = record_parts(&record).unwrap();
        prop_assert_eq!(&parts[..], &respell_record(record.index, &parts).unwrap()[..]);
        prop_assert_eq!(respell_record(record.index ^ 1, &parts), None, "read at another index");
        assert_notices_damage(&parts[0], |bytes| respell_record(record.index, &[bytes.to_vec()]).map(|rows| rows.concat()));
    }

    #[test]
    fn a_record_of_several_parts_needs_all_of_them_in_order(
        length in 2 * PART_BYTES + 1..3 * PART_BYTES,
        seed in any::<u8>(),
        at in any::<prop::sample::Index>(),
    ) {
        let entry: Vec<u8> = (0..length).map(|at| (at % 251) as u8 ^ seed).collect();
        let parts = record_parts(&Record { index: 5, term: 3, entry: Some(Entry::from(entry)) }).unwrap();
        prop_assert_eq!(&respell_record(5, &parts).unwrap(), &parts);
        let mut swapped = parts.clone();
        swapped.swap(1, 2);
        let mut flipped = parts.clone();
        let (part, byte) = (at.index(parts.len()), at.index(parts[at.index(parts.len())].len()));
        flipped[part][byte] ^= 1 << (seed % 8);
        // The same bytes, cut elsewhere.
        let mut moved = parts.clone();
        let byte = moved[2].remove(0);
        moved[1].push(byte);
        let longer = [parts.clone(), vec![Vec::new()]].concat();
        for bad in [swapped, flipped, longer, parts[..2].to_vec(), parts[1..].to_vec(), Vec::new()] {
            prop_assert_eq!(respell_record(5, &bad), None);
        }
        let respelled = respell_record(5, &moved);
        prop_assert!(respelled.is_none() || respelled == Some(moved), "cut in one way only");
    }

    #[test]
    fn marks_survive_and_their_damage_is_seen(sequence in any::<u64>(), mark in any_mark()) {
        let bytes = mark::encode(sequence, &mark);
        prop_assert_eq!(mark::decode(&bytes), Some((sequence, mark)));
        assert_notices_damage(&bytes, respell_mark);
        // With a checksum that is right again there is still only one spelling.
        for mut other in damaged(&bytes) {
            with_checksum(&mut other);
            assert_one_spelling(&other, respell_mark);
        }
    }

    #[test]
    fn metas_survive_and_their_damage_is_seen(meta in any_meta()) {
        let bytes = meta::encode(&meta);
        assert_notices_damage(&bytes, respell_meta);
        for mut other in damaged(&bytes) {
            with_checksum(&mut other);
            assert_one_spelling(&other, respell_meta);
        }
    }

    #[test]
    fn rows_survive_and_their_damage_is_seen((key, value) in any_row()) {
        assert_notices_damage(&value, |bytes| respell_row(&key, bytes));
        let payload = &value[..value.len() - 4];
        for payload in damaged(payload) {
            assert_one_spelling(&sealed(&key, &payload), |bytes| respell_row(&key, bytes));
        }
        for other in damaged(&key) {
            prop_assert_eq!(respell_row(&other, &value), None, "a row passed under another key");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn noise_is_refused_or_has_one_spelling(
        kind in prop::sample::select(&b"rthpksblavi"[..]),
        key in vec(any::<u8>(), 0..12),
        noise in vec(prop_oneof![2 => Just(0_u8), 1 => 0_u8..4, 1 => any::<u8>()], 0..140),
    ) {
        let key = [&[kind], &key[..]].concat();
        assert_one_spelling(&noise, |bytes| respell_row(&key, bytes));
        assert_one_spelling(&sealed(&key, &noise), |bytes| respell_row(&key, bytes));
        prop_assert_eq!(respell_record(5, std::slice::from_ref(&noise)), None);
        let mut noise = noise;
        with_checksum(&mut noise);
        assert_one_spelling(&noise, respell_mark);
        assert_one_spelling(&noise, respell_meta);
    }
}
