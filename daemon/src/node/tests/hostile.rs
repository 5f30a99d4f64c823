//! Whatever happens to three nodes, in whatever order: see `node::fuzzing` for the rules. And envelopes: no bytes break
//! the decoder, and every frame has one spelling.

use proptest::collection::vec;
use proptest::prelude::*;
use raftbank_codec::hostile::{assert_one_spelling, assert_survives_damage};

use super::super::message::{Ask, Body, CallName, Envelope, FRAME_BYTES_MAX};
use crate::node::fuzzing;

fn respell(bytes: &[u8]) -> Option<Vec<u8>> {
    raftbank_codec::decode::<Envelope>(bytes, FRAME_BYTES_MAX).ok().map(|envelope| raftbank_codec::encode(&envelope))
}

fn any_body() -> impl Strategy<Value = Body> {
    let call = || (any::<u64>(), any::<u64>()).prop_map(|(life, number)| CallName { life, number });
    let ask = prop_oneof![
        vec(any::<u8>(), 0..30).prop_map(Ask::Write),
        "\\PC{0,9}".prop_map(Ask::Balance),
        Just(Ask::Accounts),
        vec(any::<u8>(), 0..9).prop_map(Ask::Get),
        vec(any::<u8>(), 0..30).prop_map(Ask::WriteMany),
        "\\PC{0,9}".prop_map(Ask::Funds),
    ];
    let reply = raftbank_wire::api::ApiReply::End { count: 7 };
    prop_oneof![
        (call(), ask, any::<u32>()).prop_map(|(call, ask, timeout_ms)| Body::Forward { call, ask, timeout_ms }),
        (call(), any::<bool>()).prop_map(move |(call, some)| Body::Answer { call, reply: some.then(|| reply.clone()) }),
        any::<u64>().prop_map(|height| Body::Beacon { height }),
        any::<u64>().prop_map(|proof| Body::Rejoin { proof }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(incarnation, challenge)| Body::RejoinChallenge { incarnation, challenge }),
        (any::<u64>(), any::<u64>()).prop_map(|(incarnation, term)| Body::RejoinTerm { incarnation, term }),
        any::<[u8; 32]>().prop_map(|public| Body::Key { public }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(size, root)| Body::SignHead { size, root }),
        (any::<u64>(), vec(any::<u8>(), 0..80)).prop_map(|(size, signature)| Body::HeadSigned { size, signature }),
        "\\PC{0,99}".prop_map(|note| Body::Head { note }),
        ("\\PC{0,99}", any::<bool>()).prop_map(|(software, asks)| Body::Version { software, asks }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_frame_survives_and_its_damage_is_seen(
        cluster in any::<[u8; 32]>(),
        incarnation in any::<u64>(),
        wall_ms in any::<u64>(),
        body in any_body(),
    ) {
        let bytes = raftbank_codec::encode(&Envelope { cluster, incarnation, wall_ms, body });
        assert_survives_damage(&bytes, respell);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn noise_behind_a_head_is_refused_or_has_one_spelling(
        kind in 0_u32..13,
        raft in 0_u32..8,
        noise in vec(prop_oneof![3 => Just(0_u8), 1 => 0_u8..4, 1 => any::<u8>()], 0..150),
    ) {
        let head = [&[7_u8; 48][..], &kind.to_le_bytes()].concat();
        assert_one_spelling(&[&head[..], &noise].concat(), respell);
        let head = [&[7_u8; 48][..], &[0; 4], &[5; 8], &raft.to_le_bytes()].concat();
        assert_one_spelling(&[&head[..], &noise].concat(), respell);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_program_keeps_the_rules(program in vec(any::<u8>(), 0..500)) {
        fuzzing::run(&program);
    }

    #[test]
    fn any_program_after_an_election_keeps_the_rules(
        setup in 0_u8..8,
        program in vec(any::<u8>(), 0..500),
    ) {
        // Setup, then 63 ticks with all frames delivered.
        fuzzing::run(&[&[setup, 0, 0, 63], &program[..]].concat());
    }

    #[test]
    fn a_program_without_lies_keeps_everybody_in_agreement(setup in 0_u8..8, program in vec(any::<u8>(), 0..500)) {
        fuzzing::run_honest(&[&[setup, 0, 0, 63], &program[..]].concat());
    }
}
