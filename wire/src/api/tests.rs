//! The bytes of every variant. A failure here means: old and new programs no longer understand each other. Add
//! variants and fields only together with a new protocol version.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use raftbank_codec::{decode, encode};
use serde::de::DeserializeOwned;

use super::*;

/// Golden bytes, part by part: little-endian integers, `u64` lengths.
#[derive(Default)]
struct Golden(Vec<u8>);

impl Golden {
    fn variant(number: u8) -> Self {
        Self(vec![number, 0, 0, 0])
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// A `u32` below 256.
    fn short(mut self, number: u8) -> Self {
        self.0.extend([number, 0, 0, 0]);
        self
    }

    /// A `u64` below 256, or a length.
    fn long(mut self, number: u8) -> Self {
        self.0.extend([number, 0, 0, 0, 0, 0, 0, 0]);
        self
    }

    /// An `i128` between -128 and 127.
    fn huge(mut self, number: i8) -> Self {
        let rest = if number < 0 { 0xff } else { 0 };
        self.0.push(number as u8);
        self.0.extend([rest; 15]);
        self
    }

    fn text(self, text: &str) -> Self {
        let mut golden = self.long(text.len() as u8);
        golden.0.extend(text.as_bytes());
        golden
    }

    fn hash(mut self, byte: u8) -> Self {
        self.0.extend([byte; 32]);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

fn check<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T, golden: Golden) {
    assert_eq!(encode(&value), golden.0, "{value:?}");
    assert_eq!(decode::<T>(&golden.0, 1 << 20).unwrap(), value);
}

#[test]
fn requests() {
    let variant = Golden::variant;
    check(ApiRequest::Write { request: b"ab".to_vec(), timeout_ms: 7 }, variant(0).text("ab").short(7));
    check(
        ApiRequest::Balance { account: "a".into(), local: true, timeout_ms: 7 },
        variant(1).text("a").byte(1).short(7),
    );
    check(ApiRequest::Accounts { local: false, timeout_ms: 7 }, variant(2).byte(0).short(7));
    check(ApiRequest::Get { key: b"k".to_vec(), local: false, timeout_ms: 7 }, variant(3).text("k").byte(0).short(7));
    check(ApiRequest::Status, variant(4));
    check(ApiRequest::Watch, variant(5));
    check(ApiRequest::Block { height: 9 }, variant(6).long(9));
    check(ApiRequest::Blocks { from: 1, to: None }, variant(7).long(1).byte(0));
    check(ApiRequest::Blocks { from: 1, to: Some(2) }, variant(7).long(1).byte(1).long(2));
    check(ApiRequest::Verify, variant(8));
}

#[test]
fn relay_requests() {
    let partition = |number| Golden::variant(9).short(number);
    check(ApiRequest::Partition(PartitionCommand::Show), partition(0));
    let set = PartitionCommand::Set { groups: "n1/n2".into(), for_ms: Some(5) };
    check(ApiRequest::Partition(set), partition(1).text("n1/n2").byte(1).long(5));
    check(ApiRequest::Partition(PartitionCommand::Heal), partition(2));

    let link = |number| Golden::variant(10).short(number);
    check(ApiRequest::Link(LinkCommand::Show), link(0));
    let cut = LinkCommand::Cut { a: "n1".into(), b: "n2".into(), one_way: true, for_ms: None };
    check(ApiRequest::Link(cut), link(1).text("n1").text("n2").byte(1).byte(0));
    let restore = LinkCommand::Restore { a: "n1".into(), b: "n2".into() };
    check(ApiRequest::Link(restore), link(2).text("n1").text("n2"));
    let delay = LinkCommand::Delay { min_ms: 1, max_ms: 2, for_ms: Some(3) };
    check(ApiRequest::Link(delay), link(3).short(1).short(2).byte(1).long(3));
    let loss = LinkCommand::Loss { percent: 12.5, for_ms: None };
    check(ApiRequest::Link(loss), link(4).raw(&[0, 0, 0, 0, 0, 0, 0x29, 0x40]).byte(0));
    check(ApiRequest::Link(LinkCommand::Clear), link(5));
}

#[test]
fn replies() {
    let variant = Golden::variant;
    let written = |outcome| ApiReply::Written { id: "x".into(), outcome, height: 3, index: 4, duplicate: true };
    check(written(WriteOutcome::Committed), variant(0).text("x").short(0).long(3).short(4).byte(1));
    let refused = WriteOutcome::Refused { code: "c".into(), message: "m".into() };
    check(written(refused), variant(0).text("x").short(1).text("c").text("m").long(3).short(4).byte(1));
    let kinds = [
        FailKind::Usage,
        FailKind::Refused,
        FailKind::NotExecuted,
        FailKind::Unknown,
        FailKind::Corruption,
        FailKind::Internal,
    ];
    for (number, kind) in (0..).zip(kinds) {
        let failed = ApiReply::Failed { kind, code: "c".into(), message: "m".into() };
        check(failed, variant(1).short(number).text("c").text("m"));
    }
    check(
        ApiReply::Balance { account: "a".into(), balance: -5, pending: 2, height: 9, local: false },
        variant(2).text("a").huge(-5).huge(2).long(9).byte(0),
    );
    check(
        ApiReply::Accounts { height: 9, accounts: vec![("a".into(), 1), ("b".into(), -1)] },
        variant(3).long(9).long(2).text("a").huge(1).text("b").huge(-1),
    );
    check(
        ApiReply::Value { key: b"k".to_vec(), value: b"v".to_vec(), height: 9 },
        variant(4).text("k").text("v").long(9),
    );
    check(ApiReply::Block { bytes: b"b".to_vec() }, variant(7).text("b"));
    check(ApiReply::End { count: 2 }, variant(8).long(2));
    check(ApiReply::Progress { done: 1, total: 2 }, variant(9).long(1).long(2));
    check(
        ApiReply::Verified {
            ok: false,
            height: 1,
            head: [0xaa; 32],
            blocks: 2,
            transactions: 3,
            uncommitted: 4,
            problem: Some("p".into()),
        },
        variant(10).byte(0).long(1).hash(0xaa).long(2).long(3).long(4).byte(1).text("p"),
    );
}

#[test]
fn status_and_events() {
    let status = StatusReply {
        node: "n1".into(),
        role: NodeRole::Candidate,
        leader: Some("n2".into()),
        term: 3,
        height: 4,
        head: [0xaa; 32],
        members: vec![MemberStatus { id: "n2".into(), reachable: true, height: 5 }],
        last_index: 6,
        commit_index: 7,
        applied_index: 8,
        condition: None,
        cluster_id: [0xbb; 32],
        incarnation: 9,
        pending: 10,
        uptime_ms: 11,
        software: "s".into(),
    };
    check(
        ApiReply::Status(status),
        Golden::variant(5)
            .text("n1")
            .short(2)
            .byte(1)
            .text("n2")
            .long(3)
            .long(4)
            .hash(0xaa)
            .long(1)
            .text("n2")
            .byte(1)
            .long(5)
            .long(6)
            .long(7)
            .long(8)
            .byte(0)
            .hash(0xbb)
            .long(9)
            .long(10)
            .long(11)
            .text("s"),
    );
    let event = |number| Golden::variant(6).short(number);
    for (number, role) in (0..).zip([NodeRole::Leader, NodeRole::Follower, NodeRole::Candidate]) {
        let role = WatchEvent::Role { role, leader: None, term: 2 };
        check(ApiReply::Event(role), event(0).short(number).byte(0).long(2));
    }
    let block = WatchEvent::Block { height: 1, hash: [0xaa; 32], requests: 2 };
    check(ApiReply::Event(block), event(1).long(1).hash(0xaa).short(2));
    let balance = WatchEvent::Balance { account: "a".into(), balance: -1, height: 2 };
    check(ApiReply::Event(balance), event(2).text("a").huge(-1).long(2));
}

#[test]
fn relay_replies() {
    check(
        ApiReply::Partition { groups: vec![vec!["n1".into()], vec!["n2".into()]], heals_in_ms: Some(9) },
        Golden::variant(11).long(2).long(1).text("n1").long(1).text("n2").byte(1).long(9),
    );
    let link = LinkReply {
        cuts: vec![LinkCut { from: "n1".into(), to: "n2".into(), heals_in_ms: None }],
        delay_ms: (1, 2),
        delay_ends_in_ms: None,
        loss_percent: 12.5,
        loss_ends_in_ms: Some(3),
    };
    check(
        ApiReply::Link(link),
        Golden::variant(12)
            .long(1)
            .text("n1")
            .text("n2")
            .byte(0)
            .short(1)
            .short(2)
            .byte(0)
            .raw(&[0, 0, 0, 0, 0, 0, 0x29, 0x40])
            .byte(1)
            .long(3),
    );
    let status = RelayStatusReply {
        software: "s".into(),
        uptime_ms: 1,
        cluster_id: Some([0xaa; 32]),
        members: vec![RelayMember { id: "n1".into(), connected: true, software: "t".into(), queued: 2 }],
        faults: true,
        counters: RelayCounters {
            forwarded: 3,
            forwarded_bytes: 4,
            delayed_now: 5,
            dropped_partition: 6,
            dropped_cut: 7,
            dropped_loss: 8,
            dropped_overflow: 9,
            dropped_absent: 10,
        },
    };
    check(
        ApiReply::RelayStatus(status),
        Golden::variant(13)
            .text("s")
            .long(1)
            .byte(1)
            .hash(0xaa)
            .long(1)
            .text("n1")
            .byte(1)
            .text("t")
            .long(2)
            .byte(1)
            .long(3)
            .long(4)
            .long(5)
            .long(6)
            .long(7)
            .long(8)
            .long(9)
            .long(10),
    );
}

#[test]
fn diagnoses() {
    check(ApiRequest::Diagnose, Golden::variant(19));
    let refused = || Refused { code: "c".into(), message: "m".into(), ago_ms: 1 };
    let member = MemberDiagnosis {
        id: "n1".into(),
        own: true,
        reachable: false,
        height: 2,
        clock_offset_ms: Some(3),
        software: Some("s".into()),
        heard_ms: None,
        incarnation: Some(4),
        refused: Some(refused()),
    };
    let diagnosis = Diagnosis {
        node: "n1".into(),
        software: "s".into(),
        cluster_id: [0xaa; 32],
        condition: None,
        leader: Some("n2".into()),
        uptime_ms: 5,
        relay: RelayConnection { address: "a".into(), connected: true, since_ms: 6, refused: Some("r".into()) },
        syncs: SyncFigures { count: 7, window: 8, p50_us: 9, p99_us: 10, max_us: 11 },
        folder: Some(FolderFigures { used_bytes: 12, free_bytes: 13, total_bytes: 14 }),
        members: vec![member],
    };
    let head = Golden::variant(20).text("n1").text("s").hash(0xaa).byte(0).byte(1).text("n2").long(5);
    let disk = head.text("a").byte(1).long(6).byte(1).text("r").long(7).short(8).long(9).long(10).long(11);
    let disk = disk.byte(1).long(12).long(13).long(14);
    let members = disk.long(1).text("n1").byte(1).byte(0).long(2).byte(1).long(3).byte(1).text("s").byte(0);
    let golden = members.byte(1).long(4).byte(1).text("c").text("m").long(1);
    check(ApiReply::Diagnosis(Box::new(diagnosis)), golden);

    let status = RelayStatusReply {
        software: "s".into(),
        uptime_ms: 1,
        cluster_id: None,
        members: Vec::new(),
        faults: false,
        counters: RelayCounters::default(),
    };
    let nodes = vec![RefusedNode { node: "n1".into(), times: 2, refused: refused() }];
    let golden = Golden::variant(21).text("s").long(1).byte(0).long(0).byte(0).raw(&[0; 64]);
    let golden = golden.long(1).text("n1").long(2).text("c").text("m").long(1);
    check(ApiReply::RelayDiagnosis(RelayDiagnosis { status, refused: nodes }), golden);
}

#[test]
fn batches() {
    let requests = ApiRequest::WriteMany { requests: vec![7, 8], timeout_ms: 9 };
    check(requests, Golden::variant(20).long(2).raw(&[7, 8]).short(9));
    let written = ManyResult::Written { outcome: WriteOutcome::Committed, height: 1, index: 2, duplicate: true };
    let failed = ManyResult::Failed { kind: FailKind::Refused, code: "c".into(), message: "m".into() };
    let golden = Golden::variant(22).long(2).short(0).short(0).long(1).short(2).byte(1);
    check(ApiReply::WrittenMany { results: vec![written, failed] }, golden.short(1).short(1).text("c").text("m"));
}

#[test]
fn what_is_held() {
    let funds = ApiRequest::Funds { account: "a".into(), local: true, timeout_ms: 5 };
    check(funds, Golden::variant(21).text("a").byte(1).short(5));
    let held = ApiRequest::Held { account: Some("a".into()), after: Some((7, "p".into())) };
    check(held, Golden::variant(22).byte(1).text("a").byte(1).long(7).text("p"));
    check(ApiRequest::HeldById { ids: vec!["p".into()] }, Golden::variant(23).long(1).text("p"));
    let (account, balance, held, pending) = ("a".into(), 1, 2, -1);
    let golden = Golden::variant(23).text("a").raw(&1_i128.to_le_bytes()).raw(&2_i128.to_le_bytes());
    let golden = golden.raw(&(-1_i128).to_le_bytes()).long(3).byte(0);
    check(ApiReply::Funds { account, balance, held, pending, height: 3, local: false }, golden);
    let (from, to, status) = ("a".into(), "b".into(), "pending".into());
    let row = HeldRow { id: "p".into(), from, to, amount: 4, posted: 5, expires_ms: 6, status };
    let golden = Golden::variant(24).long(1).long(2).long(1).text("p").text("a").text("b").long(4).long(5).long(6);
    let reply = ApiReply::Held { height: 1, time_ms: 2, rows: vec![row], next: Some((6, "p".into())) };
    check(reply, golden.text("pending").byte(1).long(6).text("p"));
}

#[test]
fn random_bytes_decode_to_an_error_or_to_themselves() {
    let mut bytes = [0_u8; 64];
    for _ in 0..20_000 {
        rand::fill(&mut bytes);
        // Small variant numbers and lengths, or nearly everything would end at the first field.
        bytes[0] %= 26;
        bytes[1..4].fill(0);
        bytes[5..12].fill(0);
        for end in [12, 20, 64] {
            if let Ok(request) = decode::<ApiRequest>(&bytes[..end], 64) {
                assert_eq!(encode(&request), bytes[..end]);
            }
            let _ = decode::<ApiReply>(&bytes[..end], 64);
        }
    }
}
