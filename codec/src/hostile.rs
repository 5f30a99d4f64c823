//! For tests of decoders: damaged bytes, and the rule that every value has exactly one spelling.
//!
//! `respell` decodes bytes and encodes what it got; `None` where the decoder refuses. A decoder keeps the rule if
//! whatever it accepts is spelled with exactly the bytes that it was given.

/// What a bad line, a bad disk or a bad neighbour makes of `good`: cut at every byte, longer by a byte or eight, and
/// one bit flipped at every place.
pub fn damaged(good: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let cut = (0..good.len()).map(move |length| good[..length].to_vec());
    let longer = [&[0][..], &[1], &[0xff], &[0; 8], &[0xff; 8]].into_iter().map(move |tail| [good, tail].concat());
    let flipped = (0..good.len() * 8).map(move |bit| {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(longer).chain(flipped)
}

/// These bytes are refused, or are the one spelling of what they mean. True if they were accepted.
///
/// # Panics
/// If they are another spelling.
pub fn assert_one_spelling(bytes: &[u8], respell: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let Some(again) = respell(bytes) else { return false };
    assert_eq!(hex(&again), hex(bytes), "accepted bytes (right) are not how their value is spelled (left)");
    true
}

/// `good` is accepted, and every damage to it is refused or means something else that is spelled just so.
///
/// # Panics
/// If that is not true.
pub fn assert_survives_damage(good: &[u8], respell: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    assert!(assert_one_spelling(good, &respell), "refused: {}", hex(good));
    for bytes in damaged(good) {
        assert_one_spelling(&bytes, &respell);
    }
}

/// As [`assert_survives_damage`], for bytes with a checksum: no single damage is accepted at all.
///
/// # Panics
/// If one is.
pub fn assert_notices_damage(good: &[u8], respell: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    assert!(assert_one_spelling(good, &respell), "refused: {}", hex(good));
    for bytes in damaged(good) {
        assert!(respell(&bytes).is_none(), "damage passed: {}\ninstead of {}", hex(&bytes), hex(good));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{assert_notices_damage, assert_survives_damage, damaged};

    #[test]
    fn one_byte_has_every_damage() {
        let all: Vec<Vec<u8>> = damaged(&[0]).collect();
        assert_eq!(all.len(), 1 + 5 + 8);
        assert!(!all.contains(&vec![0]));
    }

    #[test]
    fn a_plain_byte_keeps_the_rule() {
        assert_survives_damage(&[7], |bytes| (bytes.len() == 1).then(|| bytes.to_vec()));
    }

    #[test]
    #[should_panic(expected = "not how their value is spelled")]
    fn a_second_spelling_is_found() {
        // Everything but zero is "true".
        assert_survives_damage(&[1], |bytes| match bytes {
            [byte] => Some(vec![u8::from(*byte != 0)]),
            _ => None,
        });
    }

    #[test]
    #[should_panic(expected = "damage passed")]
    fn a_missing_checksum_is_found() {
        assert_notices_damage(&[1], |bytes| (bytes.len() == 1).then(|| bytes.to_vec()));
    }
}
