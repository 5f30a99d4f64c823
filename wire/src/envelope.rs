//! What is around a request and a reply in its frame: an id (`u64`, big-endian), a byte, and the encoded rest.
//!
//! The client chooses ids above 0 and never uses one twice on a connection; the server repeats them. The byte of a
//! request is its kind, that of a reply says whether more will follow. Replies with the id 0 are about the connection.

/// The id of replies that are about the connection itself, which is closed after it.
pub const CONNECTION_ID: u64 = 0;
/// A request follows.
pub const KIND_REQUEST: u8 = 0;
/// The stream with this id is no longer wanted; nothing follows.
pub const KIND_CANCEL: u8 = 1;
/// More replies with this id will come.
pub const MORE: u8 = 0;
/// This is the last reply with this id.
pub const LAST: u8 = 1;
/// Bytes before the encoded rest.
pub const HEAD_BYTES: usize = 9;

/// A frame of a client: id, kind, rest.
pub fn parse_request(bytes: &[u8]) -> Option<(u64, u8, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (id, kind) = (u64::from_be_bytes(*head.first_chunk()?), head[8]);
    let known = kind == KIND_REQUEST || (kind == KIND_CANCEL && body.is_empty());
    (known && id != CONNECTION_ID).then_some((id, kind, body))
}

/// A frame of a server: id, whether it is the last, rest.
pub fn parse_reply(bytes: &[u8]) -> Option<(u64, bool, &[u8])> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let last = match head[8] {
        MORE => false,
        LAST => true,
        _ => return None,
    };
    Some((u64::from_be_bytes(*head.first_chunk()?), last, body))
}

#[cfg(test)]
mod tests {
    use super::{parse_reply, parse_request};

    #[test]
    fn golden_bytes() {
        assert_eq!(parse_request(&[0, 0, 0, 0, 0, 0, 1, 2, 0, 7]), Some((0x0102, 0, &[7][..])));
        assert_eq!(parse_request(&[0, 0, 0, 0, 0, 0, 1, 2, 1]), Some((0x0102, 1, &[][..])));
        assert_eq!(parse_reply(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 7]), Some((0, true, &[7][..])));
        assert_eq!(parse_reply(&[0, 0, 0, 0, 0, 0, 0, 3, 0]), Some((3, false, &[][..])));
        for bad in [&[][..], &[0; 8], &[0; 9], &[0, 0, 0, 0, 0, 0, 0, 1, 2], &[0, 0, 0, 0, 0, 0, 0, 1, 1, 1]] {
            assert_eq!(parse_request(bad), None);
        }
        assert_eq!(parse_reply(&[0, 0, 0, 0, 0, 0, 0, 1, 2]), None);
    }
}
