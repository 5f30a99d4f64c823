//! Any diagnosis.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::text;
use crate::api::{Diagnosis, FolderFigures, MemberDiagnosis, Refused, RefusedNode, RelayConnection, SyncFigures};

fn refused() -> impl Strategy<Value = Refused> {
    (text(), text(), any::<u64>()).prop_map(|(code, message, ago_ms)| Refused { code, message, ago_ms })
}

pub fn refused_nodes() -> impl Strategy<Value = Vec<RefusedNode>> {
    let node = (text(), any::<u64>(), refused());
    vec(node.prop_map(|(node, times, refused)| RefusedNode { node, times, refused }), 0..4)
}

fn member() -> impl Strategy<Value = MemberDiagnosis> {
    let numbers = (any::<u64>(), any::<Option<i64>>(), any::<Option<u64>>(), any::<Option<u64>>());
    (text(), any::<(bool, bool)>(), numbers, option::of(text()), option::of(refused())).prop_map(
        |(id, (own, reachable), (height, clock_offset_ms, heard_ms, incarnation), software, refused)| MemberDiagnosis {
            id,
            own,
            reachable,
            height,
            clock_offset_ms,
            software,
            heard_ms,
            incarnation,
            refused,
        },
    )
}

pub fn diagnosis() -> impl Strategy<Value = Diagnosis> {
    let relay = (text(), any::<bool>(), any::<u64>(), option::of(text()))
        .prop_map(|(address, connected, since_ms, refused)| RelayConnection { address, connected, since_ms, refused });
    let syncs = any::<(u64, u32, u64, u64, u64)>().prop_map(|(count, window, p50_us, p99_us, max_us)| SyncFigures {
        count,
        window,
        p50_us,
        p99_us,
        max_us,
    });
    let folder = any::<(u64, u64, u64)>().prop_map(|(used_bytes, free_bytes, total_bytes)| FolderFigures {
        used_bytes,
        free_bytes,
        total_bytes,
    });
    let who = (text(), text(), any::<[u8; 32]>(), option::of(text()), option::of(text()), any::<u64>());
    (who, relay, syncs, option::of(folder), vec(member(), 0..4)).prop_map(
        |((node, software, cluster_id, condition, leader, uptime_ms), relay, syncs, folder, members)| Diagnosis {
            node,
            software,
            cluster_id,
            condition,
            leader,
            uptime_ms,
            relay,
            syncs,
            folder,
            members,
        },
    )
}
