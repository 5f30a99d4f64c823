//! Requests and replies, and what is around them in a frame.

use proptest::prelude::*;
use raftbank_codec::hostile::{assert_one_spelling, assert_survives_damage};
use raftbank_codec::{decode, encode};

use super::values;
use crate::api::{ApiReply, ApiRequest};
use crate::envelope::{self, KIND_REQUEST};
use crate::frame::{Frame, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::fuzzing::{respell_reply, respell_reply_head, respell_request, respell_request_head};

/// Bytes that get past the variant's number more often than chance would let them.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    (0_u32..24, prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => 0_u8..4, 2 => any::<u8>()], 0..120))
        .prop_map(|(variant, rest)| [&variant.to_le_bytes()[..], &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_request_survives_and_its_damage_is_seen(request in values::request()) {
        let bytes = encode(&request);
        prop_assert_eq!(decode::<ApiRequest>(&bytes, REQUEST_BYTES_MAX.into()).unwrap(), request);
        assert_survives_damage(&bytes, respell_request);
    }

    #[test]
    fn a_reply_survives_and_its_damage_is_seen(reply in values::reply()) {
        let bytes = encode(&reply);
        prop_assert_eq!(decode::<ApiReply>(&bytes, REPLY_BYTES_MAX.into()).unwrap(), reply);
        assert_survives_damage(&bytes, respell_reply);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn noise_is_refused_or_has_one_spelling(bytes in noise()) {
        assert_one_spelling(&bytes, respell_request);
        assert_one_spelling(&bytes, respell_reply);
    }

    #[test]
    fn heads_of_requests_and_replies_have_one_spelling(
        head in prop::collection::vec(prop_oneof![2 => 0_u8..4, 1 => any::<u8>()], 0..14),
    ) {
        assert_one_spelling(&head, respell_request_head);
        assert_one_spelling(&head, respell_reply_head);
        if let Some((id, ..)) = envelope::parse_request(&head) {
            prop_assert_ne!(id, envelope::CONNECTION_ID, "no client may use the connection's own id");
        }
    }

    #[test]
    fn a_numbered_frame_is_read_as_it_was_written(id in 1_u64.., body in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = Frame::numbered(id, KIND_REQUEST, body.clone()).into_bytes();
        prop_assert_eq!(envelope::parse_request(&bytes[4..]), Some((id, KIND_REQUEST, &body[..])));
    }
}
