//! The one bounded binary codec of every stored and sent envelope, and the only user of bincode.
//!
//! Integers are little-endian and of fixed width, lengths are `u64`, `None`/`Some` and `bool` are one byte, an enum's
//! variant is a `u32`. Trailing bytes are refused, so every value has exactly one spelling. What is *hashed* is never
//! written by this codec: blocks and requests have canonical bytes of their own (see the ledger).
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
pub mod hostile;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no value of the wanted type.
#[derive(Debug, thiserror::Error)]
#[error("these bytes are not well-formed: {0}")]
pub struct CodecError(#[from] bincode::Error);

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_little_endian().reject_trailing_bytes()
}

/// Encodes a value.
///
/// # Panics
/// Only for types whose `Serialize` itself fails (an unsized sequence, for one); derived implementations never do.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    options().serialize(value).expect("a derived Serialize does not fail in memory")
}

/// Decodes a value from exactly these bytes.
///
/// # Errors
/// More than `limit` bytes, truncated, trailing or otherwise malformed bytes. No more than `limit` bytes are allocated
/// on the word of a length prefix.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, CodecError> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(CodecError(Box::new(bincode::ErrorKind::SizeLimit)));
    }
    Ok(options().with_limit(limit).deserialize(bytes)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Sample {
        Empty,
        Full { number: u32, text: String, maybe: Option<u8>, list: Vec<u16> },
    }

    fn full() -> Sample {
        Sample::Full { number: 0x0102_0304, text: "ab".into(), maybe: Some(7), list: vec![1, 2] }
    }

    #[test]
    fn golden_bytes() {
        let golden = [
            1, 0, 0, 0, // variant
            4, 3, 2, 1, // number
            2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', // text
            1, 7, // maybe
            2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, // list
        ];
        assert_eq!(encode(&full()), golden);
        assert_eq!(encode(&Sample::Empty), [0, 0, 0, 0]);
    }

    #[test]
    fn only_exact_bytes_within_the_limit_decode() {
        let bytes = encode(&full());
        let len = bytes.len() as u64;
        assert_eq!(decode::<Sample>(&bytes, len).unwrap(), full());
        assert!(decode::<Sample>(&bytes, len - 1).is_err());
        for cut in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..cut], len).is_err(), "cut at {cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode::<Sample>(&longer, 1_000).is_err());
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut bytes = encode(&vec![0_u8; 4]);
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode::<Vec<u8>>(&bytes, 1 << 20).is_err());
    }
}
