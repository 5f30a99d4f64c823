//! Which hunters look for which bug, in this order; and which bugs of the lists cannot exist here.

use raftbank_planted::Bug;

use super::Hunter;

/// Who looks for it, in this order. The simulators come first where they are known to find it.
pub fn hunters(bug: Bug) -> &'static [Hunter] {
    use Hunter::{Bank, Core, Ledger, Node, Relay, Scenes, Store};
    match bug {
        Bug::VoteNotSynced
        | Bug::VoteRequestNotSynced
        | Bug::AckBeforeSync
        | Bug::LeaderCountsUnsynced
        | Bug::OlderTermCommit
        | Bug::AckLastIndex
        | Bug::StaleReplyVouches
        | Bug::HalfIsQuorum
        | Bug::LeaderKeepsLeading
        | Bug::VoteForgotten
        | Bug::NoLogCheck
        | Bug::ReadWithoutQuorum
        | Bug::LeaseRead
        | Bug::ReadBeforeNoop
        | Bug::AppendTruncates
        | Bug::HeartbeatCommits
        | Bug::ReplaysUndecided
        | Bug::OlderTermAccepted
        | Bug::RejoinVotesAtOnce
        | Bug::TransferVotesTwice => &[Core, Bank],
        Bug::NoCheckQuorum | Bug::NoPreVote | Bug::FollowersOneBehind => &[Scenes, Bank],
        Bug::IdExpires
        | Bug::RepeatInBlockTwice
        | Bug::DuplicateSaysCommitted
        | Bug::FundsOfBlockBefore
        | Bug::RefusalByChance
        | Bug::LinkedKeepsFirstLeg
        | Bug::VoidKeepsHold
        | Bug::ExpiryByClock
        | Bug::TimeGoesBack => &[Bank, Ledger],
        Bug::IdsLostAtRestart
        | Bug::StateNotChecked
        | Bug::WrongResultIgnored
        | Bug::LocalReads
        | Bug::AnyCommitAnswers
        | Bug::AnswerBeforeCommit
        | Bug::NotExecutedLie
        | Bug::RetryNewId
        | Bug::AccountsDropRow
        | Bug::LateAnswerTaken
        | Bug::GiveBackTrusted => &[Bank, Node],
        Bug::AppliedIndexApart | Bug::StateRowsWithoutPlace | Bug::MarkNotChecked | Bug::SyncDoesNothing => {
            &[Bank, Store]
        }
        // No simulated node tells lies, and no simulated client looks at these.
        Bug::ZeroAccepted
        | Bug::NonceNotVerified
        | Bug::PreviousNotVerified
        | Bug::HashOmitsPrevious
        | Bug::VerifySkipsValues => &[Ledger],
        Bug::PendingStays
        | Bug::IncarnationNotChecked
        | Bug::NewVerbsToAnyone
        | Bug::LateRejoinTaken
        | Bug::StaleTimeoutNow
        | Bug::LeavesWithoutHandover => &[Node],
        // The simulators have a disk of their own, and a driver of syncs.
        // And consensus brings back what a start does not execute again.
        Bug::DamageTakenForTornTail | Bug::ReplaySkipped | Bug::DurableBeforeSync | Bug::CutTailVerifies => &[Store],
        Bug::TypoHeals | Bug::PartitionLeaks => &[Relay],
    }
}

/// Bugs that have to show on real disks, too.
pub const ON_REAL_DISKS: [Bug; 2] = [Bug::SyncDoesNothing, Bug::DurableBeforeSync];

/// What was asked for and cannot be planted here, with the reason.
pub const IMPOSSIBLE: [(&str, &str); 6] = [
    (
        "an index adopted without its snapshot, a failed install of one",
        "none is ever installed: every block is kept, and a node catches up by records",
    ),
    (
        "the tail of a sealed log segment that is never synced",
        "the log is one file of sled, and every sync is of the whole file: see sync-does-nothing",
    ),
    ("a read served before its index is applied", "records are applied in the step that commits them, before any read"),
    (
        "pickle and eval, a short read taken for a message",
        "frames carry their length, and one bounded codec reads them",
    ),
    ("elections on the wall clock", "consensus has no clock but ticks, and ids are given by clients"),
    ("busy loops, a key in the repository", "no behaviour of a node that a switch could change"),
];
