//! Requests and their canonical bytes (`docs/format.md`).

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

/// Fewest legs of a linked transfer.
pub const LEGS_MIN: usize = 2;
/// Most legs of a linked transfer. With the longest names and memos they take 51 KiB.
pub const LEGS_MAX: usize = 128;
/// Longest timeout of a pending transfer, in milliseconds: 366 days. The shortest is 1.
pub const TIMEOUT_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;

const DIGEST_DOMAIN: &[u8] = b"raftbank/request/1\n";

/// One transfer of several that are done together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Who pays.
    pub from: Account,
    /// Who is paid.
    pub to: Account,
    /// How much.
    pub amount: Amount,
    /// Free text of at most [`MEMO_BYTES_MAX`] bytes.
    pub memo: String,
}

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
    /// Several transfers, each on what those before it left: all of them, or none.
    Linked {
        /// [`LEGS_MIN`] to [`LEGS_MAX`].
        legs: Vec<Leg>,
    },
    /// Reserves money for a transfer that is posted or voided later, under this request's id.
    Pending {
        /// Who will pay.
        from: Account,
        /// Who will be paid.
        to: Account,
        /// At most how much.
        amount: Amount,
        /// 1 to [`TIMEOUT_MS_MAX`], counted from the time of the block that the request is in.
        timeout_ms: u64,
        /// Free text of at most [`MEMO_BYTES_MAX`] bytes.
        memo: String,
    },
    /// Moves the money of a pending transfer; what is left of it is free again.
    Post {
        /// The id of the pending transfer.
        pending: RequestId,
        /// How much; `None`: all of it.
        amount: Option<Amount>,
    },
    /// Frees the money of a pending transfer.
    Void {
        /// The id of the pending transfer.
        pending: RequestId,
    },
}

impl Operation {
    /// The last of the verb bytes for which [`Operation::is_basic`] is true; those above are not.
    pub const BASIC_VERB_MAX: u8 = 5;

    /// True for the verbs of version 0.1.0, which every program reads. A block with any other must not reach a member
    /// that does not know it.
    pub fn is_basic(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Transfer { .. } | Self::Credit { .. } | Self::Debit { .. } | Self::Put { .. } => {
                true
            }
            Self::Linked { .. } | Self::Pending { .. } | Self::Post { .. } | Self::Void { .. } => false,
        }
    }
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
        let bounded = |field, found: usize, min: usize, max: usize, unit: &str| match found {
            _ if (min..=max).contains(&found) => Ok(()),
            _ if min == 0 => Err(DecodeError::field(field, format!("{found} {unit}; at most {max} are allowed"))),
            _ => Err(DecodeError::field(field, format!("{found} {unit}; {min} to {max} are allowed"))),
        };
        let memo_fits = |memo: &str| bounded("memo", memo.len(), 0, MEMO_BYTES_MAX, "bytes");
        match &operation {
            Operation::Transfer { memo, .. } => memo_fits(memo)?,
            Operation::Put { key, value } => {
                bounded("key", key.len(), 1, KEY_BYTES_MAX, "bytes")?;
                bounded("value", value.len(), 0, VALUE_BYTES_MAX, "bytes")?;
            }
            Operation::Linked { legs } => {
                bounded("legs", legs.len(), LEGS_MIN, LEGS_MAX, "transfers")?;
                legs.iter().try_for_each(|leg| memo_fits(&leg.memo))?;
            }
            Operation::Pending { timeout_ms, memo, .. } => {
                if !(1..=TIMEOUT_MS_MAX).contains(timeout_ms) {
                    let why = format!("{timeout_ms} ms; 1 to {TIMEOUT_MS_MAX} (366 days) are allowed");
                    return Err(DecodeError::field("timeout", why));
                }
                memo_fits(memo)?;
            }
            Operation::Open { .. }
            | Operation::Credit { .. }
            | Operation::Debit { .. }
            | Operation::Post { .. }
            | Operation::Void { .. } => {}
        }
        Ok(Self { id, operation })
    }

    /// The verb, as `bankctl` spells it.
    pub fn verb(&self) -> &'static str {
        match self.operation {
            Operation::Open { .. } => "open",
            Operation::Transfer { .. } => "transfer",
            Operation::Credit { .. } => "credit",
            Operation::Debit { .. } => "debit",
            Operation::Put { .. } => "put",
            Operation::Linked { .. } => "linked",
            Operation::Pending { .. } => "pending",
            Operation::Post { .. } => "post",
            Operation::Void { .. } => "void",
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
        let mut asked = Vec::new();
        self.put_asked(&mut asked);
        Hash::of(&[DIGEST_DOMAIN, &asked])
    }

    /// The digests of these requests, in their order.
    pub(crate) fn digests<'a>(requests: impl Iterator<Item = &'a Self>) -> Vec<Hash> {
        let (mut asked, mut ends) = (Vec::new(), Vec::with_capacity(requests.size_hint().0));
        for request in requests {
            request.put_asked(&mut asked);
            ends.push(asked.len());
        }
        let mut digests = Vec::with_capacity(ends.len());
        let mut begin = 0;
        let messages = ends.into_iter().map(|end| [DIGEST_DOMAIN, &asked[std::mem::replace(&mut begin, end)..end]]);
        Hash::of_each(messages, &mut digests);
        digests
    }

    /// What the digest is of, behind its domain.
    fn put_asked(&self, out: &mut Vec<u8>) {
        out.push(self.verb_byte());
        self.put_arguments(out);
    }

    fn verb_byte(&self) -> u8 {
        match self.operation {
            Operation::Open { .. } => 1,
            Operation::Transfer { .. } => 2,
            Operation::Credit { .. } => 3,
            Operation::Debit { .. } => 4,
            Operation::Put { .. } => 5,
            Operation::Linked { .. } => 6,
            Operation::Pending { .. } => 7,
            Operation::Post { .. } => 8,
            Operation::Void { .. } => 9,
        }
    }

    fn put_arguments(&self, out: &mut Vec<u8>) {
        match &self.operation {
            Operation::Open { account } => put_text8(out, account.as_str()),
            Operation::Transfer { from, to, amount, memo } => put_transfer(out, from, to, *amount, memo),
            Operation::Credit { account, amount } | Operation::Debit { account, amount } => {
                put_text8(out, account.as_str());
                out.extend_from_slice(&amount.get().to_be_bytes());
            }
            Operation::Put { key, value } => {
                put_bytes16(out, key);
                put_bytes32(out, value);
            }
            Operation::Linked { legs } => {
                let count = u16::try_from(legs.len()).expect("bounded when it was made");
                out.extend_from_slice(&count.to_be_bytes());
                for Leg { from, to, amount, memo } in legs {
                    put_transfer(out, from, to, *amount, memo);
                }
            }
            Operation::Pending { from, to, amount, timeout_ms, memo } => {
                put_text8(out, from.as_str());
                put_text8(out, to.as_str());
                out.extend_from_slice(&amount.get().to_be_bytes());
                out.extend_from_slice(&timeout_ms.to_be_bytes());
                put_bytes16(out, memo.as_bytes());
            }
            Operation::Post { pending, amount } => {
                put_text8(out, pending.as_str());
                out.extend_from_slice(&amount.map_or(0, Amount::get).to_be_bytes());
            }
            Operation::Void { pending } => put_text8(out, pending.as_str()),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let verb = reader.u8("verb")?;
        let id = RequestId::parse(reader.text8("id")?).map_err(|error| DecodeError::field("id", error))?;
        let operation = match verb {
            1 => Operation::Open { account: account(reader, "account")? },
            2 => {
                let Leg { from, to, amount, memo } = leg(reader)?;
                Operation::Transfer { from, to, amount, memo }
            }
            3 => Operation::Credit { account: account(reader, "account")?, amount: amount(reader)? },
            4 => Operation::Debit { account: account(reader, "account")?, amount: amount(reader)? },
            5 => Operation::Put {
                key: reader.bytes16(KEY_BYTES_MAX, "key")?.to_vec(),
                value: reader.bytes32(VALUE_BYTES_MAX, "value")?.to_vec(),
            },
            6 => {
                // The count allocates nothing: each leg takes bytes that are there.
                let count = usize::from(reader.u16("legs")?);
                if !(LEGS_MIN..=LEGS_MAX).contains(&count) {
                    let why = format!("{count} transfers; {LEGS_MIN} to {LEGS_MAX} are allowed");
                    return Err(DecodeError::field("legs", why));
                }
                Operation::Linked { legs: (0..count).map(|_| leg(reader)).collect::<Result<_, _>>()? }
            }
            7 => Operation::Pending {
                from: account(reader, "from")?,
                to: account(reader, "to")?,
                amount: amount(reader)?,
                timeout_ms: reader.u64("timeout")?,
                memo: memo(reader)?,
            },
            8 => Operation::Post {
                pending: pending(reader)?,
                amount: match reader.u64("amount")? {
                    0 => None,
                    some => Some(Amount::new(some).map_err(|error| DecodeError::field("amount", error))?),
                },
            },
            9 => Operation::Void { pending: pending(reader)? },
            other => return Err(DecodeError::field("verb", format!("{other} is none"))),
        };
        Self::new(id, operation)
    }
}

fn put_transfer(out: &mut Vec<u8>, from: &Account, to: &Account, amount: Amount, memo: &str) {
    put_text8(out, from.as_str());
    put_text8(out, to.as_str());
    out.extend_from_slice(&amount.get().to_be_bytes());
    put_bytes16(out, memo.as_bytes());
}

fn leg(reader: &mut Reader<'_>) -> Result<Leg, DecodeError> {
    Ok(Leg { from: account(reader, "from")?, to: account(reader, "to")?, amount: amount(reader)?, memo: memo(reader)? })
}

fn memo(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    crate::bytes::utf8(reader.bytes16(MEMO_BYTES_MAX, "memo")?, "memo").map(str::to_owned)
}

fn pending(reader: &mut Reader<'_>) -> Result<RequestId, DecodeError> {
    RequestId::parse(reader.text8("pending")?).map_err(|error| DecodeError::field("pending", error))
}

fn account(reader: &mut Reader<'_>, field: &'static str) -> Result<Account, DecodeError> {
    Account::parse(reader.text8(field)?).map_err(|error| DecodeError::field(field, error))
}

fn amount(reader: &mut Reader<'_>) -> Result<Amount, DecodeError> {
    Amount::new(reader.u64("amount")?).map_err(|error| DecodeError::field("amount", error))
}
