//! What a daemon knows of its own health, for operators. Asked by `ApiRequest::Diagnose`.

use serde::{Deserialize, Serialize};

use super::RelayStatusReply;

/// A node's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The node's id.
    pub node: String,
    /// Name and version, such as `raftbankd/0.1.0`.
    pub software: String,
    /// Hash of block 0.
    pub cluster_id: [u8; 32],
    /// Why the node does not take its full part, as in `StatusReply`.
    pub condition: Option<String>,
    /// The leader it knows.
    pub leader: Option<String>,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Its connection to the relay.
    pub relay: RelayConnection,
    /// How long its disk takes.
    pub syncs: SyncFigures,
    /// Its data folder; none: it could not be looked at, or another look has not ended.
    pub folder: Option<FolderFigures>,
    /// All members in the order of the genesis file, this node included.
    pub members: Vec<MemberDiagnosis>,
}

/// A node's connection to the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayConnection {
    /// `host:port`, as configured.
    pub address: String,
    /// The relay has let the node in and has not gone since.
    pub connected: bool,
    /// For how many milliseconds it has been so.
    pub since_ms: u64,
    /// What the relay said when it last refused this node; none: it has let it in since.
    pub refused: Option<String>,
}

/// How long syncs of the data folder took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFigures {
    /// Syncs since the node started.
    pub count: u64,
    /// So many of the last ones are in the figures below.
    pub window: u32,
    /// Half of them took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99_us: u64,
    /// None took longer, in microseconds.
    pub max_us: u64,
}

/// A node's data folder and the file system it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderFigures {
    /// Bytes of the files in it.
    pub used_bytes: u64,
    /// Bytes that the node may still write.
    pub free_bytes: u64,
    /// Bytes of the file system.
    pub total_bytes: u64,
}

/// A member as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDiagnosis {
    /// Its id.
    pub id: String,
    /// It is the node that answers.
    pub own: bool,
    /// It was heard lately.
    pub reachable: bool,
    /// Its height when it was last heard.
    pub height: u64,
    /// Its clock minus that of the node that answers, in milliseconds; none: not heard.
    pub clock_offset_ms: Option<i64>,
    /// Name and version, as it told; none: not told, as by an older one.
    pub software: Option<String>,
    /// When it was last heard, in milliseconds before now; none: never since this node started.
    pub heard_ms: Option<u64>,
    /// The random number that its data folder was born with, as far as known.
    pub incarnation: Option<u64>,
    /// Why its last frame was not accepted; none: it was.
    pub refused: Option<Refused>,
}

/// Why somebody was not let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs: `other_cluster`, `other_incarnation`, `other_members`, …
    pub code: String,
    /// For people.
    pub message: String,
    /// When, in milliseconds before now.
    pub ago_ms: u64,
}

/// The relay's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayDiagnosis {
    /// Its state.
    pub status: RelayStatusReply,
    /// Nodes that were not let in and are not connected now, the newest last; at most 16.
    pub refused: Vec<RefusedNode>,
}

/// A node that the relay did not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedNode {
    /// What it calls itself.
    pub node: String,
    /// How often it was refused for this reason in a row.
    pub times: u64,
    /// Why, and when last.
    pub refused: Refused,
}

/// Longest name and version that is kept of another program, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;

/// A stranger's text made fit to be shown: printable ASCII, bounded.
pub fn printable(text: &str, bytes_max: usize) -> String {
    text.chars().take(bytes_max).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// Major and minor version of a name and version such as `raftbankd/0.2.0`; `None` if it is spelled otherwise.
pub fn version_of(software: &str) -> Option<(u32, u32)> {
    let (_, version) = software.rsplit_once('/')?;
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse().ok());
    numbers.next().flatten().zip(numbers.next().flatten())
}

#[cfg(test)]
mod tests {
    use super::{printable, version_of};

    #[test]
    fn a_version_is_two_numbers_behind_the_last_slash() {
        for (software, version) in [
            ("raftbankd/0.2.0", (0, 2)),
            ("raftbankd/0.2.0-rc.1", (0, 2)),
            ("raftbankd/0.10.3", (0, 10)),
            ("raftbankd/1.0.0", (1, 0)),
            ("x/y/0.2.0", (0, 2)),
        ] {
            assert_eq!(version_of(software), Some(version), "{software}");
        }
        for software in ["raftbankd/0", "raftbankd/.9", "raftbankd", "0.2.0", "", "a/b.2", "/1.x", "a/4294967296.0"] {
            assert_eq!(version_of(software), None, "{software}");
        }
    }

    #[test]
    fn what_strangers_say_is_short_and_plain() {
        assert_eq!(printable("raftbankd/0.1.0", 64), "raftbankd/0.1.0");
        assert_eq!(printable("a\x1b[31m\né", 64), "a?[31m??");
        assert_eq!(printable(&"é".repeat(100), 64).len(), 64);
    }
}
