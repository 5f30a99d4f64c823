//! Frames as they come from a socket in pieces of any size, handshakes, control frames, and the spelling of partitions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use raftbank_codec::hostile::{assert_one_spelling, assert_survives_damage};
use tokio::io::{AsyncRead, ReadBuf};

use crate::frame::{Frame, FrameError, Patience, read_frame, read_tagged};
use crate::fuzzing::{respell_answer, respell_client_hello, respell_control, respell_hello, respell_server_hello};
use crate::groups;
use crate::hello::{
    API_MAGIC, API_PROTOCOL, Answer, ClientHello, Hello, LINK_MAGIC, LINK_PROTOCOL, ServerHello, parse, spell,
};

const PATIENT: Patience = Patience { idle: None, frame: Duration::from_secs(3_600) };

/// A socket that hands out so many bytes at a time, over and over, and ends.
struct Pieces<'a> {
    left: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let size = self.sizes[self.turn % self.sizes.len()].min(out.remaining()).min(self.left.len());
        self.turn += 1;
        let (now, later) = self.left.split_at(size);
        out.put_slice(now);
        self.left = later;
        Poll::Ready(Ok(()))
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written_however_they_arrive(
        bodies in vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..5),
        sizes in vec(1_usize..40, 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes: Vec<u8> =
            bodies.iter().flat_map(|(tag, body)| Frame::tagged(*tag, body.clone()).into_bytes()).collect();
        run(async {
            let mut whole = Pieces { left: &bytes, sizes: sizes.clone(), turn: 0 };
            for (tag, body) in &bodies {
                let read = read_tagged(&mut whole, 301, PATIENT).await.unwrap();
                assert_eq!(read, (*tag, body.clone()));
            }
            let end = read_tagged(&mut whole, 301, PATIENT).await.unwrap_err();
            assert!(matches!(end, FrameError::Closed), "{end}");
            if !bytes.is_empty() {
                // Ends somewhere: all whole frames are read, then the end is seen for what it is.
                let mut part = Pieces { left: &bytes[..cut.index(bytes.len())], sizes, turn: 0 };
                let mut left = part.left.len();
                loop {
                    match read_tagged(&mut part, 301, PATIENT).await {
                        Ok((_, body)) => left -= 5 + body.len(),
                        Err(FrameError::Closed) => break assert_eq!(left, 0),
                        Err(FrameError::Truncated) => break assert_ne!(left, 0),
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }

    #[test]
    fn any_bytes_are_frames_up_to_the_first_that_is_none(
        bytes in vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..200),
        sizes in vec(1_usize..40, 1..6),
    ) {
        run(async {
            let mut socket = Pieces { left: &bytes, sizes: sizes.clone(), turn: 0 };
            let mut again = Vec::new();
            while let Ok(body) = read_frame(&mut socket, 64, PATIENT).await {
                assert!(body.len() <= 64);
                again.extend(Frame::plain(body).into_bytes());
            }
            assert_eq!(again, bytes[..again.len()], "what was read is what stood there");
        });
    }

    #[test]
    fn control_frames_have_one_spelling(payload in vec(0_u8..6, 0..4)) {
        assert_one_spelling(&payload, respell_control);
    }

    #[test]
    fn groups_name_every_member_once_or_are_refused(
        text in "[n1-4, /]{0,24}|\\PC{0,20}|(n[1-4] ?[,/]){2,4}n[1-4]",
        count in 1_usize..5,
    ) {
        let members: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
        if let Ok(groups) = groups::parse(&text, &members) {
            prop_assert!(groups.iter().all(|group| !group.is_empty()));
            let mut named: Vec<String> = groups.concat();
            named.sort();
            prop_assert_eq!(named, members.clone());
            let plain = groups.iter().map(|group| group.join(",")).collect::<Vec<_>>().join("/");
            prop_assert_eq!(groups::parse(&plain, &members).unwrap(), groups);
        }
    }
}

fn any_hello() -> impl Strategy<Value = Hello> {
    (any::<[u8; 32]>(), "\\PC{0,8}", vec("\\PC{0,4}", 0..4), any::<u64>(), "\\PC{0,8}").prop_map(
        |(cluster_id, node, members, incarnation, software)| Hello { cluster_id, node, members, incarnation, software },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hellos_survive_and_their_damage_is_seen(hello in any_hello()) {
        let bytes = spell(LINK_MAGIC, LINK_PROTOCOL, &hello);
        prop_assert_eq!(parse::<Hello>(&bytes, LINK_MAGIC, LINK_PROTOCOL).unwrap(), hello);
        assert_survives_damage(&bytes, respell_hello);
    }

    #[test]
    fn answers_survive_and_their_damage_is_seen(
        connected in vec(any::<u8>(), 0..8),
        code in "\\PC{0,8}",
        message in "\\PC{0,8}",
        software in "\\PC{0,8}",
        in_flight_max in any::<u32>(),
    ) {
        for answer in [Answer::Welcome { connected }, Answer::Refuse { code: code.clone(), message: message.clone() }] {
            assert_survives_damage(&spell(LINK_MAGIC, LINK_PROTOCOL, &answer), respell_answer);
        }
        let welcome = ServerHello::Welcome { software: software.clone(), in_flight_max };
        for answer in [welcome, ServerHello::Refuse { code, message }] {
            assert_survives_damage(&spell(API_MAGIC, API_PROTOCOL, &answer), respell_server_hello);
        }
        assert_survives_damage(&spell(API_MAGIC, API_PROTOCOL, &ClientHello { software }), respell_client_hello);
    }

    #[test]
    fn noise_behind_a_magic_is_refused_or_has_one_spelling(
        noise in vec(prop_oneof![3 => Just(0_u8), 1 => 0_u8..4, 1 => any::<u8>()], 0..120),
    ) {
        for magic in ["rbnklink\0\x01", "rbnk-api\0\x01", ""] {
            let bytes = [magic.as_bytes(), &noise].concat();
            for respell in [respell_hello, respell_answer, respell_client_hello, respell_server_hello] {
                assert_one_spelling(&bytes, respell);
            }
        }
    }
}
