//! Requests and outcomes, and their canonical bytes (`docs/format.md`).

use std::fmt;

use crate::amount::Amount;
use crate::bytes::{DecodeError, Reader, put_bytes16, put_bytes32, put_text8};
use crate::hash::Hash;
use crate::names::{Account, RequestId};

/// Longest memo, in bytes of UTF-8.
pub const MEMO_BYTES_MAX: usize = 256;
/// Longest key, in bytes; the shortest has one.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

const DIGEST_DOMAIN: &[u8] = b"raftbank/request/1\n";

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens an account with balance 0.
    Open {
        /// The new account.
        account: Account,
    },
    /// Moves money between two accounts.
    Transfer {
        /// Who pays.
        from: Account,
        /// Who is paid.
        to: Account,
        /// How much.
        amount: Amount,
        /// Free text of at most [`MEMO_BYTES_MAX`] bytes.
        memo: String,
    },
    /// Cash in: from `world` to the account.
    Credit {
        /// Who is paid.
        account: Account,
        /// How much.
        amount: Amount,
    },
    /// Cash out: from the account to `world`.
    Debit {
        /// Who pays.
        account: Account,
        /// How much.
        amount: Amount,
    },
    /// Sets a key of the key-value store.
    Put {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`VALUE_BYTES_MAX`] bytes.
        value: Vec<u8>,
    },
}

/// A write, identified for ever by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unique over all verbs.
    pub id: RequestId,
    /// What it does.
    pub operation: Operation,
}

impl Request {
    /// Makes a request, checking the bounds that its types do not.
    ///
    /// # Errors
    /// A memo, key or value of the wrong length.
    pub fn new(id: RequestId, operation: Operation) -> Result<Self, DecodeError> {
        match &operation {
            Operation::Transfer { memo, .. } if memo.len() > MEMO_BYTES_MAX => {
                let why = format!("{} bytes; at most {MEMO_BYTES_MAX} are allowed", memo.len());
                Err(DecodeError::field("memo", why))
            }
            Operation::Put { key, .. } if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                let why = format!("{} bytes; 1 to {KEY_BYTES_MAX} are allowed", key.len());
                Err(DecodeError::field("key", why))
            }
            Operation::Put { value, .. } if value.len() > VALUE_BYTES_MAX => {
                let why = format!("{} bytes; at most {VALUE_BYTES_MAX} are allowed", value.len());
                Err(DecodeError::field("value", why))
            }
            _ => Ok(Self { id, operation }),
        }
    }

    /// The verb, as `bankctl` spells it.
    pub fn verb(&self) -> &'static str {
        match self.operation {
            Operation::Open { .. } => "open",
            Operation::Transfer { .. } => "transfer",
            Operation::Credit { .. } => "credit",
            Operation::Debit { .. } => "debit",
            Operation::Put { .. } => "put",
        }
    }

    /// Canonical bytes: verb, id, arguments.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.verb_byte());
        put_text8(out, self.id.as_str());
        self.put_arguments(out);
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Request::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let request = Self::read(&mut reader)?;
        reader.end()?;
        Ok(request)
    }

    /// What an id stands for: a digest of verb and arguments, without the id.
    pub fn digest(&self) -> Hash {
        let mut arguments = Vec::new();
        self.put_arguments(&mut arguments);
        Hash::of(&[DIGEST_DOMAIN, &[self.verb_byte()], &arguments])
    }

    fn verb_byte(&self) -> u8 {
        match self.operation {
            Operation::Open { .. } => 1,
            Operation::Transfer { .. } => 2,
            Operation::Credit { .. } => 3,
            Operation::Debit { .. } => 4,
            Operation::Put { .. } => 5,
        }
    }

    fn put_arguments(&self, out: &mut Vec<u8>) {
        match &self.operation {
            Operation::Open { account } => put_text8(out, account.as_str()),
            Operation::Transfer { from, to, amount, memo } => {
                put_text8(out, from.as_str());
                put_text8(out, to.as_str());
                out.extend_from_slice(&amount.get().to_be_bytes());
                put_bytes16(out, memo.as_bytes());
            }
            Operation::Credit { account, amount } | Operation::Debit { account, amount } => {
                put_text8(out, account.as_str());
                out.extend_from_slice(&amount.get().to_be_bytes());
            }
            Operation::Put { key, value } => {
                put_bytes16(out, key);
                put_bytes32(out, value);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let verb = reader.u8("verb")?;
        let id = RequestId::parse(reader.text8("id")?).map_err(|error| DecodeError::field("id", error))?;
        let operation = match verb {
            1 => Operation::Open { account: account(reader, "account")? },
            2 => Operation::Transfer {
                from: account(reader, "from")?,
                to: account(reader, "to")?,
                amount: amount(reader)?,
                memo: crate::bytes::utf8(reader.bytes16(MEMO_BYTES_MAX, "memo")?, "memo")?.to_owned(),
            },
            3 => Operation::Credit { account: account(reader, "account")?, amount: amount(reader)? },
            4 => Operation::Debit { account: account(reader, "account")?, amount: amount(reader)? },
            5 => Operation::Put {
                key: reader.bytes16(KEY_BYTES_MAX, "key")?.to_vec(),
                value: reader.bytes32(VALUE_BYTES_MAX, "value")?.to_vec(),
            },
            other => return Err(DecodeError::field("verb", format!("{other} is none"))),
        };
        Self::new(id, operation)
    }
}

fn account(reader: &mut Reader<'_>, field: &'static str) -> Result<Account, DecodeError> {
    Account::parse(reader.text8(field)?).map_err(|error| DecodeError::field(field, error))
}

fn amount(reader: &mut Reader<'_>) -> Result<Amount, DecodeError> {
    Amount::new(reader.u64("amount")?).map_err(|error| DecodeError::field("amount", error))
}

/// What became of a request that is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Committed,
    /// The bank refused, for a reason that depends on its state. Recorded like a success.
    Refused(Refusal),
}

/// Why the bank refused. Checked in the order of the codes of `SameAccount`, `UnknownAccount`, `InsufficientFunds`,
/// `BalanceOverflow`.
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
}

impl Refusal {
    /// The stable code in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "insufficient_funds",
            Self::UnknownAccount => "unknown_account",
            Self::AccountExists => "account_exists",
            Self::SameAccount => "same_account",
            Self::BalanceOverflow => "balance_overflow",
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
        })
    }
}

impl Outcome {
    /// The canonical byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Committed => 0,
            Self::Refused(Refusal::InsufficientFunds) => 1,
            Self::Refused(Refusal::UnknownAccount) => 2,
            Self::Refused(Refusal::AccountExists) => 3,
            Self::Refused(Refusal::SameAccount) => 4,
            Self::Refused(Refusal::BalanceOverflow) => 5,
        }
    }

    /// Reads the canonical byte.
    ///
    /// # Errors
    /// A byte that stands for no outcome.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            0 => Self::Committed,
            1 => Self::Refused(Refusal::InsufficientFunds),
            2 => Self::Refused(Refusal::UnknownAccount),
            3 => Self::Refused(Refusal::AccountExists),
            4 => Self::Refused(Refusal::SameAccount),
            5 => Self::Refused(Refusal::BalanceOverflow),
            other => return Err(DecodeError::field("outcome", format!("{other} is none"))),
        })
    }

    /// `committed`, or the refusal's code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}
