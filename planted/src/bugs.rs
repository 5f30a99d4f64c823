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
    FollowersOneBehind "followers-one-behind"
        "Followers hear of a commit only with the next write (the Raft bank this project succeeds)."
    ReplaysUndecided "replays-undecided"
        "A restarted node applies records that nobody has committed (the Multi-Paxos store this project succeeds)."
    OlderTermAccepted "older-term-accepted"
        "A follower takes records from a leader of an older term (the Paxos ledger this project succeeds)."
    RejoinVotesAtOnce "rejoin-votes-at-once"
        "A node that lost its disk comes back empty and votes and counts as if it had never promised anything."
    StaleTimeoutNow "stale-timeout-now"
        "A late word of a former leader to campaign is obeyed and deposes a healthy one."
    TransferVotesTwice "transfer-votes-twice"
        "A candidate that the leader has named gets a vote that was given to another in that term: two leaders."

    // Ledger.
    IdExpires "id-expires"
        "An id is forgotten after eight blocks, so that a late retry pays twice (SQS FIFO queues, Stripe: by design)."
    RepeatInBlockTwice "repeat-in-block-twice"
        "A request that stands twice in a batch is executed twice (the Raft bank this project succeeds)."
    DuplicateSaysCommitted "duplicate-says-committed"
        "Repeats are recognized without the stored outcome, so a refused request is told to have been done on its retry."
    FundsOfBlockBefore "funds-of-block-before"
        "Funds are checked against the balance before the block (the Raft bank this project succeeds)."
    ZeroAccepted "zero-accepted"
        "An amount of 0 is accepted (the Raft bank this project succeeds)."
    RefusalByChance "refusal-by-chance"
        "Which of two errors is reported differs between nodes (Formance ledger #1565)."
    NonceNotVerified "nonce-not-verified"
        "Nobody checks the proof-of-work (the Raft bank this project succeeds)."
    PreviousNotVerified "previous-not-verified"
        "Nobody checks that a block extends the one before (the Raft bank this project succeeds)."
    HashOmitsPrevious "hash-omits-previous"
        "The hash leaves out the previous hash and the term (the Raft bank this project succeeds)."
    TimeGoesBack "time-goes-back"
        "Blocks carry the wall clock as it is, so their times fall when it is set back (the systems this one succeeds)."
    IdsLostAtRestart "ids-lost-at-restart"
        "A restored state lacks the used ids, so that a retry pays twice (Formance ledger #1607)."
    LinkedKeepsFirstLeg "linked-keeps-first-leg"
        "A linked transfer that is refused has moved the money of its first leg (transactions without a rollback)."
    VoidKeepsHold "void-keeps-hold"
        "A void marks the pending transfer and does not free its money (found in several payment systems)."
    ExpiryByClock "expiry-by-clock"
        "The leader expires pending transfers by its own clock instead of the time of the block."
    // Node.
    StateNotChecked "state-not-checked"
        "A follower acknowledges a block without executing it, so that a leader with a damaged state commits (etcd 3.5)."
    WrongResultIgnored "wrong-result-ignored"
        "A node that cannot apply a committed block logs it and goes on (etcd 3.5)."
    LocalReads "local-reads"
        "A read is answered from the state of whichever node was asked (etcd before 3.0, Consul by default)."
    AnyCommitAnswers "any-commit-answers"
        "A write is reported done because some record was committed at its index (Raft thesis, section 6.3)."
    AnswerBeforeCommit "answer-before-commit"
        "The leader answers when it has proposed a write (the Raft bank this project succeeds)."
    NotExecutedLie "not-executed-lie"
        "A write that timed out is called not executed although it may still commit (many databases' drivers)."
    RetryNewId "retry-new-id"
        "A retry carries a new id, so that a lost answer pays twice (the ATM network this project succeeds)."
    PendingStays "pending-stays"
        "The pending balance keeps writes that are answered (the Raft bank this project succeeds)."
    AccountsDropRow "accounts-drop-row"
        "A query over all accounts drops a row (TigerBeetle, found by Jepsen)."
    IncarnationNotChecked "incarnation-not-checked"
        "A replaced node that comes back empty is taken for the one that made promises."
    LateAnswerTaken "late-answer-taken"
        "A late answer to an earlier process is taken for one of this process's own calls (raftbank before 0.1)."
    GiveBackTrusted "give-back-trusted"
        "A write that one peer gave back is called not executed although another copy is on its way (raftbank before 0.1)."
    LeavesWithoutHandover "leaves-without-handover"
        "A leader that is asked to stop just leaves: nobody is served until an election timeout has passed."
    NewVerbsToAnyone "new-verbs-to-anyone"
        "Blocks with new verbs go to members whose version cannot read them (rolling upgrades of several databases)."
    LateRejoinTaken "late-rejoin-taken"
        "A late announcement brings back a data folder that is gone (raftbank before 0.1)."

    // Store.
    AppliedIndexApart "applied-index-apart"
        "The applied index is stored apart from the data it belongs to (etcd 3.5, ten months in the field)."
    StateRowsWithoutPlace "state-rows-without-place"
        "Rows of the state are written back without the row that says of which record they are (a torn checkpoint)."
    ReplaySkipped "replay-skipped"
        "A start does not execute again what was committed, and shows less than it showed before (many embedded stores)."
    DamageTakenForTornTail "damage-taken-for-torn-tail"
        "Damage in the middle of the log is taken for a torn tail and cut off (Protocol-Aware Recovery, FAST'18)."
    MarkNotChecked "mark-not-checked"
        "A store that was rolled back to an older state of itself is opened (virtual machines restored from a snapshot)."
    SyncDoesNothing "sync-does-nothing"
        "What is called synced is only written (hiqlite #361)."
    DurableBeforeSync "durable-before-sync"
        "The driver reports a group as durable before its sync has ended (found in an audit of Raft libraries)."

    // Verification.
    VerifySkipsValues "verify-skips-values"
        "The verification never reads the values (immudb #2063)."
    CutTailVerifies "cut-tail-verifies"
        "A chain whose tail was cut off still verifies (found in several ledgers)."

    // Relay.
    TypoHeals "typo-heals"
        "A typo in a partition heals the one that stands (the Raft bank this project succeeds)."
    PartitionLeaks "partition-leaks"
        "What was under way when a partition began still passes (the Raft bank this project succeeds)."
}
