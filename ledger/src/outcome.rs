//! Outcomes of requests, and their canonical bytes (`docs/format.md`).

use std::fmt;

use crate::bytes::DecodeError;

/// What became of a request that is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Committed,
    /// The bank refused, for a reason that depends on its state. Recorded like a success.
    Refused(Refusal),
}

/// Why the bank refused. A transfer is checked for `SameAccount`, `UnknownAccount`, `InsufficientFunds`,
/// `BalanceOverflow`, in this order; a post for `UnknownPending`, `AlreadyPosted`, `AlreadyVoided`, `PendingExpired`,
/// `ExceedsPending`, `BalanceOverflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account does not hold that much.
    InsufficientFunds,
    /// There is no such account.
    UnknownAccount,
    /// There is such an account already.
    AccountExists,
    /// A transfer from an account to itself.
    SameAccount,
    /// The balance would exceed 2^63 − 1.
    BalanceOverflow,
    /// No pending transfer has this id.
    UnknownPending,
    /// The pending transfer was posted before.
    AlreadyPosted,
    /// The pending transfer was voided before.
    AlreadyVoided,
    /// The pending transfer's time is over.
    PendingExpired,
    /// More than the pending transfer reserved.
    ExceedsPending,
}

/// All refusals, in the order of their canonical bytes.
const REFUSALS: [Refusal; 10] = [
    Refusal::InsufficientFunds,
    Refusal::UnknownAccount,
    Refusal::AccountExists,
    Refusal::SameAccount,
    Refusal::BalanceOverflow,
    Refusal::UnknownPending,
    Refusal::AlreadyPosted,
    Refusal::AlreadyVoided,
    Refusal::PendingExpired,
    Refusal::ExceedsPending,
];

impl Refusal {
    /// Every refusal, in the order of their canonical bytes.
    pub fn all() -> impl Iterator<Item = Self> {
        REFUSALS.into_iter()
    }

    fn byte(self) -> u8 {
        match self {
            Self::InsufficientFunds => 1,
            Self::UnknownAccount => 2,
            Self::AccountExists => 3,
            Self::SameAccount => 4,
            Self::BalanceOverflow => 5,
            Self::UnknownPending => 6,
            Self::AlreadyPosted => 7,
            Self::AlreadyVoided => 8,
            Self::PendingExpired => 9,
            Self::ExceedsPending => 10,
        }
    }

    /// The stable code in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "insufficient_funds",
            Self::UnknownAccount => "unknown_account",
            Self::AccountExists => "account_exists",
            Self::SameAccount => "same_account",
            Self::BalanceOverflow => "balance_overflow",
            Self::UnknownPending => "unknown_pending",
            Self::AlreadyPosted => "already_posted",
            Self::AlreadyVoided => "already_voided",
            Self::PendingExpired => "pending_expired",
            Self::ExceedsPending => "exceeds_pending",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InsufficientFunds => "the account does not hold that much",
            Self::UnknownAccount => "there is no such account; open it first",
            Self::AccountExists => "there is such an account already",
            Self::SameAccount => "a transfer needs two different accounts",
            Self::BalanceOverflow => "the balance would exceed 9223372036854775807",
            Self::UnknownPending => "no pending transfer has this id",
            Self::AlreadyPosted => "the pending transfer was posted before",
            Self::AlreadyVoided => "the pending transfer was voided before",
            Self::PendingExpired => "the pending transfer has expired; what it held is free again",
            Self::ExceedsPending => "that is more than the pending transfer holds",
        })
    }
}

impl Outcome {
    /// The canonical byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Committed => 0,
            Self::Refused(refusal) => refusal.byte(),
        }
    }

    /// Reads the canonical byte.
    ///
    /// # Errors
    /// A byte that stands for no outcome.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        if byte == 0 {
            return Ok(Self::Committed);
        }
        let refusal = REFUSALS.into_iter().find(|refusal| refusal.byte() == byte);
        refusal.map(Self::Refused).ok_or_else(|| DecodeError::field("outcome", format!("{byte} is none")))
    }

    /// `committed`, or the refusal's code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}
