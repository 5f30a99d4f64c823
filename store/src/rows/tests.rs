//! The bytes of every row, and that no flipped bit of a sealed one passes.

use super::*;

/// A payload with its checksum over key and payload.
fn sealed(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut both = key.to_vec();
    both.extend_from_slice(payload);
    let mut value = payload.to_vec();
    value.extend_from_slice(&crc32fast::hash(&both).to_be_bytes());
    value
}

fn applied() -> Applied {
    Applied {
        index: 0x11,
        term: 0x12,
        tip: Tip { height: 0x13, hash: Hash([0x14; 32]), time_ms: 0x15, term: 0x16, state_root: Hash([0x17; 32]) },
    }
}

#[test]
fn keys_are_golden_and_order_as_their_numbers() {
    assert_eq!(record_key(0x0102, 0x03), *b"r\0\0\0\0\0\0\x01\x02\0\x03");
    assert_eq!(number_key(RUN, 9), *b"t\0\0\0\0\0\0\0\x09");
    assert_eq!(named_key(ACCOUNT, b"alice"), b"aalice");
    assert_eq!(changed_key(0, b"alice"), b"aalice");
    assert_eq!(changed_key(2, b"alice"), b"d\0\0\0\0\0\0\0\x02alice");
    assert_eq!((piece_key(6, 0x0102), piece_key(7, 3)), (*b"c\0\0\0\x01\x02", *b"c\x01\0\0\0\x03"));
    assert_eq!(parse_record_key(&record_key(5, 6)), Some((5, 6)));
    assert_eq!(parse_record_key(b"i\0\0\0\0\0\0\0\x07\0\x01"), None);
    assert_eq!(parse_number_key(RUN, &number_key(RUN, 5)), Some(5));
    assert_eq!(parse_number_key(PEER, &number_key(RUN, 5)), None);
    assert!(record_key(255, u16::MAX) < record_key(256, 0));
}

#[test]
fn values_are_golden_and_read_back() {
    let hard = HardState { term: 3, vote: Some(NodeId(2)) };
    assert_eq!(seal_hard(&hard), sealed(b"h", b"\0\0\0\0\0\0\0\x03\x01\x02"));
    assert_eq!(unseal_hard(&seal_hard(&hard)), Some(hard));
    let hard = HardState { term: 4, vote: None };
    assert_eq!(seal_hard(&hard), sealed(b"h", b"\0\0\0\0\0\0\0\x04\0\0"));
    assert_eq!(unseal_hard(&seal_hard(&hard)), Some(hard));

    assert_eq!(seal_number(&[OWNER], 5), sealed(b"o", b"\0\0\0\0\0\0\0\x05"));
    let key = number_key(RUN, 2);
    assert_eq!(seal_number(&key, 3), sealed(&key, b"\0\0\0\0\0\0\0\x03"));
    assert_eq!(unseal_number(&key, &seal_number(&key, 3)), Some(3));

    assert_eq!(seal_32(&[KEY, 1], &[0x44; 32]), sealed(b"k\x01", &[0x44; 32]));
    assert_eq!(unseal_32(b"k\x01", &sealed(b"k\x01", &[0x33; 32])), Some([0x33; 32]));
    assert_eq!(unseal_32(b"k\x01", &sealed(b"k\x01", &[0x33; 31])), None);

    let key = named_key(ACCOUNT, b"world");
    assert_eq!(seal_balance(&key, -2), sealed(&key, &(-2_i128).to_be_bytes()));
    assert_eq!(unseal_balance(&key, &seal_balance(&key, -2)), Some(-2));

    let base = Base { generation: 1, pieces: 2, accounts: 3, bytes: 4 };
    assert_eq!(seal_base(&base), sealed(b"g", b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04"));
    assert_eq!(unseal_base(&seal_base(&base)), Some(base));
    assert_eq!(unseal_base(&seal_base(&Base { generation: 0, ..base })), None);

    let key = piece_key(1, 0);
    let mut piece = begin_piece(1);
    push_account(&mut piece, "bob", 5);
    push_account(&mut piece, "world", -5);
    let bytes =
        [&b"\0\0\0\0\0\0\0\x01\x03bob"[..], &5_i128.to_be_bytes(), b"\x05world", &(-5_i128).to_be_bytes()].concat();
    assert_eq!(seal(&key, piece), sealed(&key, &bytes));
    let accounts = ["bob", "world"].map(|name| Account::parse(name).unwrap()).into_iter().zip([5, -5]);
    assert_eq!(unseal_piece(&key, &sealed(&key, &bytes)), Some((1, accounts.collect())));
    assert_eq!(unseal_piece(&key, &sealed(&key, &bytes[..bytes.len() - 1])), None);

    let mut payload = Vec::new();
    for number in [0x11_u64, 0x12, 0x13] {
        payload.extend_from_slice(&number.to_be_bytes());
    }
    payload.extend_from_slice(&[0x14; 32]);
    payload.extend_from_slice(&0x15_u64.to_be_bytes());
    payload.extend_from_slice(&0x16_u64.to_be_bytes());
    payload.extend_from_slice(&[0x17; 32]);
    assert_eq!(seal_applied(&applied()), sealed(b"s", &payload));
    assert_eq!(unseal_applied(&seal_applied(&applied())), Some(applied()));

    // What formats before 3 had at the end.
    assert_eq!(unseal_applied_2(&seal_applied(&applied())), None);
    payload.extend_from_slice(&[0x18; 24]);
    assert_eq!(unseal_applied_2(&sealed(b"s", &payload)), Some(applied()));
    assert_eq!(unseal_applied(&sealed(b"s", &payload)), None);
}

#[test]
fn no_flipped_bit_of_a_sealed_row_passes_and_no_row_passes_under_another_key() {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (vec![HARD], seal_hard(&HardState { term: 3, vote: None })),
        (vec![APPLIED], seal_applied(&applied())),
        (b"aalice".to_vec(), seal_balance(b"aalice", 7)),
        (vec![KEY, 1], seal_32(&[KEY, 1], &[0x44; 32])),
        (vec![BASE], seal_base(&Base { generation: 1, pieces: 2, accounts: 3, bytes: 4 })),
        (b"vkey".to_vec(), seal(b"vkey", Vec::new())),
    ];
    for (key, value) in rows {
        assert!(unseal(&key, &value).is_some());
        let mut other = key.clone();
        other[0] ^= 1;
        assert!(unseal(&other, &value).is_none());
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&key, &damaged).is_none(), "bit {bit} of {key:?}");
        }
        assert!(unseal(&key, &value[..3]).is_none());
    }
}
