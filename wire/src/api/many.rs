//! Many requests in one frame: each after its length (`u32`, big-endian), one behind the other.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{FailKind, WriteOutcome};
use crate::frame::REQUEST_BYTES_MAX;

/// Most requests of a batch.
pub const MANY_REQUESTS_MAX: usize = 8_192;
/// Most bytes of a batch, lengths included: what fits into a client's frame, with room for its head.
pub const MANY_BYTES_MAX: usize = REQUEST_BYTES_MAX as usize - 64;
/// The length in front of each request.
const LENGTH_BYTES: usize = 4;

/// What became of one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ManyResult {
    /// Its outcome was recorded.
    Written {
        /// Committed or refused; both stand in the chain.
        outcome: WriteOutcome,
        /// Height of the block that holds it.
        height: u64,
        /// Its place in that block, from 0.
        index: u32,
        /// The id was executed before; height and index are those of the first time.
        duplicate: bool,
    },
    /// No outcome was recorded by this request.
    Failed {
        /// What that means for the caller.
        kind: FailKind,
        /// For programs, in snake case.
        code: String,
        /// For people: what is wrong and what to do.
        message: String,
    },
}

/// Bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ManyError {
    /// None at all.
    #[error("a batch has at least one request")]
    Empty,
    /// More than [`MANY_REQUESTS_MAX`].
    #[error("a batch has at most {MANY_REQUESTS_MAX} requests; split it")]
    TooMany,
    /// More than [`MANY_BYTES_MAX`].
    #[error("a batch has at most {MANY_BYTES_MAX} bytes, and this one has {0}; split it")]
    TooLong(usize),
    /// A length that reaches beyond the end.
    #[error("the batch ends within its request {0} (counted from 0)")]
    Torn(usize),
}

/// Builds a batch.
#[derive(Clone, Debug, Default)]
pub struct Many {
    bytes: Vec<u8>,
    count: usize,
}

impl Many {
    /// Appends a request. False: it does not fit any more, and nothing has changed.
    pub fn push(&mut self, request: &[u8]) -> bool {
        let fits = self.count < MANY_REQUESTS_MAX && self.bytes.len() + LENGTH_BYTES + request.len() <= MANY_BYTES_MAX;
        if fits {
            // Below MANY_BYTES_MAX.
            self.bytes.extend_from_slice(&(request.len() as u32).to_be_bytes());
            self.bytes.extend_from_slice(request);
            self.count += 1;
        }
        fits
    }

    /// How many requests it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The requests of a batch.
///
/// # Errors
/// Anything that [`Many`] would not have built. Nothing is allocated on the word of a length.
pub fn unpack(bytes: &[u8]) -> Result<Vec<&[u8]>, ManyError> {
    if bytes.len() > MANY_BYTES_MAX {
        return Err(ManyError::TooLong(bytes.len()));
    }
    let mut requests = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if requests.len() == MANY_REQUESTS_MAX {
            return Err(ManyError::TooMany);
        }
        let request = rest.split_first_chunk::<LENGTH_BYTES>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            rest.split_at_checked(length)
        });
        let (request, behind) = request.ok_or(ManyError::Torn(requests.len()))?;
        requests.push(request);
        rest = behind;
    }
    if requests.is_empty() { Err(ManyError::Empty) } else { Ok(requests) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn batch(requests: &[&[u8]]) -> Many {
        let mut many = Many::default();
        assert!(requests.iter().all(|request| many.push(request)));
        many
    }

    #[test]
    fn what_was_packed_comes_out() {
        let requests: [&[u8]; 3] = [b"one", b"", b"three"];
        let many = batch(&requests);
        assert_eq!((many.len(), many.is_empty()), (3, false));
        let bytes = many.into_bytes();
        assert_eq!(bytes, b"\0\0\0\x03one\0\0\0\0\0\0\0\x05three");
        assert_eq!(unpack(&bytes).unwrap(), requests);
    }

    #[test]
    fn it_is_bounded_on_both_sides() {
        let mut many = Many::default();
        assert_eq!(unpack(&[]), Err(ManyError::Empty));
        while many.push(b"") {}
        assert_eq!(many.len(), MANY_REQUESTS_MAX);
        let mut bytes = many.into_bytes();
        assert_eq!(unpack(&bytes).unwrap().len(), MANY_REQUESTS_MAX);
        bytes.extend([0; 4]);
        assert_eq!(unpack(&bytes), Err(ManyError::TooMany));

        let mut many = Many::default();
        assert!(!many.push(&vec![7; MANY_BYTES_MAX - 3]));
        assert!(many.push(&vec![7; MANY_BYTES_MAX - 4]) && !many.push(b""));
        let mut bytes = many.into_bytes();
        assert_eq!(unpack(&bytes).unwrap().len(), 1);
        bytes.push(0);
        assert_eq!(unpack(&bytes), Err(ManyError::TooLong(MANY_BYTES_MAX + 1)));
    }

    #[test]
    fn one_that_ends_early_is_none() {
        let bytes = batch(&[b"one", b"two"]).into_bytes();
        for length in 1..bytes.len() {
            let result = unpack(&bytes[..length]);
            assert_eq!(result.is_ok(), length == 7, "{length}: {result:?}");
        }
        assert_eq!(unpack(&[255; 4]), Err(ManyError::Torn(0)));
    }
}
