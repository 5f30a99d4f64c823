//! Any request and any reply, all variants equally often.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::api::{
    ApiReply, ApiRequest, FailKind, HeldRow, LinkCommand, LinkCut, LinkReply, ManyResult, MemberStatus, NodeRole,
    PartitionCommand, RelayCounters, RelayDiagnosis, RelayMember, RelayStatusReply, StatusReply, WatchEvent,
    WriteOutcome,
};

mod health;

pub(super) fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

/// A finite number: what is not equal to itself cannot be compared.
fn percent() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=100.0, -1e9..1e9, Just(-0.0), Just(f64::MAX), Just(f64::INFINITY)]
}

fn role() -> impl Strategy<Value = NodeRole> {
    prop_oneof![Just(NodeRole::Leader), Just(NodeRole::Follower), Just(NodeRole::Candidate)]
}

pub fn request() -> impl Strategy<Value = ApiRequest> {
    prop_oneof![
        (bytes(), any::<u32>()).prop_map(|(request, timeout_ms)| ApiRequest::Write { request, timeout_ms }),
        (text(), any::<bool>(), any::<u32>()).prop_map(|(account, local, timeout_ms)| ApiRequest::Balance {
            account,
            local,
            timeout_ms
        }),
        (any::<bool>(), any::<u32>()).prop_map(|(local, timeout_ms)| ApiRequest::Accounts { local, timeout_ms }),
        (bytes(), any::<bool>(), any::<u32>()).prop_map(|(key, local, timeout_ms)| ApiRequest::Get {
            key,
            local,
            timeout_ms
        }),
        Just(ApiRequest::Status),
        Just(ApiRequest::Watch),
        any::<u64>().prop_map(|height| ApiRequest::Block { height }),
        (any::<u64>(), any::<Option<u64>>()).prop_map(|(from, to)| ApiRequest::Blocks { from, to }),
        Just(ApiRequest::Verify),
        partition_command().prop_map(ApiRequest::Partition),
        link_command().prop_map(ApiRequest::Link),
        Just(ApiRequest::Diagnose),
        (bytes(), any::<u32>()).prop_map(|(requests, timeout_ms)| ApiRequest::WriteMany { requests, timeout_ms }),
        (text(), any::<bool>(), any::<u32>()).prop_map(|(account, local, timeout_ms)| ApiRequest::Funds {
            account,
            local,
            timeout_ms
        }),
        (option::of(text()), option::of((any::<u64>(), text())))
            .prop_map(|(account, after)| ApiRequest::Held { account, after }),
        vec(text(), 0..4).prop_map(|ids| ApiRequest::HeldById { ids }),
    ]
}

fn partition_command() -> impl Strategy<Value = PartitionCommand> {
    prop_oneof![
        Just(PartitionCommand::Show),
        (text(), any::<Option<u64>>()).prop_map(|(groups, for_ms)| PartitionCommand::Set { groups, for_ms }),
        Just(PartitionCommand::Heal),
    ]
}

fn link_command() -> impl Strategy<Value = LinkCommand> {
    prop_oneof![
        Just(LinkCommand::Show),
        (text(), text(), any::<bool>(), any::<Option<u64>>()).prop_map(|(a, b, one_way, for_ms)| LinkCommand::Cut {
            a,
            b,
            one_way,
            for_ms
        }),
        (text(), text()).prop_map(|(a, b)| LinkCommand::Restore { a, b }),
        (any::<u32>(), any::<u32>(), any::<Option<u64>>()).prop_map(|(min_ms, max_ms, for_ms)| LinkCommand::Delay {
            min_ms,
            max_ms,
            for_ms
        }),
        (percent(), any::<Option<u64>>()).prop_map(|(percent, for_ms)| LinkCommand::Loss { percent, for_ms }),
        Just(LinkCommand::Clear),
    ]
}

pub fn reply() -> impl Strategy<Value = ApiReply> {
    let of_writes = prop_oneof![
        (text(), outcome(), any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
            |(id, outcome, height, index, duplicate)| { ApiReply::Written { id, outcome, height, index, duplicate } }
        ),
        (fail_kind(), text(), text()).prop_map(|(kind, code, message)| ApiReply::Failed { kind, code, message }),
        vec(many_result(), 0..4).prop_map(|results| ApiReply::WrittenMany { results }),
    ];
    let row = (text(), text(), text(), any::<[u64; 3]>(), text()).prop_map(
        |(id, from, to, [amount, posted, expires_ms], status)| HeldRow {
            id,
            from,
            to,
            amount,
            posted,
            expires_ms,
            status,
        },
    );
    let of_reads = prop_oneof![
        (any::<u64>(), any::<u64>(), vec(row, 0..4), option::of((any::<u64>(), text())))
            .prop_map(|(height, time_ms, rows, next)| ApiReply::Held { height, time_ms, rows, next }),
        (text(), any::<[i128; 3]>(), any::<u64>(), any::<bool>()).prop_map(
            |(account, [balance, held, pending], height, local)| {
                ApiReply::Funds { account, balance, held, pending, height, local }
            }
        ),
        (text(), any::<i128>(), any::<i128>(), any::<u64>(), any::<bool>()).prop_map(
            |(account, balance, pending, height, local)| {
                ApiReply::Balance { account, balance, pending, height, local }
            }
        ),
        (any::<u64>(), vec((text(), any::<i128>()), 0..5))
            .prop_map(|(height, accounts)| ApiReply::Accounts { height, accounts }),
        (bytes(), bytes(), any::<u64>()).prop_map(|(key, value, height)| ApiReply::Value { key, value, height }),
        status().prop_map(ApiReply::Status),
        watch_event().prop_map(ApiReply::Event),
        bytes().prop_map(|bytes| ApiReply::Block { bytes }),
        any::<u64>().prop_map(|count| ApiReply::End { count }),
        (any::<u64>(), any::<u64>()).prop_map(|(done, total)| ApiReply::Progress { done, total }),
        (
            any::<bool>(),
            any::<u64>(),
            any::<[u8; 32]>(),
            (any::<u64>(), any::<u64>(), any::<u64>()),
            option::of(text())
        )
            .prop_map(|(ok, height, head, (blocks, transactions, uncommitted), problem)| {
                ApiReply::Verified { ok, height, head, blocks, transactions, uncommitted, problem }
            }),
    ];
    let of_the_relay = prop_oneof![
        (vec(vec(text(), 0..3), 0..3), any::<Option<u64>>())
            .prop_map(|(groups, heals_in_ms)| ApiReply::Partition { groups, heals_in_ms }),
        link_reply().prop_map(ApiReply::Link),
        relay_status().prop_map(ApiReply::RelayStatus),
    ];
    let of_health = prop_oneof![
        health::diagnosis().prop_map(|diagnosis| ApiReply::Diagnosis(Box::new(diagnosis))),
        (relay_status(), health::refused_nodes())
            .prop_map(|(status, refused)| ApiReply::RelayDiagnosis(RelayDiagnosis { status, refused })),
    ];
    prop_oneof![3 => of_writes, 9 => of_reads, 3 => of_the_relay, 2 => of_health]
}

fn outcome() -> impl Strategy<Value = WriteOutcome> {
    prop_oneof![
        Just(WriteOutcome::Committed),
        (text(), text()).prop_map(|(code, message)| WriteOutcome::Refused { code, message }),
    ]
}

fn many_result() -> impl Strategy<Value = ManyResult> {
    prop_oneof![
        (outcome(), any::<u64>(), any::<u32>(), any::<bool>()).prop_map(|(outcome, height, index, duplicate)| {
            ManyResult::Written { outcome, height, index, duplicate }
        }),
        (fail_kind(), text(), text()).prop_map(|(kind, code, message)| ManyResult::Failed { kind, code, message }),
    ]
}

fn fail_kind() -> impl Strategy<Value = FailKind> {
    prop_oneof![
        Just(FailKind::Usage),
        Just(FailKind::Refused),
        Just(FailKind::NotExecuted),
        Just(FailKind::Unknown),
        Just(FailKind::Corruption),
        Just(FailKind::Internal),
    ]
}

fn status() -> impl Strategy<Value = StatusReply> {
    let member = (text(), any::<bool>(), any::<u64>()).prop_map(|(id, reachable, height)| MemberStatus {
        id,
        reachable,
        height,
    });
    let who = (text(), role(), option::of(text()), option::of(text()), text(), vec(member, 0..4));
    let ids = (any::<[u8; 32]>(), any::<[u8; 32]>());
    (who, ids, any::<[u64; 8]>()).prop_map(|((node, role, leader, condition, software, members), ids, numbers)| {
        let [term, height, last_index, commit_index, applied_index, incarnation, pending, uptime_ms] = numbers;
        StatusReply {
            node,
            role,
            leader,
            term,
            height,
            head: ids.0,
            members,
            last_index,
            commit_index,
            applied_index,
            condition,
            cluster_id: ids.1,
            incarnation,
            pending,
            uptime_ms,
            software,
        }
    })
}

fn watch_event() -> impl Strategy<Value = WatchEvent> {
    prop_oneof![
        (role(), option::of(text()), any::<u64>()).prop_map(|(role, leader, term)| WatchEvent::Role {
            role,
            leader,
            term
        }),
        (any::<u64>(), any::<[u8; 32]>(), any::<u32>()).prop_map(|(height, hash, requests)| WatchEvent::Block {
            height,
            hash,
            requests
        }),
        (text(), any::<i128>(), any::<u64>()).prop_map(|(account, balance, height)| WatchEvent::Balance {
            account,
            balance,
            height
        }),
    ]
}

fn link_reply() -> impl Strategy<Value = LinkReply> {
    let cut =
        (text(), text(), any::<Option<u64>>()).prop_map(|(from, to, heals_in_ms)| LinkCut { from, to, heals_in_ms });
    (vec(cut, 0..4), any::<(u32, u32)>(), any::<Option<u64>>(), percent(), any::<Option<u64>>()).prop_map(
        |(cuts, delay_ms, delay_ends_in_ms, loss_percent, loss_ends_in_ms)| LinkReply {
            cuts,
            delay_ms,
            delay_ends_in_ms,
            loss_percent,
            loss_ends_in_ms,
        },
    )
}

fn relay_status() -> impl Strategy<Value = RelayStatusReply> {
    let member = (text(), any::<bool>(), text(), any::<u64>())
        .prop_map(|(id, connected, software, queued)| RelayMember { id, connected, software, queued });
    let counters = any::<[u64; 8]>().prop_map(|numbers| RelayCounters {
        forwarded: numbers[0],
        forwarded_bytes: numbers[1],
        delayed_now: numbers[2],
        dropped_partition: numbers[3],
        dropped_cut: numbers[4],
        dropped_loss: numbers[5],
        dropped_overflow: numbers[6],
        dropped_absent: numbers[7],
    });
    (text(), any::<u64>(), option::of(any::<[u8; 32]>()), vec(member, 0..4), any::<bool>(), counters).prop_map(
        |(software, uptime_ms, cluster_id, members, faults, counters)| RelayStatusReply {
            software,
            uptime_ms,
            cluster_id,
            members,
            faults,
            counters,
        },
    )
}
