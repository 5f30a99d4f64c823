//! The list of bugs.

macro_rules! bugs {
    ($($bug:ident $name:literal $what:literal)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        impl Bug {
            /// Every bug, in order of the list.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$bug),*];

            /// Its name, as the suite and the environment spell it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }

            /// What goes wrong, and who shipped it.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$bug => $what,)* }
            }
        }
    };
}

impl Bug {
    /// The bug of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// From 1.
    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }
}

bugs! {
    // Consensus.
    VoteNotSynced "vote-not-synced"
        "A vote leaves before it is durable: two votes in one term after a crash (robustmq #2039, spur #635)."
    VoteRequestNotSynced "vote-request-not-synced"
        "A candidate asks for votes before its own vote is durable (spur #635)."
    AckBeforeSync "ack-before-sync"
        "A follower acknowledges records before they are durable (hiqlite #361)."
    LeaderCountsUnsynced "leader-counts-unsynced"
        "A leader counts its own record before it is durable; a single node loses an acknowledged write (etcd #14370)."
    OlderTermCommit "older-term-commit"
        "A leader commits a record of an older term by counting replicas (Raft thesis, figure 3.7)."
    AckLastIndex "ack-last-index"
        "A follower acknowledges its last index instead of the part that it verified (found in several Raft libraries)."
    StaleReplyVouches "stale-reply-vouches"
        "The answer to a stale append vouches for a read of a newer term (found in several Raft libraries)."
    HalfIsQuorum "half-is-quorum"
        "Half of an even cluster is called a majority (the Raft bank this project succeeds)."
    LeaderKeepsLeading "leader-keeps-leading"
        "A leader adopts a newer term and goes on leading (the Raft bank this project succeeds)."
    VoteForgotten "vote-forgotten"
        "A restarted node has forgotten whom it voted for (the Raft bank this project succeeds)."
    NoLogCheck "no-log-check"
        "A node votes for a candidate whose log is behind its own (the ATM network this project succeeds)."
    ReadWithoutQuorum "read-without-quorum"
        "A leader answers a read without asking whether it still leads (etcd 0.4, Consul 0.4)."
    LeaseRead "lease-read"
        "A leader that was paused trusts its own clock and answers a stale read (etcd #20418)."
    ReadBeforeNoop "read-before-noop"
        "A new leader answers reads before it knows what is committed (Raft thesis, section 6.4)."
    NoCheckQuorum "no-check-quorum"
        "An isolated leader stays leader and goes on accepting (all four systems this project succeeds)."
    NoPreVote "no-pre-vote"
        "A node that hears nobody raises its term and deposes a healthy leader when it is back (etcd before 3.4)."
    AppendTruncates "append-truncates"
        "A late append cuts off the matching records behind it (found in many Raft libraries)."
    HeartbeatCommits "heartbeat-commits"
        "A follower commits up to its last index instead of what it verified (found in many Raft libraries)."
    RejoinVotesAtOnce "rejoin-votes-at-once"
        "A node that lost its disk comes back empty and votes and counts as if it had never promised anything."
}
